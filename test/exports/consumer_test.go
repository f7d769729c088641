// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Package exports_test reads the objects of KeyExports as gateways that keep keys themselves read them. Each gateway has a consumer,
// which follows the rules of its source or its documentation, and a sample in config/samples/exports, whose KeyExport and whose own
// resources the consumer uses. The tests check that consumers accept exactly the keys that the objects are for, and that they refuse
// what their gateways refuse.
package exports_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/apikey-manager/apikey-manager/test/schema/crd"
)

// namespace is the namespace of the samples.
const namespace = "gateway"

// object is a Secret or a ConfigMap as a gateway receives it.
type object struct {
	kind, namespace, name, secretType string
	labels, annotations               map[string]string
	data                              map[string]string
}

// identity describes what a gateway knows of the client that sends an accepted key.
type identity struct {
	id       string
	metadata map[string]any
}

// accepted holds the clients whose keys a gateway accepts, by the hexadecimal SHA-256 digest of the key.
type accepted map[string]identity

// consumer returns the keys that a gateway with the resources accepts once it has received all objects. An error is what the gateway
// reports. Some gateways report an error and yet accept keys.
type consumer func(r resources, objects []object) (accepted, error)

var consumers = map[string]consumer{
	"agentgateway.yaml":     agentgateway,
	"apisix.yaml":           apisix,
	"authorino.yaml":        authorino,
	"edge-stack.yaml":       edgeStack,
	"envoy-gateway.yaml":    envoyGateway,
	"external-secrets.yaml": externalSecrets,
	"gloo.yaml":             gloo,
	"kgateway.yaml":         kgateway,
	"kong.yaml":             kong,
	"nginx.yaml":            nginx,
}

// resources holds the gateway's own resources of a sample by kind.
type resources map[string]crd.Object

// sample is a file of config/samples/exports.
type sample struct {
	source string
	export crd.Object
	resources
}

func root(t *testing.T) string {
	t.Helper()
	dir, err := crd.Root()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// readSample reads a sample, each of whose resources has another kind.
func readSample(t *testing.T, file string) sample {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root(t), "config", "samples", "exports", file))
	if err != nil {
		t.Fatal(err)
	}
	s := sample{source: string(data), resources: resources{}}
	for document := range strings.SplitSeq(s.source, "\n---\n") {
		obj, err := crd.Decode([]byte(document))
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		kind, _ := obj["kind"].(string)
		if kind == "KeyExport" && s.export == nil {
			s.export = obj
			continue
		}
		if _, twice := s.resources[kind]; twice {
			t.Fatalf("%s has two resources of kind %s", file, kind)
		}
		s.resources[kind] = obj
	}
	return s
}

// get returns a field of a resource, or nil if it is not set.
func (r resources) get(kind string, fields ...string) any {
	value, _, err := unstructured.NestedFieldNoCopy(r[kind], fields...)
	if err != nil {
		return nil
	}
	return value
}

// list returns a list of objects, and text a string.
func (r resources) list(kind string, fields ...string) []crd.Object {
	items, _ := r.get(kind, fields...).([]any)
	return mapsOf(items)
}

func (r resources) text(kind string, fields ...string) string {
	text, _ := r.get(kind, fields...).(string)
	return text
}

func mapsOf(items []any) []crd.Object {
	var found []crd.Object
	for _, item := range items {
		if m, ok := item.(crd.Object); ok {
			found = append(found, m)
		}
	}
	return found
}

// selected returns the objects of a kind in the namespace of the resource that have all labels that a field of the resource requires.
func (r resources) selected(objects []object, objectKind, kind string, fields ...string) []object {
	required, found := labels.Set{}, []object(nil)
	matchLabels, _ := r.get(kind, fields...).(crd.Object)
	for name, value := range matchLabels {
		required[name], _ = value.(string)
	}
	if len(required) == 0 {
		return nil
	}
	for _, o := range objects {
		if o.kind == objectKind && o.namespace == r.text(kind, "metadata", "namespace") && required.AsSelector().Matches(labels.Set(o.labels)) {
			found = append(found, o)
		}
	}
	return found
}

// named returns the Secret of a name in the namespace of the resource, or nil if it does not exist.
func (r resources) named(objects []object, kind, name string) *object {
	for i, o := range objects {
		if o.kind == "Secret" && o.namespace == r.text(kind, "metadata", "namespace") && o.name == name {
			return &objects[i]
		}
	}
	return nil
}

func digestOf(key string) string {
	digest := sha256.Sum256([]byte(key))
	return hex.EncodeToString(digest[:])
}

// secret returns an Opaque Secret in the namespace of the samples, and configMap a ConfigMap.
func secret(name string, objectLabels, data map[string]string) object {
	return object{kind: "Secret", namespace: namespace, name: name, secretType: "Opaque", labels: objectLabels, data: data}
}

func configMap(name string, objectLabels, data map[string]string) object {
	return object{kind: "ConfigMap", namespace: namespace, name: name, labels: objectLabels, data: data}
}

func (o object) withType(secretType string) object {
	o.secretType = secretType
	return o
}

func (o object) elsewhere() object {
	o.namespace = "elsewhere"
	return o
}

type data = map[string]string

// reading is what a consumer makes of objects: the keys that it accepts, and a part of the error that it reports.
type reading struct {
	objects []object
	accepts []string
	error   string
}

// testReadings checks what the consumer of a sample makes of objects. change may change the resources of the sample.
func testReadings(t *testing.T, file string, change func(resources, []object), readings map[string]reading) {
	t.Helper()
	for about, want := range readings {
		t.Run(about, func(t *testing.T) {
			t.Parallel()
			r := readSample(t, file).resources
			if change != nil {
				change(r, want.objects)
			}
			got, err := consumers[file](r, want.objects)
			var digests []string
			for _, key := range want.accepts {
				digests = append(digests, digestOf(key))
			}
			if diff := cmp.Diff(slices.Sorted(slices.Values(digests)), got.digests()); diff != "" {
				t.Errorf("it accepts other keys (-want +got):\n%s", diff)
			}
			if text := fmt.Sprint(err); (err == nil) != (want.error == "") || err != nil && !strings.Contains(text, want.error) {
				t.Errorf("it reports %q, not %q", text, want.error)
			}
		})
	}
}

func (a accepted) digests() []string {
	var found []string
	for digest := range a {
		found = append(found, digest)
	}
	slices.Sort(found)
	return found
}
