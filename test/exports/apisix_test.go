// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package exports_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/apikey-manager/apikey-manager/test/schema/crd"
)

// apisix reads Secrets as APISIX Ingress Controller 2.2.0 does: processSpec in internal/controller/consumer_controller.go and
// TranslateConsumerV1alpha1 in internal/adc/translator/consumer.go skip missing Secrets and make each entry a field of the credential,
// whose name must be unique. The plugin key-auth of APISIX requires the field key, unique among all credentials, and resolves values
// that begin with $secret:// or $env://.
func apisix(r resources, objects []object) (accepted, error) {
	found, names := accepted{}, map[string]bool{}
	for _, spec := range r.list("Consumer", "spec", "credentials") {
		ref, _ := spec["secretRef"].(crd.Object)
		name := fmt.Sprint(spec["name"])
		if spec["type"] != "key-auth" || ref == nil || names[name] {
			return nil, errors.New("invalid credentials")
		}
		names[name] = true
		o := r.named(objects, "Consumer", fmt.Sprint(ref["name"]))
		if o == nil {
			continue
		}
		key, ok := o.data["key"]
		if !ok || key == "" || strings.HasPrefix(key, "$") {
			return nil, errors.New(`property "key" is required, and must be the key itself`)
		}
		if _, twice := found[digestOf(key)]; twice {
			return nil, errors.New("duplicate key found")
		}
		found[digestOf(key)] = identity{id: r.text("Consumer", "metadata", "name")}
	}
	return found, nil
}

// fillAPISIXConsumer does what the command in the sample does.
func fillAPISIXConsumer(t *testing.T, s sample, objects []object) {
	t.Helper()
	merge(s.resources["Consumer"], runListCommand(t, s.source, objects))
}

func TestAPISIX_RefusesOtherObjects(t *testing.T) {
	t.Parallel()
	named := func(names ...string) func(resources, []object) {
		return func(r resources, _ []object) {
			var credentials []any
			for _, name := range names {
				credentials = append(credentials, crd.Object{"type": "key-auth", "name": name, "secretRef": crd.Object{"name": name}})
			}
			spec, _ := r.get("Consumer", "spec").(crd.Object)
			spec["credentials"] = credentials
		}
	}
	one, two := secret("one", nil, data{"key": "k1"}), secret("two", nil, data{"key": "k2"})
	testReadings(t, "apisix.yaml", named("one", "two"), map[string]reading{
		"keys":        {objects: []object{one, two, secret("three", nil, data{"key": "k3"})}, accepts: []string{"k1", "k2"}},
		"one deleted": {objects: []object{two}, accepts: []string{"k2"}},
		"elsewhere":   {objects: []object{one, two.elsewhere()}, accepts: []string{"k1"}},
		"no key":      {objects: []object{one, secret("two", nil, data{"api-key": "k2"})}, error: "is required"},
		"empty value": {objects: []object{one, secret("two", nil, data{"key": ""})}, error: "is required"},
		"a reference": {objects: []object{one, secret("two", nil, data{"key": "$env://HOME"})}, error: "the key itself"},
		"duplicate":   {objects: []object{one, secret("two", nil, data{"key": "k1"})}, error: "duplicate key"},
	})
	testReadings(t, "apisix.yaml", named("one", "one"), map[string]reading{"one name twice": {objects: []object{one}, error: "invalid credentials"}})
	testReadings(t, "apisix.yaml", nil, map[string]reading{"no name": {objects: []object{one, two}}})
}
