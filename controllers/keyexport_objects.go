// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"cmp"
	"context"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/credential"
	"github.com/apikey-manager/apikey-manager/internal/export"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/lookup"
)

// contents returns what the objects of the export hold.
func (s *exportState) contents() export.Objects {
	all := make(export.Objects, len(s.objects))
	for name, o := range s.objects {
		all[name] = export.Object{Items: o.items, Metadata: &o.meta}
	}
	return all
}

// observeObjects brings what is known of the objects up to date. It reads from the API server only the objects that another
// client changed, and those that the cache does not contain. One that cannot be read does not delay withdrawals from the others.
func (r *KeyExportReconciler) observeObjects(ctx context.Context, run *exportRun) error {
	list := newExportTargetList(run.export)
	if err := r.List(ctx, list, client.InNamespace(run.export.Namespace), client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("list the objects of KeyExport %s: %w", run.export.Name, err)
	}
	cached, deleted := map[string]bool{}, map[types.UID]bool{}
	for i := range list.Items {
		if seen := &list.Items[i].ObjectMeta; metav1.IsControlledBy(seen, run.export) {
			cached[seen.Name], deleted[seen.UID] = true, run.state.deleted[seen.UID]
			if run.state.isKnown(seen) {
				continue
			}
			run.unreadable = cmp.Or(run.unreadable, r.readObject(ctx, run, seen.Name))
		}
	}
	run.state.deleted = deleted
	for name := range maps.Clone(run.state.objects) {
		if !cached[name] { // it is not in the cache yet, or another client deleted it or changed its labels
			run.unreadable = cmp.Or(run.unreadable, r.readObject(ctx, run, name))
		}
	}
	if !run.state.searched {
		run.unreadable = cmp.Or(run.unreadable, r.searchObjects(ctx, run, cached))
	}
	return nil
}

// searchObjects finds, once after a start, the objects of the export that the cache lacks because another client removed their
// label while no manager ran.
func (r *KeyExportReconciler) searchObjects(ctx context.Context, run *exportRun, cached map[string]bool) error {
	list := newExportTargetList(run.export)
	if err := r.APIReader.List(ctx, list, client.InNamespace(run.export.Namespace)); err != nil {
		return &keys.PublicError{Message: fmt.Sprintf("Could not list the objects: %s", errorKind(err)), Err: withoutData(err)}
	}
	for i := range list.Items {
		if o := &list.Items[i]; metav1.IsControlledBy(o, run.export) && !cached[o.Name] && run.state.objects[o.Name] == nil {
			if err := r.readObject(ctx, run, o.Name); err != nil {
				return err
			}
		}
	}
	run.state.searched = true
	return nil
}

// isKnown reports whether an object in the cache is the version that was read or written last, or an earlier one.
func (s *exportState) isKnown(seen *metav1.ObjectMeta) bool {
	known := s.objects[seen.Name]
	switch {
	case known == nil:
		return s.deleted[seen.UID]
	case known.meta.UID != seen.UID:
		return false
	case known.meta.ResourceVersion == seen.ResourceVersion:
		known.meta = *seen // shares the maps of the cache
		return true
	}
	return earlier(seen.ResourceVersion, known.meta.ResourceVersion)
}

// readObject reads an object from the API server. It forgets the object if it does not exist or is not owned by the export.
func (r *KeyExportReconciler) readObject(ctx context.Context, run *exportRun, name string) error {
	run.state.snapshot = nil
	object := newExportTarget(run.export, name)
	err := r.APIReader.Get(ctx, client.ObjectKeyFromObject(object), object)
	if apierrors.IsNotFound(err) {
		delete(run.state.objects, name)
		delete(run.state.foreign, name)
		return nil
	}
	if err != nil {
		return &keys.PublicError{
			Message: fmt.Sprintf("Could not read %s %s: %s", run.export.Spec.Target.Kind, name, errorKind(err)), Err: withoutData(err),
		}
	}
	if !metav1.IsControlledBy(object, run.export) {
		delete(run.state.objects, name)
		run.state.foreign[name] = run.now
		return nil
	}
	delete(run.state.foreign, name)
	run.state.objects[name] = observedObject(run.export, object)
	return nil
}

// observedObject returns what an object holds that was read from the API server.
func observedObject(e *v1alpha1.KeyExport, object client.Object) *exportObject {
	o := &exportObject{}
	var immutable *bool
	switch object := object.(type) {
	case *corev1.Secret:
		o.meta, o.items, immutable = object.ObjectMeta, export.ObjectOf(object.Data, object).Items, object.Immutable
		if want := cmp.Or(e.Spec.Target.Type, string(corev1.SecretTypeOpaque)); string(object.Type) != want {
			o.unchangeable = fmt.Sprintf("has type %.253s, not %s", object.Type, want)
		}
	case *corev1.ConfigMap:
		data := maps.Clone(object.BinaryData)
		if data == nil {
			data = map[string][]byte{}
		}
		for name, value := range object.Data {
			data[name] = []byte(value)
		}
		o.meta, o.items, immutable = object.ObjectMeta, export.ObjectOf(data, object).Items, object.Immutable
	}
	if immutable != nil && *immutable {
		o.unchangeable = "is immutable"
	}
	o.dropManagedFields()
	return o
}

// newExportTargetList returns an empty list of the metadata of the objects of the kind that a KeyExport writes.
func newExportTargetList(e *v1alpha1.KeyExport) *metav1.PartialObjectMetadataList {
	return &metav1.PartialObjectMetadataList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: string(e.Spec.Target.Kind) + "List"}}
}

// newExportTarget returns an empty object of the kind that a KeyExport writes.
func newExportTarget(e *v1alpha1.KeyExport, name string) client.Object {
	meta := metav1.ObjectMeta{Namespace: e.Namespace, Name: name}
	if e.Spec.Target.Kind == v1alpha1.ExportToConfigMap {
		return &corev1.ConfigMap{ObjectMeta: meta}
	}
	return &corev1.Secret{ObjectMeta: meta}
}

// write performs one write. It returns a violation if the write is impossible.
func (r *KeyExportReconciler) write(ctx context.Context, run *exportRun, w export.Write) (*keys.Violation, error) {
	known := run.state.objects[w.Name]
	switch {
	case known != nil && known.unchangeable != "" && !w.Delete:
		return &keys.Violation{
			Reason: v1alpha1.ReasonTargetImmutable,
			Message: fmt.Sprintf("%s %s must change but %s: delete it, and the manager writes it again",
				run.export.Spec.Target.Kind, w.Name, known.unchangeable),
		}, nil
	case known == nil && w.Delete:
		return nil, nil
	case known == nil:
		return r.createObject(ctx, run, w)
	case w.Delete:
		return nil, r.deleteObject(ctx, run, w.Name, known)
	}
	return nil, r.updateObject(ctx, run, w, known)
}

// createObject creates an object under a fixed name, so that it never changes one that exists.
func (r *KeyExportReconciler) createObject(ctx context.Context, run *exportRun, w export.Write) (*keys.Violation, error) {
	if since, isForeign := run.state.foreign[w.Name]; isForeign && run.now.Sub(since) < exportRecheckInterval {
		return targetConflict(run.export, w.Name), nil
	}
	content := run.rules.Content(w)
	object := newExportTarget(run.export, w.Name)
	object.SetOwnerReferences([]metav1.OwnerReference{exportReference(run.export)})
	object.SetLabels(content.Labels)
	object.SetAnnotations(content.Annotations)
	data := setContent(object, content)
	err := withoutData(r.Create(ctx, object, secretWriter), data)
	if apierrors.IsAlreadyExists(err) {
		delete(run.state.foreign, w.Name)
		if err := r.readObject(ctx, run, w.Name); err != nil {
			return nil, err
		}
		if _, isForeign := run.state.foreign[w.Name]; isForeign {
			return targetConflict(run.export, w.Name), nil
		}
		return nil, errStaleFacts // it is the export's own, or is deleted meanwhile
	}
	if err != nil {
		return nil, writeFailed(run.export, "create", w.Name, err)
	}
	delete(run.state.foreign, w.Name)
	r.recordWrite(run, object, w)
	return nil, nil
}

// updateObject writes an object. The write fails if the object changed since it was read or written.
func (r *KeyExportReconciler) updateObject(ctx context.Context, run *exportRun, w export.Write, known *exportObject) error {
	content := run.rules.Content(w)
	object := newExportTarget(run.export, w.Name)
	meta := known.writableMeta()
	meta.Labels, meta.Annotations = content.Metadata(meta)
	setObjectMeta(object, meta)
	data := setContent(object, content)
	if err := withoutData(r.Objects.Update(ctx, object, secretWriter), data); err != nil {
		delete(run.state.objects, w.Name) // it is read again: the write may have reached the API server
		return writeFailed(run.export, "update", w.Name, err)
	}
	r.recordWrite(run, object, w)
	return nil
}

// deleteObject deletes an object. An object with a finalizer is emptied before, because clients can read it until the finalizer is
// removed.
func (r *KeyExportReconciler) deleteObject(ctx context.Context, run *exportRun, name string, known *exportObject) error {
	if len(known.meta.Finalizers) > 0 && known.unchangeable == "" {
		if err := r.emptyObject(ctx, run, name, known); err != nil {
			return err
		}
		known = run.state.objects[name]
	}
	uid, version := known.meta.UID, known.meta.ResourceVersion
	delete(run.state.objects, name)
	err := r.Delete(ctx, newExportTarget(run.export, name), client.Preconditions{UID: &uid, ResourceVersion: &version})
	if client.IgnoreNotFound(err) != nil {
		return writeFailed(run.export, "delete", name, withoutData(err))
	}
	run.state.deleted[uid] = true
	return nil
}

// emptyObject removes all entries of an object, and leaves its metadata as it is.
func (r *KeyExportReconciler) emptyObject(ctx context.Context, run *exportRun, name string, known *exportObject) error {
	object := newExportTarget(run.export, name)
	setObjectMeta(object, known.writableMeta())
	setContent(object, export.Content{Type: run.export.Spec.Target.Type})
	if err := withoutData(r.Objects.Update(ctx, object, secretWriter)); err != nil {
		delete(run.state.objects, name)
		return writeFailed(run.export, "update", name, err)
	}
	r.recordWrite(run, object, export.Write{Name: name})
	return nil
}

// recordWrite records the result of a write.
func (r *KeyExportReconciler) recordWrite(run *exportRun, object client.Object, w export.Write) {
	r.states.recordWrite(object)
	run.state.written(object, w)
}

// written records what an object holds after a write.
func (s *exportState) written(object client.Object, w export.Write) {
	o := &exportObject{items: w.Items, identified: true}
	switch object := object.(type) {
	case *corev1.Secret:
		o.meta = object.ObjectMeta
	case *corev1.ConfigMap:
		o.meta = object.ObjectMeta
	}
	o.dropManagedFields()
	s.objects[w.Name] = o
}

// dropManagedFields replaces managedFields, which are large, by what is needed of them.
func (o *exportObject) dropManagedFields() {
	o.trackedByOthers, o.meta.ManagedFields = isTrackedByOthers(o.meta.ManagedFields), nil
}

// writableMeta returns a copy of the metadata of an object for an update. It clears managedFields if nothing is lost by that.
func (o *exportObject) writableMeta() *metav1.ObjectMeta {
	meta := o.meta.DeepCopy()
	if !o.trackedByOthers {
		meta.ManagedFields = clearedManagedFields()
	}
	return meta
}

func setObjectMeta(object client.Object, meta *metav1.ObjectMeta) {
	switch object := object.(type) {
	case *corev1.Secret:
		object.ObjectMeta = *meta
	case *corev1.ConfigMap:
		object.ObjectMeta = *meta
	}
}

// setContent sets the type and the entries of an object. It returns the data that errors must not contain.
func setContent(object client.Object, content export.Content) map[string][]byte {
	data := make(map[string][]byte, len(content.Data))
	for name, value := range content.Data {
		data[name] = value
	}
	switch object := object.(type) {
	case *corev1.Secret:
		object.Type, object.Data = corev1.SecretType(cmp.Or(content.Type, string(corev1.SecretTypeOpaque))), data
	case *corev1.ConfigMap:
		object.Data = textOf(content.Data)
	}
	return data
}

func textOf(data map[string]credential.Material) map[string]string {
	text := make(map[string]string, len(data))
	for name, value := range data {
		text[name] = string([]byte(value))
	}
	return text
}

// writeFailed returns the error of a write with a message for the status. A conflict is returned as it is: it only means that
// the facts are out of date.
func writeFailed(e *v1alpha1.KeyExport, verb, name string, err error) error {
	if isStale(err) {
		return err
	}
	return &keys.PublicError{Message: fmt.Sprintf("Could not %s %s %s: %s", verb, e.Spec.Target.Kind, name, errorKind(err)), Err: err}
}

func targetConflict(e *v1alpha1.KeyExport, name string) *keys.Violation {
	return &keys.Violation{
		Reason: v1alpha1.ReasonTargetConflict,
		Message: fmt.Sprintf("%s %s already exists and is not owned by this KeyExport: delete it, or create the KeyExport again with "+
			"another target.name", e.Spec.Target.Kind, name),
	}
}

// exportReference returns an owner reference with which the garbage collector removes the objects after their KeyExport. It does
// not block the deletion of the KeyExport: that would require permission to set finalizers on KeyExports.
func exportReference(e *v1alpha1.KeyExport) metav1.OwnerReference {
	isController := true
	return metav1.OwnerReference{
		APIVersion: v1alpha1.GroupVersion.String(), Kind: "KeyExport", Name: e.Name, UID: e.UID, Controller: &isController,
	}
}

// checkSiblings returns a violation if an older KeyExport has the same target. A KeyExport that owns objects goes on, so that it
// withdraws credentials from them.
func (r *KeyExportReconciler) checkSiblings(ctx context.Context, run *exportRun) (*keys.Violation, error) {
	if len(run.state.objects) > 0 {
		return nil, nil
	}
	siblings, err := lookup.Exports(ctx, r, run.export.Namespace)
	if err != nil {
		return nil, err
	}
	for _, other := range siblings {
		if sameTarget(other, run.export) && other.UID != run.export.UID && olderExport(other, run.export) {
			return &keys.Violation{
				Reason: v1alpha1.ReasonTargetConflict,
				Message: fmt.Sprintf("KeyExport %s, which is older, has the same target: create this KeyExport again with another target.name",
					other.Name),
			}, nil
		}
	}
	return nil, nil
}

func sameTarget(a, b *v1alpha1.KeyExport) bool {
	return a.Spec.Target.Kind == b.Spec.Target.Kind && a.Spec.Target.Name == b.Spec.Target.Name
}

// olderExport reports whether a was created before b, by time, then UID.
func olderExport(a, b *v1alpha1.KeyExport) bool {
	return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.UID, b.UID)) < 0
}
