// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package conformance_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

// Gateways that keep keys themselves: what a KeyExport gives them is what a verifier accepts.

// exportCheck compares a KeyExport with the verdicts of a verifier about the keys that were ever issued.
type exportCheck struct {
	*suite

	export    *v1alpha1.KeyExport
	materials map[string]string // by a name that the test gives to each credential
}

// await waits until the Secret of the KeyExport holds the digests of these credentials, and the verifier accepts them and no others.
func (c *exportCheck) await(t *testing.T, names ...string) {
	t.Helper()
	slices.Sort(names)
	controlplanetest.Eventually(t, fmt.Sprintf("%v are exported and accepted", names), func() error {
		exported, err := c.exported(t)
		if err != nil {
			return err
		}
		accepted, err := c.accepted(t)
		if err != nil {
			return err
		}
		if diff := cmp.Diff(names, exported) + cmp.Diff(names, accepted); diff != "" {
			return fmt.Errorf("the KeyExport holds %v, and the verifier accepts %v", exported, accepted)
		}
		return nil
	})
}

// exported returns the names of the credentials whose digests the Secret holds, sorted.
func (c *exportCheck) exported(t *testing.T) ([]string, error) {
	t.Helper()
	secret := &corev1.Secret{}
	if err := c.Admin.Get(t.Context(), client.ObjectKey{Namespace: c.export.Namespace, Name: c.export.Spec.Target.Name}, secret); err != nil {
		return nil, err
	}
	digests := map[string]string{}
	for name, material := range c.materials {
		digests["sha256:"+controlplanetest.Digest(material)] = name
	}
	var names []string
	for _, digest := range secret.Data {
		names = append(names, digests[string(digest)])
	}
	slices.Sort(names)
	return names, nil
}

// accepted returns the names of the credentials that a verifier accepts, sorted.
func (c *exportCheck) accepted(t *testing.T) (names []string, err error) {
	t.Helper()
	for name, material := range c.materials {
		verdict, err := authorize(t, c.verifiers.With(t), "", keyHeader(material))
		if err != nil {
			return nil, err
		}
		if verdict == "VALID" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

func TestKeyExport_HoldsWhatVerifiersAccept(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	account, namespace := w.newAccount(t, v1alpha1.AccountSpec{}), w.newNamespace(t)
	shop := newKey(namespace, "shop", v1alpha1.APIKeySpec{Account: account.Name, Label: "Shop"})
	crm := newKey(namespace, "crm", v1alpha1.APIKeySpec{Account: account.Name, Label: "CRM sync"})
	w.Issue(t, shop, crm)
	c := &exportCheck{suite: w, materials: map[string]string{"shop": w.Material(t, shop), "crm": w.Material(t, crm)}}
	c.export = &v1alpha1.KeyExport{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "gateway"},
		Spec: v1alpha1.KeyExportSpec{
			Accounts: []string{account.Name}, Target: v1alpha1.ExportTarget{Kind: v1alpha1.ExportToSecret, Name: "gateway-keys"},
		},
	}
	w.Create(t, c.export)
	c.await(t, "crm", "shop")

	w.Change(t, shop, func(s *v1alpha1.APIKeySpec) { s.State = v1alpha1.KeyStateInactive })
	c.await(t, "crm")
	w.Change(t, shop, func(s *v1alpha1.APIKeySpec) { s.State = v1alpha1.KeyStateActive })
	c.await(t, "crm", "shop")

	w.Change(t, crm, func(s *v1alpha1.APIKeySpec) {
		s.Rotation = &v1alpha1.Rotation{RequestedAt: keystest.Instant(time.Now()), Overlap: "1h"}
	})
	controlplanetest.Until(t, "the Secret has the same key", func() bool { return w.Material(t, crm) != c.materials["crm"] })
	c.materials["crm rotated"] = w.Material(t, crm)
	c.await(t, "crm", "crm rotated", "shop")

	w.Change(t, crm, func(s *v1alpha1.APIKeySpec) { s.IPWhitelist = []string{"192.0.2.7"} })
	c.await(t, "shop")

	c.changeAccount(t, account, `{"spec":{"state":"Suspended"}}`)
	c.await(t)
	c.changeAccount(t, account, `{"spec":{"state":"Active"}}`)
	c.await(t, "shop")

	controlplanetest.Must(t, w.Admin.Delete(t.Context(), shop))
	c.await(t)
	controlplanetest.Must(t, w.Admin.Delete(t.Context(), c.export))
	w.AwaitDeleted(t, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "gateway-keys"}})
}

func (c *exportCheck) changeAccount(t *testing.T, account *v1alpha1.Account, patch string) {
	t.Helper()
	controlplanetest.Must(t, c.Admin.Patch(t.Context(), account, controlplanetest.MergePatch(patch)))
}
