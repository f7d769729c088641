// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package credential

import (
	"fmt"
	"math"
	"regexp"
	"strings"
)

// Requirements for a key that the manager did not generate.
const (
	minImportLength = 22
	maxImportLength = 256
	minImportBits   = 122
)

// anyUUID matches the textual form of a UUID of any version.
var anyUUID = regexp.MustCompile(`^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$`)

// CheckImported returns the reason why bytes can't be used as a key, as the second part of a sentence, or "" if they
// can. Only the form of a key can be checked, not how it was generated: its alphabet and length must allow 122 bits,
// and its characters must not repeat or count up or down in a way that is implausible for a random key.
func CheckImported(key Material) string {
	switch {
	case strings.ContainsAny(string(key), " \t\r\n\v\f"):
		return "has white space: remove it, also a line break at the end"
	case !printable(key):
		return "has characters other than printable ASCII: use a key of letters, digits and punctuation"
	case len(key) < minImportLength, len(key) > maxImportLength:
		return fmt.Sprintf("must be a key of %d to %d characters: use another key", minImportLength, maxImportLength)
	}
	random := string(key)
	if anyUUID.MatchString(random) {
		if !uuidVersion4.MatchString(strings.ToLower(random)) {
			return "is a UUID of a version other than 4, which is not random enough: use another key"
		}
		random = strings.ReplaceAll(random, "-", "")
	} else if float64(len(random))*math.Log2(alphabetOf(random)) < minImportBits {
		return fmt.Sprintf("allows less than %d bits by its characters and length: use a longer key", minImportBits)
	}
	if repeats(random) {
		return "is not random: its characters repeat or count up; use another key"
	}
	return ""
}

func printable(key Material) bool {
	for _, c := range key {
		if c <= ' ' || c > '~' {
			return false
		}
	}
	return true
}

// alphabetOf returns the size of the alphabet from which a key seems to be drawn: all characters of each class that
// occurs in it, but only those punctuation characters that occur, because punctuation mostly separates.
func alphabetOf(s string) float64 {
	if strings.Trim(s, hexDigits) == "" || strings.Trim(s, "0123456789ABCDEF") == "" {
		return float64(len(hexDigits) - 6*boolToInt(strings.Trim(s, "0123456789") == ""))
	}
	var digit, lower, upper int
	others := map[rune]bool{}
	for _, c := range s {
		switch {
		case c >= '0' && c <= '9':
			digit = 10
		case c >= 'a' && c <= 'z':
			lower = 26
		case c >= 'A' && c <= 'Z':
			upper = 26
		default:
			others[c] = true
		}
	}
	return float64(digit + lower + upper + len(others))
}

func boolToInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// repeats reports whether a text has fewer than half as many different characters, or different pairs of adjacent
// characters, as expected of a random text, or whether more than half of its characters count up or down from the one
// before.
func repeats(s string) bool {
	letters, pairs, counts := map[byte]bool{s[0]: true}, map[string]bool{}, 0
	for i := 1; i < len(s); i++ {
		letters[s[i]], pairs[s[i-1:i+1]] = true, true
		if step := int(s[i]) - int(s[i-1]); step == 1 || step == -1 {
			counts++
		}
	}
	k, n := alphabetOf(s), float64(len(s))
	return float64(len(letters)) < distinct(k, n)/2 || float64(len(pairs)) < distinct(k*k, n-1)/2 || float64(counts) > (n-1)/2
}

// distinct returns the expected number of different values among n random draws from k values.
func distinct(k, n float64) float64 { return k * (1 - math.Pow(1-1/k, n)) }

// PublicPartOf returns the part of an imported key that may be shown. A Token contains its ID. The ID of any other key
// is computed from its digest.
func PublicPartOf(key Material) PublicPart {
	if part, err := parseToken(key); err == nil {
		return part
	}
	return opaquePart(key)
}
