// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package export

import (
	"fmt"
	"maps"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/apikey-manager/apikey-manager/internal/credential"
	"github.com/apikey-manager/apikey-manager/internal/keys"
)

// Annotations of the objects of a KeyExport, in addition to keys.LabelManagedBy and, under layout Objects,
// keys.LabelAccount.
const (
	// AnnotationKeyExport names the KeyExport that owns the object.
	AnnotationKeyExport = "apikey-manager.io/keyexport"
	// AnnotationAPIKey names the APIKey of the only credential in the object, as namespace/name.
	AnnotationAPIKey = "apikey-manager.io/apikey"
	// AnnotationKeyID holds the public ID of the only credential in the object.
	AnnotationKeyID = "apikey-manager.io/key-id"
)

// Item holds the value of one entry in an object.
type Item struct {
	Value credential.Material
	// Digest identifies the credential, and UID the key. They are empty for a value that was read from the API server,
	// until Identify finds the credential.
	Digest string
	UID    types.UID
}

// Object holds what Place knows about an object.
type Object struct {
	// Items holds the items by the names of their entries.
	Items map[string]Item
	// Metadata holds the labels and annotations of the object. It is nil if they are known to be right, as after a
	// write.
	Metadata metav1.Object
	// Drifted reports whether the object must be written although its items and its metadata are right.
	Drifted bool
}

// ObjectOf returns the content of an object with this data and metadata, as it was read from the API server.
func ObjectOf(data map[string][]byte, metadata metav1.Object) Object {
	o := Object{Items: make(map[string]Item, len(data)), Metadata: metadata}
	for name, value := range data {
		o.Items[name] = Item{Value: value}
	}
	return o
}

// Objects holds the objects that a KeyExport owns by name.
type Objects map[string]Object

// Apply changes the objects as a write that succeeded changes them.
func (o Objects) Apply(w Write) {
	if w.Delete {
		delete(o, w.Name)
		return
	}
	o[w.Name] = Object{Items: w.Items}
}

// Kept returns those of the given entries whose credential the objects hold, with the names and values that the objects have. If
// they are placed, nothing is added.
func (o Objects) Kept(entries []Entry) []Entry {
	type namedItem struct {
		Item

		name string
	}
	held := map[string]namedItem{}
	for _, object := range o {
		for name, item := range object.Items {
			if item.Digest != "" {
				held[item.Digest] = namedItem{item, name}
			}
		}
	}
	var kept []Entry
	for _, e := range entries {
		if h, ok := held[e.Digest]; ok && h.UID == e.UID {
			e.Name, e.Value = h.name, h.Value
			kept = append(kept, e)
		}
	}
	return kept
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
func (x *Export) Content(w Write) Content {
	c := x.metadataOf(w.entry)
	c.Type, c.Data = x.spec.Target.Type, make(map[string]credential.Material, len(w.Items))
	for name, item := range w.Items {
		c.Data[name] = item.Value
	}
	return c
}

// metadataOf returns the labels and annotations of an object. e is the only entry of an object under layout Objects, and
// nil otherwise.
func (x *Export) metadataOf(e *Entry) Content {
	target := &x.spec.Target
	c := Content{
		Labels:      make(map[string]string, len(target.Labels)+2),
		Annotations: make(map[string]string, len(target.Annotations)+4),
	}
	maps.Copy(c.Labels, target.Labels)
	maps.Copy(c.Annotations, target.Annotations)
	if names := keys.TemplateMetadata(target.Labels, target.Annotations); names != "" {
		c.Annotations[keys.AnnotationTemplateMetadata] = names
	}
	c.Labels[keys.LabelManagedBy], c.Annotations[AnnotationKeyExport] = keys.ManagedBy, x.name
	if e != nil {
		c.Labels[keys.LabelAccount] = e.Account
		c.Annotations[AnnotationAPIKey], c.Annotations[AnnotationKeyID] = e.Key.String(), e.KeyID
	}
	return c
}

// Metadata returns the labels and annotations of an object after it is updated to this content: those of the content,
// and those of other clients. Labels and annotations that were removed from the spec are removed.
func (c Content) Metadata(object metav1.Object) (labels, annotations map[string]string) {
	content := keys.SecretContent{Labels: c.Labels, Annotations: c.Annotations}
	return content.Metadata(object, keys.Settings{})
}

// hasDrifted reports whether an object must be written although it holds the right items. e is as in metadataOf.
func (x *Export) hasDrifted(o *Object, e *Entry) bool {
	if o.Drifted || o.Metadata == nil {
		return o.Drifted
	}
	labels, annotations := x.metadataOf(e).Metadata(o.Metadata)
	return !maps.Equal(labels, o.Metadata.GetLabels()) || !maps.Equal(annotations, o.Metadata.GetAnnotations())
}

// digestSuffix is the number of hexadecimal digits of the digest in the name of an object under layout Objects.
const digestSuffix = 16

// ObjectName returns the name of the object of a credential under layout Objects.
func (x *Export) ObjectName(digest string) string {
	return x.spec.Target.Name + "-" + digest[:min(digestSuffix, len(digest))]
}

// shardName returns the name of an object under layout Entries. The first object has number 0.
func (x *Export) shardName(number int) string {
	if number == 0 {
		return x.spec.Target.Name
	}
	return fmt.Sprintf("%s-%d", x.spec.Target.Name, number)
}

// shardNumber returns the number of an object under layout Entries. ok is false if the object has another name than
// shardName returns.
func (x *Export) shardNumber(name string) (number int, ok bool) {
	if name == x.spec.Target.Name {
		return 0, true
	}
	suffix, found := strings.CutPrefix(name, x.spec.Target.Name+"-")
	number, err := strconv.Atoi(suffix)
	return number, found && err == nil && number > 0 && number <= maxShards && x.shardName(number) == name
}
