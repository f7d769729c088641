// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package export

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/credential"
)

// Item holds the value of one entry in an object.
type Item struct {
	Value credential.Material
	// Digest identifies the credential, and UID the key. They are empty for a value that was read from the API server,
	// until Identify finds the credential.
	Digest string
	UID    types.UID
}

// Object holds what an object of an export holds.
type Object struct {
	// Items holds the items by the names of their entries.
	Items map[string]Item
	// Drifted reports whether the object must be written although it holds the right items, because its metadata
	// differs from what HasMetadata requires, or because it was changed in another way.
	Drifted bool
}

// Objects holds the objects that a KeyExport owns by name.
type Objects map[string]Object

// ObjectOf returns the content of an object with this data, as it was read from the API server.
func ObjectOf(data map[string][]byte) Object { return Object{} }

// Identify finds the given credentials in the objects, and sets Digest and UID of their items. It returns the material of
// those that it found by digest if the content of the export is Key.
func (x *Export) Identify(objects Objects, accepted map[types.UID][]v1alpha1.Credential) map[string]credential.Material {
	return nil
}

// Content holds what is written to an object, except its name and its owner.
type Content struct {
	// Type holds the type of a Secret. It is empty for a ConfigMap.
	Type string
	// Labels and Annotations hold those of the manager and of the spec. Those of other clients stay, see Metadata.
	Labels, Annotations map[string]string
	// Data holds the entries.
	Data map[string]credential.Material
}

// Content returns what a write makes of its object. It must not be called for a deletion.
func (x *Export) Content(w Write) Content { return Content{} }

// Metadata returns the labels and annotations of an object after it is updated to this content: those of the content,
// and those of other clients.
func (c Content) Metadata(object metav1.Object) (labels, annotations map[string]string) { return nil, nil }

// HasMetadata reports whether an object that holds these items has the labels and annotations that a write gives it.
func (x *Export) HasMetadata(items map[string]Item, object metav1.Object) bool { return true }
