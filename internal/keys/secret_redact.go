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
	// redactWindow is the number of consecutive characters that a text must share with a value for them to be redacted,
	// so that parts of a key are redacted as well as the whole.
	redactWindow = 10
	// maxRedactText and maxRedactValue limit the work.
	maxRedactText  = 4 << 10
	maxRedactValue = 64 << 10
	// maxName limits the length of names chosen by others in messages, and maxManager that of field managers.
	maxName, maxManager = 63, 40
)

var (
	// opaqueRun matches what may be a key in an unknown encoding: letters and digits without a separator.
	opaqueRun = regexp.MustCompile(`[0-9A-Za-z+%\\]{16,}`)
	// numberList matches what may be the bytes of a key.
	numberList = regexp.MustCompile(`\b(?:0[xX])?[0-9a-fA-F]{1,3}(?:[ ,;:-]+(?:0[xX])?[0-9a-fA-F]{1,3}){7,}\b`)
)

// redactData returns a text in one line, without anything that occurs in data: values or parts of them, in all common
// encodings. It also redacts anything else that may be a key.
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

// oneLine returns a text in which white space and unprintable characters are replaced by single spaces.
func oneLine(text string) string {
	text = strings.ToValidUTF8(text, "?")
	return strings.Join(strings.FieldsFunc(text, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }), " ")
}

// redactParts redacts the parts that a text shares with an encoding of a value, ignoring case.
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

// encodings returns a value as it is and in the common encodings, for each alignment that it may have in an encoded
// text.
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

// plainName returns the first characters of a name that another client chose, with each character other than letters,
// digits and - _ . / replaced by an underscore.
func plainName(name string, most int) string {
	plain := strings.Map(func(c rune) rune {
		if strings.ContainsRune(credential.Base62+"-_./", c) {
			return c
		}
		return '_'
	}, name)
	return plain[:min(most, len(plain))]
}
