// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package exports_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	apikeyauthv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/api_key_auth/v3"
)

// kgateway reads Secrets as kgateway at commit 0975d4c does: constructAPIKeyAuth in
// pkg/kgateway/extensions2/plugins/trafficpolicy/api_key_auth.go skips empty values, and rejects the policy if no Secret has a key or if
// two clients share one. The same client with the same key in two Secrets is one client.
func kgateway(r resources, objects []object) (accepted, error) {
	selected := r.selected(objects, "Secret", "TrafficPolicy", "spec", "apiKeyAuth", "secretSelector", "matchLabels")
	if len(selected) == 0 {
		return nil, errors.New("no secrets found matching selector")
	}
	config, clients := &apikeyauthv3.ApiKeyAuthPerRoute{}, map[string]string{}
	for _, o := range selected {
		for _, name := range slices.Sorted(maps.Keys(o.data)) {
			key := o.data[name]
			if first, twice := clients[key]; twice && first != name {
				return nil, fmt.Errorf("duplicate API key value shared by client %s and client %s", first, name)
			} else if key == "" || twice {
				continue
			}
			clients[key] = name
			config.Credentials = append(config.Credentials, &apikeyauthv3.Credential{Client: name, Key: key})
		}
	}
	if len(config.GetCredentials()) == 0 {
		return nil, errors.New("no valid API keys found in secrets")
	}
	if err := config.Validate(); err != nil {
		return nil, err
	}
	return envoyAccepts(config), nil
}

func TestKgateway_RefusesOtherObjects(t *testing.T) {
	t.Parallel()
	selected := data{"example.com/api-keys": "kgateway"}
	keys := func(d data) object { return secret("kgateway-keys", selected, d) }
	further := func(d data) object { return secret("kgateway-keys-1", selected, d) }
	testReadings(t, "kgateway.yaml", nil, map[string]reading{
		"keys":            {objects: []object{keys(data{"a": "k1", "b": "k2"})}, accepts: []string{"k1", "k2"}},
		"two Secrets":     {objects: []object{keys(data{"a": "k1"}), further(data{"b": "k2"})}, accepts: []string{"k1", "k2"}},
		"no Secret":       {error: "no secrets found"},
		"no keys":         {objects: []object{keys(nil)}, error: "no valid API keys"},
		"other labels":    {objects: []object{keys(data{"a": "k1"}), secret("other", nil, data{"b": "k2"})}, accepts: []string{"k1"}},
		"elsewhere":       {objects: []object{keys(data{"a": "k1"}), further(data{"b": "k2"}).elsewhere()}, accepts: []string{"k1"}},
		"empty value":     {objects: []object{keys(data{"a": "k1", "b": ""})}, accepts: []string{"k1"}},
		"duplicate":       {objects: []object{keys(data{"a": "k1", "b": "k1"})}, error: "shared by client"},
		"duplicate value": {objects: []object{keys(data{"a": "k1"}), further(data{"b": "k1"})}, error: "shared by client"},
		"same client":     {objects: []object{keys(data{"a": "k1"}), further(data{"a": "k1"})}, accepts: []string{"k1"}},
	})
}
