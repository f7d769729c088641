// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	redacted = "[redacted]"
	// minKeyLength is the length of the shortest key that any format allows. No shorter run of characters is a key in any
	// encoding, since encodings only make text longer.
	minKeyLength = 22
	// maxKeyLength is how much is read of what a client sent for its key: a scheme and the longest key, of 256 characters.
	maxKeyLength = 512
	// redactionWindow is how much of a text redact reads, as a multiple of what it may return: percent-encoding makes three
	// bytes of one.
	redactionWindow = 4
	// maxEncodingDepth is how often a text may be percent-encoded over and over. What is still encoded then is struck out.
	maxEncodingDepth = 4
	// maxMixedPieces is how many pieces of letters and digits, such as v1beta1, plain text may have, and maxMixedLength how long each
	// may be.
	maxMixedPieces, maxMixedLength = 3, 8
	// groupLength is the length of the middle groups of a UUID.
	groupLength = 4
)

// redact returns what may be logged of a text that a client sent: at most longest bytes, without anything that has the
// shape of a key in whatever encoding, and without key, which is what the client sent for its key. The text is cut after
// redaction, since half of a key has no shape.
func redact(text, key string, limit int) string {
	if len(text) >= minKeyLength {
		text = redactKey(text, key, redactionWindow*limit)
	}
	if len(text) > limit {
		text = text[:limit]
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}

// redactKey strikes out key, and then what has the shape of one. A key that is left in encoded form takes the whole text
// with it.
func redactKey(text, key string, window int) string {
	parts := keyParts(key)
	for _, part := range parts {
		if len(text) >= len(part) {
			text = strings.ReplaceAll(text[:min(len(text), window+len(part))], part, redacted)
		}
	}
	text = redactKeyShapes(text, window)
	for _, part := range parts {
		if len(text) >= len(part) && isEncodedIn(part, text) {
			return redacted
		}
	}
	return text
}

// keyParts returns what a client sent for its key, and each part of it that could be one: after a scheme that was not asked
// for, for example.
func keyParts(key string) []string {
	key = key[:min(len(key), maxKeyLength)]
	if len(key) < minKeyLength {
		return nil
	}
	if !strings.ContainsAny(key, " \t") {
		return []string{key}
	}
	return slices.DeleteFunc(append(strings.Fields(key), key), func(part string) bool { return len(part) < minKeyLength })
}

// isEncodedIn reports whether a text has a key, percent-encoded or in another case.
func isEncodedIn(key, text string) bool {
	decoded, _ := decode(text)
	return strings.Contains(strings.ToLower(decoded), strings.ToLower(key))
}

// redactKeyShapes strikes out the runs of a text, between slashes and dots, that may be keys. Of a text beyond the window
// it returns what comes before the run that the window cuts.
func redactKeyShapes(text string, window int) string {
	var b strings.Builder
	copied := 0
	for start := 0; start < len(text); {
		end := findRunEnd(text, start)
		if end > window {
			return b.String() + text[copied:start] + redacted
		}
		if end-start >= minKeyLength && mayBeKey(text[start:end]) {
			b.WriteString(text[copied:start])
			b.WriteString(redacted)
			copied = end
		}
		start = end + 1
	}
	if copied == 0 {
		return text
	}
	return b.String() + text[copied:]
}

// findRunEnd returns where the run of a text that begins at start ends.
func findRunEnd(text string, start int) int {
	for i := start; i < len(text); i++ {
		if text[i] == '/' || text[i] == '.' {
			return i
		}
	}
	return len(text)
}

// mayBeKey reports whether a run of at least minKeyLength bytes is anything but plain words and numbers: as it was sent,
// since what decodes may be part of a key by chance, and as it reads when decoded.
func mayBeKey(run string) bool {
	for range maxEncodingDepth {
		if hasLongPiece(run) {
			return true
		}
		decoded, encoded := decodeOnce(run)
		if !encoded {
			break
		}
		run = decoded
	}
	return !isPlain(run)
}

// decode returns a text without its percent-encoding, and whether it is still encoded after maxEncodingDepth rounds.
func decode(text string) (decoded string, encoded bool) {
	for range maxEncodingDepth {
		if text, encoded = decodeOnce(text); !encoded {
			return text, false
		}
	}
	return text, true
}

// decodeOnce decodes what is percent-encoded, leaves the rest as it is, and reports whether there was anything.
func decodeOnce(text string) (decoded string, encoded bool) {
	if !strings.Contains(text, "%") {
		return text, false
	}
	b := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		if text[i] == '%' && i+2 < len(text) && isHex(text[i+1]) && isHex(text[i+2]) {
			b = append(b, unhex(text[i+1])<<4|unhex(text[i+2]))
			i += 2
			encoded = true
			continue
		}
		b = append(b, text[i])
	}
	return string(b), encoded
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'f'
}

func unhex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c | 0x20 - 'a' + 10
}

// hasLongPiece reports whether a run has as many letters and digits in a row as the shortest key.
func hasLongPiece(run string) bool {
	length := 0
	for i := range len(run) {
		if c := run[i]; !isHex(c) && (c|0x20 < 'a' || c|0x20 > 'z') {
			length = 0
		} else if length++; length >= minKeyLength {
			return true
		}
	}
	return false
}

// isPlain reports whether a run consists of what paths and hosts are made of: words in one case, and few enough digits not
// to be a key that was written in numbers. A UUID is not plain, whatever its digits.
func isPlain(run string) bool {
	digits, mixed, groups, afterHex := 0, 0, 0, false
	for piece := range strings.FieldsFuncSeq(run, isSeparator) {
		p := inspect(piece)
		digits += p.digits
		switch {
		case !p.isPlainWord():
			return false
		case p.digits > 0 && p.digits < p.length:
			mixed++
		}
		if group := p.hex && p.length == groupLength; group && (afterHex || groups > 0) {
			groups++
		} else {
			groups = 0
		}
		afterHex = p.hex
		if groups > 1 || digits >= minKeyLength || mixed > maxMixedPieces {
			return false
		}
	}
	return true
}

// isSeparator reports whether a character comes between words.
func isSeparator(r rune) bool {
	switch r {
	case '-', '_', '~', '+', ',', ':', ';', '=', '@', '(', ')', '!', ' ', '/', '.':
		return true
	}
	return false
}

// piece is what a piece of a run, between separators, consists of.
type piece struct {
	length, digits, lower, upper int
	// capital is whether it begins with an upper-case letter, number whether it begins with a digit.
	capital, number bool
	// hex is whether all of it are hexadecimal digits, odd whether any of it is neither a letter nor a digit.
	hex, odd bool
}

func inspect(text string) piece {
	p := piece{hex: true}
	for _, r := range text {
		p.hex = p.hex && r < utf8.RuneSelf && isHex(byte(r)) //nolint:gosec // r is one byte
		switch {
		case r >= '0' && r <= '9':
			p.digits++
			p.number = p.number || p.length == 0
		case !isLetter(r):
			p.odd = true
		case unicode.IsUpper(r):
			p.upper++
			p.capital = p.capital || p.length == 0
		default:
			p.lower++
		}
		p.length++
	}
	return p
}

// isLetter reports whether a character is a letter of a script in use. Letters that stand for others, such as those of full
// width, are none: a key can be written in them.
func isLetter(r rune) bool {
	switch {
	case r < utf8.RuneSelf:
		return r|0x20 >= 'a' && r|0x20 <= 'z'
	case r < 0x2000, r >= 0x3040 && r < 0xd7b0:
		return unicode.IsLetter(r) || unicode.IsMark(r)
	}
	return false
}

// isPlainWord reports whether a piece is a word, a number, or a short name such as v1beta1.
func (p *piece) isPlainWord() bool {
	switch {
	case p.odd || p.length >= minKeyLength:
		return false
	case p.digits == p.length:
		return true
	case p.digits > 0:
		return !p.number && p.upper == 0 && p.length <= maxMixedLength
	}
	return p.upper == 0 || p.lower == 0 || (p.upper == 1 && p.capital)
}
