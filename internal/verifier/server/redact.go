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
	// minKeyLength is the length of the shortest key in any format. A shorter run of characters is not a key in any
	// encoding, since encodings only make text longer.
	minKeyLength = 22
	// maxKeyLength limits how much of the presented key is read: an authentication scheme and the longest key, which
	// has 256 characters.
	maxKeyLength = 512
	// redactionWindow limits how much of a text redact reads, as a multiple of what it may return: percent-encoding
	// triples the length of a text.
	redactionWindow = 4
	// maxEncodingDepth limits how often a text may be percent-encoded repeatedly. Text that is still encoded after
	// that is redacted.
	maxEncodingDepth = 4
	// maxMixedPieces limits how many pieces of letters and digits, such as v1beta1, plain text may contain,
	// maxMixedLength the length of each.
	maxMixedPieces, maxMixedLength = 3, 8
	// groupLength is the length of the middle groups of a UUID.
	groupLength = 4
)

// redact returns the part of a client-supplied text that may be logged: at most limit bytes, without anything that
// looks like a key in any encoding, and without key, which is the key that the client presented. The text is truncated
// after redaction, because half a key cannot be recognized.
func redact(text, key string, limit int) string {
	if len(text) >= minKeyLength {
		text = redactKey(text, key, redactionWindow*limit)
	}
	if len(text) > limit {
		text = text[:limit]
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}

// redactKey redacts key, and then everything that looks like a key. If the text still contains the key in an encoded
// form, all of it is redacted.
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

// keyParts returns the key that a client presented, and each part of it that could be a key, for example after an
// unexpected authentication scheme.
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

// isEncodedIn reports whether text contains key percent-encoded or in another case.
func isEncodedIn(key, text string) bool {
	decoded, _ := decode(text)
	return strings.Contains(strings.ToLower(decoded), strings.ToLower(key))
}

// redactKeyShapes redacts the runs of a text, between slashes and dots, that may be keys. If the text is longer than
// window, it returns the text before the run that crosses the window.
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

// findRunEnd returns the end of the run that begins at start.
func findRunEnd(text string, start int) int {
	for i := start; i < len(text); i++ {
		if text[i] == '/' || text[i] == '.' {
			return i
		}
	}
	return len(text)
}

// mayBeKey reports whether a run of at least minKeyLength bytes contains anything but plain words and numbers. It
// examines the run as sent, because part of a key may look percent-encoded by chance, and the decoded run.
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
	return !isPlainText(run)
}

// decode returns a text without percent-encoding, and reports whether it is still encoded after maxEncodingDepth
// rounds.
func decode(text string) (decoded string, encoded bool) {
	for range maxEncodingDepth {
		if text, encoded = decodeOnce(text); !encoded {
			return text, false
		}
	}
	return text, true
}

// decodeOnce decodes percent-encoded bytes, keeps everything else, and reports whether it decoded any.
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

// hasLongPiece reports whether a run contains as many consecutive letters and digits as the shortest key.
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

// isPlainText reports whether a run looks like part of a path or host name: words in one case, and fewer digits than a key
// written in digits. A UUID is never plain.
func isPlainText(run string) bool {
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

// isSeparator reports whether a character separates words.
func isSeparator(r rune) bool {
	switch r {
	case '-', '_', '~', '+', ',', ':', ';', '=', '@', '(', ')', '!', ' ', '/', '.':
		return true
	}
	return false
}

// piece describes the characters of a part of a run between separators.
type piece struct {
	length, digits, lower, upper int
	// capital reports whether the piece begins with an upper-case letter, number whether it begins with a digit.
	capital, number bool
	// hex reports whether the piece consists of hexadecimal digits, odd whether it contains a character that is
	// neither a letter nor a digit.
	hex, odd bool
}

// inspect returns the description of a piece.
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

// isLetter reports whether a character is a letter of a script in use. It excludes letters that represent others, such
// as full-width letters, because a key can be written in them.
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
