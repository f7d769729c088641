// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package exports_test

import (
	"errors"
	"testing"
)

// gloo reads Secrets as Gloo Gateway v1.21.13 does: FromKubeSecret in projects/gloo/pkg/api/converters/kube/api_key_secret.go skips
// Secrets of another type and without the entry api-key, and ext_auth.proto says that the AuthConfig selects Secrets by label. Its
// external auth service, whose source is not public, maps keys to the names of Secrets, so that a key in two Secrets is an error here,
// like an empty one.
func gloo(r resources, objects []object) (accepted, error) {
	found := accepted{}
	for _, config := range r.list("AuthConfig", "spec", "configs") {
		one := resources{"AuthConfig": {"metadata": r["AuthConfig"]["metadata"], "config": config}}
		selected := one.selected(objects, "Secret", "AuthConfig", "config", "apiKeyAuth", "k8sSecretApikeyStorage", "labelSelector")
		for _, o := range selected {
			key, ok := o.data["api-key"]
			if o.secretType != "extauth.solo.io/apikey" || !ok {
				continue
			}
			if _, twice := found[digestOf(key)]; twice || key == "" {
				return nil, errors.New("the key is empty, or that of another Secret")
			}
			found[digestOf(key)] = identity{id: o.name}
		}
	}
	return found, nil
}

func TestGloo_RefusesOtherObjects(t *testing.T) {
	t.Parallel()
	labelled := data{"example.com/api-keys": "gloo"}
	keys := func(name string, d data) object { return secret(name, labelled, d).withType("extauth.solo.io/apikey") }
	one, two := keys("one", data{"api-key": "k1"}), keys("two", data{"api-key": "k2"})
	testReadings(t, "gloo.yaml", nil, map[string]reading{
		"keys":         {objects: []object{one, two}, accepts: []string{"k1", "k2"}},
		"other labels": {objects: []object{one, secret("two", nil, two.data).withType(two.secretType)}, accepts: []string{"k1"}},
		"other type":   {objects: []object{one, two.withType("Opaque")}, accepts: []string{"k1"}},
		"other entry":  {objects: []object{one, keys("two", data{"key": "k2"})}, accepts: []string{"k1"}},
		"duplicate":    {objects: []object{one, keys("two", data{"api-key": "k1"})}, error: "of another Secret"},
		"empty value":  {objects: []object{one, keys("two", data{"api-key": ""})}, error: "is empty"},
	})
}
