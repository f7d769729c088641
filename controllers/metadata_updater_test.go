// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/internal/export"
	"github.com/apikey-manager/apikey-manager/internal/keys"
)

// TestMetadataUpdater: the request holds the whole object, the response is asked for without data, and an error of the API server
// keeps its type, because a conflict and a refusal are handled differently.
func TestMetadataUpdater(t *testing.T) {
	t.Parallel()
	for path, object := range map[string]client.Object{
		"/api/v1/namespaces/gateway/secrets/a":    &corev1.Secret{Data: map[string][]byte{"entry": []byte("sha256:1")}},
		"/api/v1/namespaces/gateway/configmaps/a": &corev1.ConfigMap{Data: map[string]string{"entry": "sha256:1"}},
	} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			status := http.StatusOK
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				if r.Method != http.MethodPut || r.URL.Path != path || r.URL.Query().Get("fieldManager") != keys.FieldManager {
					t.Errorf("the request is %s %s", r.Method, r.URL)
				}
				if !strings.Contains(string(body), "sha256:1") || !strings.Contains(string(body), "\x00") {
					t.Errorf("the body is %q", body)
				}
				for accepted := range strings.SplitSeq(r.Header.Get("Accept"), ",") {
					if !strings.Contains(accepted, ";as=PartialObjectMetadata;g=meta.k8s.io;v=v1") {
						t.Errorf("the response may be %q", accepted)
					}
				}
				w.Header().Set("Content-Type", runtime.ContentTypeJSON)
				w.WriteHeader(status)
				var response any = metav1.PartialObjectMetadata{
					TypeMeta:   metav1.TypeMeta{APIVersion: "meta.k8s.io/v1", Kind: "PartialObjectMetadata"},
					ObjectMeta: metav1.ObjectMeta{Namespace: "gateway", Name: "a", ResourceVersion: "2"},
				}
				if status != http.StatusOK {
					response = apierrors.NewConflict(corev1.Resource("secrets"), "a", io.EOF).Status()
				}
				_ = json.NewEncoder(w).Encode(response)
			}))
			defer server.Close()
			u, err := newMetadataUpdater(&rest.Config{Host: server.URL}, server.Client())
			if err != nil {
				t.Fatal(err)
			}
			object.SetNamespace("gateway")
			object.SetName("a")
			object.SetResourceVersion("1")
			if err := u.Update(t.Context(), object, secretWriter); err != nil || object.GetResourceVersion() != "2" {
				t.Errorf("the version is %s, the error %v", object.GetResourceVersion(), err)
			}
			status = http.StatusConflict
			if err := u.Update(t.Context(), object, secretWriter); !apierrors.IsConflict(err) || object.GetResourceVersion() != "2" {
				t.Errorf("the version is %s, the error %v", object.GetResourceVersion(), err)
			}
		})
	}
}

// TestExportObject_ClearsManagedFields: only what the manager alone tracks is cleared.
func TestExportObject_ClearsManagedFields(t *testing.T) {
	t.Parallel()
	own := metav1.ManagedFieldsEntry{Manager: keys.FieldManager, Operation: metav1.ManagedFieldsOperationUpdate}
	applied := metav1.ManagedFieldsEntry{Manager: "gitops", Operation: metav1.ManagedFieldsOperationApply}
	disguised := metav1.ManagedFieldsEntry{Manager: keys.FieldManager, Operation: metav1.ManagedFieldsOperationApply}
	for name, tc := range map[string]struct {
		entries []metav1.ManagedFieldsEntry
		kept    bool
	}{
		"nothing":            {},
		"own":                {entries: []metav1.ManagedFieldsEntry{own}},
		"applied":            {entries: []metav1.ManagedFieldsEntry{own, applied}, kept: true},
		"applied, same name": {entries: []metav1.ManagedFieldsEntry{disguised}, kept: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "gateway-keys", ManagedFields: tc.entries}}
			for _, o := range []*exportObject{observedObject(newExport(exportName), secret), writtenObject(secret)} {
				meta := o.writableMeta()
				if cleared := len(meta.ManagedFields) == 1 && meta.ManagedFields[0].Manager == ""; cleared == tc.kept || o.meta.ManagedFields != nil {
					t.Errorf("an update has managedFields %v, the memory %v", meta.ManagedFields, o.meta.ManagedFields)
				}
			}
		})
	}
}

func writtenObject(secret *corev1.Secret) *exportObject {
	s := &exportState{objects: map[string]*exportObject{}}
	s.written(secret, export.Write{Name: secret.Name})
	return s.objects[secret.Name]
}
