// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package exports_test

import (
	"errors"
	"fmt"
	"regexp"
	"testing"
)

// nginx reads a Secret as NGINX Ingress Controller v5.5.4 does: ValidateAPIKeySecret in internal/k8s/secrets/validation.go rejects other
// types and repeated values, generateAPIKeyClientMap in internal/configs/virtualserver.go writes digests and client names to a map of
// nginx, both in quotes and without escapes, and internal/configs/njs/apikey_auth.js rejects requests with an empty key.
func nginx(r resources, objects []object) (accepted, error) {
	name := r.text("Policy", "spec", "apiKey", "clientSecret")
	o := r.named(objects, "Policy", name)
	if o == nil {
		return nil, fmt.Errorf("secret %s doesn't exist", name)
	}
	if o.secretType != "nginx.org/apikey" {
		return nil, fmt.Errorf("secret %s of a wrong type %s", name, o.secretType)
	}
	found := accepted{}
	for id, key := range o.data {
		if _, twice := found[digestOf(key)]; twice {
			return nil, errors.New("API Keys cannot be repeated")
		}
		if special.MatchString(id) {
			return nil, fmt.Errorf("nginx interprets the client name %q", id)
		}
		found[digestOf(key)] = identity{id: id}
	}
	delete(found, digestOf(""))
	return found, nil
}

// special matches what has a meaning in a quoted string of the configuration of nginx.
var special = regexp.MustCompile("[\"\\\\$\n]")

func TestNGINX_RefusesOtherObjects(t *testing.T) {
	t.Parallel()
	keys := func(d data) object { return secret("nginx-keys", nil, d).withType("nginx.org/apikey") }
	testReadings(t, "nginx.yaml", nil, map[string]reading{
		"keys":           {objects: []object{keys(data{"a": "k1", "b": "k2"})}, accepts: []string{"k1", "k2"}},
		"no keys":        {objects: []object{keys(nil)}},
		"no Secret":      {objects: []object{secret("nginx-keys-1", nil, data{"a": "k1"}).withType("nginx.org/apikey")}, error: "doesn't exist"},
		"further Secret": {objects: []object{keys(data{"a": "k1"}), secret("nginx-keys-1", nil, data{"b": "k2"})}, accepts: []string{"k1"}},
		"only elsewhere": {objects: []object{keys(data{"a": "k1"}).elsewhere()}, error: "doesn't exist"},
		"other type":     {objects: []object{keys(data{"a": "k1"}).withType("Opaque")}, error: "wrong type"},
		"duplicate":      {objects: []object{keys(data{"a": "k1", "b": "k1"})}, error: "cannot be repeated"},
		"empty value":    {objects: []object{keys(data{"a": "k1", "b": ""})}, accepts: []string{"k1"}},
	})
}
