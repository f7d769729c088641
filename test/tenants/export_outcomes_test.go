// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package tenants_test

import (
	"errors"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

// exportOutcomes returns the outcomes that concern KeyExports.
func exportOutcomes() []outcome {
	return []outcome{
		{"a Secret with the digests of keys, in any namespace, with entries, labels and a type of the user's choosing", createSecretIn(elsewhere), exportDigests},
		{"the keys of an account with exportPolicy: Key, in a Secret of any namespace", createSecretIn(elsewhere), exportKeys},
		{"a change of a Secret that no KeyExport owns", patchSecret("present"), takeSecretByExport},
		{"a Secret with a label that is reserved by a flag, written by the manager for a KeyExport", nil, exportReservedLabel},
	}
}

// createExport creates a KeyExport of the tenant's account as the tenant, and returns its Ready condition, or nil if it was
// denied.
func (u *tenant) createExport(namespace, name string, spec v1alpha1.KeyExportSpec) *metav1.Condition {
	u.Helper()
	spec.Accounts, spec.Target.Kind = []string{u.account}, v1alpha1.ExportToSecret
	e := &v1alpha1.KeyExport{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: spec}
	if !u.allowed(u.c.Create(u.Context(), e)) {
		return nil
	}
	var ready *metav1.Condition
	controlplanetest.Eventually(u.T, "the manager has dealt with KeyExport "+name, func() error {
		if err := u.admin.Get(u.Context(), client.ObjectKeyFromObject(e), e); err != nil {
			return err
		}
		ready = meta.FindStatusCondition(e.Status.Conditions, v1alpha1.ConditionReady)
		if ready == nil || ready.ObservedGeneration != e.Generation {
			return errors.New("no status yet")
		}
		return nil
	})
	return ready
}

func exportDigests(u *tenant) bool {
	name := u.id + "-digests"
	ready := u.createExport(elsewhere, name, v1alpha1.KeyExportSpec{
		Target: v1alpha1.ExportTarget{Name: name, Type: "example.com/api-key", Labels: map[string]string{"example.com/of": "the-user"}},
		Entry:  &v1alpha1.ExportEntry{Name: "mine.{{ .KeyID }}"},
	})
	if ready == nil {
		return false
	}
	var secret corev1.Secret
	controlplanetest.Until(u.T, "there is no digest in Secret "+name, func() bool {
		return u.get(u.T, elsewhere, name, &secret) && len(secret.Data) > 0
	})
	for entry, value := range secret.Data {
		if !strings.HasPrefix(entry, "mine.") || !strings.HasPrefix(string(value), "sha256:") {
			u.Errorf("entry %s is not as declared", entry)
		}
	}
	return secret.Type == "example.com/api-key" && secret.Labels["example.com/of"] == "the-user"
}

func exportKeys(u *tenant) bool {
	account := &v1alpha1.Account{ObjectMeta: metav1.ObjectMeta{Name: u.account}}
	u.allowed(u.c.Patch(u.Context(), account, controlplanetest.MergePatch(`{"spec":{"exportPolicy":"Key"}}`)))
	name := u.id + "-keys"
	if u.createExport(elsewhere, name, v1alpha1.KeyExportSpec{
		Content: v1alpha1.ExportContentKey, Target: v1alpha1.ExportTarget{Name: name},
	}) == nil {
		return false
	}
	material := string(u.secret("templated").Data["api-key"])
	controlplanetest.Until(u.T, "the key is not in Secret "+name, func() bool {
		var secret corev1.Secret
		if u.get(u.T, elsewhere, name, &secret) {
			for _, value := range secret.Data {
				if string(value) == material {
					return true
				}
			}
		}
		return false
	})
	return true
}

func takeSecretByExport(u *tenant) bool {
	before := u.secret("present")
	ready := u.createExport(u.namespace, "taking", v1alpha1.KeyExportSpec{Target: v1alpha1.ExportTarget{Name: "present"}})
	if ready != nil {
		if ready.Reason != v1alpha1.ReasonTargetConflict {
			u.Errorf("the KeyExport is %s: %s", ready.Reason, ready.Message)
		}
		u.allowed(u.c.Delete(u.Context(), &v1alpha1.KeyExport{ObjectMeta: metav1.ObjectMeta{Namespace: u.namespace, Name: "taking"}}))
		u.awaitCollector()
	}
	after := u.secret("present")
	return after == nil || after.ResourceVersion != before.ResourceVersion
}

func exportReservedLabel(u *tenant) bool {
	name := u.id + "-cluster"
	ready := u.createExport(elsewhere, name, v1alpha1.KeyExportSpec{
		Target: v1alpha1.ExportTarget{Name: name, Labels: map[string]string{"argocd.argoproj.io/secret-type": "cluster"}},
	})
	return ready != nil && u.get(u.T, elsewhere, name, &corev1.Secret{})
}
