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

// maxLabel limits the characters of a label.
const maxLabel = 128

// LabelForm returns the normalized form in which labels are compared. Labels that look the same to a reader have the
// same form. It applies Unicode's NFKC (UAX #15), removes invisible characters, replaces each run of white space with
// one space, and trims white space at the ends. It preserves case.
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

// isPlain reports whether a label is obviously in its normalized form: printable ASCII, with only single spaces inside.
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

// invisible lists the characters that are not displayed: those of general category Cf, Unicode's
// Other_Default_Ignorable_Code_Point and Variation_Selector, and the Braille blank.
var invisible = []*unicode.RangeTable{
	unicode.Cf, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector,
	{R16: []unicode.Range16{{Lo: 0x2800, Hi: 0x2800, Stride: 1}}},
}

func isInvisible(r rune) bool { return r > unicode.MaxASCII && unicode.IsOneOf(invisible, r) }

// labelProblem returns what is wrong with a label, in the words of the schema, or "" if it is valid.
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

// breaksLine reports whether a character could make a label look like something else where it is displayed: a control
// character, a line or paragraph separator, or one that embeds, overrides or isolates a direction of writing (UAX #9).
func breaksLine(r rune) bool {
	return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || r >= '\u202a' && r <= '\u202e' || r >= '\u2066' && r <= '\u2069'
}

// checkLabelText refuses a label that an older schema accepted. Keys that were issued already may keep it.
func checkLabelText(f Facts) *Violation {
	problem := labelProblem(f.Key.Spec.Label)
	if problem == "" || Issued(f.Key) {
		return nil
	}
	return violationf(v1alpha1.ReasonInvalidSpec, "spec.label %s", problem)
}
