// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package schema_test

import (
	"fmt"
	"strings"

	"github.com/apikey-manager/apikey-manager/test/schema/crd"
)

// metadataCases returns the cases for the metadata of a key or an account. example is the last name in the message.
func metadataCases(example string) testCases {
	with := func(entries crd.Object) change { return change{"spec.metadata": entries} }
	names := "spec.metadata: metadata names must be a lower-case letter followed by at most 62 letters and digits, such as " + example + " or costCenter"
	values := "spec.metadata[team]: metadata values must not contain control characters, line breaks or bidirectional formatting characters"
	cases := testCases{
		"an entry is fine":            {change: with(crd.Object{"team": "shop"})},
		"an empty value is fine":      {change: with(crd.Object{"team": ""})},
		"any script is fine":          {change: with(crd.Object{"team": "Tienda 🛒 متجر 店"})},
		"256 characters are fine":     {change: with(crd.Object{"team": strings.Repeat("𝔘", 256)})},
		"257 characters are too many": {change: with(crd.Object{"team": strings.Repeat("a", 257)}), wantErrors: []string{"spec.metadata.team: Too long: may not be more than 256"}},
		"16 entries are fine":         {change: with(entries(16))},
		"17 entries are too many":     {change: with(entries(17)), wantErrors: []string{"spec.metadata: Too many: 17: must have at most 16 items"}},
		"no entry is refused":         {change: with(crd.Object{}), wantErrors: []string{"spec.metadata: should have at least 1 properties"}},
		"a number is refused":         {change: with(crd.Object{"team": decoded(7)}), wantErrors: []string{"spec.metadata.team: must be of type string"}},
		"a list is refused":           {change: with(crd.Object{"team": list("a")}), wantErrors: []string{"spec.metadata.team: must be of type string"}},
	}
	for _, name := range []string{"a", "costCenter", "tier2", "a" + strings.Repeat("B", 62)} {
		cases[name+" is fine"] = testCase{change: with(crd.Object{name: "x"})}
	}
	for _, name := range []string{"", "Team", "2nd", "cost-center", "cost_center", "cost.center", "a b", "é", "a\n", "aé", "__proto__", "a" + strings.Repeat("b", 63)} {
		cases[fmt.Sprintf("the name %q is refused", name)] = testCase{change: with(crd.Object{name: "x", "team": "shop"}), wantErrors: []string{names}}
	}
	for _, r := range []rune{0, '\t', '\n', '\r', 0x1b, 0x7f, 0x85, 0x9f, 0x2028, 0x2029, 0x202a, 0x202e, 0x2066, 0x2069} {
		cases[fmt.Sprintf("%U is refused", r)] = testCase{change: with(crd.Object{"team": "a" + string(r) + "b"}), wantErrors: []string{values}}
	}
	for _, r := range []rune{' ', 0xa0, 0x200d, 0x2027, 0x202f, 0x2065, 0x206a, '"', '<', '\\', '{'} {
		cases[fmt.Sprintf("%U is fine", r)] = testCase{change: with(crd.Object{"team": "a" + string(r) + "b"})}
	}
	return cases
}

// entries returns n entries of metadata.
func entries(n int) crd.Object {
	all := crd.Object{}
	for i := range n {
		all[fmt.Sprintf("entry%d", i)] = strings.Repeat("a", 256)
	}
	return all
}
