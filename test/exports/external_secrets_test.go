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
	"unicode/utf8"

	"github.com/apikey-manager/apikey-manager/test/schema/crd"
)

// externalSecrets pushes a Secret as External Secrets v1.3.2 does, and reads what it pushed: docs/guides/pushsecrets.md says that a match
// without secretKey and with a property pushes all entries as one JSON object, whose values must therefore be text.
// resolveSecrets in pkg/controllers/pushsecret/pushsecret_controller.go reports a missing Secret. The reader accepts digests.
func externalSecrets(r resources, objects []object) (accepted, error) {
	o := r.named(objects, "PushSecret", r.text("PushSecret", "spec", "selector", "secret", "name"))
	if o == nil {
		return nil, errors.New("could not get source secret")
	}
	for _, entry := range r.list("PushSecret", "spec", "data") {
		match, _ := entry["match"].(crd.Object)
		remote, _ := match["remoteRef"].(crd.Object)
		if match["secretKey"] != nil || remote["property"] == nil {
			return nil, errors.New("it pushes single entries, so that entries that are withdrawn may stay in the store")
		}
	}
	for name, value := range o.data {
		if !utf8.ValidString(value) {
			return nil, fmt.Errorf("entry %s cannot be marshaled", name)
		}
	}
	pushed, err := json.Marshal(o.data)
	if err != nil {
		return nil, err
	}
	return readPushed(pushed)
}

func readPushed(pushed []byte) (accepted, error) {
	entries, found := map[string]string{}, accepted{}
	if err := json.Unmarshal(pushed, &entries); err != nil {
		return nil, err
	}
	for id, value := range entries {
		digest, ok := strings.CutPrefix(value, "sha256:")
		if decoded, err := hex.DecodeString(digest); !ok || err != nil || len(decoded) != 32 {
			return nil, fmt.Errorf("entry %s is not a digest", id)
		}
		found[digest] = identity{id: id}
	}
	return found, nil
}

func TestExternalSecrets_RefusesOtherObjects(t *testing.T) {
	t.Parallel()
	keys := func(d data) []object { return []object{secret("remote-keys", nil, d)} }
	digest := "sha256:" + digestOf("k1")
	testReadings(t, "external-secrets.yaml", nil, map[string]reading{
		"digests":   {objects: keys(data{"a": digest, "b": "sha256:" + digestOf("k2")}), accepts: []string{"k1", "k2"}},
		"no Secret": {error: "could not get"},
		"no text":   {objects: keys(data{"a": "\xff"}), error: "cannot be marshaled"},
		"a key":     {objects: keys(data{"a": "k1"}), error: "not a digest"},
	})
	single := func(r resources, _ []object) {
		match, _ := r.list("PushSecret", "spec", "data")[0]["match"].(crd.Object)
		match["secretKey"] = "a"
	}
	testReadings(t, "external-secrets.yaml", single, map[string]reading{"single entries": {objects: keys(data{"a": digest}), error: "may stay"}})
}
