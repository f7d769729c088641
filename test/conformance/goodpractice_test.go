// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package conformance_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

// Good practice for e-mail marketing keys: named, no more rights than needed, rotated, kept safe, watched, and revoked and
// replaced when compromised.

func TestGoodPractice_KeysAreLimitedToScopes(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	account := w.newAccount(t, v1alpha1.AccountSpec{
		AllowedScopes: []string{"contacts:*", "reports:read"},
		KeyDefaults:   &v1alpha1.KeyDefaults{Scopes: []string{"reports:read"}},
	})
	namespace := w.newNamespace(t)
	crm := newKey(namespace, "crm", v1alpha1.APIKeySpec{Account: account.Name, Label: "CRM sync", Scopes: []string{"contacts:write"}})
	dashboard := newKey(namespace, "dashboard", v1alpha1.APIKeySpec{Account: account.Name, Label: "Dashboard"})
	w.Issue(t, crm, dashboard)

	if got := keys.EffectiveScopes(dashboard, account); !slices.Equal(got, []string{"reports:read"}) {
		t.Errorf("a key that asks for nothing may do %v", got)
	}
	for _, wide := range []string{"*", "reports:*", "campaigns:send"} {
		k := newKey(namespace, controlplanetest.UniqueName("wide"), v1alpha1.APIKeySpec{Account: account.Name, Scopes: []string{wide}})
		expectDenied(t, w.Admin.Create(t.Context(), k), v1alpha1.ReasonScopeNotAllowed, wide)
	}
	err := w.tryChange(t, crm, func(s *v1alpha1.APIKeySpec) { s.Scopes = []string{"contacts:write", "campaigns:send"} })
	expectDenied(t, err, v1alpha1.ReasonScopeNotAllowed, "campaigns:send")

	verifier, sync, read := w.verifiers.With(t), keyHeader(w.Material(t, crm)), keyHeader(w.Material(t, dashboard))
	w.awaitVerdict(t, "VALID", verifier, "scopes=contacts:write", sync)
	w.awaitVerdict(t, "VALID", verifier, "scopes=reports:read", read)
	expectVerdict(t, "403 SCOPE_MISSING", verifier, "scopes=reports:read", sync)
	expectVerdict(t, "403 SCOPE_MISSING", verifier, "scopes=contacts:write", read)
	expectVerdict(t, "403 SCOPE_MISSING", verifier, "scopes=contacts:write,campaigns:send", sync)
}

// The minimum rotation interval is one minute, so this test takes more than a minute.
func TestGoodPractice_KeysRotateWithOverlap(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	account := w.newAccount(t, v1alpha1.AccountSpec{KeyDefaults: &v1alpha1.KeyDefaults{Rotation: &v1alpha1.RotationDefaults{Interval: "1m", Overlap: "30s"}}})
	k := newKey(w.newNamespace(t), "crm", v1alpha1.APIKeySpec{
		Account: account.Name, Label: "CRM sync", Secret: &v1alpha1.SecretSpec{PreviousKey: v1alpha1.PreviousKeyInclude},
	})
	w.Issue(t, k)
	first, current := w.Material(t, k), controlplanetest.CredentialOf(k, v1alpha1.RoleCurrent)
	if due := current.IssuedAt.Add(time.Minute); k.Status.NextRotationTime == nil || !k.Status.NextRotationTime.Time.Equal(due) {
		t.Errorf("nextRotationTime is %v, want %v", k.Status.NextRotationTime, due)
	}
	w.awaitRotated(t, k, first, 2*controlplanetest.Timeout)
	if late := controlplanetest.CredentialOf(k, v1alpha1.RoleCurrent).IssuedAt.Sub(current.IssuedAt.Time); late < time.Minute || late > 90*time.Second {
		t.Errorf("the next credential was issued after %s, not a minute", late)
	}
	previous := controlplanetest.CredentialOf(k, v1alpha1.RolePrevious)
	if previous == nil || previous.SHA256 != controlplanetest.Digest(first) || previous.NotAfter == nil {
		t.Fatal("the previous credential has no overlap")
	}
	if got := string(w.Secret(t, k).Data[keys.EntryPrevious]); got != first {
		t.Error("the Secret does not hold the previous key during the overlap")
	}
	w.awaitVerdict(t, "VALID", w.verifiers.With(t), "", keyHeader(w.Material(t, k)))
	expectVerdict(t, "VALID", w.verifiers.With(t), "", keyHeader(first))
	w.AwaitStatus(t, k, "the overlap ends", func() error {
		if c := controlplanetest.CredentialOf(k, v1alpha1.RolePrevious); c != nil && c.SHA256 == controlplanetest.Digest(first) {
			return errors.New("verifiers still know the previous key")
		}
		for entry, value := range w.Secret(t, k).Data {
			if string(value) == first {
				return fmt.Errorf("the Secret still holds it in %s", entry)
			}
		}
		return nil
	})
	if over := time.Since(previous.NotAfter.Time); over < 0 {
		t.Errorf("the overlap ended %s early", -over)
	}
	if got, err := authorize(t, w.verifiers.With(t), "", keyHeader(first)); err != nil || got == "VALID" {
		t.Errorf("after the overlap the previous key is answered %s, %v", got, err)
	}
}

func TestGoodPractice_RotationOnRequest(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	k := newKey(w.newNamespace(t), "crm", v1alpha1.APIKeySpec{Account: w.newAccount(t, v1alpha1.AccountSpec{}).Name, Label: "CRM sync"})
	w.Issue(t, k)
	first := w.Material(t, k)
	requested := time.Now().UTC().Format(time.RFC3339) // often the second in which the credential was issued
	w.mustKubectl(t, "patch", "apikey", k.Name, "-n", k.Namespace, "--type=merge", "-p", `{"spec":{"rotation":{"requestedAt":"`+requested+`"}}}`)
	w.mustKubectl(t, "wait", "apikey", k.Name, "-n", k.Namespace, "--for=jsonpath={.status.rotation.observedRequestedAt}="+requested, "--timeout="+controlplanetest.Timeout.String())
	w.awaitRotated(t, k, first, controlplanetest.Timeout)
	second := w.Material(t, k)
	if secret := w.Secret(t, k); len(secret.Data) != 1 {
		t.Error("the Secret holds more than the current key")
	}
	if c := controlplanetest.CredentialOf(k, v1alpha1.RolePrevious); c == nil || c.SHA256 != controlplanetest.Digest(first) || time.Until(c.NotAfter.Time) < 23*time.Hour {
		t.Error("the previous key has not the 24 hours of overlap that are the default")
	}
	controlplanetest.Consistently(t, "one request rotates the key once", func() error {
		if w.Material(t, k) != second {
			return errors.New("the key has been rotated again")
		}
		return nil
	})
	w.Become(t, v1alpha1.StateActive, k)
}

func TestGoodPractice_OnlySecretHoldsKey(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	k := newKey(w.newNamespace(t), "crm", v1alpha1.APIKeySpec{Account: w.newAccount(t, v1alpha1.AccountSpec{}).Name, Label: "CRM sync"})
	w.Issue(t, k)
	material := w.Material(t, k)
	secretPart := material[strings.LastIndex(material, "_")+1:]
	said := map[string]string{
		"the APIKey":  w.mustKubectl(t, "get", "apikey", k.Name, "-n", k.Namespace, "-o", "yaml", "--show-managed-fields"),
		"the Account": w.mustKubectl(t, "get", "account", k.Spec.Account, "-o", "yaml"),
		"its Events":  w.mustKubectl(t, "get", "events.events.k8s.io", "-n", k.Namespace, "-o", "yaml"),
		"the logs":    w.programLogs(t),
	}
	for where, text := range said {
		if strings.Contains(text, secretPart) {
			t.Errorf("%s holds the key", where)
		}
		if where != "the Account" && !strings.Contains(text, k.Status.KeyID) && where != "the logs" {
			t.Errorf("%s does not name the key by its id", where)
		}
	}
	for _, object := range []metav1.Object{w.Secret(t, k)} {
		if owner := metav1.GetControllerOf(object); owner == nil || owner.UID != k.UID {
			t.Error("the Secret does not go when the key goes")
		}
	}
}

func TestGoodPractice_TransitionsAreRecorded(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	k := newKey(w.newNamespace(t), "crm", v1alpha1.APIKeySpec{Account: w.newAccount(t, v1alpha1.AccountSpec{}).Name, Label: "CRM sync"})
	w.Issue(t, k)
	w.Change(t, k, func(s *v1alpha1.APIKeySpec) { s.State = v1alpha1.KeyStateInactive })
	w.Become(t, v1alpha1.StateInactive, k)
	w.Change(t, k, func(s *v1alpha1.APIKeySpec) { s.State = v1alpha1.KeyStateRevoked })
	w.Become(t, v1alpha1.StateRevoked, k)
	want := []string{v1alpha1.ReasonIssued, v1alpha1.ReasonDeactivated, v1alpha1.ReasonRevoked}
	if got := controlplanetest.HistoryReasons(k); !slices.Equal(got, want) {
		t.Errorf("the history is %v, want %v", got, want)
	}
	controlplanetest.Eventually(t, "each of it is an Event", func() error {
		events := w.events(t, k)
		for _, reason := range want {
			if _, ok := events[reason]; !ok {
				return fmt.Errorf("no Event is %s", reason)
			}
		}
		return nil
	})
}

func TestGoodPractice_CompromisedKeyIsReplaced(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	k := newKey(w.newNamespace(t), "crm", v1alpha1.APIKeySpec{Account: w.newAccount(t, v1alpha1.AccountSpec{}).Name, Label: "CRM sync"})
	w.Issue(t, k)
	stolen, where := w.Material(t, k), w.Secret(t, k)
	issued := controlplanetest.CredentialOf(k, v1alpha1.RoleCurrent).IssuedAt.Time
	controlplanetest.SleepUntil(t, issued.Add(time.Second)) // timestamps have whole seconds: revokeBefore must be later than this one
	w.mustKubectl(t, "patch", "apikey", k.Name, "-n", k.Namespace, "--type=merge", "-p",
		`{"spec":{"rotation":{"revokeBefore":"`+time.Now().UTC().Format(time.RFC3339)+`"}}}`)
	w.awaitRotated(t, k, stolen, controlplanetest.Timeout)
	for _, c := range k.Status.Credentials {
		if c.SHA256 == controlplanetest.Digest(stolen) {
			t.Errorf("verifiers still know the stolen key, as %s", c.Role)
		}
	}
	secret := w.Secret(t, k)
	if secret.UID != where.UID {
		t.Error("the integration finds its key in another Secret than before")
	}
	for entry, value := range secret.Data {
		if string(value) == stolen {
			t.Errorf("the Secret still holds the stolen key in %s", entry)
		}
	}
	if !valid(k) {
		t.Error("the new key is not accepted")
	}
	w.awaitVerdict(t, "VALID", w.verifiers.With(t), "", keyHeader(w.Material(t, k)))
	expectVerdict(t, "401 REVOKED", w.verifiers.With(t), "", keyHeader(stolen)) // its digest is kept, so that it cannot become valid again
}

func TestGoodPractice_RevokedKeyStaysRevoked(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	account, namespace := w.newAccount(t, v1alpha1.AccountSpec{}), w.newNamespace(t)
	old := newKey(namespace, "crm", v1alpha1.APIKeySpec{Account: account.Name, Label: "CRM sync"})
	w.Issue(t, old)
	material := w.Material(t, old)
	w.Change(t, old, func(s *v1alpha1.APIKeySpec) { s.State = v1alpha1.KeyStateRevoked })
	w.Become(t, v1alpha1.StateRevoked, old)
	for entry, value := range w.Secret(t, old).Data {
		if strings.Contains(string(value), material) {
			t.Errorf("the Secret of a revoked key holds it in %s", entry)
		}
	}
	w.awaitVerdict(t, "401 REVOKED", w.verifiers.With(t), "", keyHeader(material))
	expectDenied(t, w.tryChange(t, old, func(s *v1alpha1.APIKeySpec) { s.State = v1alpha1.KeyStateActive }), "state must not change once it is Revoked")
	replacement := newKey(namespace, "crm-2", v1alpha1.APIKeySpec{Account: account.Name, Label: "CRM sync 2"})
	w.Issue(t, replacement)
	if w.Material(t, replacement) == material {
		t.Error("the replacement is the same key")
	}
}

// awaitRotated waits until a key is Active with another credential than before, and its Secret holds the new one.
func (w *suite) awaitRotated(t *testing.T, k *v1alpha1.APIKey, before string, limit time.Duration) {
	t.Helper()
	controlplanetest.Within(t, limit, "APIKey "+k.Name+" has another credential", func() error {
		if err := w.Admin.Get(t.Context(), client.ObjectKeyFromObject(k), k); err != nil {
			return err
		}
		switch material := w.Material(t, k); {
		case currentDigest(k) == controlplanetest.Digest(before) || material == before:
			return errors.New("it has the one before")
		case currentDigest(k) != controlplanetest.Digest(material) || controlplanetest.CredentialOf(k, v1alpha1.RoleStaged) != nil:
			return errors.New("the rotation is under way")
		case k.Status.State != v1alpha1.StateActive:
			return fmt.Errorf("it is %s", k.Status.State)
		}
		return nil
	})
	if got := controlplanetest.HistoryReasons(k); got[len(got)-1] != v1alpha1.ReasonRotated {
		t.Errorf("the history ends with %v, not with a rotation", got)
	}
}
