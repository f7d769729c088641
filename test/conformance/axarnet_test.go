// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package conformance_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/credential"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

// Axarnet e-mail marketing: a key has a label, a creation date, the key and a state, and the state toggles.

func TestAxarnet_KeyShowsLabelDateAndState(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	k := newKey(w.newNamespace(t), "tienda", v1alpha1.APIKeySpec{Account: w.newAccount(t, v1alpha1.AccountSpec{}).Name, Label: "Clave para integración con tienda"})
	w.Issue(t, k)

	if k.CreationTimestamp.IsZero() || k.Status.State != v1alpha1.StateActive {
		t.Errorf("created %v, state %s", k.CreationTimestamp, k.Status.State)
	}
	material := w.Material(t, k)
	if _, err := keys.EffectiveFormat(k, nil).Parse(credential.Material(material)); err != nil {
		t.Errorf("the Secret does not hold a key: %v", err)
	}
	if currentDigest(k) != controlplanetest.Digest(material) {
		t.Error("verifiers do not know the key that the Secret holds")
	}
	table := w.mustKubectl(t, "get", "apikeys", "-n", k.Namespace)
	for _, shown := range []string{"LABEL", "STATE", "AGE", "Clave para integración con tienda", "Active"} {
		if !strings.Contains(table, shown) {
			t.Errorf("kubectl get does not show %q:\n%s", shown, table)
		}
	}
	if strings.Contains(table, material) {
		t.Error("kubectl get shows the key itself")
	}
}

func TestAxarnet_ReactivatedKeyIsTheSame(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	k := newKey(w.newNamespace(t), "tienda", v1alpha1.APIKeySpec{Account: w.newAccount(t, v1alpha1.AccountSpec{}).Name, Label: "Tienda"})
	w.Issue(t, k)
	material, secret, verifier := w.Material(t, k), w.Secret(t, k), w.verifiers.With(t)
	w.awaitVerdict(t, "VALID", verifier, "", keyHeader(material))

	for range 2 {
		w.mustKubectl(t, "patch", "apikey", k.Name, "-n", k.Namespace, "--type=merge", "-p", `{"spec":{"state":"Inactive"}}`)
		w.Become(t, v1alpha1.StateInactive, k)
		if valid(k) {
			t.Error("an inactive key still has access")
		}
		w.awaitVerdict(t, "401 INACTIVE", verifier, "", keyHeader(material))
		if w.Material(t, k) != material {
			t.Error("an inactive key was taken away")
		}
		w.mustKubectl(t, "patch", "apikey", k.Name, "-n", k.Namespace, "--type=merge", "-p", `{"spec":{"state":"Active"}}`)
		w.Become(t, v1alpha1.StateActive, k)
		if !valid(k) || currentDigest(k) != controlplanetest.Digest(material) || w.Material(t, k) != material {
			t.Error("the same key did not get its access back")
		}
		w.awaitVerdict(t, "VALID", verifier, "", keyHeader(material))
	}
	if again := w.Secret(t, k); again.UID != secret.UID || again.ResourceVersion != secret.ResourceVersion {
		t.Error("the Secret was written although nothing about it changed")
	}
	want := []string{v1alpha1.ReasonIssued, v1alpha1.ReasonDeactivated, v1alpha1.ReasonActivated, v1alpha1.ReasonDeactivated, v1alpha1.ReasonActivated}
	if diff := cmp.Diff(want, controlplanetest.HistoryReasons(k)); diff != "" {
		t.Errorf("the history differs (-want +got):\n%s", diff)
	}
}

func TestAxarnet_LabelsAreUnique(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	account, namespace := w.newAccount(t, v1alpha1.AccountSpec{}), w.newNamespace(t)
	shop := newKey(namespace, "tienda", v1alpha1.APIKeySpec{Account: account.Name, Label: "Tienda"})
	web := newKey(namespace, "web", v1alpha1.APIKeySpec{Account: account.Name, Label: "Página web"})
	w.Issue(t, shop, web)

	found := w.listKeys(t, client.MatchingFields{"spec.account": account.Name, "spec.label": "Página web"})
	if len(found) != 1 || found[0].Name != web.Name {
		t.Errorf("found %d keys with the label", len(found))
	}
	again := newKey(namespace, "otra", v1alpha1.APIKeySpec{Account: account.Name, Label: "Tienda"})
	expectDenied(t, w.Admin.Create(t.Context(), again), v1alpha1.ReasonLabelTaken, "tienda")

	// The label is for the user's reference only. Changing it does not change the key.
	material := w.Material(t, shop)
	w.Change(t, shop, func(s *v1alpha1.APIKeySpec) { s.Label = "Tienda de Sevilla" })
	w.Become(t, v1alpha1.StateActive, shop)
	if w.Material(t, shop) != material {
		t.Error("a new label made a new key")
	}
}

func TestAxarnet_PluginListsFourColumnsAndToggles(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	k := newKey(w.newNamespace(t), "tienda", v1alpha1.APIKeySpec{Account: w.newAccount(t, v1alpha1.AccountSpec{}).Name, Label: "Tienda"})
	w.Issue(t, k)
	table := w.mustAPIKey(t, "list", "-n", k.Namespace, "-o", "wide")
	hint := controlplanetest.CredentialOf(k, v1alpha1.RoleCurrent).Hint
	for _, shown := range []string{
		"LABEL", "CREATED", "KEY", "STATE", "Tienda", k.CreationTimestamp.UTC().Format(time.RFC3339), hint, "Active",
	} {
		if !strings.Contains(table, shown) {
			t.Errorf("the list does not show %q:\n%s", shown, table)
		}
	}
	material := w.Material(t, k)
	for _, toggle := range []struct {
		command string
		want    v1alpha1.ObservedState
	}{{"deactivate", v1alpha1.StateInactive}, {"activate", v1alpha1.StateActive}} {
		w.mustAPIKey(t, toggle.command, "tienda", "-n", k.Namespace)
		w.Read(t, k)
		if k.Status.State != toggle.want || w.Material(t, k) != material {
			t.Errorf("%s: the key is %s, and the same: %t", toggle.command, k.Status.State, w.Material(t, k) == material)
		}
	}
}
