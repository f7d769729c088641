// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
)

func expectEnqueued(t *testing.T, q *recordingQueue, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, q.names); diff != "" {
		t.Errorf("enqueued (-want +got):\n%s", diff)
	}
}

// TestKeyExportWatches_Key: every change of a key that may change what verifiers accept enqueues the KeyExport; its use does not.
func TestKeyExportWatches_Key(t *testing.T) {
	t.Parallel()
	at := metav1.NewTime(keystest.Epoch)
	credential := func(change func(*v1alpha1.Credential)) func(*v1alpha1.APIKey) {
		return func(k *v1alpha1.APIKey) { change(&k.Status.Credentials[0]) }
	}
	for name, tc := range map[string]struct {
		change func(*v1alpha1.APIKey)
		want   []string
	}{
		"its spec changes":         {func(k *v1alpha1.APIKey) { k.Generation++ }, []string{"gateway/" + exportName}},
		"another key has its name": {func(k *v1alpha1.APIKey) { k.UID = "another" }, []string{"gateway/" + exportName}},
		"it is being deleted":      {func(k *v1alpha1.APIKey) { k.DeletionTimestamp = &at }, []string{"gateway/" + exportName}},
		"it cannot be decoded":     {func(k *v1alpha1.APIKey) { k.Undecodable = []string{"spec.state"} }, []string{"gateway/" + exportName}},
		"its state changes":        {func(k *v1alpha1.APIKey) { k.Status.State = v1alpha1.StateRevoked }, []string{"gateway/" + exportName}},
		"its expiration changes":   {func(k *v1alpha1.APIKey) { k.Status.ExpirationTime = &at }, []string{"gateway/" + exportName}},
		"a credential is added": {func(k *v1alpha1.APIKey) {
			k.Status.Credentials = append(k.Status.Credentials, keystest.CredentialOf("next"))
		}, []string{"gateway/" + exportName}},
		"a credential is revoked": {func(k *v1alpha1.APIKey) { keystest.Revoked("web", keystest.Epoch)(k) }, []string{"gateway/" + exportName}},
		"a credential gets an end": {
			credential(func(c *v1alpha1.Credential) { c.NotAfter = &at }), []string{"gateway/" + exportName},
		},
		"a credential gets another role": {
			credential(func(c *v1alpha1.Credential) { c.Role = v1alpha1.RolePrevious }), []string{"gateway/" + exportName},
		},
		"its Secret is written": {
			func(k *v1alpha1.APIKey) { k.Status.SecretRef.ResourceVersion += "0" }, []string{"gateway/" + exportName},
		},
		"it is used":           {func(k *v1alpha1.APIKey) { k.Status.LastUsedTime = &at }, nil},
		"a credential is used": {credential(func(c *v1alpha1.Credential) { c.LastUsedTime = &at }), nil},
		"a mail is sent":       {func(k *v1alpha1.APIKey) { k.Status.Notifications = []v1alpha1.NotificationStatus{{}} }, nil},
		"its labels change":    {func(k *v1alpha1.APIKey) { k.Labels = map[string]string{"a": "b"} }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newExportFixture(t, newExport(exportName))
			was := w.key("web")
			is := was.DeepCopy()
			tc.change(is)
			q := &recordingQueue{}
			w.exports.keyHandler().Update(t.Context(), event.UpdateEvent{ObjectOld: was, ObjectNew: is}, q)
			expectEnqueued(t, q, tc.want...)
		})
	}
}

// TestKeyExportWatches_Object: what other clients do to the objects enqueues their KeyExport; its own writes do not.
func TestKeyExportWatches_Object(t *testing.T) {
	t.Parallel()
	w := newExportFixture(t, newExport(exportName))
	h, own := w.exports.objectHandler(), w.target("gateway-keys")
	own.ResourceVersion = w.exports.states.byName[client.ObjectKeyFromObject(w.export(exportName))].objects["gateway-keys"].meta.ResourceVersion
	foreign := own.DeepCopy()
	foreign.ResourceVersion += "0"
	orphan := foreign.DeepCopy()
	orphan.OwnerReferences = nil
	for name, tc := range map[string]struct {
		do   func(*recordingQueue)
		want []string
	}{
		"its own creation": {do: func(q *recordingQueue) { h.Create(t.Context(), event.CreateEvent{Object: own}, q) }},
		"its own update": {
			do: func(q *recordingQueue) {
				h.Update(t.Context(), event.UpdateEvent{ObjectOld: foreign, ObjectNew: own}, q)
			},
		},
		"an update of another client": {
			func(q *recordingQueue) {
				h.Update(t.Context(), event.UpdateEvent{ObjectOld: own, ObjectNew: foreign}, q)
			},
			[]string{"gateway/" + exportName, "gateway/" + exportName},
		},
		"the owner is removed": {
			func(q *recordingQueue) {
				h.Update(t.Context(), event.UpdateEvent{ObjectOld: own, ObjectNew: orphan}, q)
			},
			[]string{"gateway/" + exportName},
		},
		"it existed before": {do: func(q *recordingQueue) {
			h.Create(t.Context(), event.CreateEvent{Object: foreign, IsInInitialList: true}, q)
		}},
		"another object": {do: func(q *recordingQueue) {
			h.Create(t.Context(), event.CreateEvent{Object: &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "gateway", Name: "x", UID: "x"}}}, q)
		}},
	} {
		q := &recordingQueue{}
		if tc.do(q); !cmp.Equal(q.names, tc.want) {
			t.Errorf("%s: enqueued %q, want %q", name, q.names, tc.want)
		}
	}
	q := &recordingQueue{}
	h.Delete(t.Context(), event.DeleteEvent{Object: own}, q)
	if expectEnqueued(t, q, "gateway/"+exportName); len(w.exports.states.written) != 0 {
		t.Errorf("%d deleted objects are remembered", len(w.exports.states.written))
	}
}

// TestKeyExportWatches_CollectsChanges: keys that change together share one reconciliation.
func TestKeyExportWatches_CollectsChanges(t *testing.T) {
	t.Parallel()
	w := newExportFixture(t, newExport(exportName))
	q := &recordingQueue{}
	w.exports.keyHandler().Delete(t.Context(), event.DeleteEvent{Object: w.key("web")}, q)
	w.exports.namespaceHandler().Delete(t.Context(), event.DeleteEvent{Object: &metav1.PartialObjectMetadata{}}, q)
	if diff := cmp.Diff([]time.Duration{exportWindow, exportWindow}, q.delays); diff != "" {
		t.Errorf("delays (-want +got):\n%s", diff)
	}
}
