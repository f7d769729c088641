// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	kjson "k8s.io/apimachinery/pkg/util/json"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

func decoder(tb testing.TB) runtime.Decoder {
	tb.Helper()
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		tb.Fatal(err)
	}
	return serializer.NewCodecFactory(scheme).UniversalDeserializer()
}

const keyText = `{"apiVersion":"apikey-manager.io/v1alpha1","kind":"APIKey","metadata":{"name":"%s","namespace":"shop","uid":"u-1","resourceVersion":"7"},"spec":%s,"status":%s}`

// TestAPIKey_DecodesWhatItCan checks that a field that cannot be decoded is recorded and left at its zero value, and
// that all other fields are decoded.
func TestAPIKey_DecodesWhatItCan(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		spec, status string
		want         []string
	}{
		"all is well":              {`{"account":"acme","label":"Tienda"}`, `{"state":"Active"}`, nil},
		"a number for a text":      {`{"account":"acme","label":5}`, `{"state":"Active"}`, []string{"spec.label"}},
		"a text for an object":     {`{"account":"acme","rotation":"daily"}`, `{"state":"Active"}`, []string{"spec.rotation"}},
		"half of an object is bad": {`{"account":"acme","notification":{"locale":"es","daysBefore":["x"]}}`, `{}`, []string{"spec.notification"}},
		"a number beyond int32":    {`{"account":"acme","format":{"length":99999999999}}`, `{}`, []string{"spec.format"}},
		"a fraction":               {`{"account":"acme","format":{"length":22.5}}`, `{}`, []string{"spec.format"}},
		"no account":               {`{"account":["acme"]}`, `{}`, []string{"spec.account"}},
		"a spec that is a text":    {`"acme"`, `{"state":"Active"}`, []string{"spec"}},
		"a time in the status":     {`{"account":"acme"}`, `{"state":"Active","expirationTime":"2026-12-01t09:00:00z"}`, []string{"status.expirationTime"}},
		"a status that is a list":  {`{"account":"acme"}`, `[]`, []string{"status"}},
		"several":                  {`{"account":"acme","label":{},"scopes":"x"}`, `{"history":7}`, []string{"spec.label", "spec.scopes", "status.history"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			key := &v1alpha1.APIKey{}
			if err := runtime.DecodeInto(decoder(t), fmt.Appendf(nil, keyText, "a", tc.spec, tc.status), key); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, key.Undecodable); diff != "" {
				t.Errorf("undecodable (-want +got):\n%s", diff)
			}
			if key.Name != "a" || key.ResourceVersion != "7" || key.Kind != "APIKey" {
				t.Errorf("metadata is %+v", key.ObjectMeta)
			}
			if key.Spec.Notification != nil || key.Spec.Label != "" && tc.want != nil || key.Spec.Format != nil {
				t.Errorf("half of a field is there: %+v", key.Spec)
			}
			if !slices.Contains(tc.want, "spec") && !slices.Contains(tc.want, "spec.account") && key.Spec.Account != "acme" {
				t.Errorf("the account is %q", key.Spec.Account)
			}
			if got := key.DeepCopy().Undecodable; !slices.Equal(got, tc.want) {
				t.Errorf("a copy says %q", got)
			}
		})
	}
}

// TestAPIKey_BadOneInAListHurtsNoOther decodes a list as a client does.
func TestAPIKey_BadOneInAListHurtsNoOther(t *testing.T) {
	t.Parallel()
	good, bad := fmt.Sprintf(keyText, "good", `{"account":"acme"}`, `{}`), fmt.Sprintf(keyText, "bad", `{"account":"acme","rotation":{"interval":5}}`, `{}`)
	text := `{"apiVersion":"apikey-manager.io/v1alpha1","kind":"APIKeyList","metadata":{"resourceVersion":"9"},"items":[` + good + "," + bad + "," + good + `]}`
	list := &v1alpha1.APIKeyList{}
	if err := runtime.DecodeInto(decoder(t), []byte(text), list); err != nil {
		t.Fatal(err)
	}
	if len(list.Items) != 3 || list.Items[0].Undecodable != nil || list.Items[1].Undecodable == nil || list.Items[2].Undecodable != nil {
		t.Errorf("items are %+v", list.Items)
	}
}

// TestAccount_DecodesWhatItCan checks the same for Accounts.
func TestAccount_DecodesWhatItCan(t *testing.T) {
	t.Parallel()
	account := &v1alpha1.Account{}
	text := `{"apiVersion":"apikey-manager.io/v1alpha1","kind":"Account","metadata":{"name":"acme"},"spec":{"deletionPolicy":"Forbid","limits":{"maxKeys":"5"}},"status":{"deletionPolicy":"Forbid"}}`
	if err := runtime.DecodeInto(decoder(t), []byte(text), account); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(account.Undecodable, []string{"spec.limits"}) || account.Spec.DeletionPolicy != v1alpha1.DeletionForbid || account.Name != "acme" {
		t.Errorf("account is %+v", account)
	}
}

// TestKeyExport_DecodesWhatItCan checks the same for KeyExports.
func TestKeyExport_DecodesWhatItCan(t *testing.T) {
	t.Parallel()
	const text = `{"apiVersion":"apikey-manager.io/v1alpha1","kind":"KeyExport","metadata":{"name":"a","namespace":"gateway"},"spec":%s,"status":%s}`
	for name, tc := range map[string]struct {
		spec, status string
		want         []string
	}{
		"all is well":                {`{"target":{"kind":"Secret","name":"keys"}}`, `{"keys":5}`, nil},
		"a text for a list":          {`{"accounts":"acme","target":{"kind":"Secret","name":"keys"}}`, `{}`, []string{"spec.accounts"}},
		"half of the target is bad":  {`{"target":{"kind":"Secret","name":"keys","labels":["x"]}}`, `{}`, []string{"spec.target"}},
		"a selector that is a list":  {`{"accountSelector":[],"target":{"kind":"Secret","name":"keys"}}`, `{}`, []string{"spec.accountSelector"}},
		"a number beyond int32":      {`{"target":{"kind":"Secret","name":"keys"}}`, `{"keys":99999999999}`, []string{"status.keys"}},
		"a time in the status":       {`{"target":{"kind":"Secret","name":"keys"}}`, `{"conditions":[{"lastTransitionTime":"never"}]}`, []string{"status.conditions"}},
		"a spec that is a text":      {`"all"`, `{}`, []string{"spec"}},
		"several":                    {`{"content":5,"entry":"{{ .Key }}"}`, `{"objects":7}`, []string{"spec.content", "spec.entry", "status.objects"}},
		"the target is an old field": {`{"target":"keys","content":"Key"}`, `{}`, []string{"spec.target"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			export := &v1alpha1.KeyExport{}
			if err := runtime.DecodeInto(decoder(t), fmt.Appendf(nil, text, tc.spec, tc.status), export); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, export.Undecodable); diff != "" {
				t.Errorf("undecodable (-want +got):\n%s", diff)
			}
			if export.Name != "a" || export.Namespace != "gateway" || export.Kind != "KeyExport" {
				t.Errorf("metadata is %+v", export.ObjectMeta)
			}
			if slices.Contains(tc.want, "spec.target") && export.Spec.Target.Name != "" {
				t.Errorf("half of the target is there: %+v", export.Spec.Target)
			}
			if got := export.DeepCopy().Undecodable; !slices.Equal(got, tc.want) {
				t.Errorf("a copy has %q", got)
			}
			if again := roundTrip(t, export); !slices.Equal(again.Undecodable, nil) || again.Spec.Content != export.Spec.Content {
				t.Errorf("what was encoded decodes to %+v", again)
			}
		})
	}
}

func roundTrip(t *testing.T, export *v1alpha1.KeyExport) *v1alpha1.KeyExport {
	t.Helper()
	text, err := json.Marshal(export)
	if err != nil || strings.Contains(strings.ToLower(string(text)), "undecodable") {
		t.Fatalf("%v: %s", err, text)
	}
	again := &v1alpha1.KeyExport{}
	if err := kjson.Unmarshal(text, again); err != nil {
		t.Fatal(err)
	}
	return again
}

// TestUndecodable_IsNoFieldOfTheAPI checks that a client cannot set Undecodable, that it is not encoded, and that it is
// cleared once every field can be decoded.
func TestUndecodable_IsNoFieldOfTheAPI(t *testing.T) {
	t.Parallel()
	key := &v1alpha1.APIKey{Undecodable: []string{"spec.label"}}
	text := strings.Replace(fmt.Sprintf(keyText, "a", `{"account":"acme"}`, `{}`), `"spec"`, `"Undecodable":["x"],"undecodable":["x"],"spec"`, 1)
	if err := kjson.Unmarshal([]byte(text), key); err != nil || key.Undecodable != nil {
		t.Errorf("%v: undecodable is %q", err, key.Undecodable)
	}
	key.Undecodable = []string{"spec.label"}
	written, err := json.Marshal(key)
	if err != nil || strings.Contains(string(written), "label") {
		t.Errorf("%v: %s", err, written)
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(key)
	if err != nil || len(content) > 5 {
		t.Errorf("%v: %v", err, content)
	}
	content["spec"] = map[string]any{"account": "acme", "scopes": int64(5)}
	again := &v1alpha1.APIKey{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(content, again); err != nil || !slices.Equal(again.Undecodable, []string{"spec.scopes"}) {
		t.Errorf("%v: undecodable is %q", err, again.Undecodable)
	}
}

// TestUnmarshalJSON_RefusesWhatIsNoObject checks that an error is returned if the metadata cannot be decoded.
func TestUnmarshalJSON_RefusesWhatIsNoObject(t *testing.T) {
	t.Parallel()
	for _, text := range []string{`5`, `"x"`, `{"metadata":5}`, `{"spec"`, `[]`} {
		if err := kjson.Unmarshal([]byte(text), &v1alpha1.APIKey{}); err == nil {
			t.Errorf("%s is an APIKey", text)
		}
	}
}

// plainKey and plainList have the fields of an APIKey but not its UnmarshalJSON.
type (
	plainKey  v1alpha1.APIKey
	plainList struct {
		metav1.TypeMeta `json:",inline"`
		metav1.ListMeta `json:"metadata"`

		Items []plainKey `json:"items"`
	}
)

// BenchmarkDecodeList compares the decoding of a list of 10,000 keys with and without APIKey.UnmarshalJSON.
func BenchmarkDecodeList(b *testing.B) {
	const total = 10_000
	key := fmt.Sprintf(keyText, "shop-key", `{"account":"acme","label":"Tienda","state":"Active","scopes":["conversions:write","reports:*"],"expiration":"2027-02-28"}`,
		`{"conditions":[{"type":"Ready","status":"True","reason":"Active","message":"The key is in use","lastTransitionTime":"2026-11-22T12:00:00Z","observedGeneration":1},`+
			`{"type":"Accepted","status":"True","reason":"Accepted","message":"The key is accepted","lastTransitionTime":"2026-11-22T12:00:00Z","observedGeneration":1},`+
			`{"type":"Valid","status":"True","reason":"Active","message":"Verifiers accept the key","lastTransitionTime":"2026-11-22T12:00:00Z","observedGeneration":1}],`+
			`"observedGeneration":1,"state":"Active","keyID":"3kTmR9vWq2Yx","expirationTime":"2027-02-28T00:00:00Z","ipRestriction":"Unrestricted","secretRef":{"name":"shop-key","resourceVersion":"4712"},`+
			`"credentials":[{"id":"3kTmR9vWq2Yx","hint":"ak_3kTmR9vWq2Yx","sha256":"`+strings.Repeat("0a", 32)+`","issuedAt":"2026-11-22T12:00:00Z","role":"Current"}],`+
			`"history":[{"time":"2026-11-22T12:00:00Z","reason":"Issued","message":"Issued credential 3kTmR9vWq2Yx"}]}`)
	b.Run("watched, tolerant", func(b *testing.B) { // as a watch decodes each object
		decoder := decoder(b)
		for b.Loop() {
			if _, _, err := decoder.Decode([]byte(key), nil, nil); err != nil {
				b.Fatal(err)
			}
		}
	})
	text := []byte(`{"apiVersion":"apikey-manager.io/v1alpha1","kind":"APIKeyList","metadata":{},"items":[` + strings.Repeat(key+",", total-1) + key + `]}`)
	for name, list := range map[string]func() any{
		"tolerant": func() any { return &v1alpha1.APIKeyList{} },
		"plain":    func() any { return &plainList{} },
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				if err := kjson.Unmarshal(text, list()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
