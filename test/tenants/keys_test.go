// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package tenants_test

import (
	"encoding/base64"
	"encoding/json"
	"strings"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

// keyOutcomes returns the outcomes that concern valid keys and the protection of keys.
func keyOutcomes() []outcome {
	return []outcome{
		{"a key that verifiers accept, of an account the user may use", nil, func(u *tenant) bool { return valid(u.createKey(u.key("valid"))) }},
		{"a key that verifiers accept, of another account", nil, declareOfOther},
		{"a key of another tenant that is switched off or deleted", nil, switchOffOther},
		{"the status of a key as the user would have it", nil, writeStatus},
		{"the deletion of a key whose account keeps it", nil, deleteKept},
	}
}

func valid(key *v1alpha1.APIKey) bool {
	return key != nil && meta.IsStatusConditionTrue(key.Status.Conditions, v1alpha1.ConditionValid)
}

func declareOfOther(u *tenant) bool {
	if u.everywhere {
		return false // may use all accounts: there is no other
	}
	return valid(u.createKey(controlplanetest.NewKey(u.namespace, "of-other", foreign)))
}

func switchOffOther(u *tenant) bool {
	key := controlplanetest.NewKey(elsewhere, u.id, foreign)
	return u.allowed(u.c.Patch(u.Context(), key, controlplanetest.MergePatch(`{"spec":{"state":"Inactive"}}`))) || u.allowed(u.c.Delete(u.Context(), key))
}

func writeStatus(u *tenant) bool {
	forged := v1alpha1.APIKeyStatus{State: v1alpha1.StateActive, KeyID: "forged"}
	key := u.key("forged")
	key.Status = forged
	if !u.allowed(u.c.Create(u.Context(), key)) {
		key = u.key("kept")
	}
	key.Status = forged
	u.allowed(u.c.Status().Patch(u.Context(), key.DeepCopy(), controlplanetest.MergePatch(`{"status":{"keyID":"forged"}}`)))
	u.allowed(u.c.Patch(u.Context(), key.DeepCopy(), controlplanetest.MergePatch(`{"status":{"keyID":"forged"}}`)))
	u.awaitStatus(key)
	return key.Status.KeyID == "forged"
}

func deleteKept(u *tenant) bool {
	key := u.key("kept")
	u.allowed(u.c.Delete(u.Context(), key.DeepCopy()))
	u.allowed(u.c.Delete(u.Context(), key.DeepCopy(), client.GracePeriodSeconds(0)))
	u.allowed(u.c.DeleteAllOf(u.Context(), &v1alpha1.APIKey{}, client.InNamespace(u.namespace), client.MatchingFields{"metadata.name": key.Name}))
	owners, err := json.Marshal(map[string]any{"metadata": map[string]any{"ownerReferences": []metav1.OwnerReference{absentOwner}}})
	if err != nil {
		u.Fatal(err)
	}
	if u.allowed(u.c.Patch(u.Context(), key.DeepCopy(), controlplanetest.MergePatch(string(owners)))) {
		u.awaitCollector()
	}
	return !u.get(u.T, u.namespace, key.Name, key) || !key.DeletionTimestamp.IsZero()
}

// readSecret searches everything that the user may read about a key for its material.
func readSecret(u *tenant) bool {
	material := u.secret("templated").Data["api-key"]
	var readable []any
	var list v1alpha1.APIKeyList
	if u.allowed(u.c.List(u.Context(), &list, client.InNamespace(u.namespace))) {
		readable = append(readable, list)
	}
	var events eventsv1.EventList
	if u.allowed(u.c.List(u.Context(), &events, client.InNamespace(u.namespace))) {
		readable = append(readable, events)
	}
	var core corev1.EventList
	if u.allowed(u.c.List(u.Context(), &core, client.InNamespace(u.namespace))) {
		readable = append(readable, core)
	}
	text, err := json.Marshal(readable)
	if err != nil {
		u.Fatal(err)
	}
	return strings.Contains(string(text), string(material)) || strings.Contains(string(text), base64.StdEncoding.EncodeToString(material))
}

// readAccount requests a scope that the account does not allow, and reads the message.
func readAccount(u *tenant) bool {
	key := u.key("curious")
	key.Spec.Scopes = []string{"other"}
	err := u.c.Create(u.Context(), key)
	if u.allowed(err) {
		u.awaitStatus(key)
		return strings.Contains(meta.FindStatusCondition(key.Status.Conditions, v1alpha1.ConditionAccepted).Message, "told:by-the-account")
	}
	return strings.Contains(err.Error(), "told:by-the-account")
}
