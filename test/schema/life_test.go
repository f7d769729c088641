// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package schema_test

import (
	"fmt"
	"strings"

	"github.com/apikey-manager/apikey-manager/test/schema/crd"
)

// This file contains the cases about rotation, notification, formats and templates.

// rotationCases returns the cases for the rotation of a key or of an account's defaults.
func rotationCases(path, message string) testCases {
	order := []string{path + ": " + message + ".overlap must not be longer than " + message + ".interval"}
	cases := durationCases(path+".interval", message+".interval")
	cases["an overlap alone is fine"] = testCase{change: change{path + ".overlap": "24h"}}
	cases["an overlap of nothing is fine"] = testCase{change: change{path + ".overlap": "0s"}}
	cases["an overlap as long as the interval is fine"] = testCase{change: change{path + ".interval": "24h", path + ".overlap": "1440m"}}
	cases["an overlap longer than the interval is refused"] = testCase{change: change{path + ".interval": "24h", path + ".overlap": "25h"}, wantErrors: order}
	cases["an overlap that is no duration is refused"] = testCase{change: change{path + ".overlap": "a day"}, wantErrors: []string{path + ".overlap: must be a duration in hours, minutes and seconds"}}
	cases["an overlap that is more than Go can count is refused"] = testCase{change: change{path + ".overlap": "999999h999999h999999h"}, wantErrors: []string{path + ".overlap: must be a duration in hours, minutes and seconds"}}
	cases["an overlap of one character is refused"] = testCase{change: change{path + ".overlap": "0"}, wantErrors: []string{path + ".overlap: should be at least 2 chars long", path + ".overlap: must be a duration in hours, minutes and seconds"}}
	cases["an overlap of 33 characters is refused"] = testCase{change: change{path + ".overlap": strings.Repeat("1", 33)}, wantErrors: []string{path + ".overlap: Too long: may not be more than 32"}}
	cases["nothing in it is refused"] = testCase{change: change{path: crd.Object{}}, wantErrors: []string{path + ": should have at least 1 properties"}}
	return cases
}

// notificationCases returns the cases for the notification of a key or of an account's defaults.
func notificationCases(path string) testCases {
	emails, days, date, locale := path+".emails", path+".daysBefore", path+".date", path+".locale"
	mail := emails + "[0]: notification.emails entries must be plain addresses, such as ops@example.com"
	day := date + ": notification.date must be a valid date with a year from 1000 to 9998, such as 2027-02-21"
	cases := testCases{
		"all of it is fine":                       {change: change{emails: list("ops@example.com", "ana+claves@correo.example"), days: list(7, 1), locale: "es"}},
		"a date is fine":                          {change: change{date: "2027-02-21"}},
		"1 and 366 days are fine":                 {change: change{days: list(1, 366)}},
		"nothing in it is refused":                {change: change{path: crd.Object{}}, wantErrors: []string{path + ": should have at least 1 properties"}},
		"days and a date are refused":             {change: change{days: list(7), date: "2027-02-21"}, wantErrors: []string{path + ": notification.daysBefore and notification.date are mutually exclusive"}},
		"0 days are refused":                      {change: change{days: list(0)}, wantErrors: []string{days + "[0]: should be greater than or equal to 1"}},
		"367 days are refused":                    {change: change{days: list(367)}, wantErrors: []string{days + "[0]: should be less than or equal to 366"}},
		"the same day twice is refused":           {change: change{days: list(7, 7)}, wantErrors: []string{days + "[1]: Duplicate value: 7"}},
		"no days are refused":                     {change: change{days: list()}, wantErrors: []string{days + ": should have at least 1 items"}},
		"10 days are fine":                        {change: change{days: list(1, 2, 3, 4, 5, 6, 7, 8, 9, 10)}},
		"11 days are too many":                    {change: change{days: list(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11)}, wantErrors: []string{days + ": Too many: 11: must have at most 10 items"}},
		"a date that does not exist is refused":   {change: change{date: "2027-02-30"}, wantErrors: []string{day}},
		"a date with a time is refused":           {change: change{date: "2027-02-21T00:00:00Z"}, wantErrors: []string{date + ": Too long: may not be more than 10"}},
		"a date of the last year is refused":      {change: change{date: "9999-01-01"}, wantErrors: []string{day}},
		"a date of the year 999 is refused":       {change: change{date: "0999-12-31"}, wantErrors: []string{day}},
		"the last date is fine":                   {change: change{date: "9998-12-31"}},
		"a date without zeros is refused":         {change: change{date: "2027-2-21"}, wantErrors: []string{date + ": should be at least 10 chars long", day}},
		"no addresses are refused":                {change: change{emails: list()}, wantErrors: []string{emails + ": should have at least 1 items"}},
		"20 addresses are fine":                   {change: change{emails: many(20, "ops-%d@example.com")}},
		"21 addresses are too many":               {change: change{emails: many(21, "ops-%d@example.com")}, wantErrors: []string{emails + ": Too many: 21: must have at most 20 items"}},
		"the same address twice is refused":       {change: change{emails: list("ops@example.com", "ops@example.com")}, wantErrors: []string{emails + `[1]: Duplicate value: "ops@example.com"`}},
		"an address of 2 characters is refused":   {change: change{emails: list("a@")}, wantErrors: []string{emails + "[0]: should be at least 3 chars long", mail}},
		"an address of 254 characters is fine":    {change: change{emails: list(strings.Repeat("a", 242) + "@example.com")}},
		"an address of 255 characters is refused": {change: change{emails: list(strings.Repeat("a", 243) + "@example.com")}, wantErrors: []string{emails + "[0]: Too long: may not be more than 254"}},
		"a language is fine":                      {change: change{locale: "pt"}},
		"a language of one letter is refused":     {change: change{locale: "p"}, wantErrors: []string{locale + ": should be at least 2 chars long", locale + ": notification.locale must be two lower-case letters"}},
		"a language of three letters is refused":  {change: change{locale: "por"}, wantErrors: []string{locale + ": Too long: may not be more than 2"}},
		"capitals are refused":                    {change: change{locale: "PT"}, wantErrors: []string{locale + ": notification.locale must be two lower-case letters, such as es"}},
	}
	for _, value := range []string{"ops", "ops@", "@example.com", "Ops <ops@example.com>", "a@example.com,b@example.com", "a@example.com b@example.com", "a@b@example.com", "a..b@example.com", ".a@example.com", "a.@example.com", "a@example..com", "a(b)@example.com", `a\\b@example.com`, "a\x7fb@example.com", "ops@[192.0.2.7]", "ops@example.com\r\nBcc: x@example.com"} {
		cases[fmt.Sprintf("%q is refused", value)] = testCase{change: change{emails: list(value)}, wantErrors: []string{mail}}
	}
	return cases
}

// formatCases returns the cases for the formats other than Token.
func formatCases(path string) testCases {
	kind, prefix, length := path+".type", path+".prefix", path+".length"
	wantPrefix := path + ": format.prefix may only be set when type is Token"
	wantLength := path + ": format.length may only be set when type is Alphanumeric or Hex"
	wantHex := path + ": format.length must be at least 32 when type is Hex"
	return testCases{
		"a UUID is fine":                           {change: change{kind: "UUID"}},
		"an Alphanumeric is fine":                  {change: change{kind: "Alphanumeric"}},
		"an Alphanumeric of 22 is fine":            {change: change{kind: "Alphanumeric", length: 22}},
		"an Alphanumeric of 256 is fine":           {change: change{kind: "Alphanumeric", length: 256}},
		"an Alphanumeric of 21 is too short":       {change: change{kind: "Alphanumeric", length: 21}, wantErrors: []string{length + ": should be greater than or equal to 22"}},
		"an Alphanumeric of 257 is too long":       {change: change{kind: "Alphanumeric", length: 257}, wantErrors: []string{length + ": should be less than or equal to 256"}},
		"a Hex is fine":                            {change: change{kind: "Hex"}},
		"a Hex of 32 is fine":                      {change: change{kind: "Hex", length: 32}},
		"a Hex of 31 is too short":                 {change: change{kind: "Hex", length: 31}, wantErrors: []string{wantHex}},
		"a UUID with a length is refused":          {change: change{kind: "UUID", length: 36}, wantErrors: []string{wantLength}},
		"a UUID with a prefix is refused":          {change: change{kind: "UUID", prefix: "ak"}, wantErrors: []string{wantPrefix}},
		"an Alphanumeric with a prefix is refused": {change: change{kind: "Alphanumeric", prefix: "ak"}, wantErrors: []string{wantPrefix}},
		"a Hex with a prefix is refused":           {change: change{kind: "Hex", prefix: "ak"}, wantErrors: []string{wantPrefix}},
	}
}

func keyRotation() testCases {
	cases := rotationCases("spec.rotation", "rotation")
	for _, field := range []string{"spec.rotation.requestedAt", "spec.rotation.revokeBefore"} {
		remedy := field + ": must be an RFC 3339 instant in whole seconds with a year from 1000 to 9998, such as 2027-02-28T12:00:00Z"
		for _, value := range []string{"2027-02-28T12:00:00Z", "2028-02-29T23:59:59+14:00", "1000-01-01T00:00:00Z", "9998-12-31T23:59:59Z"} {
			cases[field+" as "+value+" is fine"] = testCase{change: change{field: value}}
		}
		for _, value := range []string{
			"2027-02-30T12:00:00Z", "2026-12-01t09:00:00z", "2026-12-01T09:00:00.5Z", "2026-12-01T24:00:00Z", "2026-12-31T23:59:60Z",
			"9999-12-31T23:59:59-01:00", "9998-12-31T23:59:59-01:00", "1000-01-01T00:00:00+00:01", "0999-12-31T23:59:59Z", "2026-12-01T09:00:00+24:00",
		} {
			cases[field+" as "+value+" is refused"] = testCase{change: change{field: value}, wantErrors: []string{remedy}}
		}
		cases[field+" as a date is refused"] = testCase{change: change{field: "2027-02-28"}, wantErrors: []string{field + ": should be at least 20 chars long", remedy}}
		cases[field+" of 26 characters is refused"] = testCase{change: change{field: "2026-12-01T09:00:00.00000Z"}, wantErrors: []string{field + ": Too long: may not be more than 25"}}
	}
	return cases
}

func keySecretTemplate() testCases {
	template := "spec.secret.template"
	immutable := []string{"spec.secret: secret.template.type is immutable, like the type of a Secret: create another APIKey to write a Secret of another type"}
	cases := testCases{
		"a type may stay":                            {from: change{template + ".type": "example.com/shop"}, change: change{template + ".type": "example.com/shop", "spec.label": "Tienda"}},
		"a type may not change":                      {from: change{template + ".type": "example.com/shop"}, change: change{template + ".type": "example.com/web"}, wantErrors: immutable},
		"a type may not come":                        {from: change{}, change: change{template + ".type": "example.com/shop"}, wantErrors: immutable},
		"a type may not go":                          {from: change{template + ".type": "example.com/shop"}, wantErrors: immutable},
		"the type that a Secret has anyway may come": {from: change{}, change: change{template + ".type": "Opaque"}},
		"the type that a Secret has anyway may go":   {from: change{template + ".type": "Opaque"}},
		"a template may come":                        {from: change{}, change: change{template + ".labels": crd.Object{"a": "b"}}},
		"a type is fine":                             {change: change{template + ".type": "example.com/shop"}},
		"a type of 254 is refused":                   {change: change{template + ".type": strings.Repeat("a", 254)}, wantErrors: []string{template + ".type: Too long: may not be more than 253"}},
		"an empty type is refused":                   {change: change{template + ".type": ""}, wantErrors: []string{template + ".type: should be at least 1 chars long"}},
		"an empty template is refused":               {change: change{template: crd.Object{}}, wantErrors: []string{template + ": should have at least 1 properties"}},
		"a template beside a name is fine":           {change: change{"spec.secret.name": "a", template + ".type": "Opaque"}},
	}
	for _, field := range []string{template + ".labels", template + ".annotations", template + ".data"} {
		entries := crd.Object{}
		for i := range 33 {
			entries[fmt.Sprintf("entry-%d", i)] = "x"
		}
		cases[field+" are fine"] = testCase{change: change{field: crd.Object{"a": "b"}}}
		cases[field+" may change"] = testCase{from: change{field: crd.Object{"a": "b"}}, change: change{field: crd.Object{"a": "c"}}}
		cases[field+" may go"] = testCase{from: change{field: crd.Object{"a": "b"}}}
		cases[field+" may not be empty"] = testCase{change: change{field: crd.Object{}}, wantErrors: []string{field + ": should have at least 1 properties"}}
		cases[field+" may not be 33"] = testCase{change: change{field: entries}, wantErrors: []string{field + ": Too many: 33: must have at most 32"}}
	}
	for about, tc := range templateTypes(template + ".type") {
		cases["type: "+about] = tc
	}
	for name, of := range map[string]testCases{
		"labels": templateLabels(template), "annotations": templateAnnotations(template), "data": templateData(template),
		"label names":      reservedNameCases(template+".labels", "labels", "example.com/team"),
		"annotation names": reservedNameCases(template+".annotations", "annotations", "example.com/owner"),
	} {
		for about, tc := range of {
			cases[name+": "+about] = tc
		}
	}
	return cases
}

// templateTypes returns cases with types that Kubernetes or its tools act upon, and with similar types that are
// allowed.
func templateTypes(path string) testCases {
	remedy := []string{path + ": secret.template.type must not be a type that Kubernetes or its tools act upon: omit it for Opaque, or use kubernetes.io/basic-auth, kubernetes.io/dockerconfigjson or a type in a domain of your own, such as example.com/api-key"}
	cases := testCases{}
	for _, value := range []string{"kubernetes.io/basic-auth", "kubernetes.io/dockerconfigjson", "notkubernetes.io/tls", "kubernetes.io.example.com/tls", "example.com/k8s.io/x"} {
		cases[value+" is fine"] = testCase{change: change{path: value}}
	}
	for _, value := range []string{
		"kubernetes.io/service-account-token", "bootstrap.kubernetes.io/token", "kubernetes.io/tls", "kubernetes.io/ssh-auth",
		"kubernetes.io/dockercfg", "kubernetes.io/basic-auth ", "kubernetes.io", "Kubernetes.io/TLS", " kubernetes.io/tls", "k8s.io/x",
		"node.k8s.io/x", "cluster.x-k8s.io/secret", "helm.sh/release.v1", "meta.helm.sh/x", "rke.cattle.io/machine-plan", "apikey-manager.io/x",
	} {
		cases[fmt.Sprintf("%q is refused", value)] = testCase{change: change{path: value}, wantErrors: remedy}
	}
	return cases
}

// reservedNames lists names of labels and annotations that are reserved because controllers act upon them.
var reservedNames = []string{
	"kubernetes.io/service-account.name", "app.kubernetes.io/part-of", "k8s.io/a", "a.b.k8s.io/c", "cluster.x-k8s.io/cluster-name",
	"apikey-manager.io/account", "a.apikey-manager.io/b",
}

// lookReserved lists names that resemble reserved names but are allowed.
var lookReserved = []string{"kubernetes.io", "notk8s.io/a", "k8s.io.example.com/a", "authorino.kuadrant.io/managed-by"}

// reservedNameCases returns cases in which reserved names are rejected and similar names are accepted.
func reservedNameCases(path, field, example string) testCases {
	remedy := []string{path + ": secret.template." + field + " must not use the reserved domains kubernetes.io, k8s.io, x-k8s.io and apikey-manager.io: use a domain of your own, such as " + example}
	cases := testCases{}
	for _, name := range reservedNames {
		cases[name+" is reserved"] = testCase{change: change{path: crd.Object{"example.com/team": "a", name: "a"}}, wantErrors: remedy}
	}
	for _, name := range lookReserved {
		cases[name+" is not reserved"] = testCase{change: change{path: crd.Object{name: "a"}}}
	}
	return cases
}

// badNames lists invalid names of labels and annotations.
var badNames = []string{"", "a b", "example.com/", "/team", "Example.com/team", "a/b/c", "-team", "a" + strings.Repeat("b", 63), strings.Repeat("a", 254) + "/b"}

func templateLabels(template string) testCases {
	path := template + ".labels"
	remedy := []string{path + ": secret.template.labels must have valid names, such as example.com/team, and values of at most 63 characters"}
	cases := testCases{
		"names with a domain are fine":        {change: change{path: crd.Object{"example.com/team": "shop-1", "konghq.com/credential": "key-auth"}}},
		"a value of nothing is fine":          {change: change{path: crd.Object{"team": ""}}},
		"a value of 63 characters is fine":    {change: change{path: crd.Object{"team": strings.Repeat("a", 63)}}},
		"a value of 64 characters is refused": {change: change{path: crd.Object{"team": strings.Repeat("a", 64)}}, wantErrors: remedy},
		"the second of two is looked at too":  {change: change{path: crd.Object{"a": "b", "c d": "e"}}, wantErrors: remedy},
	}
	for _, name := range badNames {
		cases[fmt.Sprintf("%.20q is no name", name)] = testCase{change: change{path: crd.Object{name: "a"}}, wantErrors: remedy}
	}
	return cases
}

func templateAnnotations(template string) testCases {
	path := template + ".annotations"
	remedy := []string{path + ": secret.template.annotations must have valid names, such as example.com/owner, and values of at most 4096 characters"}
	cases := testCases{
		"any text is fine":                      {change: change{path: crd.Object{"example.com/owner": "Compras, Ana <ana@correo.example>"}}},
		"a value of 4096 characters is fine":    {change: change{path: crd.Object{"owner": strings.Repeat("a", 4096)}}},
		"a value of 4097 characters is refused": {change: change{path: crd.Object{"owner": strings.Repeat("a", 4097)}}, wantErrors: remedy},
	}
	for _, name := range badNames {
		cases[fmt.Sprintf("%.20q is no name", name)] = testCase{change: change{path: crd.Object{name: "a"}}, wantErrors: remedy}
	}
	return cases
}

func templateData(template string) testCases {
	path := template + ".data"
	remedy := []string{path + ": secret.template.data must have entry names of letters, digits and - _ . only, and templates of at most 4096 characters"}
	cases := testCases{
		"the default entries are fine":             {change: change{path: crd.Object{"api-key": "{{ .Key }}", "previous-api-key": "{{ .PreviousKey }}"}}},
		"names of files and headers are fine":      {change: change{path: crd.Object{"credentials.json": "{}", "X-FF-API-Key": "{{ .Key }}", "api_key": "x"}}},
		"a name of 253 characters is fine":         {change: change{path: crd.Object{strings.Repeat("a", 253): "x"}}},
		"a template of 4096 characters is fine":    {change: change{path: crd.Object{"a": strings.Repeat("x", 4096)}}},
		"a template of 4097 characters is refused": {change: change{path: crd.Object{"a": strings.Repeat("x", 4097)}}, wantErrors: remedy},
	}
	for _, name := range []string{"", "a b", "a/b", "clé", "a\n", strings.Repeat("a", 254)} {
		cases[fmt.Sprintf("%.20q is no name", name)] = testCase{change: change{path: crd.Object{name: "x"}}, wantErrors: remedy}
	}
	return cases
}
