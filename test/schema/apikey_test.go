// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package schema_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/apikey-manager/apikey-manager/test/schema/crd"
)

func baseKey() crd.Object {
	return crd.Object{
		"apiVersion": "apikey-manager.io/v1alpha1",
		"kind":       "APIKey",
		"metadata":   crd.Object{"name": "shop-key", "namespace": "shop"},
		"spec":       crd.Object{"account": "acme"},
	}
}

func TestAPIKey_EveryRule(t *testing.T) {
	t.Parallel()
	check(t, "APIKey", baseKey, keyTables())
}

func keyTables() tables {
	return tables{
		"account":         keyAccount(),
		"label":           keyLabel(),
		"state":           keyState(),
		"expiration":      keyExpiration(),
		"ipWhitelist":     keyIPWhitelist(),
		"scopes":          scopeCases("spec.scopes", "scopes", 64),
		"metadata":        metadataCases("team"),
		"rateLimits":      rateLimitCases(),
		"secret.name":     keySecretName(),
		"secret.previous": keySecretPrevious(),
		"format":          tokenCases("spec.format"),
		"format.type":     formatCases("spec.format"),
		"rotation":        keyRotation(),
		"notification":    notificationCases("spec.notification"),
		"secret.template": keySecretTemplate(),
		"import":          keyImport(),
	}
}

func keyAccount() testCases {
	return testCases{
		"a name is enough":                {},
		"63 characters are fine":          {change: change{"spec.account": strings.Repeat("a", 63)}},
		"digits first are fine":           {change: change{"spec.account": "4acme"}},
		"a spec is wanted":                {change: change{"spec": absent{}}, wantErrors: []string{"spec: Required value"}},
		"an account is wanted":            {change: change{"spec.account": absent{}}, wantErrors: []string{"spec.account: Required value"}},
		"64 characters are too many":      {change: change{"spec.account": strings.Repeat("a", 64)}, wantErrors: []string{"spec.account: Too long: may not be more than 63"}},
		"no character is too few":         {change: change{"spec.account": ""}, wantErrors: []string{"spec.account: should be at least 1 chars long", "spec.account: account must be a DNS-1123 label: lower-case letters, digits and '-', such as acme-shop"}},
		"capitals are refused":            {change: change{"spec.account": "Acme"}, wantErrors: []string{"spec.account: account must be a DNS-1123 label"}},
		"dots are refused":                {change: change{"spec.account": "acme.shop"}, wantErrors: []string{"spec.account: account must be a DNS-1123 label"}},
		"a dash at the end is refused":    {change: change{"spec.account": "acme-"}, wantErrors: []string{"spec.account: account must be a DNS-1123 label"}},
		"a number is not a name":          {change: change{"spec.account": 5}, wantErrors: []string{"spec.account: \"integer\""}},
		"an update may leave it as it is": {from: change{}, change: change{"spec.label": "Tienda"}},
		"an update may not change it": {
			from: change{}, change: change{"spec.account": "globex"},
			wantErrors: []string{"spec.account: account is immutable: create another APIKey for the other account"},
		},
		"a field that is not there is refused": {change: change{"spec.acount": "acme"}, wantErrors: []string{"spec.acount: unknown field"}},
	}
}

func keyLabel() testCases {
	return testCases{
		"any script is fine":                       {change: change{"spec.label": "Clave para integración con tienda 🛒"}},
		"128 characters of several bytes are fine": {change: change{"spec.label": strings.Repeat("ñ", 128)}},
		"129 characters are too many":              {change: change{"spec.label": strings.Repeat("ñ", 129)}, wantErrors: []string{"spec.label: label must be at most 128 characters"}},
		"1025 characters are too many":             {change: change{"spec.label": strings.Repeat("ñ", 1025)}, wantErrors: []string{"spec.label: Too long: may not be more than 1024"}},
		"an empty one is refused":                  {change: change{"spec.label": ""}, wantErrors: []string{"spec.label: should be at least 1 chars long", "spec.label: label must contain a visible character"}},
		"a blank one is refused":                   {change: change{"spec.label": " \u00a0\u200b\ufe0f\u3164"}, wantErrors: []string{"spec.label: label must contain a visible character"}},
		"a line break is refused":                  {change: change{"spec.label": "a\nb"}, wantErrors: []string{"spec.label: label must not contain control characters, line breaks"}},
		"a line separator is refused":              {change: change{"spec.label": "a\u2028b"}, wantErrors: []string{"spec.label: label must not contain control characters, line breaks"}},
		"an override of direction is refused":      {change: change{"spec.label": "a\u202eb"}, wantErrors: []string{"spec.label: label must not contain control characters, line breaks"}},
		"an isolate of direction is refused":       {change: change{"spec.label": "a\u2067b"}, wantErrors: []string{"spec.label: label must not contain control characters, line breaks"}},
		"a joined emoji is fine":                   {change: change{"spec.label": "👩\u200d💻 shop"}},
		"it may change":                            {from: change{"spec.label": "Tienda"}, change: change{"spec.label": "Almacén"}},
		"it may go":                                {from: change{"spec.label": "Tienda"}},
	}
}

func keyState() testCases {
	stays := []string{"spec.state: state must not change once it is Revoked: create another APIKey"}
	return testCases{
		"it defaults to Active":                    {want: change{"spec.state": "Active"}},
		"null means the default":                   {change: change{"spec.state": nil}, want: change{"spec.state": "Active"}},
		"a key may begin Inactive":                 {change: change{"spec.state": "Inactive"}},
		"a key may begin Revoked":                  {change: change{"spec.state": "Revoked"}},
		"another word is refused with the choices": {change: change{"spec.state": "Paused"}, wantErrors: []string{`spec.state: Unsupported value: "Paused": supported values: "Active", "Inactive", "Revoked"`}},
		"capitals matter":                          {change: change{"spec.state": "active"}, wantErrors: []string{`spec.state: Unsupported value: "active"`}},
		"Active becomes Inactive":                  {from: change{}, change: change{"spec.state": "Inactive"}},
		"Inactive becomes Active":                  {from: change{"spec.state": "Inactive"}, change: change{"spec.state": "Active"}},
		"Active becomes Revoked":                   {from: change{}, change: change{"spec.state": "Revoked"}},
		"Inactive becomes Revoked":                 {from: change{"spec.state": "Inactive"}, change: change{"spec.state": "Revoked"}},
		"Revoked stays Revoked":                    {from: change{"spec.state": "Revoked"}, change: change{"spec.state": "Revoked", "spec.label": "Tienda"}},
		"Revoked does not become Active":           {from: change{"spec.state": "Revoked"}, change: change{"spec.state": "Active"}, wantErrors: stays},
		"Revoked does not become Inactive":         {from: change{"spec.state": "Revoked"}, change: change{"spec.state": "Inactive"}, wantErrors: stays},
		"leaving the field out does not un-revoke": {from: change{"spec.state": "Revoked"}, wantErrors: stays},
	}
}

func keyExpiration() testCases {
	accepted := map[string]string{
		"a date":                              "2027-02-28",
		"the leap day of a leap year":         "2028-02-29",
		"the last date there is":              "9998-12-31",
		"an instant in UTC":                   "2027-02-28T12:00:00Z",
		"an instant with an offset":           "2027-02-28T12:00:00+01:00",
		"an instant with a negative offset":   "2027-02-28T12:00:00-03:30",
		"an instant with the largest offsets": "2027-02-28T23:59:59+14:00",
		"the last instant there is":           "9998-12-31T23:59:59Z",
		"the first date there is":             "1000-01-01",
		"the first instant there is":          "1000-01-01T00:00:00Z",
	}
	remedy := "spec.expiration: expiration must be a valid date, such as 2027-02-28, or an RFC 3339 instant in whole seconds, such as 2027-02-28T12:00:00Z, with a year from 1000 to 9998"
	refused := map[string]string{
		"a date that does not exist":               "2027-02-30",
		"the leap day of another year":             "2027-02-29",
		"a thirteenth month":                       "2027-13-01",
		"a zeroth day":                             "2027-01-00",
		"words":                                    "end of 2027",
		"a date that begins with a space":          " 2027-02-28",
		"a date that ends with a newline":          "2027-02-28\n",
		"another order":                            "28-02-2027",
		"slashes":                                  "2027/02/28",
		"an instant without a zone":                "2027-02-28T12:00:00",
		"an instant with a fraction":               "2027-02-28T12:00:00.5Z",
		"an instant without seconds":               "2027-02-28T12:00Z",
		"an instant with a space":                  "2027-02-28 12:00:00Z",
		"small letters":                            "2027-02-28t12:00:00z",
		"an hour 25":                               "2027-02-28T25:00:00Z",
		"an hour 24":                               "2027-02-28T24:00:00Z",
		"a minute 60":                              "2027-02-28T12:60:00Z",
		"a leap second":                            "2027-02-28T23:59:60Z",
		"an instant on a date that does not exist": "2027-02-30T12:00:00Z",
		"an offset without a colon":                "2027-02-28T12:00:00+0100",
		"an offset of 25 hours":                    "2027-02-28T12:00:00+25:00",
		"an offset of 60 minutes":                  "2027-02-28T12:00:00+01:60",
		"the zero time of Go":                      "0001-01-01T00:00:00Z",
		"a year before the calendar":               "0000-01-01",
		"an instant beyond the last year, in UTC":  "9998-12-31T23:59:59-01:00",
		"an instant before the first year, in UTC": "1000-01-01T00:00:00+00:01",
		"a date of the last year":                  "9999-01-01",
		"an instant of the last year":              "9999-01-01T00:00:00Z",
		"an instant of it that is earlier in UTC":  "9999-01-01T00:00:00+01:00",
		"a date of the year 999":                   "0999-12-31",
	}
	cases := testCases{
		"nothing means never":                 {},
		"2027-2-3 is too short to be a date":  {change: change{"spec.expiration": "2027-2-3"}, wantErrors: []string{"spec.expiration: should be at least 10 chars long", remedy}},
		"26 characters are too many":          {change: change{"spec.expiration": "2027-02-28T12:00:00+01:000"}, wantErrors: []string{"spec.expiration: Too long: may not be more than 25"}},
		"it may move later":                   {from: change{"spec.expiration": "2027-02-28"}, change: change{"spec.expiration": "2028-02-28"}},
		"it may go":                           {from: change{"spec.expiration": "2027-02-28"}},
		"an update may not make it a bad one": {from: change{"spec.expiration": "2027-02-28"}, change: change{"spec.expiration": "2027-02-30"}, wantErrors: []string{remedy}},
	}
	for name, value := range accepted {
		cases[name+" is fine"] = testCase{change: change{"spec.expiration": value}}
	}
	for name, value := range refused {
		cases[name+" is refused"] = testCase{change: change{"spec.expiration": value}, wantErrors: []string{remedy}}
	}
	return cases
}

func keyIPWhitelist() testCases {
	accepted := map[string][]any{
		"an IPv4 address":           list("192.0.2.7"),
		"an IPv4 network":           list("10.0.0.0/8"),
		"an IPv4 host network":      list("192.0.2.7/32"),
		"all of IPv4":               list("0.0.0.0/0"),
		"an IPv6 address":           list("2001:db8::7"),
		"the shortest IPv6 address": list("::"),
		"an IPv6 address in full":   list("2001:0db8:0000:0000:0000:0000:0000:0007"),
		"an IPv6 network":           list("2001:db8::/32"),
		"an IPv6 host network":      list("2001:db8::7/128"),
		"addresses and networks":    list("192.0.2.7", "10.0.0.0/8", "2001:db8::/32"),
		"a list of 256":             many(256, "192.0.2.%d"),
	}
	remedy := "ipWhitelist entries must be IP addresses, such as 192.0.2.7, or CIDRs without host bits, such as 10.0.0.0/8"
	refused := map[string]string{
		"host bits in a network":       "10.0.0.1/8",
		"host bits in an IPv6 network": "2001:db8::1/32",
		"an IPv4-mapped address":       "::ffff:192.0.2.7",
		"an IPv4-mapped network":       "::ffff:192.0.2.0/120",
		"an IPv6 zone":                 "fe80::1%eth0",
		"a network with an IPv6 zone":  "fe80::%eth0/64",
		"a mask of 33 bits":            "10.0.0.0/33",
		"an IPv6 mask of 129 bits":     "2001:db8::/129",
		"a mask in dots":               "10.0.0.0/255.0.0.0",
		"a mask without bits":          "10.0.0.0/",
		"a mask with a leading zero":   "10.0.0.0/08",
		"leading zeros":                "010.0.0.1",
		"three numbers":                "10.0.0",
		"a number over 255":            "10.0.0.256",
		"a range":                      "10.0.0.1-10.0.0.9",
		"a wildcard":                   "10.0.0.*",
		"a host name":                  "shop.example.com",
		"a port":                       "192.0.2.7:443",
		"a space":                      "192.0.2.7 ",
	}
	cases := testCases{
		"nothing means from anywhere": {},
		"an empty list is refused": {
			change:     change{"spec.ipWhitelist": list()},
			wantErrors: []string{"spec.ipWhitelist: should have at least 1 items", "spec.ipWhitelist: ipWhitelist must not be empty: list an address or CIDR, or omit the field to allow any address"},
		},
		"emptying the list is refused": {
			from: change{"spec.ipWhitelist": list("192.0.2.7")}, change: change{"spec.ipWhitelist": list()},
			wantErrors: []string{"spec.ipWhitelist: should have at least 1 items", "spec.ipWhitelist: ipWhitelist must not be empty"},
		},
		"300 entries are too many": {
			change:     change{"spec.ipWhitelist": many(300, "10.0.%d.0/24")},
			wantErrors: []string{"spec.ipWhitelist: Too many: 300: must have at most 256 items"},
		},
		"the same entry twice is refused": {
			change:     change{"spec.ipWhitelist": list("192.0.2.7", "192.0.2.7")},
			wantErrors: []string{`spec.ipWhitelist[1]: Duplicate value: "192.0.2.7"`},
		},
		"the second of two entries is named": {
			change:     change{"spec.ipWhitelist": list("192.0.2.7", "10.0.0.1/8")},
			wantErrors: []string{"spec.ipWhitelist[1]: " + remedy},
		},
		"an empty entry is refused": {
			change:     change{"spec.ipWhitelist": list("")},
			wantErrors: []string{"spec.ipWhitelist[0]: should be at least 2 chars long", "spec.ipWhitelist[0]: " + remedy},
		},
		"an entry of 50 characters is too long": {
			change:     change{"spec.ipWhitelist": list(strings.Repeat("1", 50))},
			wantErrors: []string{"spec.ipWhitelist[0]: Too long: may not be more than 49"},
		},
		"a text is not a list": {
			change:     change{"spec.ipWhitelist": "192.0.2.7"},
			wantErrors: []string{`spec.ipWhitelist: "string": spec.ipWhitelist in body must be of type array`},
		},
		"the list may go": {from: change{"spec.ipWhitelist": list("192.0.2.7")}},
	}
	for name, value := range accepted {
		cases[name+" is fine"] = testCase{change: change{"spec.ipWhitelist": value}}
	}
	for name, value := range refused {
		cases[name+" is refused"] = testCase{change: change{"spec.ipWhitelist": list(value)}, wantErrors: []string{"spec.ipWhitelist[0]: " + remedy}}
	}
	return cases
}

// scopeCases returns the cases for a field that holds scopes.
func scopeCases(path, message string, maximum int) testCases {
	remedy := message + " entries must consist of letters, digits and . _ : / -, with at most one trailing *, such as conversions:write or reports:*"
	cases := testCases{
		"an empty list is refused":        {change: change{path: list()}, wantErrors: []string{path + ": should have at least 1 items"}},
		"the longest list is fine":        {change: change{path: many(maximum, "scope-%d")}},
		"a longer list is refused":        {change: change{path: many(maximum+1, "scope-%d")}, wantErrors: []string{fmt.Sprintf("%s: Too many: %d: must have at most %d items", path, maximum+1, maximum)}},
		"the same scope twice is refused": {change: change{path: list("a:b", "a:b")}, wantErrors: []string{path + `[1]: Duplicate value: "a:b"`}},
		"an empty scope is refused":       {change: change{path: list("")}, wantErrors: []string{path + "[0]: should be at least 1 chars long"}},
		"128 characters are fine":         {change: change{path: list(strings.Repeat("a", 128))}},
		"129 characters are too many":     {change: change{path: list(strings.Repeat("a", 129))}, wantErrors: []string{path + "[0]: Too long: may not be more than 128"}},
		"the second of two is named":      {change: change{path: list("a:b", "a b")}, wantErrors: []string{path + "[1]: " + remedy}},
	}
	for _, value := range []string{"conversions:write", "reports:*", "*", "v1/orders.read_all-2"} {
		cases[value+" is fine"] = testCase{change: change{path: list(value)}}
	}
	for _, value := range []string{"a*b", "*:read", "reports:**", "a b", "a,b", "é", "a\n", "[a-z]", "a?"} {
		cases[fmt.Sprintf("%q is refused", value)] = testCase{change: change{path: list(value)}, wantErrors: []string{path + "[0]: " + remedy}}
	}
	return cases
}

func keyImport() testCases {
	digest := strings.Repeat("0123456789abcdef", 4)
	with := func(sha256, hint any) change { return change{"spec.import.sha256": sha256, "spec.import.hint": hint} }
	form := "spec.import.sha256: import.sha256 must be a SHA-256 digest of 64 lower-case hexadecimal digits, as printed by sha256sum"
	hints := "spec.import.hint: import.hint must be the first characters of the key: at most 8 letters, digits and . _ -, or the prefix and the id of a Token, such as ak_8GkQ2vLx0RtW"
	immutable := "import is immutable and may only be set on creation: create another APIKey to import another key"
	return testCases{
		"a digest and a hint are fine":     {change: with(digest, "sk_live_")},
		"the hint of a Token is fine":      {change: with(digest, "abcdefghijklmnop_8GkQ2vLx0RtW")},
		"capitals are refused":             {change: with(strings.ToUpper(digest), "sk_live_"), wantErrors: []string{form}},
		"a prefix is refused":              {change: with("sha256:"+digest[7:], "sk_live_"), wantErrors: []string{form}},
		"63 digits are refused":            {change: with(digest[1:], "sk_live_"), wantErrors: []string{"spec.import.sha256: should be at least 64 chars long", form}},
		"65 digits are refused":            {change: with(digest+"0", "sk_live_"), wantErrors: []string{"spec.import.sha256: Too long: may not be more than 64"}},
		"a digest is wanted":               {change: change{"spec.import.hint": "sk_live_"}, wantErrors: []string{"spec.import.sha256: Required value"}},
		"a hint is wanted":                 {change: change{"spec.import.sha256": digest}, wantErrors: []string{"spec.import.hint: Required value"}},
		"an empty hint is refused":         {change: with(digest, ""), wantErrors: []string{"spec.import.hint: should be at least 1 chars long", hints}},
		"9 characters of the key are many": {change: with(digest, "sk_live_x"), wantErrors: []string{hints}},
		"30 characters are too long":       {change: with(digest, "abcdefghijklmnopq_8GkQ2vLx0RtW"), wantErrors: []string{"spec.import.hint: Too long: may not be more than 29"}},
		"a space in the hint is refused":   {change: with(digest, "sk live"), wantErrors: []string{hints}},
		"it may stay":                      {from: with(digest, "sk_live_"), change: change{"spec.import.sha256": digest, "spec.import.hint": "sk_live_", "spec.label": "Tienda"}},
		"it may not come":                  {from: change{}, change: with(digest, "sk_live_"), wantErrors: []string{"spec.import: " + immutable}},
		"it may not go":                    {from: with(digest, "sk_live_"), wantErrors: []string{"spec.import: " + immutable}},
		"it may not change":                {from: with(digest, "sk_live_"), change: with(digest, "sk_test_"), wantErrors: []string{"spec.import: " + immutable}},
	}
}

func keySecretPrevious() testCases {
	path := "spec.secret.previousKey"
	return testCases{
		"Omit is fine":             {change: change{path: "Omit"}},
		"Include is fine":          {change: change{path: "Include"}},
		"another value is refused": {change: change{path: "Keep"}, wantErrors: []string{path + ": Unsupported value"}},
	}
}

func keySecretName() testCases {
	immutable := []string{"spec.secret.name: secret.name is immutable: create another APIKey to write another Secret"}
	subdomain := "spec.secret.name: secret.name must be a DNS-1123 subdomain, such as shop-api-key"
	return testCases{
		"a name is fine":             {change: change{"spec.secret.name": "shop.api-key"}},
		"253 characters are fine":    {change: change{"spec.secret.name": strings.Repeat("a", 253)}},
		"254 characters are refused": {change: change{"spec.secret.name": strings.Repeat("a", 254)}, wantErrors: []string{"spec.secret.name: Too long: may not be more than 253"}},
		"an empty name is refused":   {change: change{"spec.secret.name": ""}, wantErrors: []string{"spec.secret.name: should be at least 1 chars long", subdomain}},
		"capitals are refused":       {change: change{"spec.secret.name": "Shop"}, wantErrors: []string{subdomain}},
		"a slash is refused":         {change: change{"spec.secret.name": "shop/key"}, wantErrors: []string{subdomain}},
		"an empty secret is refused": {change: change{"spec.secret": crd.Object{}}, wantErrors: []string{"spec.secret: should have at least 1 properties"}},
		"it may stay":                {from: change{"spec.secret.name": "a"}, change: change{"spec.secret.name": "a", "spec.label": "Tienda"}},
		"it may not change":          {from: change{"spec.secret.name": "a"}, change: change{"spec.secret.name": "b"}, wantErrors: immutable},
		"it may not go":              {from: change{"spec.secret.name": "a"}, wantErrors: immutable},
		"it may not come":            {from: change{}, change: change{"spec.secret.name": "a"}, wantErrors: immutable},
		"the key's own name may come, for it means the same": {from: change{}, change: change{"spec.secret.name": "shop-key"}},
		"the key's own name may go, for it means the same":   {from: change{"spec.secret.name": "shop-key"}},
		"the key's own name may not become another":          {from: change{"spec.secret.name": "shop-key"}, change: change{"spec.secret.name": "a"}, wantErrors: immutable},
	}
}

// tokenCases returns the cases for the format Token, in a key or in an account's defaults.
func tokenCases(path string) testCases {
	kind, prefix, length := path+".type", path+".prefix", path+".length"
	return testCases{
		"Token is fine":                     {change: change{kind: "Token"}},
		"a prefix is fine":                  {change: change{prefix: "shop"}},
		"a Token with a prefix is fine":     {change: change{kind: "Token", prefix: "a"}},
		"a prefix of 16 characters is fine": {change: change{prefix: "a23456789012345z"}},
		"a prefix of 17 characters is refused": {
			change: change{prefix: "a2345678901234567"}, wantErrors: []string{prefix + ": Too long: may not be more than 16"},
		},
		"an empty prefix is refused":                   {change: change{prefix: ""}, wantErrors: []string{prefix + ": should be at least 1 chars long", prefix + ": format.prefix must be a lower-case letter"}},
		"a prefix that begins with a digit is refused": {change: change{prefix: "4a"}, wantErrors: []string{prefix + ": format.prefix must be a lower-case letter followed by at most 15 lower-case letters and digits, such as ak or shop2"}},
		"sk- is refused":                               {change: change{prefix: "sk-"}, wantErrors: []string{prefix + ": format.prefix must be a lower-case letter followed by at most 15 lower-case letters and digits, such as ak or shop2"}},
		"a prefix with an underscore is refused":       {change: change{prefix: "a_b"}, wantErrors: []string{prefix + ": format.prefix must be a lower-case letter"}},
		"a Token has no length":                        {change: change{kind: "Token", length: 64}, wantErrors: []string{path + ": format.length may only be set when type is Alphanumeric or Hex"}},
		"no type is a Token, which has no length":      {change: change{length: 64}, wantErrors: []string{path + ": format.length may only be set when type is Alphanumeric or Hex"}},
		"another type is refused with the choices":     {change: change{kind: "JWT"}, wantErrors: []string{kind + `: Unsupported value: "JWT": supported values: "Token", "UUID", "Alphanumeric", "Hex"`}},
		"an empty format is refused":                   {change: change{path: crd.Object{}}, wantErrors: []string{path + ": should have at least 1 properties"}},
		"it may change":                                {from: change{prefix: "shop"}, change: change{prefix: "store"}},
	}
}
