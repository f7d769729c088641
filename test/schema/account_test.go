// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package schema_test

import (
	"maps"
	"strings"
	"testing"

	"github.com/apikey-manager/apikey-manager/test/schema/crd"
)

func baseAccount() crd.Object {
	return crd.Object{
		"apiVersion": "apikey-manager.io/v1alpha1",
		"kind":       "Account",
		"metadata":   crd.Object{"name": "acme"},
		"spec":       crd.Object{},
	}
}

func TestAccount_EveryRule(t *testing.T) {
	t.Parallel()
	check(t, "Account", baseAccount, accountTables())
}

func accountTables() tables {
	return tables{
		"defaults":                 accountDefaults(),
		"name":                     accountName(),
		"texts":                    accountTexts(),
		"choices":                  accountChoices(),
		"timeZone":                 accountTimeZone(),
		"limits":                   accountLimits(),
		"expirationPolicy":         accountExpirationPolicy(),
		"retention":                accountRetention(),
		"allowedScopes":            scopeCases("spec.allowedScopes", "allowedScopes", 256),
		"plan":                     planCases(),
		"metadata":                 metadataCases("tier"),
		"rateLimits":               rateLimitCases(),
		"allowedNamespaces":        accountAllowedNamespaces(),
		"keyDefaults":              accountKeyDefaults(),
		"keyDefaults.format.type":  formatCases("spec.keyDefaults.format"),
		"keyDefaults.rotation":     rotationCases("spec.keyDefaults.rotation", "keyDefaults.rotation"),
		"keyDefaults.notification": notificationCases("spec.keyDefaults.notification"),
	}
}

func accountDefaults() testCases {
	defaults := change{"spec.state": "Active", "spec.timeZone": "UTC", "spec.labelPolicy": "Unique", "spec.ipWhitelistPolicy": "Optional", "spec.importPolicy": "Forbid", "spec.exportPolicy": "Digest"}
	return testCases{
		"an empty spec has them":              {want: defaults},
		"no spec has them too":                {change: change{"spec": absent{}}, want: defaults},
		"what the manager decides stays open": {want: change{"spec.limits": absent{}, "spec.deletionPolicy": absent{}}},
		"limits have their own": {
			change: change{"spec.limits.maxKeys": 3},
			want:   change{"spec.limits.enforcement": "Reject", "spec.limits.counting": "All", "spec.limits.unlimited": absent{}},
		},
		"empty limits have their own":          {change: change{"spec.limits": crd.Object{}}, want: change{"spec.limits.enforcement": "Reject", "spec.limits.maxKeys": absent{}}},
		"an expiration policy is Optional":     {change: change{"spec.expirationPolicy.maxLifetime": "2160h"}, want: change{"spec.expirationPolicy.mode": "Optional"}},
		"a field that is not there is refused": {change: change{"spec.maxKeys": 5}, wantErrors: []string{"spec.maxKeys: unknown field"}},
	}
}

func accountName() testCases {
	remedy := "<nil>: metadata.name of an Account must be a DNS-1123 label of at most 63 characters, such as acme-shop"
	return testCases{
		"63 characters are fine":    {change: change{"metadata.name": strings.Repeat("a", 63)}},
		"64 characters are refused": {change: change{"metadata.name": strings.Repeat("a", 64)}, wantErrors: []string{remedy}},
		"dots are refused":          {change: change{"metadata.name": "acme.shop"}, wantErrors: []string{remedy}},
		"capitals are refused":      {change: change{"metadata.name": "Acme"}, wantErrors: []string{remedy, "metadata.name: RFC 1123 subdomain"}},
	}
}

func accountTexts() testCases {
	cases := testCases{}
	for _, path := range []string{"spec.displayName", "spec.externalID"} {
		cases[path+" of any script is fine"] = testCase{change: change{path: "Ácme Tiendas, S.L. №7"}}
		cases[path+" of 256 characters is fine"] = testCase{change: change{path: strings.Repeat("ñ", 256)}}
		cases[path+" of 257 characters is refused"] = testCase{change: change{path: strings.Repeat("ñ", 257)}, wantErrors: []string{path + ": " + strings.TrimPrefix(path, "spec.") + " must be at most 256 characters"}}
		cases[path+" of 1025 characters is refused"] = testCase{change: change{path: strings.Repeat("ñ", 1025)}, wantErrors: []string{path + ": Too long: may not be more than 1024"}}
		cases["an empty "+path+" is refused"] = testCase{change: change{path: ""}, wantErrors: []string{path + ": should be at least 1 chars long"}}
		cases[path+" may change"] = testCase{from: change{path: "a"}, change: change{path: "b"}}
	}
	return cases
}

func accountChoices() testCases {
	cases := testCases{}
	for path, choices := range map[string][]string{
		"spec.state":                 {"Active", "Suspended"},
		"spec.deletionPolicy":        {"Allow", "Forbid", "RequireConfirmation"},
		"spec.labelPolicy":           {"Unique", "Shared"},
		"spec.ipWhitelistPolicy":     {"Optional", "Required"},
		"spec.importPolicy":          {"Forbid", "Allow"},
		"spec.exportPolicy":          {"Forbid", "Digest", "Key"},
		"spec.limits.enforcement":    {"Reject", "Queue"},
		"spec.limits.counting":       {"All", "Usable"},
		"spec.limits.unlimited":      {"Enabled", "Disabled"},
		"spec.expirationPolicy.mode": {"Optional", "Required", "Forbidden"},
	} {
		for _, choice := range choices {
			cases[path+" may be "+choice] = testCase{change: change{path: choice}, want: change{path: choice}}
			cases[path+" may change from "+choice] = testCase{from: change{path: choice}}
		}
		supported := `Unsupported value: "Maybe": supported values: "` + strings.Join(choices, `", "`) + `"`
		cases[path+" may be nothing else"] = testCase{change: change{path: "Maybe"}, wantErrors: []string{path + ": " + supported}}
	}
	return cases
}

func accountTimeZone() testCases {
	cases := testCases{
		"64 characters are no zone, but not too long": {
			change: change{"spec.timeZone": strings.Repeat("A", 64)}, wantErrors: []string{"spec.timeZone: timeZone must be an IANA time zone, such as UTC or Europe/Madrid"},
		},
		"65 characters are too long":  {change: change{"spec.timeZone": strings.Repeat("A", 65)}, wantErrors: []string{"spec.timeZone: Too long: may not be more than 64"}},
		"it may change":               {from: change{"spec.timeZone": "UTC"}, change: change{"spec.timeZone": "Europe/Madrid"}},
		"it may not become a bad one": {from: change{}, change: change{"spec.timeZone": "Mars/Base"}, wantErrors: []string{"spec.timeZone: timeZone must be an IANA time zone"}},
		"an empty one is refused": {
			change:     change{"spec.timeZone": ""},
			wantErrors: []string{"spec.timeZone: should be at least 1 chars long", "spec.timeZone: timeZone must be an IANA time zone"},
		},
	}
	for _, zone := range []string{"UTC", "Europe/Madrid", "America/Argentina/Buenos_Aires", "America/Sao_Paulo", "Etc/GMT+5", "EST5EDT", "America/Port-au-Prince"} {
		cases[zone+" is fine"] = testCase{change: change{"spec.timeZone": zone}, want: change{"spec.timeZone": zone}}
	}
	for _, zone := range []string{"Mars/Base", "+02:00", "UTC+02:00", "02:00", "Local", "Europe/", "../etc/passwd", "/etc/localtime", "Europe/../Mars", "Europe/Madrid ", "Europe\\Madrid"} {
		cases[zone+" is refused"] = testCase{change: change{"spec.timeZone": zone}, wantErrors: []string{"spec.timeZone: timeZone must be an IANA time zone, such as UTC or Europe/Madrid"}}
	}
	return cases
}

func accountLimits() testCases {
	both := []string{"spec.limits: limits.maxKeys must not be set when unlimited is Enabled"}
	return testCases{
		"no key at all is a limit": {change: change{"spec.limits.maxKeys": 0}, want: change{"spec.limits.maxKeys": int64(0)}},
		"1000 keys are fine":       {change: change{"spec.limits.maxKeys": 1000}},
		"1001 keys are refused":    {change: change{"spec.limits.maxKeys": 1001}, wantErrors: []string{"spec.limits.maxKeys: should be less than or equal to 1000"}},
		"-1 is refused":            {change: change{"spec.limits.maxKeys": -1}, wantErrors: []string{"spec.limits.maxKeys: should be greater than or equal to 0"}},
		"a text is refused":        {change: change{"spec.limits.maxKeys": "5"}, wantErrors: []string{"spec.limits.maxKeys: must be of type integer"}},
		"half a key is refused": {
			change:     change{"spec.limits.maxKeys": 2.5},
			wantErrors: []string{"spec.limits.maxKeys: must be of type int32", "<nil>: must be of type integer with format int32 in spec.limits.maxKeys"},
		},
		"unlimited alone is fine":              {change: change{"spec.limits.unlimited": "Enabled"}},
		"a limit that says so is fine":         {change: change{"spec.limits.maxKeys": 5, "spec.limits.unlimited": "Disabled"}},
		"a limit and unlimited are refused":    {change: change{"spec.limits.maxKeys": 5, "spec.limits.unlimited": "Enabled"}, wantErrors: both},
		"no key and unlimited are refused":     {change: change{"spec.limits.maxKeys": 0, "spec.limits.unlimited": "Enabled"}, wantErrors: both},
		"a limit may be lowered":               {from: change{"spec.limits.maxKeys": 5}, change: change{"spec.limits.maxKeys": 1}},
		"a limit may not be raised above 1000": {from: change{"spec.limits.maxKeys": 5}, change: change{"spec.limits.maxKeys": 2000}, wantErrors: []string{"spec.limits.maxKeys: should be less than or equal to 1000"}},
	}
}

// durationCases returns the cases for a field that holds a duration of at least one minute.
func durationCases(path, message string) testCases {
	remedy := path + ": " + message + " must be at least 1m, such as "
	bound := path + ": must be a duration in hours, minutes and seconds, such as 720h (thirty days)"
	cases := testCases{
		"an empty one is refused":    {change: change{path: ""}, wantErrors: []string{path + ": should be at least 2 chars long", bound}},
		"33 characters are too long": {change: change{path: strings.Repeat("1", 32) + "h"}, wantErrors: []string{path + ": Too long: may not be more than 32"}},
		"a fourth part is refused":   {change: change{path: "999999h999999h999999h999999h"}, wantErrors: []string{bound}},
	}
	for _, value := range []string{"1m", "60s", "720h", "1h30m", "2160h0m0s", "876000h"} {
		cases[value+" is fine"] = testCase{change: change{path: value}}
	}
	for _, value := range []string{"1s", "59s", "0h", "0h0m59s"} {
		cases[value+" is too short"] = testCase{change: change{path: value}, wantErrors: []string{remedy}}
	}
	for _, value := range []string{"30d", "90d", "one hour", "P90D", "60", "-1h", "1.5h", "3600000ms"} {
		cases[value+" is no duration"] = testCase{change: change{path: value}, wantErrors: []string{bound}}
	}
	for _, value := range []string{"876000h1s", "999999h"} {
		cases[value+" is too long"] = testCase{change: change{path: value}, wantErrors: []string{bound}}
	}
	cases["more than Go can count is too long"] = testCase{change: change{path: "999999h999999h999999h"}, wantErrors: []string{remedy, bound}}
	return cases
}

func accountExpirationPolicy() testCases {
	apart := []string{"spec.expirationPolicy: expirationPolicy.maxLifetime must not be set when mode is Forbidden"}
	cases := durationCases("spec.expirationPolicy.maxLifetime", "expirationPolicy.maxLifetime")
	cases["Required with a lifetime is fine"] = testCase{change: change{"spec.expirationPolicy.mode": "Required", "spec.expirationPolicy.maxLifetime": "2160h"}}
	cases["Optional with a lifetime is fine"] = testCase{change: change{"spec.expirationPolicy.mode": "Optional", "spec.expirationPolicy.maxLifetime": "2160h"}}
	cases["Forbidden with a lifetime is refused"] = testCase{
		change: change{"spec.expirationPolicy.mode": "Forbidden", "spec.expirationPolicy.maxLifetime": "2160h"}, wantErrors: apart,
	}
	return cases
}

func accountRetention() testCases {
	cases := testCases{
		"an empty one is refused":        {change: change{"spec.retention": crd.Object{}}, wantErrors: []string{"spec.retention: should have at least 1 properties"}},
		"is off by default":              {want: change{"spec.retention": absent{}}},
		"both fields together are fine":  {change: change{"spec.retention.expiredAfter": "2160h", "spec.retention.revokedAfter": "720h"}},
		"goes with every deletionPolicy": {change: change{"spec.retention.revokedAfter": "720h", "spec.deletionPolicy": "Forbid"}},
		"another state is refused":       {change: change{"spec.retention.revokedAfter": "720h", "spec.retention.inactiveAfter": "720h"}, wantErrors: []string{"spec.retention.inactiveAfter: unknown field"}},
	}
	for _, name := range []string{"expiredAfter", "revokedAfter"} {
		for sentence, tc := range durationCases("spec.retention."+name, "retention."+name) {
			cases[name+": "+sentence] = tc
		}
	}
	return cases
}

func accountAllowedNamespaces() testCases {
	expression := func(fields crd.Object) change {
		return change{"spec.allowedNamespaces.matchExpressions": list(fields)}
	}
	return testCases{
		"labels are fine":           {change: change{"spec.allowedNamespaces.matchLabels": crd.Object{"team": "shop"}}},
		"an empty selector is fine": {change: change{"spec.allowedNamespaces": crd.Object{}}},
		"expressions are fine":      {change: expression(crd.Object{"key": "team", "operator": "In", "values": list("shop", "web")})},
		"a key is wanted": {
			change: expression(crd.Object{"operator": "Exists"}), wantErrors: []string{"spec.allowedNamespaces.matchExpressions[0].key: Required value"},
		},
		"an operator is wanted": {
			change: expression(crd.Object{"key": "team"}), wantErrors: []string{"spec.allowedNamespaces.matchExpressions[0].operator: Required value"},
		},
	}
}

func accountKeyDefaults() testCases {
	cases := scopeCases("spec.keyDefaults.scopes", "scopes", 64)
	maps.Copy(cases, tokenCases("spec.keyDefaults.format"))
	cases["empty ones are refused"] = testCase{
		change: change{"spec.keyDefaults": crd.Object{}}, wantErrors: []string{"spec.keyDefaults: should have at least 1 properties"},
	}
	return cases
}
