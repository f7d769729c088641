// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package console

import (
	"fmt"
	"regexp"
	"strings"
)

// variables matches the parts of an output that differ between two runs. Each alternative also matches what it is replaced by.
var variables = []*regexp.Regexp{
	regexp.MustCompile(`[a-z][a-z0-9]*_[0-9A-Za-z]{12}_[0-9A-Za-z]{49}`),               // a key
	regexp.MustCompile(`[a-z][a-z0-9]*_[0-9A-Za-z]{12}`),                               // its hint
	regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`),                              // an instant
	regexp.MustCompile(`[0-9a-f]{64}`),                                                 // a digest
	regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`), // a UID
	regexp.MustCompile(`[0-9]+(?:\.[0-9]+)?(?:s|ms|m|h|d)(?:[0-9]+[smh])?`),            // an age
	regexp.MustCompile(`[0-9A-Za-z]{12}`),                                              // a key ID: see isVariable
}

// hasDigit, hasUpper and hasLower distinguish a key ID from a word of twelve letters.
var hasDigit, hasUpper, hasLower = regexp.MustCompile(`[0-9]`), regexp.MustCompile(`[A-Z]`), regexp.MustCompile(`[a-z]`)

// part matches the parts of a line that are compared on their own: "...", white space and words.
var part = regexp.MustCompile(`\.\.\.|\s+|[0-9A-Za-z_.:-]*[0-9A-Za-z_]|.`)

// pattern returns an expression that matches the line of an output that a page shows. "..." on the page matches any text.
func pattern(line string) *regexp.Regexp {
	var expression strings.Builder
	for _, text := range part.FindAllString(strings.TrimSpace(line), -1) {
		switch {
		case text == "...":
			expression.WriteString(".*")
		case strings.TrimSpace(text) == "":
			expression.WriteString(`\s+`)
		default:
			expression.WriteString(wordPattern(text))
		}
	}
	return regexp.MustCompile(`^\s*` + expression.String() + `\s*$`)
}

// wordPattern returns the expression of the variable that a word is, or else of the word itself.
func wordPattern(word string) string {
	for i, variable := range variables {
		if variable.FindString(word) != word {
			continue
		}
		if keyID := i == len(variables)-1; !keyID || hasDigit.MatchString(word) && hasUpper.MatchString(word) && hasLower.MatchString(word) {
			return `(?:` + variable.String() + `)`
		}
	}
	return regexp.QuoteMeta(word)
}

// compare returns an error unless an output has the lines that a page shows, in their order. It may have further lines.
func compare(want, got string) error {
	rest := strings.Split(got, "\n")
	for line := range strings.SplitSeq(want, "\n") {
		if strings.TrimSpace(line) == "" {
			continue
		}
		wanted, found := pattern(line), -1
		for i, candidate := range rest {
			if wanted.MatchString(candidate) {
				found = i
				break
			}
		}
		if found < 0 {
			return fmt.Errorf("the output does not have the line\n  %s\nin its place", line)
		}
		rest = rest[found+1:]
	}
	return nil
}

var (
	failure = regexp.MustCompile(`(?m)^(?:Error|error)\b|^The \w+ ".*" is invalid`)
	secret  = regexp.MustCompile(`(_[0-9A-Za-z]{12}_)[0-9A-Za-z]{49}`)
)

// showsFailure reports whether a page shows that a command fails.
func showsFailure(output string) bool { return failure.MatchString(output) }

// redact removes the secret part of keys.
func redact(text string) string { return secret.ReplaceAllString(text, "${1}[redacted]") }
