// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package exports_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/apikey-manager/apikey-manager/test/schema/crd"
)

// kong reads Secrets as Kong Ingress Controller v3.5.13 does: FillConsumersAndCredentials in internal/dataplane/kongstate/kongstate.go
// reports a missing Secret, a Secret without a type of credential or without a key, and uses the other credentials of the consumer; it
// removes all consumers that have a key that occurs twice. Entries other than key can change a credential, such as ttl. The admission
// webhook (internal/admission/validation/consumers/credentials/validation.go) rejects an empty key.
func kong(r resources, objects []object) (accepted, error) {
	found, errs := accepted{}, []error(nil)
	names, _ := r.get("KongConsumer", "credentials").([]any)
	for _, name := range names {
		key, err := kongCredential(r.named(objects, "KongConsumer", fmt.Sprint(name)))
		if err != nil {
			errs = append(errs, fmt.Errorf("credential %q failure: %w", name, err))
			continue
		}
		if _, twice := found[digestOf(key)]; twice {
			return nil, errors.New("conflict detected in key-auth on 'key' index")
		}
		found[digestOf(key)] = identity{id: r.text("KongConsumer", "username")}
	}
	return found, errors.Join(errs...)
}

func kongCredential(o *object) (string, error) {
	switch {
	case o == nil:
		return "", errors.New("failed to fetch secret")
	case o.labels["konghq.com/credential"] != "key-auth" || o.labels["konghq.com/secret"] != "true":
		return "", errors.New("lacks konghq.com/credential label")
	case o.data["key"] == "":
		return "", errors.New("key-auth is invalid: no key")
	case len(o.data) != 1:
		return "", errors.New("further entries are fields of the credential")
	}
	return o.data["key"], nil
}

// fillKongConsumer does what the command in the sample does.
func fillKongConsumer(t *testing.T, s sample, objects []object) {
	t.Helper()
	merge(s.resources["KongConsumer"], runListCommand(t, s.source, objects))
}

func TestKong_RefusesOtherObjects(t *testing.T) {
	t.Parallel()
	labelled := data{"konghq.com/credential": "key-auth", "konghq.com/secret": "true"}
	named := func(r resources, objects []object) {
		var names []any
		for _, o := range objects {
			names = append(names, o.name)
		}
		r["KongConsumer"]["credentials"] = names
	}
	one, two := secret("one", labelled, data{"key": "k1"}), secret("two", labelled, data{"key": "k2"})
	testReadings(t, "kong.yaml", named, map[string]reading{
		"keys":          {objects: []object{one, two}, accepts: []string{"k1", "k2"}},
		"duplicate":     {objects: []object{one, secret("two", labelled, data{"key": "k1"})}, error: "conflict"},
		"no key":        {objects: []object{one, secret("two", labelled, data{"api-key": "k2"})}, accepts: []string{"k1"}, error: "no key"},
		"empty value":   {objects: []object{one, secret("two", labelled, data{"key": ""})}, accepts: []string{"k1"}, error: "no key"},
		"no label":      {objects: []object{one, secret("two", data{"konghq.com/secret": "true"}, data{"key": "k2"})}, accepts: []string{"k1"}, error: "label"},
		"other entries": {objects: []object{one, secret("two", labelled, data{"key": "k2", "ttl": "1"})}, accepts: []string{"k1"}, error: "further entries"},
		"elsewhere":     {objects: []object{one, two.elsewhere()}, accepts: []string{"k1"}, error: "failed to fetch"},
	})
}

func TestKong_ReadsNamedSecretsOnly(t *testing.T) {
	t.Parallel()
	labelled := data{"konghq.com/credential": "key-auth", "konghq.com/secret": "true"}
	one, two := secret("one", labelled, data{"key": "k1"}), secret("two", labelled, data{"key": "k2"})
	named := func(names ...any) func(resources, []object) {
		return func(r resources, _ []object) { r["KongConsumer"]["credentials"] = slices.Clone(names) }
	}
	testReadings(t, "kong.yaml", named(), map[string]reading{"no name": {objects: []object{one, two}}})
	testReadings(t, "kong.yaml", named("two", "gone"), map[string]reading{
		"a name, and that of a deleted Secret": {objects: []object{one, two}, accepts: []string{"k2"}, error: "failed to fetch"},
	})
}

// merge applies a JSON merge patch of objects, in which lists replace lists.
func merge(into, patch crd.Object) {
	for name, value := range patch {
		inner, ok := value.(crd.Object)
		if old, both := into[name].(crd.Object); ok && both {
			merge(old, inner)
			continue
		}
		into[name] = value
	}
}
