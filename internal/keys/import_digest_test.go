// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
)

// importing returns the facts of a key that imports a digest, under an account that allows it.
func importing(options ...keystest.KeyOption) keys.Facts {
	k := keystest.Key("shop", append([]keystest.KeyOption{keystest.Import("elsewhere")}, options...)...)
	return keys.Facts{
		Key: k, Account: keystest.NewAccount("acme", keystest.ImportAllowed(), keystest.Slots(k)), Secret: keys.ObservedSecret{Ownership: keys.SecretMissing},
		Settings: keystest.Settings, Now: keystest.Epoch,
	}
}

func TestImport_FirstStatus(t *testing.T) {
	t.Parallel()
	digest := keystest.CredentialOf("elsewhere").SHA256
	for name, tc := range map[string]struct {
		facts      keys.Facts
		wantState  v1alpha1.ObservedState
		wantDigest bool
	}{
		"accepted":                {importing(), v1alpha1.StateActive, true},
		"inactive":                {importing(keystest.State(v1alpha1.KeyStateInactive)), v1alpha1.StateInactive, true},
		"expired":                 {importing(keystest.Expiring(keystest.Epoch)), v1alpha1.StateExpired, false},
		"revoked":                 {importing(keystest.State(v1alpha1.KeyStateRevoked)), v1alpha1.StateRevoked, false},
		"revoked by this key":     {importing(keystest.Revoked("elsewhere", keystest.Epoch)), v1alpha1.StatePending, false},
		"beside another's Secret": {withSecret(importing(), keys.ObservedSecret{Ownership: keys.SecretForeign}), v1alpha1.StateActive, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			plan, after := keys.Decide(tc.facts), keys.Describe(tc.facts)
			if len(plan.Steps) > 0 || after.State != tc.wantState || (len(after.Credentials) == 1) != tc.wantDigest {
				t.Fatalf("steps %v, state %s, credentials %v", plan.Steps, after.State, after.Credentials)
			}
			if tc.wantDigest && (after.Credentials[0].SHA256 != digest || after.Credentials[0].ID != keystest.CredentialOf("elsewhere").ID) {
				t.Errorf("credential %+v", after.Credentials[0])
			}
			if tc.wantState == v1alpha1.StateActive && conditionOf(after, v1alpha1.ConditionReady) != "True/Active" {
				t.Errorf("Ready is %s: %s", conditionOf(after, v1alpha1.ConditionReady), message(after, v1alpha1.ConditionReady))
			}
		})
	}
}

func withSecret(f keys.Facts, observed keys.ObservedSecret) keys.Facts {
	f.Secret = observed
	return f
}

func TestImport_Violations(t *testing.T) {
	t.Parallel()
	forbidden, taken, free := importing(), importing(), importing()
	forbidden.Account.Spec.ImportPolicy = v1alpha1.ImportForbid
	taken.Duplicates = []*v1alpha1.APIKey{keystest.Key("theirs", keystest.Namespace("secret-place"), keystest.Revoked("elsewhere", keystest.Epoch))}
	free.Key.Status.Credentials = []v1alpha1.Credential{keystest.CredentialOf("elsewhere")}
	free.Account.Spec.ImportPolicy = v1alpha1.ImportForbid
	malformed := importing()
	malformed.Key.Spec.Import = &v1alpha1.Import{SHA256: strings.Repeat("A", 64), Hint: "nine chars"}
	for name, tc := range map[string]struct {
		facts keys.Facts
		want  string
	}{
		"the account forbids it":              {forbidden, v1alpha1.ReasonImportNotAllowed},
		"the account forbids it only now":     {free, ""},
		"another key has, or has revoked, it": {taken, v1alpha1.ReasonDuplicateKey},
		"it came in under another schema":     {malformed, v1alpha1.ReasonInvalidSpec},
	} {
		r := keys.CheckPolicy(tc.facts)
		switch {
		case tc.want == "" && r != nil, tc.want != "" && (r == nil || r.Reason != tc.want):
			t.Errorf("%s: %+v, want %q", name, r, tc.want)
		case r != nil && (strings.Contains(r.Message, "secret-place") || strings.Contains(r.Message, "nine chars") || strings.Contains(r.Message, "AAAA")):
			t.Errorf("%s: the message says too much: %s", name, r.Message)
		}
	}
}

// The credential is staged, and written to a new Secret once verifiers have observed it.
func TestImport_FirstRotation(t *testing.T) {
	t.Parallel()
	at := keystest.Epoch.Add(time.Hour)
	due := func(options ...keystest.KeyOption) keys.Facts {
		f := importing(append(options, keystest.WithCredential("elsewhere", v1alpha1.RoleCurrent, keystest.Epoch), keystest.Requested(at))...)
		f.Now = at
		return f
	}
	staged := due(keystest.WithCredential("next", v1alpha1.RoleStaged, at))
	staged.Staged, staged.Propagated = keystest.ObservedCredential("next"), true
	lost := due(keystest.WithCredential("lost", v1alpha1.RoleStaged, at), keystest.WithCredential("too", v1alpha1.RoleStaged, at))
	for name, tc := range map[string]struct {
		facts keys.Facts
		want  string
	}{
		"due":                         {due(), "[stage a new"},
		"verifiers know the next":     {staged, "[write the staged credential to Secret shop]"},
		"two were staged and lost":    {lost, "[create Secret shop"},
		"before":                      {importing(keystest.WithCredential("elsewhere", v1alpha1.RoleCurrent, keystest.Epoch)), "[]"},
		"another's Secret in the way": {withSecret(due(), keys.ObservedSecret{Ownership: keys.SecretForeign}), "[]"},
	} {
		if got := fmt.Sprint(keys.Decide(tc.facts).Steps); !strings.HasPrefix(got, tc.want) {
			t.Errorf("%s: steps %s, want %s", name, got, tc.want)
		}
	}
	conflict := keys.Describe(withSecret(due(), keys.ObservedSecret{Ownership: keys.SecretForeign}))
	if got := conditionOf(conflict, v1alpha1.ConditionStalled); got != "True/SecretConflict" {
		t.Errorf("a due rotation with another's Secret in the way: Stalled %s", got)
	}
	staged.Secret = keystest.ObservedSecret("next")
	after := keys.Describe(staged)
	if is := currentOf(after); is.SHA256 != keystest.CredentialOf("next").SHA256 || of(after, keystest.CredentialOf("elsewhere").SHA256).NotAfter == nil {
		t.Errorf("credentials after the rotation: %+v", after.Credentials)
	}
}

// A request in the second of the import is met by the import: no rotation is due, and the description says so at once.
func TestImport_RequestInSameSecond(t *testing.T) {
	t.Parallel()
	f := importing(keystest.WithCredential("elsewhere", v1alpha1.RoleCurrent, keystest.Epoch), keystest.Requested(keystest.Epoch))
	f = withSecret(f, keys.ObservedSecret{Ownership: keys.SecretOrphaned})
	once := keys.Describe(f)
	if got := conditionOf(once, v1alpha1.ConditionReady); got != "True/Active" {
		t.Errorf("Ready is %s", got)
	}
	f.Key = f.Key.DeepCopy()
	f.Key.Status = once
	if diff := cmp.Diff(once, keys.Describe(f)); diff != "" {
		t.Errorf("the next description differs (-first +next):\n%s", diff)
	}
}
