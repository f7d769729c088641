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

// readScopes requests a scope that the account does not allow, and reads the message.
func readScopes(u *tenant) bool {
	key := u.key("curious")
	key.Spec.Scopes = []string{"other"}
	return u.refused(key, "told:by-the-account")
}

// readRateLimits requests a rate limit that the account does not allow, and reads the message.
func readRateLimits(u *tenant) bool {
	key, many := u.key("greedy"), int32(1000000)
	key.Spec.RateLimits = []v1alpha1.RateLimit{{Name: "requests", Requests: &many, Unit: v1alpha1.RateLimitMinute}}
	return u.refused(key, "at most 4711 requests")
}

// readMetadata guesses an entry in a template that cannot be rendered if the guess is right.
func readMetadata(u *tenant) bool {
	key := u.key("guessing")
	key.Spec.Secret = &v1alpha1.SecretSpec{Template: &v1alpha1.SecretTemplate{Data: map[string]string{
		"api-key": `{{ if eq .Metadata.tier "told-by-the-account" }}{{ index .Scopes 99 }}{{ end }}{{ .Key }}`,
	}}}
	return u.refused(key, "error calling index")
}

// refused reports whether a key is refused, by the API server or by the manager, with a message that contains text.
func (u *tenant) refused(key *v1alpha1.APIKey, text string) bool {
	err := u.c.Create(u.Context(), key)
	if u.allowed(err) {
		u.awaitStatus(key)
		return strings.Contains(meta.FindStatusCondition(key.Status.Conditions, v1alpha1.ConditionAccepted).Message, text)
	}
	return strings.Contains(err.Error(), text)
}
