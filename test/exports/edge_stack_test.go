// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package exports_test

import (
	"errors"
	"fmt"
	"testing"
)

// edgeStack reads Secrets as the documentation of the APIKey Filter of Ambassador Edge Stack 3 says: each value of each Opaque Secret is
// a key. It says nothing of missing Secrets, duplicates and empty values, which are errors here.
func edgeStack(r resources, objects []object) (accepted, error) {
	found := accepted{}
	for _, ref := range r.list("Filter", "spec", "APIKey", "keys") {
		o := r.named(objects, "Filter", fmt.Sprint(ref["secretName"]))
		if o == nil || o.secretType != "Opaque" {
			return nil, errors.New("the Secret does not exist, or is not Opaque")
		}
		for _, key := range o.data {
			if _, twice := found[digestOf(key)]; twice || key == "" {
				return nil, errors.New("a value is empty, or occurs twice")
			}
			found[digestOf(key)] = identity{}
		}
	}
	return found, nil
}

func TestEdgeStack_RefusesOtherObjects(t *testing.T) {
	t.Parallel()
	keys := func(d data) object { return secret("edge-stack-keys", nil, d) }
	testReadings(t, "edge-stack.yaml", nil, map[string]reading{
		"keys":        {objects: []object{keys(data{"a": "k1", "b": "k2"})}, accepts: []string{"k1", "k2"}},
		"no Secret":   {error: "does not exist"},
		"other type":  {objects: []object{keys(data{"a": "k1"}).withType("nginx.org/apikey")}, error: "not Opaque"},
		"duplicate":   {objects: []object{keys(data{"a": "k1", "b": "k1"})}, error: "twice"},
		"empty value": {objects: []object{keys(data{"a": ""})}, error: "empty"},
	})
}
