// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package exports_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	apikeyauthv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/api_key_auth/v3"

	"github.com/apikey-manager/apikey-manager/test/schema/crd"
)

// envoyGateway reads Secrets as Envoy Gateway v1.9.1 does: buildAPIKeyAuth in internal/gatewayapi/securitypolicy.go rejects the policy
// for a missing Secret and for a value that occurs twice, and ignores an entry of the same name in a further Secret. The configuration
// of the route is then validated by the rules of Envoy's API, which require names and values. Envoy uses the keys of the filter, which
// Envoy Gateway sets to those of some other route, if a route has none.
func envoyGateway(r resources, objects []object) (accepted, error) {
	config, seen := &apikeyauthv3.ApiKeyAuthPerRoute{}, map[string]bool{}
	objects = append(r.secrets(), objects...)
	for _, ref := range r.list("SecurityPolicy", "spec", "apiKeyAuth", "credentialRefs") {
		o := r.named(objects, "SecurityPolicy", fmt.Sprint(ref["name"]))
		if o == nil {
			return nil, fmt.Errorf("secret %s does not exist", ref["name"])
		}
		for _, name := range slices.Sorted(maps.Keys(o.data)) {
			if seen["client "+name] {
				continue
			}
			if seen["key "+o.data[name]] {
				return nil, errors.New("duplicated API key")
			}
			seen["client "+name], seen["key "+o.data[name]] = true, true
			config.Credentials = append(config.Credentials, &apikeyauthv3.Credential{Client: name, Key: o.data[name]})
		}
	}
	if len(config.GetCredentials()) == 0 {
		return nil, errors.New("Envoy uses the keys of another route")
	}
	if err := config.Validate(); err != nil {
		return nil, err
	}
	return envoyAccepts(config), nil
}

// secrets returns the Secrets of the sample itself.
func (r resources) secrets() []object {
	entries, _ := r.get("Secret", "stringData").(crd.Object)
	if entries == nil {
		return nil
	}
	o := object{kind: "Secret", namespace: r.text("Secret", "metadata", "namespace"), name: r.text("Secret", "metadata", "name"), data: data{}}
	for name, value := range entries {
		o.data[name], _ = value.(string)
	}
	return []object{o}
}

// envoyAccepts returns the clients of the filter api_key_auth. No client can send a key with a line break in a header.
func envoyAccepts(config *apikeyauthv3.ApiKeyAuthPerRoute) accepted {
	found := accepted{}
	for _, c := range config.GetCredentials() {
		if !strings.ContainsAny(c.GetKey(), "\r\n\x00") {
			found[digestOf(c.GetKey())] = identity{id: c.GetClient()}
		}
	}
	return found
}

func TestEnvoyGateway_RefusesOtherObjects(t *testing.T) {
	t.Parallel()
	keys := func(d data) object { return secret("envoy-gateway-keys", nil, d) }
	testReadings(t, "envoy-gateway.yaml", nil, map[string]reading{
		"keys":            {objects: []object{keys(data{"a": "k1", "b": "k2"})}, accepts: []string{"k1", "k2"}},
		"no keys":         {objects: []object{keys(nil)}},
		"other Secret":    {objects: []object{keys(data{"a": "k1"}), secret("other", nil, data{"b": "k2"})}, accepts: []string{"k1"}},
		"no Secret":       {objects: []object{secret("other", nil, data{"b": "k2"})}, error: "does not exist"},
		"only elsewhere":  {objects: []object{keys(data{"a": "k1"}).elsewhere()}, error: "does not exist"},
		"duplicate":       {objects: []object{keys(data{"a": "k1", "b": "k1"})}, error: "duplicated API key"},
		"empty value":     {objects: []object{keys(data{"a": "k1", "b": ""})}, error: "Key: value length must be at least 1"},
		"a ConfigMap":     {objects: []object{configMap("envoy-gateway-keys", nil, data{"a": "k1"})}, error: "does not exist"},
		"digest of a key": {objects: []object{keys(data{"a": "sha256:" + digestOf("k1")})}, accepts: []string{"sha256:" + digestOf("k1")}},
	})
}

func TestEnvoyGateway_DropsNamesOfFurtherSecrets(t *testing.T) {
	t.Parallel()
	two := func(r resources, _ []object) {
		auth, _ := r.get("SecurityPolicy", "spec", "apiKeyAuth").(crd.Object)
		auth["credentialRefs"] = []any{crd.Object{"name": "one"}, crd.Object{"name": "two"}}
	}
	testReadings(t, "envoy-gateway.yaml", two, map[string]reading{
		"other names": {objects: []object{secret("one", nil, data{"a": "k1"}), secret("two", nil, data{"b": "k2"})}, accepts: []string{"k1", "k2"}},
		"same name":   {objects: []object{secret("one", nil, data{"a": "k1"}), secret("two", nil, data{"a": "k2"})}, accepts: []string{"k1"}},
		"no keys":     {objects: []object{secret("one", nil, nil), secret("two", nil, nil)}, error: "keys of another route"},
		"same value":  {objects: []object{secret("one", nil, data{"a": "k1"}), secret("two", nil, data{"b": "k1"})}, error: "duplicated API key"},
	})
}
