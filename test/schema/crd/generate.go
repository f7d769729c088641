// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package crd

import (
	"math/rand/v2"
	"regexp"
	"regexp/syntax"
	"strings"
	"time"
	"unicode/utf8"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

// Generator generates random objects from a schema. Most values comply with the rules of their field, and some narrowly
// violate them.
type Generator struct {
	Random *rand.Rand
	// Misses is the fraction of values, from 0 to 1, that are generated regardless of the rules of their field.
	Misses float64
}

// Value generates a value of a schema.
func (g *Generator) Value(s *apiextensionsv1.JSONSchemaProps) any {
	switch {
	case len(s.Enum) > 0 && !g.misses():
		return strings.Trim(string(s.Enum[g.Random.IntN(len(s.Enum))].Raw), `"`)
	case s.Type == "object" && s.AdditionalProperties != nil && s.AdditionalProperties.Schema != nil:
		return g.entries(s)
	case s.Type == "object":
		return g.object(s)
	case s.Type == "array":
		return g.list(s)
	case s.Type == "integer":
		return g.integer(s)
	case s.Type == "boolean":
		return g.Random.IntN(2) == 0
	}
	return g.text(s)
}

// Text generates a string that matches a regular expression.
func (g *Generator) Text(pattern string) string {
	tree, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return pattern
	}
	var out strings.Builder
	g.write(&out, tree.Simplify())
	return out.String()
}

func (g *Generator) misses() bool { return g.Random.Float64() < g.Misses }

func (g *Generator) object(s *apiextensionsv1.JSONSchemaProps) any {
	const present = 0.35
	object := Object{}
	for name, child := range s.Properties {
		required := false
		for _, r := range s.Required {
			required = required || r == name
		}
		if required && !g.misses() || !required && g.Random.Float64() < present {
			object[name] = g.Value(&child)
		}
	}
	if len(object) == 0 && s.MinProperties != nil && !g.misses() {
		for name, child := range s.Properties {
			return Object{name: g.Value(&child)}
		}
	}
	return object
}

// entries generates a map whose names and values comply with its rule.
func (g *Generator) entries(s *apiextensionsv1.JSONSchemaProps) any {
	object, rules := Object{}, rulesOf(s)
	for range 1 + g.Random.IntN(3) {
		name := g.pick(names)
		if found := embedded(rules); found != "" && (g.Random.IntN(2) == 0 || !regexp.MustCompile(found).MatchString(name)) {
			name = g.Text(found)
		}
		if g.misses() {
			name = g.pick(odd)
		}
		object[name] = g.Value(s.AdditionalProperties.Schema)
	}
	return object
}

func (g *Generator) list(s *apiextensionsv1.JSONSchemaProps) any {
	least, most := 0, 3
	if s.MinItems != nil && !g.misses() {
		least = int(*s.MinItems)
	}
	if s.MaxItems != nil {
		most = min(most, int(*s.MaxItems))
	}
	list, seen := []any{}, map[any]bool{}
	for range least + g.Random.IntN(most-least+1) {
		item := g.Value(s.Items.Schema)
		if _, comparable := item.(Object); !comparable {
			if seen[item] && !g.misses() {
				continue
			}
			seen[item] = true
		}
		list = append(list, item)
	}
	return list
}

func (g *Generator) integer(s *apiextensionsv1.JSONSchemaProps) any {
	least, most := int64(0), int64(1_000_000)
	if s.Minimum != nil {
		least = int64(*s.Minimum)
	}
	if s.Maximum != nil {
		most = int64(*s.Maximum)
	}
	if g.misses() {
		return []int64{least - 1, most + 1, 0, -1, 1 << 31, 1 << 40}[g.Random.IntN(6)]
	}
	return []int64{least, most, least + g.Random.Int64N(most-least+1)}[g.Random.IntN(3)]
}

func (g *Generator) text(s *apiextensionsv1.JSONSchemaProps) string {
	if rules := rulesOf(s); g.misses() && (s.Format == "date-time" || strings.Contains(rules, "format.date")) {
		return g.pick(oddTimes)
	}
	if g.misses() {
		return g.pick(odd)
	}
	text := g.wanted(s)
	if s.MaxLength != nil && utf8.RuneCountInString(text) > int(*s.MaxLength) {
		text = string([]rune(text)[:*s.MaxLength])
	}
	if g.misses() {
		text = g.bend(text)
	}
	return text
}

// wanted generates a string that complies with the rules of its field.
func (g *Generator) wanted(s *apiextensionsv1.JSONSchemaProps) string {
	rules := rulesOf(s)
	switch {
	case s.Format == "date-time",
		strings.Contains(rules, "format.datetime") && (!strings.Contains(rules, "size() == 10") || g.Random.IntN(2) == 0):
		return g.instant()
	case strings.Contains(rules, "format.date()"):
		return g.instant()[:len(time.DateOnly)]
	case strings.Contains(rules, "isIP"):
		return g.pick(networks)
	case strings.Contains(rules, "getFullYear(self)"):
		return g.pick(zones)
	case strings.Contains(rules, "(h|m|s)"):
		if g.Random.IntN(2) == 0 {
			return g.pick(durations)
		}
	case strings.Contains(rules, "dns1123"), strings.Contains(rules, "labelValue"):
		return g.pick(labels)
	}
	if s.Pattern != "" {
		return g.Text(s.Pattern)
	}
	if found := embedded(rules); found != "" {
		return g.Text(found)
	}
	return g.pick(values)
}

// instant generates an instant of any year, often one at a boundary.
func (g *Generator) instant() string {
	first, last := time.Date(1000, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(9998, 12, 31, 23, 59, 59, 0, time.UTC)
	t := time.Unix(first.Unix()+g.Random.Int64N(last.Unix()-first.Unix()), 0).UTC()
	switch g.Random.IntN(10) {
	case 0:
		t = []time.Time{first, last, first.AddDate(0, 0, 1), last.AddDate(0, 0, -1)}[g.Random.IntN(4)]
	case 1, 2, 3, 4, 5: // close to the current time of the tests
		t = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC).Add(time.Duration(g.Random.Int64N(int64(8760*time.Hour))) - 4380*time.Hour)
	}
	if g.Random.IntN(3) > 0 {
		return t.Format(time.RFC3339)
	}
	const hours = 24
	return t.Truncate(time.Second).Format("2006-01-02T15:04:05") +
		g.pick([]string{"+", "-"}) + g.digits(g.Random.IntN(hours)) + ":" + g.digits(g.Random.IntN(60))
}

func (*Generator) digits(n int) string { return string([]byte{byte('0' + n/10), byte('0' + n%10)}) } //nolint:mnd // two decimal digits

// bend changes one character of a string.
func (g *Generator) bend(text string) string {
	runes := []rune(text)
	if len(runes) == 0 {
		return text
	}
	i := g.Random.IntN(len(runes))
	switch g.Random.IntN(3) {
	case 0:
		runes = append(runes[:i:i], runes[i+1:]...)
	case 1:
		runes = append(runes[:i:i], append([]rune(g.pick(odd)), runes[i:]...)...)
	default:
		runes[i] = []rune("0123456789zZtT +-:./%*,\x00\u202e\u00a0é")[g.Random.IntN(24)]
	}
	return string(runes)
}

func (g *Generator) pick(list []string) string { return list[g.Random.IntN(len(list))] }

// write writes a string that matches a node of a regular expression.
func (g *Generator) write(out *strings.Builder, node *syntax.Regexp) {
	const several = 8
	repeat := func(least, most int) {
		for range least + g.Random.IntN(most-least+1) {
			g.write(out, node.Sub[0])
		}
	}
	switch node.Op { //nolint:exhaustive // what is not there matches nothing, or is simplified away
	case syntax.OpLiteral:
		out.WriteString(string(node.Rune))
	case syntax.OpCharClass:
		i := 2 * g.Random.IntN(len(node.Rune)/2) //nolint:mnd // pairs of first and last
		last := min(node.Rune[i+1], node.Rune[i]+0x400)
		out.WriteRune(node.Rune[i] + g.Random.Int32N(last-node.Rune[i]+1))
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		out.WriteString(g.pick([]string{"a", "Z", "7", " ", "é", "漢"}))
	case syntax.OpStar:
		repeat(0, several)
	case syntax.OpPlus:
		repeat(1, several)
	case syntax.OpQuest:
		repeat(0, 1)
	case syntax.OpConcat, syntax.OpCapture:
		for _, sub := range node.Sub {
			g.write(out, sub)
		}
	case syntax.OpAlternate:
		g.write(out, node.Sub[g.Random.IntN(len(node.Sub))])
	}
}

// rulesOf returns the CEL rules of a value as one string.
func rulesOf(s *apiextensionsv1.JSONSchemaProps) string {
	var all strings.Builder
	for _, rule := range s.XValidations {
		all.WriteString(rule.Rule + "\n")
	}
	return all.String()
}

// expression matches the regular expressions in CEL rules that apply to a whole string, in a string literal or a raw
// string literal, and the negation before them.
var expression = regexp.MustCompile(`(!?)\b\w+(?:\.\w+\(\))*\.matches\((?:r'(\^[^']*)'|'(\^(?:[^'\\]|\\.)*)')\)`)

// embedded returns the first regular expression in CEL rules that a whole string must match, or "" if there is none.
func embedded(rules string) string {
	for _, found := range expression.FindAllStringSubmatch(rules, -1) {
		switch {
		case found[1] != "": // the string must not match
		case found[2] != "":
			return found[2]
		default:
			return strings.NewReplacer(`\\`, `\`, `\t`, "\t", `\r`, "\r", `\n`, "\n", `\'`, `'`).Replace(found[3])
		}
	}
	return ""
}
