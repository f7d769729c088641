// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package exports_test

import (
	"testing"
)

// authorinoIndex is the index of API keys of an AuthConfig, as in Authorino v0.27.0 (pkg/evaluators/identity/api_key.go): Secrets by key.
type authorinoIndex map[string]object

// set adds or changes a Secret, as AddK8sSecretBasedIdentity does. It ignores a change that leaves the key as it is. The key that a
// Secret had before is removed, and an empty one is not added.
func (x authorinoIndex) set(o object) {
	key := o.data["api_key"]
	for former, current := range x {
		if current.namespace == o.namespace && current.name == o.name {
			if former != key {
				x.add(o)
				delete(x, former)
			}
			return
		}
	}
	x.add(o)
}

func (x authorinoIndex) add(o object) {
	if key := o.data["api_key"]; key != "" {
		x[key] = o
	}
}

// revoke removes a Secret that was deleted, or that a selector no longer selects.
func (x authorinoIndex) revoke(o object) {
	for key, current := range x {
		if current.namespace == o.namespace && current.name == o.name {
			delete(x, key)
			return
		}
	}
}

// receive handles events for Secrets as SecretReconciler in controllers/secret_controller.go does.
func (x authorinoIndex) receive(r resources, objects []object) {
	for _, o := range objects {
		one := []object{o}
		selected := r.selected(one, "Secret", "AuthConfig", "spec", "authentication", "api-keys", "apiKey", "selector", "matchLabels")
		if o.labels["authorino.kuadrant.io/managed-by"] == "authorino" && len(selected) == 1 {
			x.set(o)
		} else {
			x.revoke(o)
		}
	}
}

// authorino reads Secrets one by one. It reports nothing. It reads Secrets of the namespace of the AuthConfig only, unless
// allNamespaces is set.
func authorino(r resources, objects []object) (accepted, error) {
	index, found := authorinoIndex{}, accepted{}
	index.receive(r, objects)
	for key, o := range index {
		found[digestOf(key)] = identity{id: o.name, metadata: map[string]any{
			"account": o.labels["apikey-manager.io/account"], "keyID": o.annotations["apikey-manager.io/key-id"],
		}}
	}
	return found, nil
}

func TestAuthorino_RefusesOtherObjects(t *testing.T) {
	t.Parallel()
	labelled := data{"authorino.kuadrant.io/managed-by": "authorino", "example.com/api-keys": "authorino"}
	one, two := secret("one", labelled, data{"api_key": "k1"}), secret("two", labelled, data{"api_key": "k2"})
	testReadings(t, "authorino.yaml", nil, map[string]reading{
		"keys":        {objects: []object{one, two}, accepts: []string{"k1", "k2"}},
		"not watched": {objects: []object{one, secret("two", data{"example.com/api-keys": "authorino"}, data{"api_key": "k2"})}, accepts: []string{"k1"}},
		"not selected": {
			objects: []object{one, secret("two", data{"authorino.kuadrant.io/managed-by": "authorino"}, data{"api_key": "k2"})}, accepts: []string{"k1"},
		},
		"elsewhere":   {objects: []object{one, two.elsewhere()}, accepts: []string{"k1"}},
		"other entry": {objects: []object{one, secret("two", labelled, data{"api-key": "k2"})}, accepts: []string{"k1"}},
		"empty value": {objects: []object{one, secret("two", labelled, data{"api_key": ""})}, accepts: []string{"k1"}},
		"changed key": {objects: []object{one, secret("one", labelled, data{"api_key": "k2"})}, accepts: []string{"k2"}},
		"relabelled":  {objects: []object{one, secret("one", nil, data{"api_key": "k1"})}},
	})
}

// TestAuthorino_IgnoresMetadataOfSameKey shows why the sample says that Authorino must be restarted after a change of labels.
func TestAuthorino_IgnoresMetadataOfSameKey(t *testing.T) {
	t.Parallel()
	labelled := func(account string) data {
		return data{"authorino.kuadrant.io/managed-by": "authorino", "example.com/api-keys": "authorino", "apikey-manager.io/account": account}
	}
	got, err := authorino(readSample(t, "authorino.yaml").resources, []object{
		secret("one", labelled("acme"), data{"api_key": "k1"}), secret("one", labelled("fabrikam"), data{"api_key": "k1"}),
	})
	if account := got[digestOf("k1")].metadata["account"]; err != nil || account != "acme" {
		t.Errorf("it passes account %v on, not the one that the Secret had first", account)
	}
}
