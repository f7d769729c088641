// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"encoding/base64"
	"encoding/hex"
	"net/url"
	"regexp"
	"strings"
	"unicode"

	"github.com/apikey-manager/apikey-manager/internal/credential"
)

const (
	// redactWindow is how many characters a text must have in common with a value for them to be redacted: a part of a key is
	// redacted as well as the whole.
	redactWindow = 10
	// maxRedactText and maxRedactValue bound the work.
	maxRedactText  = 4 << 10
	maxRedactValue = 64 << 10
	// maxName bounds the names of others in messages, and maxManager those of field managers.
	maxName, maxManager = 63, 40
)

var (
	// opaqueRun is what may be a key in an encoding that is not known: letters and digits without anything between them.
	opaqueRun = regexp.MustCompile(`[0-9A-Za-z+%\\]{16,}`)
	// numberList is what may be the bytes of a key.
	numberList = regexp.MustCompile(`\b(?:0[xX])?[0-9a-fA-F]{1,3}(?:[ ,;:-]+(?:0[xX])?[0-9a-fA-F]{1,3}){7,}\b`)
)

// redactData returns a text, in one line, without anything of some data: not the values, nor parts of them, in the encodings
// that are common, nor anything else that may be a key.
func redactData(text string, data map[string][]byte) string {
	text = oneLine(text)
	if unescaped, err := url.PathUnescape(text); err == nil {
		text = oneLine(unescaped)
	}
	text = cut(text, maxRedactText)
	text = redactParts(text, data)
	text = numberList.ReplaceAllString(text, credential.Redacted)
	return opaqueRun.ReplaceAllStringFunc(text, func(run string) string {
		if strings.ContainsAny(run, "0123456789") {
			return credential.Redacted
		}
		return run
	})
}

// oneLine returns a text with one space in the place of white space and of characters that are not printed.
func oneLine(text string) string {
	text = strings.ToValidUTF8(text, "?")
	return strings.Join(strings.FieldsFunc(text, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }), " ")
}

// redactParts replaces what a text has in common with an encoding of a value, whatever the case of letters.
func redactParts(text string, data map[string][]byte) string {
	lower := strings.ToLower(text)
	if len(lower) != len(text) {
		text = lower // positions would differ
	}
	starts := map[string][]int{}
	for i := range max(0, len(lower)-redactWindow+1) {
		window := lower[i : i+redactWindow]
		starts[window] = append(starts[window], i)
	}
	hidden := make([]bool, len(text))
	for _, value := range data {
		for _, encoded := range encodings(value[:min(maxRedactValue, len(value))]) {
			encoded = strings.ToLower(encoded)
			for i := range max(0, len(encoded)-redactWindow+1) {
				for _, start := range starts[encoded[i:i+redactWindow]] {
					for j := range redactWindow {
						hidden[start+j] = true
					}
				}
			}
		}
	}
	return withoutHidden(text, hidden)
}

// encodings returns a value as it is, and as the common encodings have it, wherever it begins in what is encoded.
func encodings(value []byte) []string {
	list := []string{string(value), hex.EncodeToString(value)}
	for shift := range min(3, len(value)) {
		list = append(list, base64.RawStdEncoding.EncodeToString(value[shift:]), base64.RawURLEncoding.EncodeToString(value[shift:]))
	}
	return list
}

func withoutHidden(text string, hidden []bool) string {
	var b strings.Builder
	for i := range len(text) {
		switch {
		case !hidden[i]:
			b.WriteByte(text[i])
		case i == 0 || !hidden[i-1]:
			b.WriteString(credential.Redacted)
		}
	}
	return strings.ToValidUTF8(b.String(), "?")
}

// plainName returns the first characters of a name that another client chose, without anything but letters, digits and what
// names have.
func plainName(name string, most int) string {
	plain := strings.Map(func(c rune) rune {
		if strings.ContainsRune(credential.Base62+"-_./", c) {
			return c
		}
		return '_'
	}, name)
	return plain[:min(most, len(plain))]
}
