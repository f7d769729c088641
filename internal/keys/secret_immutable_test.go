// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys_test

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
)

// The manager does not try a step that the API server would refuse. A key that needs one is stalled.
func TestDecide_ImmutableSecret(t *testing.T) {
	t.Parallel()
	const stalled = "True/SecretImmutable"
	immutable := func(s *keys.SecretContent) { s.Immutable = true }
	for name, tc := range map[string]struct {
		options []keystest.KeyOption
		edit    func(*keys.SecretContent)
		steps   int
		stalled string
		says    string
	}{
		"has all that it needs":             {edit: immutable},
		"lacks a label":                     {edit: func(s *keys.SecretContent) { immutable(s); delete(s.Labels, keys.LabelAccount) }, steps: 1},
		"has an entry too many":             {edit: func(s *keys.SecretContent) { immutable(s); s.Data["more"] = []byte("x") }, stalled: stalled, says: "is immutable"},
		"holds no key":                      {edit: func(s *keys.SecretContent) { immutable(s); s.Data = nil }, stalled: stalled, says: "with a new key"},
		"of a key that is to be rotated":    {options: []keystest.KeyOption{keystest.Requested(keystest.Epoch.Add(time.Minute))}, edit: immutable, stalled: stalled, says: "with a new key"},
		"of a key that was compromised":     {options: []keystest.KeyOption{keystest.RevokedBefore(keystest.Epoch.Add(time.Minute))}, edit: immutable, stalled: stalled, says: "with a new key"},
		"of a revoked key":                  {options: []keystest.KeyOption{keystest.State(v1alpha1.KeyStateRevoked)}, edit: immutable, stalled: stalled, says: "since the key is revoked"},
		"of an inactive key":                {options: []keystest.KeyOption{keystest.State(v1alpha1.KeyStateInactive)}, edit: immutable},
		"has another type":                  {edit: func(s *keys.SecretContent) { s.Type = "example.com/x" }, stalled: stalled, says: "has type example.com/x"},
		"has another type, of no few words": {edit: func(s *keys.SecretContent) { s.Type = "a b\nc" }, stalled: stalled, says: "has type a_b_c"},
		"has no type, which means Opaque":   {edit: func(s *keys.SecretContent) { s.Type = "" }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k, a := keystest.Key("shop", keystest.Issued(keystest.Epoch)), keystest.NewAccount("acme")
			content, err := keys.Render(k, a, keys.SecretCredentials{Current: credentialOf("default/shop")})
			if err != nil {
				t.Fatal(err)
			}
			tc.edit(&content)
			for _, option := range tc.options {
				option(k)
			}
			observed, _ := keys.InspectSecret(k, a, content, "8")
			keystest.Slots(k)(a)
			k.Status.SecretRef = &v1alpha1.SecretRef{Name: "shop", ResourceVersion: "7"}
			f := keys.Facts{Key: k, Account: a, Secret: observed, Settings: keystest.Settings, Now: keystest.Epoch.Add(time.Hour)}
			plan := keys.Decide(f)
			if found := f.Repairs.After(f, plan, true).FoundChangeAt; len(plan.Steps) != tc.steps || found.IsZero() != (tc.steps == 0) {
				t.Errorf("the plan is %+v, want %d steps; a change was found at %s", plan, tc.steps, found)
			}
			after := keys.Describe(f)
			if got := conditionOf(after, v1alpha1.ConditionStalled); got != tc.stalled || !strings.Contains(message(after, v1alpha1.ConditionStalled), tc.says) {
				t.Errorf("Stalled is %q: %s", got, message(after, v1alpha1.ConditionStalled))
			}
		})
	}
}

// A Secret offered for adoption holds the only copy of a key, so no message advises to delete it.
func TestObserveSecret_UnchangeableOffer(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		shape keys.SecretContent
		want  string
	}{
		"immutable, as it is to be":        {shape: keys.SecretContent{Immutable: true}},
		"immutable, with an entry more":    {shape: keys.SecretContent{Immutable: true, Data: map[string][]byte{"more": []byte("x")}}, want: "it is immutable"},
		"of another type":                  {shape: keys.SecretContent{Type: "kubernetes.io/basic-auth"}, want: "it has type kubernetes.io/basic-auth"},
		"of another type, of no few words": {shape: keys.SecretContent{Type: "a b"}, want: "it has type a_b"},
	} {
		k, a := keystest.Key("shop"), keystest.NewAccount("acme", keystest.ImportAllowed())
		if tc.shape.Data == nil {
			tc.shape.Data = map[string][]byte{}
		}
		tc.shape.Data[keys.EntryCurrent] = keystest.MaterialOf("theirs")
		tc.shape.Annotations = map[string]string{v1alpha1.AdoptAnnotation: k.Name}
		observed, _ := keys.ObserveSecret(k, a, &metav1.ObjectMeta{Annotations: tc.shape.Annotations}, tc.shape)
		if observed.Ownership != keys.SecretOffered || !strings.HasPrefix(observed.OfferProblem, tc.want) || (tc.want == "") != (observed.OfferProblem == "") || strings.Contains(observed.OfferProblem, "delete") {
			t.Errorf("%s: %s, %q", name, observed.Ownership, observed.OfferProblem)
		}
	}
}

func TestSecretConflict_NamesOwner(t *testing.T) {
	t.Parallel()
	yes := true
	for name, tc := range map[string]struct {
		owners []metav1.OwnerReference
		want   string
	}{
		"another APIKey":   {[]metav1.OwnerReference{{APIVersion: v1alpha1.GroupVersion.String(), Kind: "APIKey", Name: "other", UID: "x", Controller: &yes}}, "by APIKey other:"},
		"another kind":     {[]metav1.OwnerReference{{APIVersion: "cert-manager.io/v1", Kind: "Certificate", Name: "web", UID: "x", Controller: &yes}}, "by Certificate web:"},
		"no controller":    {[]metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: "p", UID: "x"}}, "by Pod p:"},
		"the controller":   {[]metav1.OwnerReference{{Kind: "Pod", Name: "p", UID: "x"}, {Kind: "Job", Name: "j", UID: "y", Controller: &yes}}, "by Job j:"},
		"a hostile name":   {[]metav1.OwnerReference{{Kind: "A\nB", Name: strings.Repeat("<", 300), UID: "x"}}, "by A_B ______"},
		"no owner at all":  {nil, "annotate it with apikey-manager.io/adopt=shop; or create this APIKey again"},
		"itself, no owner": {[]metav1.OwnerReference{{APIVersion: v1alpha1.GroupVersion.String(), Kind: "APIKey", Name: "shop", UID: "uid-shop"}}, "by APIKey shop:"},
	} {
		k := keystest.Key("shop")
		for _, account := range []*v1alpha1.Account{keystest.NewAccount("acme", keystest.Slots(k)), keystest.NewAccount("acme", keystest.ImportAllowed(), keystest.Slots(k))} {
			observed, _ := keys.ObserveSecret(k, account, &metav1.ObjectMeta{OwnerReferences: tc.owners}, keys.SecretContent{})
			after := keys.Describe(keys.Facts{Key: k, Account: account, Secret: observed, Settings: keystest.Settings, Now: keystest.Epoch})
			text := message(after, v1alpha1.ConditionStalled)
			if conditionOf(after, v1alpha1.ConditionStalled) != "True/SecretConflict" || !strings.Contains(text, tc.want) || len(text) > 256 {
				t.Errorf("%s: %q", name, text)
			}
			if len(tc.owners) > 0 && (strings.Contains(text, "delete") || strings.Contains(text, "adopt")) {
				t.Errorf("%s: advises against the owner: %q", name, text)
			}
		}
	}
}
