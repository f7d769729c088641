// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// A backup is a stream of YAML documents. Its objects are unstructured, so that fields that this version does not know are neither
// lost in a backup nor ignored in an import.

// maxDocument limits the size of one document of a backup. The API server limits Secrets to 1 MiB, and base64 makes them longer.
const maxDocument = 4 << 20

var (
	accountKind = v1alpha1.GroupVersion.WithKind("Account")
	keyKind     = v1alpha1.GroupVersion.WithKind("APIKey")
	exportKind  = v1alpha1.GroupVersion.WithKind("KeyExport")
	secretKind  = corev1.SchemeGroupVersion.WithKind("Secret")
)

// newObject returns an empty object of a kind.
func newObject(kind schema.GroupVersionKind) *unstructured.Unstructured {
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(kind)
	return object
}

// toKey converts an object to an APIKey.
func toKey(object *unstructured.Unstructured) (*v1alpha1.APIKey, error) {
	k := &v1alpha1.APIKey{}
	return k, runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, k)
}

// withoutServerFields returns an object without what the API server sets, and without some of its other fields. Owner references
// are left out, because they contain UIDs that do not exist after a restore: the garbage collector would delete the object.
func withoutServerFields(object *unstructured.Unstructured, without ...string) *unstructured.Unstructured {
	content := maps.Clone(object.Object)
	for _, field := range without {
		delete(content, field)
	}
	meta := map[string]any{"name": object.GetName()}
	if namespace := object.GetNamespace(); namespace != "" {
		meta["namespace"] = namespace
	}
	content["metadata"] = meta
	clean := &unstructured.Unstructured{Object: content}
	if labels := object.GetLabels(); len(labels) > 0 {
		clean.SetLabels(labels)
	}
	annotations := object.GetAnnotations()
	delete(annotations, corev1.LastAppliedConfigAnnotation)
	if len(annotations) > 0 {
		clean.SetAnnotations(annotations)
	}
	return clean
}

// writeDocument writes an object as a YAML document.
func writeDocument(out io.Writer, object *unstructured.Unstructured) error {
	text, err := yaml.Marshal(object.Object)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "---\n%s", text)
	return err
}

// eachDocument calls use with each object of a backup. Errors name the document by its number, and do not repeat its content,
// which may be a key.
func eachDocument(in io.Reader, use func(*unstructured.Unstructured) error) error {
	number := 0
	decode := func(document []byte) error {
		number++
		object, err := decodeDocument(document)
		if err != nil {
			return fmt.Errorf("document %d %w", number, err)
		}
		return use(object)
	}
	scanner := bufio.NewScanner(in)
	scanner.Buffer(nil, maxDocument)
	var document bytes.Buffer
	for scanner.Scan() {
		line := scanner.Bytes()
		if isSeparator := bytes.HasPrefix(line, []byte("---")); isSeparator && hasContent(document.Bytes()) {
			if err := decode(document.Bytes()); err != nil {
				return err
			}
		} else if !isSeparator && document.Len()+len(line) < maxDocument {
			document.Write(append(line, '\n'))
			continue
		} else if !isSeparator {
			return fmt.Errorf("document %d is longer than %d bytes", number+1, maxDocument)
		}
		document.Reset()
	}
	if err := scanner.Err(); err != nil {
		return fmt.Errorf("read document %d: %w", number+1, err)
	}
	if hasContent(document.Bytes()) {
		return decode(document.Bytes())
	}
	return nil
}

// hasContent reports whether a document has a line that is neither blank nor a comment.
func hasContent(document []byte) bool {
	for line := range bytes.Lines(document) {
		if line = bytes.TrimSpace(line); len(line) > 0 && line[0] != '#' {
			return true
		}
	}
	return false
}

// decodeDocument decodes an Account, a Secret, an APIKey or a KeyExport.
func decodeDocument(document []byte) (*unstructured.Unstructured, error) {
	text, err := yaml.YAMLToJSONStrict(document)
	if err != nil {
		return nil, errors.New("is not YAML")
	}
	object := &unstructured.Unstructured{}
	if err := object.UnmarshalJSON(text); err != nil {
		return nil, errors.New("is not an object of Kubernetes")
	}
	switch object.GroupVersionKind() {
	case accountKind, keyKind, exportKind, secretKind:
	default:
		return nil, errors.New("is none of the kinds Account, Secret, APIKey and KeyExport: kubectl apikey export writes such files")
	}
	if object.GetName() == "" {
		return nil, fmt.Errorf("is a %s without a name", object.GetKind())
	}
	return object, nil
}

// toUnstructured converts a typed object, whose TypeMeta is set.
func toUnstructured(object client.Object) (*unstructured.Unstructured, error) {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	return &unstructured.Unstructured{Object: content}, err
}
