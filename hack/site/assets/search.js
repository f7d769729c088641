// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Searches the index in search-index.js, so that the search works without a server: a page matches if it has all words.
(() => {
  const input = document.getElementById("search");
  const results = document.getElementById("results");
  const root = input.dataset.root;

  const count = (text, word) => text.split(word).length - 1;

  function score(page, words) {
    const title = page.title.toLowerCase(), text = page.text.toLowerCase();
    let total = 0;
    for (const word of words) {
      const found = count(title, word) * 50 + Math.min(count(text, word), 20);
      if (found === 0) return 0;
      total += found;
    }
    return total;
  }

  function excerpt(page, words) {
    const at = page.text.toLowerCase().indexOf(words[0]);
    const start = Math.max(0, at - 60);
    return page.text.slice(start, start + 180).replace(/\s+/g, " ");
  }

  function entry(page, words) {
    const item = document.createElement("li"), link = document.createElement("a"), small = document.createElement("small");
    link.href = root + page.url;
    link.textContent = page.title;
    small.textContent = excerpt(page, words);
    link.append(small);
    item.append(link);
    return item;
  }

  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = words.length === 0 ? [] : window.searchIndex
      .map((page) => ({ page, score: score(page, words) }))
      .filter((match) => match.score > 0)
      .sort((a, b) => b.score - a.score)
      .slice(0, 12);
    results.replaceChildren(...found.map((match) => entry(match.page, words)));
    results.hidden = found.length === 0;
  });
})();
