// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package gitops_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

// manifest returns the manifests of an account and a key, as Git has them.
func manifest(namespace, account, spec string) string {
	return fmt.Sprintf(`apiVersion: apikey-manager.io/v1alpha1
kind: Account
metadata: {name: %[2]s, labels: {tool: %[2]s}}
spec: {displayName: Customer, limits: {maxKeys: 3}}
---
apiVersion: apikey-manager.io/v1alpha1
kind: APIKey
metadata: {name: web, namespace: %[1]s, labels: {tool: %[2]s}}
spec: {account: %[2]s, label: Web, scopes: ["orders:read"], %[3]s}
`, namespace, account, spec)
}

// instant returns an RFC 3339 instant.
func instant(at time.Time) string { return `"` + at.UTC().Format(time.RFC3339) + `"` }

// TestApply_NeverConflictsWithManager goes through the life of a key, with each way to apply manifests. No apply may conflict, no diff
// may remain, and the manager may own nothing but the status.
func TestApply_NeverConflictsWithManager(t *testing.T) {
	t.Parallel()
	s := shared.Get(t)
	for name, flags := range map[string][]string{
		"client-side":                      nil,
		"server-side":                      {"--server-side", "--field-manager=kustomize-controller"},
		"server-side, under the same name": {"--server-side", "--field-manager=manager"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			namespace, account := s.newNamespace(t), controlplanetest.UniqueName("customer")
			k := controlplanetest.NewKey(namespace, "web", account)
			apply := func(spec string, want v1alpha1.ObservedState) {
				t.Helper()
				text := manifest(namespace, account, spec)
				s.mustKubectl(t, text, append([]string{"apply", "-f", "-"}, flags...)...)
				s.Become(t, want, k)
				s.expectNoDiff(t, text, flags)
			}
			apply(`state: Active`, v1alpha1.StateActive)
			first := s.Material(t, k)
			request := instant(time.Now())
			apply(`rotation: {requestedAt: `+request+`, overlap: 1h}`, v1alpha1.StateActive)
			s.AwaitStatus(t, k, "the key is rotated", func() error {
				if s.Material(t, k) == first || controlplanetest.CredentialOf(k, v1alpha1.RolePrevious) == nil {
					return errors.New("not yet")
				}
				return nil
			})
			apply(`rotation: {requestedAt: `+request+`, overlap: 1h}`, v1alpha1.StateActive)
			apply(`state: Inactive`, v1alpha1.StateInactive)
			apply(`expiration: `+instant(time.Now().Add(-time.Hour)), v1alpha1.StateExpired)
			apply(`ipWhitelist: [192.0.2.7]`, v1alpha1.StateActive)
			apply(`state: Revoked`, v1alpha1.StateRevoked)
			s.expectManagerOwnsStatusOnly(t, k)
		})
	}
}

// expectNoDiff fails the test if kubectl diff reports a difference that remains. It reads each object twice, between which the manager
// may write a status.
func (s *suite) expectNoDiff(t *testing.T, text string, flags []string) {
	t.Helper()
	controlplanetest.Eventually(t, "no diff remains", func() error {
		if out, err := s.kubectl(t, text, append([]string{"diff", "-f", "-"}, flags...)...); err != nil {
			return fmt.Errorf("%w\n%s", err, out)
		}
		return nil
	})
}

// expectManagerOwnsStatusOnly fails the test if the manager has written a part of a key or its account other than the status.
func (s *suite) expectManagerOwnsStatusOnly(t *testing.T, k *v1alpha1.APIKey) {
	t.Helper()
	a := controlplanetest.NewAccount(k.Spec.Account)
	s.Read(t, k)
	s.Read(t, a)
	for kind, fields := range map[string][]metav1.ManagedFieldsEntry{"the key": k.ManagedFields, "the account": a.ManagedFields} {
		status := 0
		for _, entry := range fields {
			outside := strings.Contains(string(entry.FieldsV1.GetRawBytes()), `"f:spec"`) || strings.Contains(string(entry.FieldsV1.GetRawBytes()), `"f:metadata"`)
			switch {
			case entry.Subresource == "status":
				status++
				if outside {
					t.Errorf("%s writes more of %s than the status: %s", entry.Manager, kind, entry.FieldsV1.GetRawBytes())
				}
			case !strings.HasPrefix(entry.Manager, "kubectl") && entry.Operation == metav1.ManagedFieldsOperationUpdate:
				t.Errorf("%s updates %s: %s", entry.Manager, kind, entry.FieldsV1.GetRawBytes())
			}
		}
		if status == 0 {
			t.Errorf("no manager wrote the status of %s", kind)
		}
	}
}

// TestApply_AccountThatManagerCreated applies an account after the manager has created it for a key.
func TestApply_AccountThatManagerCreated(t *testing.T) {
	t.Parallel()
	s := shared.Get(t)
	namespace, account := s.newNamespace(t), controlplanetest.UniqueName("customer")
	k := controlplanetest.NewKey(namespace, "web", account)
	s.Issue(t, k)
	text, _, _ := strings.Cut(manifest(namespace, account, ""), "---\n")
	for _, flags := range [][]string{{"--server-side", "--field-manager=kustomize-controller"}, {"--server-side", "--field-manager=kustomize-controller"}} {
		s.mustKubectl(t, text, append([]string{"apply", "-f", "-"}, flags...)...)
		s.expectNoDiff(t, text, flags)
	}
}

// TestSecret_HasNoTrackingLabels checks that the Secret of a key does not get the labels and annotations by which tools recognize what
// they have applied, and may prune.
func TestSecret_HasNoTrackingLabels(t *testing.T) {
	t.Parallel()
	s := shared.Get(t)
	k := controlplanetest.NewKey(s.newNamespace(t), "web", controlplanetest.UniqueName("customer"))
	k.Labels = map[string]string{
		"argocd.argoproj.io/instance": "keys", "app.kubernetes.io/instance": "keys",
		"kustomize.toolkit.fluxcd.io/name": "keys", "kustomize.toolkit.fluxcd.io/namespace": "flux-system",
		"applyset.kubernetes.io/part-of": "keys",
	}
	k.Annotations = map[string]string{"argocd.argoproj.io/tracking-id": "keys:apikey-manager.io/APIKey:shop/web"}
	s.Issue(t, k)
	secret := s.Secret(t, k)
	for name := range k.Labels {
		if value, ok := secret.Labels[name]; ok {
			t.Errorf("the Secret has label %s: %s", name, value)
		}
	}
	for name := range k.Annotations {
		if value, ok := secret.Annotations[name]; ok {
			t.Errorf("the Secret has annotation %s: %s", name, value)
		}
	}
	if owner := metav1.GetControllerOf(secret); owner == nil || owner.UID != k.UID {
		t.Error("the key does not own its Secret")
	}
}
