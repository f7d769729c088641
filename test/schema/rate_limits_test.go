// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package schema_test

import (
	"fmt"
	"strings"

	"github.com/apikey-manager/apikey-manager/test/schema/crd"
)

// rateLimitCases returns the cases for the rate limits of a key or an account.
func rateLimitCases() testCases {
	limit := func(name, requests, unit any) crd.Object {
		l := crd.Object{"name": name, "requests": decoded(requests), "unit": unit}
		for field, value := range l {
			if value == nil {
				delete(l, field)
			}
		}
		return l
	}
	with := func(limits ...any) change { return change{"spec.rateLimits": list(limits...)} }
	one := "spec.rateLimits[0]"
	names := one + ".name: rateLimits.name must be a lower-case letter followed by at most 30 lower-case letters, digits and -, such as requests"
	units := one + `.unit: supported values: "Second", "Minute", "Hour", "Day", "Week", "Month", "Year"`
	cases := testCases{
		"an entry is fine":             {change: with(limit("requests", 600, "Minute"))},
		"0 requests are fine":          {change: with(limit("requests", 0, "Minute"))},
		"1000000000 requests are fine": {change: with(limit("requests", 1000000000, "Minute"))},
		"more are refused":             {change: with(limit("requests", 1000000001, "Minute")), wantErrors: []string{one + ".requests: should be less than or equal to 1000000000"}},
		"-1 requests are refused":      {change: with(limit("requests", -1, "Minute")), wantErrors: []string{one + ".requests: should be greater than or equal to 0"}},
		"part of a request is refused": {change: with(limit("requests", 1.5, "Minute")), wantErrors: []string{one + ".requests: must be of type int32", "<nil>: must be of type integer"}},
		"a name is wanted":             {change: with(limit(nil, 1, "Minute")), wantErrors: []string{one + ".name: Required value"}},
		"requests are wanted":          {change: with(limit("requests", nil, "Minute")), wantErrors: []string{one + ".requests: Required value"}},
		"a unit is wanted":             {change: with(limit("requests", 1, nil)), wantErrors: []string{one + ".unit: Required value"}},
		"an empty name is refused":     {change: with(limit("", 1, "Minute")), wantErrors: []string{one + ".name: should be at least 1 chars long", names}},
		"31 characters are fine":       {change: with(limit(strings.Repeat("a", 31), 1, "Minute"))},
		"32 characters are too many":   {change: with(limit(strings.Repeat("a", 32), 1, "Minute")), wantErrors: []string{one + ".name: Too long: may not be more than 31"}},
		"an empty list is refused":     {change: with(), wantErrors: []string{"spec.rateLimits: should have at least 1 items"}},
		"the same name twice":          {change: with(limit("requests", 1, "Minute"), limit("requests", 100, "Hour")), wantErrors: []string{"spec.rateLimits[1]: Duplicate value"}},
		"the second of two is named":   {change: with(limit("requests", 1, "Minute"), limit("mails", -1, "Hour")), wantErrors: []string{"spec.rateLimits[1].requests: should be greater"}},
		"8 entries are fine":           {change: with(eachLimit(8, limit)...)},
		"9 entries are too many":       {change: with(eachLimit(9, limit)...), wantErrors: []string{"spec.rateLimits: Too many: 9: must have at most 8 items"}},
	}
	for _, unit := range []string{"Second", "Minute", "Hour", "Day", "Week", "Month", "Year"} {
		cases["per "+unit+" is fine"] = testCase{change: with(limit("requests", 1, unit))}
	}
	for _, unit := range []string{"", "minute", "MINUTE", "Minutes", "Decade", "60s"} {
		cases[fmt.Sprintf("per %q is refused", unit)] = testCase{change: with(limit("requests", 1, unit)), wantErrors: []string{units}}
	}
	for _, name := range []string{"a", "requests", "mails-2", "a-"} {
		cases["the name "+name+" is fine"] = testCase{change: with(limit(name, 1, "Minute"))}
	}
	for _, name := range []string{"Requests", "2nd", "-a", "a_b", "a.b", "a b", "é", "a\n"} {
		cases[fmt.Sprintf("the name %q is refused", name)] = testCase{change: with(limit(name, 1, "Minute")), wantErrors: []string{names}}
	}
	return cases
}

// eachLimit returns n rate limits of different names.
func eachLimit(n int, limit func(name, requests, unit any) crd.Object) []any {
	limits := make([]any, 0, n)
	for i := range n {
		limits = append(limits, limit(fmt.Sprintf("limit-%d", i), i, "Minute"))
	}
	return limits
}

// planCases returns the cases for the plan of an account.
func planCases() testCases {
	plan := "spec.plan: plan must be a label value: letters, digits and - _ . that starts and ends with a letter or digit, such as free"
	cases := testCases{
		"an empty plan is refused":   {change: change{"spec.plan": ""}, wantErrors: []string{"spec.plan: should be at least 1 chars long"}},
		"63 characters are fine":     {change: change{"spec.plan": strings.Repeat("a", 63)}},
		"64 characters are too many": {change: change{"spec.plan": strings.Repeat("a", 64)}, wantErrors: []string{"spec.plan: Too long: may not be more than 63"}},
	}
	for _, value := range []string{"free", "Pro", "2", "pro_2027.v1-beta"} {
		cases[value+" is fine"] = testCase{change: change{"spec.plan": value}}
	}
	for _, value := range []string{"-free", "free-", ".free", "a b", "é", "a/b", "a,b", "free\n", " "} {
		cases[fmt.Sprintf("%q is refused", value)] = testCase{change: change{"spec.plan": value}, wantErrors: []string{plan}}
	}
	return cases
}
