// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package exports_test

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"
)

// agentgateway reads ConfigMaps as agentgateway v1.4.1 does: processAPIKeyAuthenticationPolicy in
// controller/pkg/agentgateway/plugins/traffic_plugin.go reports each invalid entry and sends the others to the proxies, which store
// them in a map by digest (crates/agentgateway/src/http/apikey.rs). Two entries with one digest are undefined behavior by the
// documentation of configMapSelector, so they are an error here.
func agentgateway(r resources, objects []object) (accepted, error) {
	if mode := r.text("AgentgatewayPolicy", "spec", "traffic", "apiKeyAuthentication", "mode"); mode != "Strict" {
		return nil, fmt.Errorf("mode %s accepts requests without a valid key", mode)
	}
	found, errs := accepted{}, []error(nil)
	selected := r.selected(objects, "ConfigMap", "AgentgatewayPolicy", "spec", "traffic", "apiKeyAuthentication", "configMapSelector", "matchLabels")
	for _, o := range selected {
		for name, value := range o.data {
			digest, metadata, err := agentgatewayEntry(value)
			if _, twice := found[digest]; twice && err == nil {
				err = errors.New("undefined behavior: the digest is in another entry, too")
			}
			if err != nil {
				errs = append(errs, fmt.Errorf("configMap %s contains invalid key %s: %w", o.name, name, err))
				continue
			}
			found[digest] = identity{metadata: metadata}
		}
	}
	return found, errors.Join(errs...)
}

func agentgatewayEntry(value string) (digest string, metadata map[string]any, err error) {
	trimmed := strings.TrimSpace(value)
	var entry struct {
		Key      string          `json:"key"`
		KeyHash  string          `json:"keyHash"`
		Metadata json.RawMessage `json:"metadata"`
	}
	switch {
	case trimmed == "":
		return "", nil, errors.New("empty value")
	case trimmed[0] != '{':
		entry.Key = value
	default:
		if err := json.Unmarshal([]byte(trimmed), &entry); err != nil {
			return "", nil, err
		}
	}
	if (entry.Key == "") == (entry.KeyHash == "") {
		return "", nil, errors.New("exactly one of key or keyHash must be set")
	}
	if entry.Key != "" {
		return "", nil, errors.New("keys sourced from a ConfigMap must use keyHash, not a raw key")
	}
	digits, ok := strings.CutPrefix(entry.KeyHash, "sha256:")
	if decoded, err := hex.DecodeString(digits); !ok || err != nil || len(decoded) != 32 {
		return "", nil, errors.New("keyHash must be sha256: and 32 bytes in hexadecimal digits")
	}
	fields := &structpb.Struct{}
	if len(entry.Metadata) > 0 && string(entry.Metadata) != "null" {
		if err := protojson.Unmarshal(entry.Metadata, fields); err != nil {
			return "", nil, errors.New("metadata must be an object")
		}
	}
	return strings.ToLower(digits), fields.AsMap(), nil
}

func TestAgentgateway_RefusesOtherObjects(t *testing.T) {
	t.Parallel()
	selected := data{"example.com/api-keys": "agentgateway"}
	hash := func(key string) string { return `{"keyHash": "sha256:` + digestOf(key) + `"}` }
	keys := func(d data) []object { return []object{configMap("agentgateway-keys", selected, d)} }
	testReadings(t, "agentgateway.yaml", nil, map[string]reading{
		"digests":              {objects: keys(data{"a": hash("k1"), "b": "\n" + hash("k2") + "\n"}), accepts: []string{"k1", "k2"}},
		"digest in upper case": {objects: keys(data{"a": strings.ReplaceAll(strings.ToUpper(hash("k1")), `"KEYHASH": "SHA`, `"keyHash": "sha`)}), accepts: []string{"k1"}},
		"two ConfigMaps": {
			objects: []object{configMap("a", selected, data{"a": hash("k1")}), configMap("b", selected, data{"a": hash("k2")})},
			accepts: []string{"k1", "k2"},
		},
		"other labels":     {objects: []object{configMap("a", data{"example.com/api-keys": "other"}, data{"a": hash("k1")})}},
		"other namespace":  {objects: []object{configMap("a", selected, data{"a": hash("k1")}).elsewhere()}},
		"a Secret":         {objects: []object{secret("a", selected, data{"a": hash("k1")})}},
		"a raw key":        {objects: keys(data{"a": "k1", "b": hash("k2")}), accepts: []string{"k2"}, error: "not a raw key"},
		"key in JSON":      {objects: keys(data{"a": `{"key": "k1"}`}), error: "not a raw key"},
		"a bare digest":    {objects: keys(data{"a": "sha256:" + digestOf("k1")}), error: "not a raw key"},
		"empty value":      {objects: keys(data{"a": " \n"}), error: "empty value"},
		"neither":          {objects: keys(data{"a": `{"metadata": {}}`}), error: "exactly one"},
		"invalid JSON":     {objects: keys(data{"a": `{"keyHash": "sha256:` + digestOf("k1") + `", "metadata": {"label": "a"b"}}`}), error: "invalid character"},
		"digest of 31":     {objects: keys(data{"a": `{"keyHash": "sha256:` + digestOf("k1")[2:] + `"}`}), error: "32 bytes"},
		"other algorithm":  {objects: keys(data{"a": `{"keyHash": "sha512:` + digestOf("k1") + `"}`}), error: "must be sha256:"},
		"list as metadata": {objects: keys(data{"a": `{"keyHash": "sha256:` + digestOf("k1") + `", "metadata": []}`}), error: "must be an object"},
		"duplicate":        {objects: keys(data{"a": hash("k1"), "b": hash("k1")}), accepts: []string{"k1"}, error: "undefined"},
	})
}

func TestAgentgateway_RequiresStrictMode(t *testing.T) {
	t.Parallel()
	r := readSample(t, "agentgateway.yaml").resources
	traffic, _ := r.get("AgentgatewayPolicy", "spec", "traffic", "apiKeyAuthentication").(map[string]any)
	traffic["mode"] = "Optional"
	if _, err := agentgateway(r, nil); err == nil {
		t.Error("it reports no error, although it accepts every request")
	}
}
