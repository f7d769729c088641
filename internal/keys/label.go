// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// maxLabel is how many characters a label may have.
const maxLabel = 128

// LabelForm returns the form in which labels are compared: two labels that a person can't tell apart have the same. It
// applies Unicode's NFKC (UAX #15), removes invisible characters, and makes each run of white space one space, none at the
// ends. Upper and lower case stay different.
func LabelForm(label string) string {
	if isPlain(label) {
		return label
	}
	visible := strings.Map(func(r rune) rune {
		if isInvisible(r) {
			return -1
		}
		return r
	}, norm.NFKC.String(label))
	return strings.Join(strings.Fields(norm.NFKC.String(visible)), " ")
}

// isPlainText reports whether a label is its own form as far as a look at its bytes tells: printable ASCII, with single spaces
// inside only.
func isPlain(label string) bool {
	last := byte(' ')
	for i := range len(label) {
		c := label[i]
		if c < ' ' || c > '~' || c == ' ' && last == ' ' {
			return false
		}
		last = c
	}
	return last != ' ' || label == ""
}

// invisible are the characters that show nothing, those of general category Cf aside: Unicode's
// Other_Default_Ignorable_Code_Point and Variation_Selector, and the blank of Braille.
var invisible = []*unicode.RangeTable{
	unicode.Cf, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector,
	{R16: []unicode.Range16{{Lo: 0x2800, Hi: 0x2800, Stride: 1}}},
}

func isInvisible(r rune) bool { return r > unicode.MaxASCII && unicode.IsOneOf(invisible, r) }

// labelProblem returns what is wrong with a label, as the schema has it too; empty: nothing.
func labelProblem(label string) string {
	switch {
	case label == "":
		return ""
	case !utf8.ValidString(label) || strings.ContainsFunc(label, breaksLine):
		return "must not contain control characters, line breaks or bidirectional formatting characters"
	case utf8.RuneCountInString(label) > maxLabel:
		return "must be at most 128 characters"
	case LabelForm(label) == "":
		return "must contain a visible character"
	}
	return ""
}

// breaksLine reports whether a character would let a label pretend to be something else where it is shown: a control
// character, a line or paragraph separator, or one that embeds, overrides or isolates a direction of writing (UAX #9).
func breaksLine(r rune) bool {
	return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || r >= '\u202a' && r <= '\u202e' || r >= '\u2066' && r <= '\u2069'
}

// checkLabelText refuses a label that an older schema let in. Keys in use keep theirs.
func checkLabelText(f Facts) *Violation {
	problem := labelProblem(f.Key.Spec.Label)
	if problem == "" || Issued(f.Key) {
		return nil
	}
	return violationf(v1alpha1.ReasonInvalidSpec, "spec.label %s", problem)
}
