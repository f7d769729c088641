// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package schema_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/apikey-manager/apikey-manager/test/schema/crd"
)

func baseExport() crd.Object {
	return crd.Object{
		"apiVersion": "apikey-manager.io/v1alpha1",
		"kind":       "KeyExport",
		"metadata":   crd.Object{"name": "gateway-keys", "namespace": "gateway"},
		"spec":       crd.Object{"target": crd.Object{"kind": "Secret", "name": "gateway-keys"}},
	}
}

func TestKeyExport_EveryRule(t *testing.T) {
	t.Parallel()
	check(t, "KeyExport", baseExport, exportTables())
}

func exportTables() tables {
	return tables{
		"defaults":           exportDefaults(),
		"choices":            exportChoices(),
		"accounts":           exportAccounts(),
		"accountSelector":    selectorCases("spec.accountSelector"),
		"namespaceSelector":  selectorCases("spec.namespaceSelector"),
		"scopes":             scopeCases("spec.scopes", "scopes", 64),
		"content":            exportContent(),
		"layout":             exportLayout(),
		"target":             exportTarget(),
		"target.name":        exportTargetName(),
		"target.type":        exportTargetType(),
		"target.labels":      exportTargetLabels(),
		"target.annotations": exportTargetAnnotations(),
		"entry":              exportEntry(),
		"status":             exportStatus(),
		"largest":            exportLargest(),
	}
}

func exportDefaults() testCases {
	defaults := change{"spec.content": "Digest", "spec.layout": "Entries", "spec.addressRestricted": "Withhold", "status.observedGeneration": int64(-1)}
	return testCases{
		"a target is enough":                   {want: defaults},
		"the defaults of the code stay absent": {want: change{"spec.entry": absent{}, "spec.target.type": absent{}, "spec.accounts": absent{}}},
		"a spec is wanted":                     {change: change{"spec": absent{}}, wantErrors: []string{"spec: Required value"}},
		"a field that is not there is refused": {change: change{"spec.account": "acme"}, wantErrors: []string{"spec.account: unknown field"}},
	}
}

func exportChoices() testCases {
	cases := testCases{}
	for path, choices := range map[string][]string{
		"spec.content":           {"Digest", "Key"},
		"spec.layout":            {"Entries", "Objects"},
		"spec.addressRestricted": {"Withhold", "Include"},
		"spec.target.kind":       {"Secret", "ConfigMap"},
	} {
		for _, choice := range choices {
			cases[path+" may be "+choice] = testCase{change: change{path: choice}, want: change{path: choice}}
			cases[path+" may stay "+choice] = testCase{from: change{path: choice}, change: change{path: choice, "spec.scopes": list("a")}}
		}
		supported := `Unsupported value: "Maybe": supported values: "` + strings.Join(choices, `", "`) + `"`
		wantErrors := []string{path + ": " + supported}
		cases[path+" may be nothing else"] = testCase{change: change{path: "Maybe"}, wantErrors: wantErrors}
	}
	return cases
}

func exportAccounts() testCases {
	path, remedy := "spec.accounts", "accounts entries must be names of Accounts, which are DNS-1123 labels, such as acme-shop"
	cases := testCases{
		"1000 accounts are fine":            {change: change{path: many(1000, "account-%d")}},
		"1001 accounts are too many":        {change: change{path: many(1001, "account-%d")}, wantErrors: []string{path + ": Too many: 1001: must have at most 1000 items"}},
		"an empty list is refused":          {change: change{path: list()}, wantErrors: []string{path + ": should have at least 1 items"}},
		"the same account twice is refused": {change: change{path: list("acme", "acme")}, wantErrors: []string{path + `[1]: Duplicate value: "acme"`}},
		"63 characters are fine":            {change: change{path: list(strings.Repeat("a", 63))}},
		"64 characters are too many":        {change: change{path: list(strings.Repeat("a", 64))}, wantErrors: []string{path + "[0]: Too long: may not be more than 63"}},
		"no character is too few":           {change: change{path: list("")}, wantErrors: []string{path + "[0]: should be at least 1 chars long", path + "[0]: " + remedy}},
		"the second of two is named":        {change: change{path: list("acme", "Acme")}, wantErrors: []string{path + "[1]: " + remedy}},
		"they may change":                   {from: change{path: list("acme")}, change: change{path: list("contoso", "fabrikam")}},
		"they may go":                       {from: change{path: list("acme")}},
	}
	for _, value := range []string{"acme.shop", "-acme", "acme-", "acme shop", "acme\n", "*", "é", "acme/shop"} {
		cases[fmt.Sprintf("%q is no account", value)] = testCase{change: change{path: list(value)}, wantErrors: []string{path + "[0]: " + remedy}}
	}
	return cases
}

// selectorCases returns the cases for a label selector. Its operators are validated by the code.
func selectorCases(path string) testCases {
	expression := func(fields crd.Object) change { return change{path + ".matchExpressions": list(fields)} }
	return testCases{
		"labels are fine":           {change: change{path + ".matchLabels": crd.Object{"team": "shop"}}},
		"an empty selector is fine": {change: change{path: crd.Object{}}},
		"expressions are fine":      {change: expression(crd.Object{"key": "team", "operator": "In", "values": list("shop", "web")})},
		"it may change":             {from: change{path + ".matchLabels": crd.Object{"team": "shop"}}, change: change{path + ".matchLabels": crd.Object{"team": "web"}}},
		"a key is wanted": {
			change: expression(crd.Object{"operator": "Exists"}), wantErrors: []string{path + ".matchExpressions[0].key: Required value"},
		},
		"an operator is wanted": {
			change: expression(crd.Object{"key": "team"}), wantErrors: []string{path + ".matchExpressions[0].operator: Required value"},
		},
	}
}

func exportContent() testCases {
	remedy := []string{"spec.content: content: Key may be written to Secrets only: set target.kind to Secret, or content to Digest"}
	return testCases{
		"Key in a Secret is fine":        {change: change{"spec.content": "Key"}},
		"Digest in a ConfigMap is fine":  {change: change{"spec.content": "Digest", "spec.target.kind": "ConfigMap"}},
		"Key in a ConfigMap is refused":  {change: change{"spec.content": "Key", "spec.target.kind": "ConfigMap"}, wantErrors: remedy},
		"it may change to Key":           {from: change{}, change: change{"spec.content": "Key"}},
		"it may change to Digest":        {from: change{"spec.content": "Key"}, change: change{"spec.content": "Digest"}},
		"a ConfigMap may not become Key": {from: change{"spec.target.kind": "ConfigMap"}, change: change{"spec.content": "Key", "spec.target.kind": "ConfigMap"}, wantErrors: remedy},
	}
}

func exportLayout() testCases {
	immutable := []string{"spec.layout: layout is immutable: create another KeyExport for another layout"}
	return testCases{
		"Entries may not become Objects":   {from: change{}, change: change{"spec.layout": "Objects"}, wantErrors: immutable},
		"Objects may not become Entries":   {from: change{"spec.layout": "Objects"}, change: change{"spec.layout": "Entries"}, wantErrors: immutable},
		"Objects may not go":               {from: change{"spec.layout": "Objects"}, wantErrors: immutable},
		"the default may be written":       {from: change{}, change: change{"spec.layout": "Entries"}},
		"the default may be left out":      {from: change{"spec.layout": "Entries"}},
		"Objects may be in ConfigMaps too": {change: change{"spec.layout": "Objects", "spec.target.kind": "ConfigMap"}},
	}
}

func exportTarget() testCases {
	immutable := []string{"spec.target.kind: target.kind is immutable: create another KeyExport to write objects of another kind"}
	return testCases{
		"a target is wanted":                {change: change{"spec.target": absent{}}, wantErrors: []string{"spec.target: Required value"}},
		"a kind is wanted":                  {change: change{"spec.target.kind": absent{}}, wantErrors: []string{"spec.target.kind: Required value"}},
		"a name is wanted":                  {change: change{"spec.target.name": absent{}}, wantErrors: []string{"spec.target.name: Required value"}},
		"a namespace is not there":          {change: change{"spec.target.namespace": "kube-system"}, wantErrors: []string{"spec.target.namespace: unknown field"}},
		"a Secret may not become ConfigMap": {from: change{}, change: change{"spec.target.kind": "ConfigMap"}, wantErrors: immutable},
		"a ConfigMap may not become Secret": {from: change{"spec.target.kind": "ConfigMap"}, change: change{"spec.target.kind": "Secret"}, wantErrors: immutable},
	}
}

func exportTargetName() testCases {
	path := "spec.target.name"
	remedy := path + ": target.name must be the name of an object: lower-case letters, digits, '-' and '.', such as gateway-keys"
	cases := testCases{
		"200 characters are fine":    {change: change{path: strings.Repeat("a", 200)}},
		"201 characters are refused": {change: change{path: strings.Repeat("a", 201)}, wantErrors: []string{path + ": Too long: may not be more than 200"}},
		"an empty one is refused":    {change: change{path: ""}, wantErrors: []string{path + ": should be at least 1 chars long", remedy}},
		"dots are fine":              {change: change{path: "keys.gateway"}},
		"it may stay":                {from: change{path: "keys"}, change: change{path: "keys", "spec.content": "Key"}},
		"it may not change":          {from: change{path: "keys"}, change: change{path: "other"}, wantErrors: []string{path + ": target.name is immutable: create another KeyExport to write other objects"}},
	}
	for _, value := range []string{"Keys", "keys_1", "-keys", "keys-", ".keys", "keys.", "a..b", "a/b", "../keys", "a b", "keys\n", "é"} {
		cases[fmt.Sprintf("%q is no name", value)] = testCase{change: change{path: value}, wantErrors: []string{remedy}}
	}
	return cases
}

func exportTargetType() testCases {
	path := "spec.target.type"
	reserved := path + ": target.type must not be a type that Kubernetes or its tools act upon: omit it for Opaque, or use a type that the gateway defines, such as nginx.org/apikey"
	immutable := []string{path + ": target.type is immutable, like the type of a Secret: create another KeyExport to write Secrets of another type"}
	secretsOnly := []string{path + ": target.type may be set for Secrets only"}
	cases := testCases{
		"253 characters are fine":                    {change: change{path: "example.com/" + strings.Repeat("a", 241)}},
		"254 characters are refused":                 {change: change{path: strings.Repeat("a", 254)}, wantErrors: []string{path + ": Too long: may not be more than 253"}},
		"an empty one is refused":                    {change: change{path: ""}, wantErrors: []string{path + ": should be at least 1 chars long"}},
		"a ConfigMap has none":                       {change: change{"spec.target.kind": "ConfigMap", path: "example.com/keys"}, wantErrors: secretsOnly},
		"a ConfigMap is not Opaque either":           {change: change{"spec.target.kind": "ConfigMap", path: "Opaque"}, wantErrors: secretsOnly},
		"it may stay":                                {from: change{path: "nginx.org/apikey"}, change: change{path: "nginx.org/apikey", "spec.content": "Key"}},
		"it may not change":                          {from: change{path: "nginx.org/apikey"}, change: change{path: "example.com/keys"}, wantErrors: immutable},
		"it may not come":                            {from: change{}, change: change{path: "nginx.org/apikey"}, wantErrors: immutable},
		"it may not go":                              {from: change{path: "nginx.org/apikey"}, wantErrors: immutable},
		"the type that a Secret has anyway may come": {from: change{}, change: change{path: "Opaque"}},
		"the type that a Secret has anyway may go":   {from: change{path: "Opaque"}},
	}
	for _, value := range []string{"Opaque", "nginx.org/apikey", "extauth.solo.io/apikey", "notkubernetes.io/tls", "kubernetes.io.example.com/tls", "example.com/k8s.io/x"} {
		cases[value+" is fine"] = testCase{change: change{path: value}}
	}
	for _, value := range []string{
		"kubernetes.io/service-account-token", "bootstrap.kubernetes.io/token", "kubernetes.io/tls", "kubernetes.io/ssh-auth", "kubernetes.io/basic-auth",
		"kubernetes.io/dockerconfigjson", "kubernetes.io/dockercfg", "kubernetes.io", "Kubernetes.io/TLS", " kubernetes.io/tls", "kubernetes.io/tls ", "k8s.io/x",
		"node.k8s.io/x", "cluster.x-k8s.io/secret", "helm.sh/release.v1", "meta.helm.sh/x", "rke.cattle.io/machine-plan", "apikey-manager.io/x", "x.apikey-manager.io/x",
	} {
		cases[fmt.Sprintf("%q is refused", value)] = testCase{change: change{path: value}, wantErrors: []string{reserved}}
	}
	return cases
}

// exportMetadataCases returns the cases that labels and annotations of the target have in common.
func exportMetadataCases(path, field, example, invalid string) testCases {
	remedy := []string{path + ": target." + field + " must not use the reserved domains kubernetes.io, k8s.io, x-k8s.io and apikey-manager.io: " + example}
	entries := crd.Object{}
	for i := range 33 {
		entries[fmt.Sprintf("entry-%d", i)] = "x"
	}
	most := maps.Clone(entries)
	delete(most, "entry-0")
	cases := testCases{
		"a value of nothing is fine":     {change: change{path: crd.Object{"example.com/team": ""}}},
		"32 are fine":                    {change: change{path: most}},
		"33 are too many":                {change: change{path: entries}, wantErrors: []string{path + ": Too many: 33: must have at most 32"}},
		"none at all are refused":        {change: change{path: crd.Object{}}, wantErrors: []string{path + ": should have at least 1 properties"}},
		"they may change":                {from: change{path: crd.Object{"a": "b"}}, change: change{path: crd.Object{"a": "c"}}},
		"they may go":                    {from: change{path: crd.Object{"a": "b"}}},
		"a ConfigMap may have them":      {change: change{"spec.target.kind": "ConfigMap", path: crd.Object{"a": "b"}}},
		"the second of two is validated": {change: change{path: crd.Object{"a": "b", "c d": "e"}}, wantErrors: []string{path + ": " + invalid}},
	}
	for _, name := range reservedNames {
		cases[name+" is reserved"] = testCase{change: change{path: crd.Object{"example.com/team": "a", name: "a"}}, wantErrors: remedy}
	}
	for _, name := range append(slices.Clone(lookReserved), "konghq.com/credential") {
		cases[name+" is not reserved"] = testCase{change: change{path: crd.Object{name: "a"}}}
	}
	for _, name := range badNames {
		cases[fmt.Sprintf("%.20q is no name", name)] = testCase{change: change{path: crd.Object{name: "a"}}, wantErrors: []string{path + ": " + invalid}}
	}
	return cases
}

func exportTargetLabels() testCases {
	path := "spec.target.labels"
	invalid := "target.labels must have valid names, such as example.com/team, and values of at most 63 characters"
	cases := exportMetadataCases(path, "labels", "use a label that the gateway defines, such as konghq.com/credential", invalid)
	cases["a value of 63 characters is fine"] = testCase{change: change{path: crd.Object{"team": strings.Repeat("a", 63)}}}
	cases["a value of 64 characters is refused"] = testCase{change: change{path: crd.Object{"team": strings.Repeat("a", 64)}}, wantErrors: []string{path + ": " + invalid}}
	return cases
}

func exportTargetAnnotations() testCases {
	path := "spec.target.annotations"
	invalid := "target.annotations must have valid names, such as example.com/owner, and values of at most 4096 characters"
	cases := exportMetadataCases(path, "annotations", "use a domain of your own, such as example.com/owner", invalid)
	cases["any text is fine"] = testCase{change: change{path: crd.Object{"example.com/owner": "Compras, Ana <ana@correo.example>"}}}
	cases["4096 characters are fine"] = testCase{change: change{path: crd.Object{"owner": strings.Repeat("a", 4096)}}}
	cases["4097 characters are refused"] = testCase{change: change{path: crd.Object{"owner": strings.Repeat("a", 4097)}}, wantErrors: []string{path + ": " + invalid}}
	return cases
}

func exportEntry() testCases {
	name, value := "spec.entry.name", "spec.entry.value"
	return testCases{
		"a name alone is fine":               {change: change{name: "{{ .Account }}.{{ .KeyID }}"}},
		"a value alone is fine":              {change: change{value: `{"keyHash":{{ quote .Digest }}}`}},
		"both may change":                    {from: change{name: "a", value: "{{ .Digest }}"}, change: change{name: "b", value: "{{ .Digest }};"}},
		"nothing in it is refused":           {change: change{"spec.entry": crd.Object{}}, wantErrors: []string{"spec.entry: should have at least 1 properties"}},
		"an empty name is refused":           {change: change{name: ""}, wantErrors: []string{name + ": should be at least 1 chars long"}},
		"an empty value is refused":          {change: change{value: ""}, wantErrors: []string{value + ": should be at least 1 chars long"}},
		"a name of 1024 characters is fine":  {change: change{name: strings.Repeat("a", 1024)}},
		"a name of 1025 is refused":          {change: change{name: strings.Repeat("a", 1025)}, wantErrors: []string{name + ": Too long: may not be more than 1024"}},
		"a value of 4096 characters is fine": {change: change{value: strings.Repeat("a", 4096)}},
		"a value of 4097 is refused":         {change: change{value: strings.Repeat("a", 4097)}, wantErrors: []string{value + ": Too long: may not be more than 4096"}},
	}
}

// exportStatus returns the cases for the limits of the status, which protect the size of the object.
func exportStatus() testCases {
	withheld := func(namespace, name, reason string) change {
		return change{"status.withheld": list(crd.Object{"namespace": namespace, "name": name, "reason": reason})}
	}
	most := func(n int) []any {
		keys := make([]any, 0, n)
		for i := range n {
			keys = append(keys, crd.Object{"namespace": "shop", "name": fmt.Sprintf("key-%d", i), "reason": "AddressRestricted"})
		}
		return keys
	}
	first := "status.withheld[0]"
	cases := testCases{
		"50 withheld keys are fine":              {change: change{"status.withheld": most(50)}},
		"51 withheld keys are too many":          {change: change{"status.withheld": most(51)}, wantErrors: []string{"status.withheld: Too many: 51: must have at most 50 items"}},
		"the same key twice is refused":          {change: change{"status.withheld": append(most(1), most(1)...)}, wantErrors: []string{"status.withheld[1]: Duplicate value"}},
		"the longest names are fine":             {change: withheld(strings.Repeat("a", 63), strings.Repeat("a", 253), strings.Repeat("A", 64))},
		"a longer namespace is refused":          {change: withheld(strings.Repeat("a", 64), "a", "A"), wantErrors: []string{first + ".namespace: Too long: may not be more than 63"}},
		"a longer name is refused":               {change: withheld("a", strings.Repeat("a", 254), "A"), wantErrors: []string{first + ".name: Too long: may not be more than 253"}},
		"a longer reason is refused":             {change: withheld("a", "a", strings.Repeat("A", 65)), wantErrors: []string{first + ".reason: Too long: may not be more than 64"}},
		"empty ones are refused":                 {change: withheld("", "", ""), wantErrors: []string{first + ".namespace: should be at least 1", first + ".name: should be at least 1", first + ".reason: should be at least 1"}},
		"each of them is wanted":                 {change: change{"status.withheld": list(crd.Object{})}, wantErrors: []string{first + ".namespace: Required value", first + ".name: Required value", first + ".reason: Required value"}},
		"50 objects are fine":                    {change: change{"status.objects": many(50, "gateway-keys-%d")}},
		"51 objects are too many":                {change: change{"status.objects": many(51, "gateway-keys-%d")}, wantErrors: []string{"status.objects: Too many: 51: must have at most 50 items"}},
		"the same object twice is refused":       {change: change{"status.objects": list("a", "a")}, wantErrors: []string{`status.objects[1]: Duplicate value: "a"`}},
		"an object without a name is refused":    {change: change{"status.objects": list("")}, wantErrors: []string{"status.objects[0]: should be at least 1 chars long"}},
		"an object of 253 characters is fine":    {change: change{"status.objects": list(strings.Repeat("a", 253))}},
		"an object of 254 characters is refused": {change: change{"status.objects": list(strings.Repeat("a", 254))}, wantErrors: []string{"status.objects[0]: Too long: may not be more than 253"}},
		"a generation is fine":                   {change: change{"status.observedGeneration": 7}},
		"a generation below -1 is refused":       {change: change{"status.observedGeneration": -2}, wantErrors: []string{"status.observedGeneration: should be greater than or equal to -1"}},
		"an empty status is refused":             {change: change{"status": crd.Object{}}, wantErrors: []string{"status: should have at least 1 properties"}},
	}
	for _, path := range []string{"status.keys", "status.credentials", "status.withheldKeys", "status.objectCount"} {
		cases[path+" may be 0"] = testCase{change: change{path: 0}, want: change{path: int64(0)}}
		cases[path+" may be 100000"] = testCase{change: change{path: 100_000}}
		cases[path+" may not be -1"] = testCase{change: change{path: -1}, wantErrors: []string{path + ": should be greater than or equal to 0"}}
	}
	return cases
}

// exportLargest returns the case with the largest spec that the limits allow, which must not exceed the budget of the
// rules.
func exportLargest() testCases {
	accounts, scopes, labels, annotations := []any{}, []any{}, crd.Object{}, crd.Object{}
	for i := range 1000 {
		accounts = append(accounts, fmt.Sprintf("%s-%d", strings.Repeat("a", 58), 1000+i))
	}
	for i := range 64 {
		scopes = append(scopes, fmt.Sprintf("%s:%d", strings.Repeat("a", 125), 10+i))
	}
	domain := strings.TrimSuffix(strings.Repeat(strings.Repeat("a", 62)+".", 4), ".") + "/"
	for i := range 32 {
		name := fmt.Sprintf("%s%s%d", domain, strings.Repeat("b", 61), 10+i)
		labels[name], annotations[name] = strings.Repeat("c", 63), strings.Repeat("é", 4096)
	}
	return testCases{"the largest spec is fine": {change: change{
		"spec.accounts": accounts, "spec.scopes": scopes, "spec.target.name": strings.Repeat("a", 200), "spec.target.type": "example.com/" + strings.Repeat("a", 241),
		"spec.target.labels": labels, "spec.target.annotations": annotations, "spec.entry.name": strings.Repeat("a", 1024), "spec.entry.value": strings.Repeat("a", 4096),
	}}}
}
