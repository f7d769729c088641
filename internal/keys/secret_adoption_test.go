// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/credential"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
)

const zeroUUID = "00000000-0000-4000-8000-000000000000"

// ownedBy returns an object owned by the key with a UID, as user bob can write it.
func ownedBy(uid string, annotations map[string]string) *metav1.ObjectMeta {
	m := &metav1.ObjectMeta{ResourceVersion: "7", Annotations: annotations}
	if uid != "" {
		controller := true
		m.OwnerReferences = []metav1.OwnerReference{{
			APIVersion: v1alpha1.GroupVersion.String(), Kind: "APIKey", Name: "shop", UID: keystest.Key("shop", keystest.UID(uid)).UID, Controller: &controller,
		}}
	}
	return m
}

func TestObserveSecret_Adoption(t *testing.T) {
	t.Parallel()
	adopt := map[string]string{v1alpha1.AdoptAnnotation: "shop"}
	imports, forbids := keystest.NewAccount("acme", keystest.ImportAllowed()), keystest.NewAccount("acme")
	good, known := string([]byte(keystest.MaterialOf("stolen"))), string([]byte(keystest.MaterialOf("default/shop")))
	uuid := keystest.Format(v1alpha1.Format{Type: v1alpha1.FormatUUID})
	templated := keystest.Data(map[string]string{"config.json": `{"k":{{ .Key | quote }}}`, "key": "{{ .Key }}"})
	for name, tc := range map[string]struct {
		key        *v1alpha1.APIKey
		account    *v1alpha1.Account
		object     *metav1.ObjectMeta
		data       map[string]string
		possession keys.Ownership
		offered    bool
		problem    string // part of it
	}{
		"forged owner":                       {object: ownedBy("uid-shop", nil), data: map[string]string{"api-key": good}, possession: keys.SecretOwned},
		"forged owner, all-zero UUID":        {key: keystest.Key("shop", uuid), object: ownedBy("uid-shop", nil), data: map[string]string{"api-key": zeroUUID}, possession: keys.SecretOwned},
		"forged owner, import allowed":       {account: imports, object: ownedBy("uid-shop", nil), data: map[string]string{"api-key": good}, possession: keys.SecretOwned},
		"forged owner, template":             {key: keystest.Key("shop", templated), account: imports, object: ownedBy("uid-shop", nil), data: map[string]string{"key": good}, possession: keys.SecretOwned},
		"annotated, import forbidden":        {object: ownedBy("", adopt), data: map[string]string{"api-key": good}, possession: keys.SecretForeign},
		"annotated, no account":              {account: &v1alpha1.Account{}, object: ownedBy("", adopt), data: map[string]string{"api-key": good}, possession: keys.SecretForeign},
		"owned, annotated, import forbidden": {object: ownedBy("uid-shop", adopt), data: map[string]string{"api-key": good}, possession: keys.SecretOwned},
		"for another key":                    {account: imports, object: ownedBy("", map[string]string{v1alpha1.AdoptAnnotation: "other"}), data: map[string]string{"api-key": good}, possession: keys.SecretForeign},
		"of a deleted key":                   {account: imports, object: ownedBy("uid-before", adopt), data: map[string]string{"api-key": good}, possession: keys.SecretOrphaned},
		"of another object": {
			account: imports, object: &metav1.ObjectMeta{Annotations: adopt, OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: "a", UID: "b"}}},
			data: map[string]string{"api-key": good}, possession: keys.SecretForeign,
		},
		"annotated":                         {account: imports, object: ownedBy("", adopt), data: map[string]string{"api-key": good}, possession: keys.SecretOffered, offered: true},
		"annotated, and taken over already": {account: imports, object: ownedBy("uid-shop", adopt), data: map[string]string{"api-key": good}, possession: keys.SecretOwned, offered: true},
		"annotated, template":               {key: keystest.Key("shop", templated), account: imports, object: ownedBy("", adopt), data: map[string]string{"key": good}, possession: keys.SecretOffered, offered: true},
		"template without the entry":        {key: keystest.Key("shop", templated), account: imports, object: ownedBy("", adopt), data: map[string]string{"api-key": good}, possession: keys.SecretOffered, problem: "it has no entry key"},
		"template, no entry is the key":     {key: keystest.Key("shop", keystest.Data(map[string]string{"c": "k={{ .Key }}"})), account: imports, object: ownedBy("", adopt), data: map[string]string{"c": "k=" + good}, possession: keys.SecretOffered, problem: "spec.secret.template.data"},
		"template, two keys": {
			key: keystest.Key("shop", keystest.Data(map[string]string{"a": "{{ .Key }}", "b": "{{ .Key }}"})), account: imports, object: ownedBy("", adopt),
			data: map[string]string{"a": good, "b": known}, possession: keys.SecretOffered, problem: "a and b hold different keys",
		},
		"all-zero UUID":                     {account: imports, object: ownedBy("", adopt), data: map[string]string{"api-key": zeroUUID}, possession: keys.SecretOffered, problem: "is not random"},
		"nothing":                           {account: imports, object: ownedBy("", adopt), possession: keys.SecretOffered, problem: "it has no entry api-key"},
		"a revoked key":                     {key: keystest.Key("shop", keystest.State(v1alpha1.KeyStateRevoked)), account: imports, object: ownedBy("", adopt), data: map[string]string{"api-key": good}, possession: keys.SecretForeign},
		"an issued key, another credential": {key: keystest.Key("shop", keystest.Issued(keystest.Epoch)), account: imports, object: ownedBy("", adopt), data: map[string]string{"api-key": good}, possession: keys.SecretForeign},
		"an issued key, its own credential": {key: keystest.Key("shop", keystest.Issued(keystest.Epoch)), account: imports, object: ownedBy("", adopt), data: map[string]string{"api-key": known}, possession: keys.SecretOffered},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if tc.key == nil {
				tc.key = keystest.Key("shop")
			}
			if tc.account == nil {
				tc.account = forbids
			}
			data := map[string][]byte{}
			for entry, value := range tc.data {
				data[entry] = []byte(value)
			}
			observed, credentials := keys.ObserveSecret(tc.key, tc.account, tc.object, keys.SecretContent{Annotations: tc.object.Annotations, Data: data})
			if observed.Ownership != tc.possession || observed.IsOffered != tc.offered {
				t.Errorf("%s, offered %t; want %s, %t", observed.Ownership, observed.IsOffered, tc.possession, tc.offered)
			}
			if (observed.OfferProblem == "") != (tc.problem == "") || !strings.Contains(observed.OfferProblem, tc.problem) {
				t.Errorf("problem %q, want %q", observed.OfferProblem, tc.problem)
			}
			for _, value := range tc.data {
				if strings.Contains(fmt.Sprintf("%+v", observed), value[9:]) {
					t.Errorf("%+v shows the key", observed)
				}
			}
			if !tc.offered && !keys.Issued(tc.key) && len(credentials.Current.Material) > 0 {
				t.Error("a credential that was not offered was taken from the Secret")
			}
		})
	}
}

// A tenant writes the Secret that is offered for adoption, and may choose a weak key on purpose.
func TestAdoption_RefusesWeakKeys(t *testing.T) {
	t.Parallel()
	for value, part := range map[string]string{
		strings.Repeat("a", 40):                "repeat or count up",
		strings.Repeat("abc", 20):              "repeat or count up",
		strings.Repeat("correcthorse", 4):      "repeat or count up",
		strings.Repeat("0", 64):                "repeat or count up",
		"abcdefghijklmnopqrstuvwxyz0123456789": "repeat or count up",
		zeroUUID:                               "repeat or count up",
		"ffffffff-ffff-4fff-bfff-ffffffffffff": "repeat or count up",
		"c232ab00-9414-11ec-b3c8-9f6bdeced846": "version other than 4",
		"018f0d3c-7d1e-7cc1-a3f0-1b2f3c4d5e6f": "version other than 4",
		"2ed6657d-e927-568b-95e1-2665a8aea6a2": "version other than 4",
		"a8f3k2":                               "22 to 256 characters",
		"9f8e7d6c5b4a39281706":                 "22 to 256 characters",
		"83920174650918273645019":              "less than 122 bits",
		"9f8e7d6c5b4a392817069f":               "less than 122 bits",
		strings.Repeat("Zx9-Q", 60):            "22 to 256 characters",
		"q8R2v7Lx Tz4Kp9Wm3Nc6Bd1":             "white space",
		"q8R2v7LxTz4Kp9Wm3Nc6Bd1\n":            "white space",
		"q8R2v7LxTz4Kp9Wm3Nc6Bd1\u00e9":        "printable ASCII",
		"q8R2v7LxTz4Kp9Wm3Nc6Bd1\x00":          "printable ASCII",
		"":                                     "22 to 256 characters",
	} {
		observed, _ := keys.ObserveSecret(keystest.Key("shop"), keystest.NewAccount("acme", keystest.ImportAllowed()), ownedBy("", map[string]string{v1alpha1.AdoptAnnotation: "shop"}),
			keys.SecretContent{Annotations: map[string]string{v1alpha1.AdoptAnnotation: "shop"}, Data: map[string][]byte{"api-key": []byte(value)}})
		if observed.IsOffered || !strings.Contains(observed.OfferProblem, part) || !strings.Contains(observed.OfferProblem, "entry api-key") {
			t.Errorf("%q: offered %t, problem %q, want %q", value, observed.IsOffered, observed.OfferProblem, part)
		}
	}
}

// Keys of all formats and of common generators are adopted.
func TestAdoption_AcceptsStrongKeys(t *testing.T) {
	t.Parallel()
	annotations := map[string]string{v1alpha1.AdoptAnnotation: "shop"}
	problem := func(value credential.Material) string {
		observed, _ := keys.ObserveSecret(keystest.Key("shop"), keystest.NewAccount("acme", keystest.ImportAllowed()), ownedBy("", annotations),
			keys.SecretContent{Annotations: annotations, Data: map[string][]byte{"api-key": value}})
		return observed.OfferProblem
	}
	random := &keystest.Bytes{Seed: "strong"}
	for _, f := range []credential.Format{
		{Type: v1alpha1.FormatToken, Prefix: "ak"},
		{Type: v1alpha1.FormatUUID},
		{Type: v1alpha1.FormatAlphanumeric, Length: 22},
		{Type: v1alpha1.FormatAlphanumeric, Length: 256},
		{Type: v1alpha1.FormatHex, Length: 32},
		{Type: v1alpha1.FormatHex, Length: 256},
	} {
		for range 5000 {
			m, err := f.Generate(random)
			if err != nil {
				t.Fatal(err)
			}
			if p := problem(m.Material); p != "" {
				t.Fatalf("a %s of %d characters: %s", f.Type, f.Length, p)
			}
		}
	}
	for _, value := range []string{
		"sk_live_51HqLyJ2eZvKYlo2C8q3RtYxW", "SG.ngeVfQFYQlKU0ufo8x5d1A.TwL2iGABf9DHoTf", "F1C2A7D4-5B0E-4C39-8E21-6A9D0F4B7C58", "hV7/pQ2r+9sXzKc3Lm5nTw==",
	} {
		if p := problem(credential.Material(value)); p != "" {
			t.Errorf("%s: %s", value, p)
		}
	}
}

func TestCheckPolicy_Duplicates(t *testing.T) {
	t.Parallel()
	day := 24 * time.Hour
	at := func(d time.Duration) time.Time { return keystest.Epoch.Add(d) }
	has := func(issued time.Duration, options ...keystest.KeyOption) *v1alpha1.APIKey {
		return keystest.Key("mine", append(options, keystest.WithCredential("shared", v1alpha1.RoleCurrent, at(issued)))...)
	}
	other := func(issued time.Duration, options ...keystest.KeyOption) *v1alpha1.APIKey {
		return keystest.Key("theirs", append(options, keystest.WithCredential("shared", v1alpha1.RoleCurrent, at(issued)))...)
	}
	gone := keystest.Key("theirs", keystest.Revoked("shared", at(0)))
	for name, tc := range map[string]struct {
		key, other *v1alpha1.APIKey
		want       string // part of the message; empty: accepted
	}{
		"issued here later":                      {has(day), other(0), "issued to APIKey theirs first"},
		"issued here later, in another place":    {has(day), other(0, keystest.Namespace("secret-place")), "issued to another APIKey first"},
		"issued here first":                      {has(0), other(day), ""},
		"issued here first to a younger key":     {has(0, keystest.Created(at(day))), other(day), ""},
		"issued at once, and the other is older": {has(0), other(0, keystest.Created(at(-day))), "issued to APIKey theirs first"},
		"issued at once, and this is older":      {has(0), other(0, keystest.Created(at(day))), ""},
		"all the same: by UID":                   {has(0), other(0, keystest.UID("uid-a")), "issued to APIKey theirs first"},
		"the other is being deleted":             {has(day), other(0, keystest.Deleting(at(day))), ""},
		"the other revoked it":                   {has(day), gone, "issued to APIKey theirs first"},
		"the other got it later, and revoked it": {has(-day), gone, ""},
		"another digest":                         {keystest.Key("mine", keystest.Issued(at(day))), other(0), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := keys.Facts{Key: tc.key, Account: keystest.NewAccount("acme", keystest.Slots(tc.key)), Secret: keystest.ObservedSecret("shared"), Duplicates: []*v1alpha1.APIKey{tc.other}, Settings: keystest.Settings, Now: at(2 * day)}
			r := keys.CheckPolicy(f)
			switch {
			case tc.want == "" && r != nil:
				t.Errorf("refused: %+v", r)
			case tc.want == "":
			case r == nil || r.Reason != v1alpha1.ReasonDuplicateKey || !strings.Contains(r.Message, tc.want) || strings.Contains(r.Message, "secret-place"):
				t.Errorf("got %+v, want %s: %s", r, v1alpha1.ReasonDuplicateKey, tc.want)
			default:
				after := keys.Describe(f)
				if conditionOf(after, v1alpha1.ConditionStalled) != "True/DuplicateKey" || after.State != v1alpha1.StatePending {
					t.Errorf("%s, Stalled %s", after.State, conditionOf(after, v1alpha1.ConditionStalled))
				}
			}
		})
	}
}

// Credentials are recorded as revoked by revokeBefore and together with the key, up to the limit.
func TestDescribe_KeepsRevokedCredentials(t *testing.T) {
	t.Parallel()
	at := keystest.Epoch.Add(time.Hour)
	three := func(options ...keystest.KeyOption) *v1alpha1.APIKey {
		k := keystest.Key("shop", append(options, keystest.WithCredential("before", v1alpha1.RolePrevious, keystest.Epoch), keystest.Issued(keystest.Epoch), keystest.WithCredential("next", v1alpha1.RoleStaged, keystest.Epoch))...)
		k.Status.Credentials[0].NotAfter = &metav1.Time{Time: at.Add(time.Hour)}
		return k
	}
	minted := keystest.ObservedSecret("fresh")
	minted.JustIssued = true
	full := three(keystest.RevokedBefore(at))
	for i := range 128 {
		keystest.Revoked(fmt.Sprint("old ", i), keystest.Epoch)(full)
	}
	for name, tc := range map[string]struct {
		key   *v1alpha1.APIKey
		held  keys.ObservedSecret
		want  []string
		count int
	}{
		"nothing is revoked":           {key: three(), held: keystest.ObservedSecret("default/shop")},
		"a compromise":                 {key: three(keystest.RevokedBefore(at)), held: minted, want: []string{"before", "default/shop", "next"}, count: 3},
		"the whole key":                {key: three(keystest.State(v1alpha1.KeyStateRevoked)), held: keys.ObservedSecret{Ownership: keys.SecretOwned}, want: []string{"before", "next"}, count: 2},
		"a compromise, and no room":    {key: full, held: minted, want: []string{"before", "default/shop", "next", "old 3"}, count: 128},
		"the compromise is taken back": {key: three(keystest.Revoked("leaked", keystest.Epoch)), held: keystest.ObservedSecret("default/shop"), want: []string{"leaked"}, count: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := keys.Facts{Key: tc.key, Account: keystest.NewAccount("acme", keystest.Slots(tc.key)), Secret: tc.held, Settings: keystest.Settings, Now: at}
			after := keys.Describe(f)
			if len(after.RevokedCredentials) != tc.count {
				t.Errorf("%d are known as revoked, want %d", len(after.RevokedCredentials), tc.count)
			}
			known := map[string]bool{}
			for _, c := range after.RevokedCredentials {
				known[c.SHA256] = true
			}
			for _, name := range tc.want {
				if !known[keystest.CredentialOf(name).SHA256] {
					t.Errorf("%s is not known as revoked", name)
				}
			}
		})
	}
}

// The message never advises to delete a Secret, which may hold the only copy of a key.
func TestSecretConflict_AdvisesAdoption(t *testing.T) {
	t.Parallel()
	shop := keystest.Key("shop")
	for name, tc := range map[string]struct {
		key     *v1alpha1.APIKey
		account *v1alpha1.Account
		want    string
	}{
		"allowed":   {shop, keystest.NewAccount("acme", keystest.ImportAllowed(), keystest.Slots(shop)), "to adopt the key in it, annotate it with apikey-manager.io/adopt=shop; or create"},
		"forbidden": {shop, keystest.NewAccount("acme", keystest.Slots(shop)), "to adopt the key in it, set spec.importPolicy of account acme to Allow, and annotate it"},
		"issued":    {keystest.Key("shop", keystest.Issued(now)), keystest.NewAccount("acme", keystest.ImportAllowed(), keystest.Slots(shop)), "put the key's own Secret back, or create"},
	} {
		after := keys.Describe(keys.Facts{Key: tc.key, Account: tc.account, Secret: keys.ObservedSecret{Ownership: keys.SecretForeign}, Settings: keystest.Settings, Now: now})
		text := message(after, v1alpha1.ConditionStalled)
		if !strings.Contains(text, tc.want) || strings.Contains(text, "delete") || conditionOf(after, v1alpha1.ConditionStalled) != "True/SecretConflict" {
			t.Errorf("%s: %q", name, text)
		}
	}
}
