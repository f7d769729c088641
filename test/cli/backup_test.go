// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

// A backup that is imported while the manager runs gives the same keys: nothing is issued again.
func TestBackup(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	verifier := w.verifiers.With(t)
	namespace, account := w.namespace(t), controlplanetest.UniqueName("acme")
	owner := controlplanetest.NewAccount(account, func(s *v1alpha1.AccountSpec) {
		s.DisplayName, s.Plan, s.Metadata = "Acme", "pro", map[string]v1alpha1.MetadataValue{"tier": "gold"}
		s.RateLimits = []v1alpha1.RateLimit{keystest.RateLimit("requests", 100, v1alpha1.RateLimitMinute)}
	})
	w.Create(t, owner)
	rotated := controlplanetest.NewKey(namespace, "rotated", account, func(s *v1alpha1.APIKeySpec) {
		s.Label, s.Metadata = "Tienda", map[string]v1alpha1.MetadataValue{"team": "shop"}
		s.RateLimits = []v1alpha1.RateLimit{keystest.RateLimit("requests", 50, v1alpha1.RateLimitMinute)}
	})
	templated := controlplanetest.NewKey(namespace, "templated", account, func(s *v1alpha1.APIKeySpec) {
		s.Secret = &v1alpha1.SecretSpec{Name: "config", Template: &v1alpha1.SecretTemplate{Data: map[string]string{"config.json": `{"key":"{{ .Key }}","tier":"{{ .Metadata.tier }}"}`}}}
	})
	inactive, revoked := controlplanetest.NewKey(namespace, "inactive", account), controlplanetest.NewKey(namespace, "revoked", account)
	all := []*v1alpha1.APIKey{rotated, templated, inactive, revoked}
	w.Issue(t, all...)
	previous, revokedKey := w.Material(t, rotated), w.Material(t, revoked)
	w.Change(t, rotated, func(s *v1alpha1.APIKeySpec) {
		s.Rotation = &v1alpha1.Rotation{RequestedAt: keystest.Instant(time.Now())}
	})
	w.AwaitStatus(t, rotated, "the key is rotated", func() error {
		if controlplanetest.CredentialOf(rotated, v1alpha1.RolePrevious) == nil {
			return errors.New("not yet")
		}
		return nil
	})
	w.Change(t, inactive, func(s *v1alpha1.APIKeySpec) { s.State = v1alpha1.KeyStateInactive })
	w.Change(t, revoked, func(s *v1alpha1.APIKeySpec) { s.State = v1alpha1.KeyStateRevoked })
	w.Become(t, v1alpha1.StateInactive, inactive)
	w.Become(t, v1alpha1.StateRevoked, revoked)

	gateway := newKeyExport(namespace, "gateway", account, func(s *v1alpha1.KeyExportSpec) {
		s.Scopes, s.Entry = []string{"orders:read"}, &v1alpha1.ExportEntry{Value: `{"keyHash":"{{ .Digest }}"}`}
	})
	w.Create(t, gateway)

	file := filepath.Join(t.TempDir(), "backup.yaml")
	exported := w.run(t, "", "export", "-n", namespace, "--with-secrets", "--file="+file)
	exported.expect(t, "")
	if !strings.Contains(exported.errOut, "exported 1 account, 4 keys, 3 Secrets, 1 KeyExport\nWarning: the backup contains keys in plain text") {
		t.Errorf("got %q", exported.errOut)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	w.run(t, "", "export", "-n", namespace, "--file="+file).expectFailure(t, 1, "exists: name another file")

	before := w.snapshot(t, all)
	w.wipe(t, account, all)
	controlplanetest.Must(t, w.Admin.Delete(t.Context(), gateway.DeepCopy()))
	w.AwaitDeleted(t, gateway.DeepCopy())
	w.run(t, "", "import", "--file="+file, "--dry-run=server").expect(t, "")
	if exists, err := controlplanetest.Exists(t.Context(), w.Admin, controlplanetest.NewKey(namespace, "rotated", account)); err != nil || exists {
		t.Errorf("a dry run created a key: %v", err)
	}
	imported := w.run(t, "", "import", "--file="+file)
	imported.expect(t, "")
	if !strings.Contains(imported.errOut, "created 1 account, 3 Secrets, 4 keys and 1 KeyExport, restored the status of 4 keys; 0 objects existed") {
		t.Errorf("got %q", imported.errOut)
	}
	w.awaitSnapshot(t, all, before)
	restored := controlplanetest.NewAccount(account)
	w.Read(t, restored)
	if diff := cmp.Diff(owner.Spec, restored.Spec); diff != "" {
		t.Errorf("the account differs (-want +got):\n%s", diff)
	}
	restoredExport := newKeyExport(namespace, "gateway", account)
	w.Read(t, restoredExport)
	if diff := cmp.Diff(gateway.Spec, restoredExport.Spec); diff != "" {
		t.Errorf("the KeyExport differs (-want +got):\n%s", diff)
	}
	controlplanetest.AwaitVerdict(t, verifier, w.Material(t, rotated), "VALID")
	controlplanetest.AwaitVerdict(t, verifier, previous, "VALID")
	controlplanetest.AwaitVerdict(t, verifier, w.Material(t, inactive), "INACTIVE")
	controlplanetest.AwaitVerdict(t, verifier, revokedKey, "REVOKED")

	again := w.run(t, "", "import", "--file="+file)
	again.expect(t, "")
	if !strings.Contains(again.errOut, "created 0 accounts, 0 Secrets, 0 keys and 0 KeyExports, restored the status of 0 keys; 9 objects existed") {
		t.Errorf("got %q", again.errOut)
	}
	w.awaitSnapshot(t, all, before)
}

// snapshot returns what must be the same after a restore: state, credentials and the content of the Secret of each key.
func (w *suite) snapshot(t *testing.T, list []*v1alpha1.APIKey) []string {
	t.Helper()
	var lines []string
	for _, k := range list {
		w.Read(t, k)
		spec, err := json.Marshal(k.Spec)
		controlplanetest.Must(t, err)
		line := fmt.Sprint(k.Name, string(spec), k.Status.State, k.Status.KeyID, k.Status.RevokedCredentials)
		for _, c := range k.Status.Credentials {
			line += fmt.Sprint(c.ID, c.SHA256, c.Role, c.IssuedAt.UTC())
		}
		secret, err := controlplanetest.SecretOf(t.Context(), w.Admin, k)
		if k.Spec.State != v1alpha1.KeyStateRevoked {
			controlplanetest.Must(t, err)
			line += controlplanetest.Digest(fmt.Sprint(secret.Data))
		}
		lines = append(lines, line)
	}
	return lines
}

// awaitSnapshot waits until the manager has taken the Secrets over, and compares the keys with a snapshot.
func (w *suite) awaitSnapshot(t *testing.T, list []*v1alpha1.APIKey, want []string) {
	t.Helper()
	for _, k := range list {
		if k.Spec.State == v1alpha1.KeyStateRevoked {
			continue
		}
		controlplanetest.Eventually(t, "APIKey "+k.Name+" owns its Secret", func() error {
			w.Read(t, k)
			if secret := w.Secret(t, k); !metav1.IsControlledBy(secret, k) {
				return fmt.Errorf("owners %v, conditions %v", secret.OwnerReferences, k.Status.Conditions)
			}
			return nil
		})
	}
	if diff := cmp.Diff(want, w.snapshot(t, list)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// wipe deletes keys, their Secrets and their account.
func (w *suite) wipe(t *testing.T, account string, list []*v1alpha1.APIKey) {
	t.Helper()
	for _, k := range list {
		controlplanetest.Must(t, w.Admin.Delete(t.Context(), k.DeepCopy()))
		w.AwaitDeleted(t, k.DeepCopy())
	}
	controlplanetest.Eventually(t, "no Secret is left", func() error {
		for _, k := range list {
			if _, err := controlplanetest.SecretOf(t.Context(), w.Admin, k); !apierrors.IsNotFound(err) {
				return fmt.Errorf("%s: %w", k.Name, errors.Join(err, errors.New("exists")))
			}
		}
		return nil
	})
	controlplanetest.Eventually(t, "the account is deleted", func() error {
		return w.Admin.Delete(t.Context(), controlplanetest.NewAccount(account))
	})
}

// Without its Secret, the manager would issue a key again. The import does not let that happen by accident.
func TestImport_RefusesMissingSecret(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	namespace, account := w.namespace(t), controlplanetest.UniqueName("acme")
	k := controlplanetest.NewKey(namespace, "shop", account)
	w.Issue(t, k)
	old := k.Status.KeyID
	w.Create(t, newKeyExport(namespace, "gateway", account))
	exported := w.run(t, "", "export", "shop", "-n", namespace)
	if exported.code != 0 || strings.Contains(exported.out, "kind: Secret") || strings.Contains(exported.out, "kind: KeyExport") || !strings.Contains(exported.errOut, "contains no Secrets") {
		t.Fatalf("code %d\n%s", exported.code, exported.errOut)
	}
	w.wipe(t, account, []*v1alpha1.APIKey{k})
	w.run(t, exported.out, "import", "--file=-").expectFailure(t, 1, "not restored, because the manager would issue a new key")
	if exists, err := controlplanetest.Exists(t.Context(), w.Admin, controlplanetest.NewKey(namespace, "shop", account)); err != nil || exists {
		t.Fatalf("the key exists: %v", err)
	}
	w.run(t, exported.out, "import", "--file=-", "--allow-reissue").expect(t, "")
	w.AwaitStatus(t, k, "a new key is issued", func() error {
		if k.Status.KeyID == old || k.Status.KeyID == "" {
			return errors.New("not yet")
		}
		return nil
	})
}

func TestExport_WithoutRights(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	namespace, account, user := w.namespace(t), controlplanetest.UniqueName("acme"), controlplanetest.UniqueName("viewer")
	k := controlplanetest.NewKey(namespace, "shop", account)
	w.Issue(t, k)
	w.Create(t, &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: user},
		RoleRef:    controlplanetest.ClusterRole("apikey-manager-viewer"), Subjects: controlplanetest.User(user),
	})
	controlplanetest.Eventually(t, "the user may read keys, and not the account", func() error {
		got := w.run(t, "", "export", "-n", namespace, "--as="+user)
		if got.code != 1 || !strings.Contains(got.errOut, "account "+account+" is not in the backup") ||
			!strings.Contains(got.errOut, "KeyExports are not in the backup: you have no right to list keyexports.apikey-manager.io") || !strings.Contains(got.out, "name: shop") {
			return fmt.Errorf("code %d: %s%s", got.code, got.errOut, got.out)
		}
		return nil
	})
	got := w.run(t, "", "export", "-n", namespace, "--as="+user, "--with-secrets", "--yes")
	got.expectFailure(t, 1, "no right to read Secret shop", w.Material(t, k))
}
