// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

const backupWithoutSecret = `apiVersion: apikey-manager.io/v1alpha1
kind: APIKey
metadata:
  name: shop
  namespace: default
spec:
  account: acme
status:
  credentials:
  - id: 0A1b2C3d4E5f
    role: Current
    sha256: "1111111111111111111111111111111111111111111111111111111111111111"
`

// TestRestorer_FasterManager restores a key without its Secret while a manager issues keys immediately.
func TestRestorer_FasterManager(t *testing.T) {
	t.Parallel()
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	issue := func(ctx context.Context, c client.WithWatch, object client.Object, options ...client.CreateOption) error {
		if err := c.Create(ctx, object, options...); err != nil {
			return err
		}
		k := &v1alpha1.APIKey{}
		if err := c.Get(ctx, client.ObjectKeyFromObject(object), k); err != nil {
			return err
		}
		k.Status.Credentials = []v1alpha1.Credential{{ID: "9z8Y7x6W5v4U", Role: v1alpha1.RoleCurrent, SHA256: strings.Repeat("2", 64)}}
		return c.Status().Update(ctx, k)
	}
	r := &restorer{AllowReissue: true, onKey: func(int) {}}
	r.client = fake.NewClientBuilder().WithScheme(scheme).WithStatusSubresource(&v1alpha1.APIKey{}).
		WithInterceptorFuncs(interceptor.Funcs{Create: issue}).Build()
	if err := r.run(t.Context(), strings.NewReader(backupWithoutSecret)); err != nil {
		t.Errorf("with --allow-reissue: %v", err)
	}
	// The key exists now, and its credential is not that of the backup.
	if err := r.run(t.Context(), strings.NewReader(backupWithoutSecret)); !errors.Is(err, errOtherCredential) {
		t.Errorf("the second time: %v", err)
	}
}
