// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package restore_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/test/controlplane"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

// docRunner runs the commands of docs/backup.md in a folder of its own.
type docRunner struct {
	*suite

	dir    string
	blocks map[string][]string // by heading
	plugin string              // the folder of kubectl-apikey
}

func newDocRunner(t *testing.T, s *suite) *docRunner {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(s.plane.Root(), "docs", "backup.md"))
	controlplanetest.Must(t, err)
	plugin, err := controlplane.BuildPlugin(t.Context())
	controlplanetest.Must(t, err)
	w := &docRunner{suite: s, dir: t.TempDir(), blocks: map[string][]string{}, plugin: filepath.Dir(plugin)}
	heading := ""
	for _, part := range regexp.MustCompile("(?ms)^#+ ([^\n]*)$|^```sh\n(.*?)^```$").FindAllStringSubmatch(string(text), -1) {
		if part[1] != "" {
			heading = part[1]
			continue
		}
		w.blocks[heading] = append(w.blocks[heading], part[2])
	}
	return w
}

// runBlock runs the n-th block of commands below a heading.
func (w *docRunner) runBlock(t *testing.T, heading string, n int, environment ...string) {
	t.Helper()
	if len(w.blocks[heading]) <= n {
		t.Fatalf("docs/backup.md has no block %d of commands below %q", n, heading)
	}
	cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", w.blocks[heading][n])
	cmd.Dir = w.dir
	cmd.Env = append(os.Environ(), append(environment, "KUBECONFIG="+w.plane.Kubeconfig(), "PATH="+filepath.Dir(w.plane.Kubectl())+":"+w.plugin+":"+os.Getenv("PATH"))...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s\n%s", heading, err, w.blocks[heading][n], out)
	}
}

// deleteAll deletes all keys, Secrets and accounts, and waits until they are gone.
func (w *docRunner) deleteAll(t *testing.T) {
	t.Helper()
	controlplanetest.Must(t, w.admin.DeleteAllOf(t.Context(), &v1alpha1.KeyExport{}, client.InNamespace("default")))
	controlplanetest.Must(t, w.admin.DeleteAllOf(t.Context(), &v1alpha1.APIKey{}, client.InNamespace("default")))
	controlplanetest.Must(t, w.admin.DeleteAllOf(t.Context(), &corev1.Secret{}, client.InNamespace("default"), client.MatchingLabels{keys.LabelManagedBy: keys.ManagedBy}))
	controlplanetest.Must(t, w.admin.DeleteAllOf(t.Context(), &v1alpha1.Account{}))
	controlplanetest.Eventually(t, "no key and no Secret is left", func() error {
		var list v1alpha1.APIKeyList
		var secrets corev1.SecretList
		if err := w.admin.List(t.Context(), &list); err != nil {
			return err
		}
		if err := w.admin.List(t.Context(), &secrets, client.MatchingLabels{keys.LabelManagedBy: keys.ManagedBy}); err != nil {
			return err
		}
		if n := len(list.Items) + len(secrets.Items); n > 0 {
			return fmt.Errorf("%d are left", n)
		}
		return nil
	})
}

// savedKey is the state of a key before the backup.
type savedKey struct {
	name, keyID string
	data        map[string][]byte
	state       v1alpha1.ObservedState
}

func (w *docRunner) snapshot(t *testing.T, names ...string) []savedKey {
	t.Helper()
	var list []savedKey
	for _, name := range names {
		var k v1alpha1.APIKey
		var secret corev1.Secret
		controlplanetest.Must(t, w.admin.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: name}, &k))
		controlplanetest.Must(t, w.admin.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: name}, &secret))
		list = append(list, savedKey{name: name, keyID: k.Status.KeyID, data: secret.Data, state: k.Status.State})
	}
	return list
}

// awaitRestored waits until a key has its former state, and owns its Secret, which has its former content.
func (w *docRunner) awaitRestored(t *testing.T, was savedKey) {
	t.Helper()
	controlplanetest.Eventually(t, "APIKey "+was.name+" is restored", func() error {
		var k v1alpha1.APIKey
		var secret corev1.Secret
		if err := w.admin.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: was.name}, &k); err != nil {
			return err
		}
		if err := w.admin.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: was.name}, &secret); err != nil {
			return err
		}
		switch {
		case k.Status.State != was.state || k.Status.KeyID != was.keyID:
			return fmt.Errorf("APIKey %s is %s with credential %s, not %s with %s: %v", was.name, k.Status.State, k.Status.KeyID, was.state, was.keyID, k.Status.Conditions)
		case !metav1.IsControlledBy(&secret, &k) && was.state != v1alpha1.StateRevoked: // there is no key in it to know it by
			return fmt.Errorf("Secret %s is not owned by its APIKey: %v", was.name, k.Status.Conditions)
		case fmt.Sprint(secret.Data) != fmt.Sprint(was.data):
			return fmt.Errorf("the content of Secret %s has changed", was.name)
		}
		return nil
	})
}

// newKeyExport returns a KeyExport that writes the digests of all keys.
func newKeyExport() *v1alpha1.KeyExport {
	return &v1alpha1.KeyExport{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "gateway"}, Spec: v1alpha1.KeyExportSpec{
		Target: v1alpha1.ExportTarget{Kind: v1alpha1.ExportToSecret, Name: "gateway-keys", Labels: map[string]string{"example.com/gateway": "api"}},
		Entry:  &v1alpha1.ExportEntry{Value: `{"keyHash":"{{ .Digest }}"}`},
	}}
}

// expectKeyExport fails the test unless the KeyExport was restored.
func (w *docRunner) expectKeyExport(t *testing.T) {
	t.Helper()
	want, got := newKeyExport(), newKeyExport()
	want.Name, want.GenerateName = "", "defaults-"
	controlplanetest.Must(t, w.admin.Create(t.Context(), want, client.DryRunAll)) // sets defaults
	w.Read(t, got)
	if diff := cmp.Diff(want.Spec, got.Spec); diff != "" {
		t.Errorf("the KeyExport differs (-want +got):\n%s", diff)
	}
}

// TestBackup runs the commands of docs/backup.md while the garbage collector works.
func TestBackup(t *testing.T) {
	w := newDocRunner(t, start(t))
	controlplanetest.Must(t, w.admin.Create(t.Context(), &v1alpha1.Account{ObjectMeta: metav1.ObjectMeta{Name: "acme"}}))
	controlplanetest.Must(t, w.admin.Create(t.Context(), &v1alpha1.Account{ObjectMeta: metav1.ObjectMeta{Name: "mirror"}, Spec: v1alpha1.AccountSpec{ImportPolicy: v1alpha1.ImportAllow}}))
	names := []string{"shop-key", "templated-key", "revoked-key"} // a backup has no Secret of a revoked key, so it is the last
	controlplanetest.Must(t, w.admin.Create(t.Context(), controlplanetest.NewKey("default", "shop-key", "acme")))
	controlplanetest.Must(t, w.admin.Create(t.Context(), controlplanetest.NewKey("default", "revoked-key", "acme")))
	controlplanetest.Must(t, w.admin.Create(t.Context(), controlplanetest.NewKey("default", "templated-key", "acme", func(s *v1alpha1.APIKeySpec) {
		s.Secret = &v1alpha1.SecretSpec{Template: &v1alpha1.SecretTemplate{Data: map[string]string{"config.json": `{"key":"{{ .Key }}"}`}}}
	})))
	for _, name := range names {
		w.Become(t, v1alpha1.StateActive, controlplanetest.NewKey("default", name, ""))
	}
	controlplanetest.Must(t, w.admin.Create(t.Context(), newKeyExport()))
	revoked := &v1alpha1.APIKey{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "revoked-key"}}
	controlplanetest.Must(t, w.admin.Patch(t.Context(), revoked, client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"state":"Revoked"}}`))))
	w.Become(t, v1alpha1.StateRevoked, controlplanetest.NewKey("default", "revoked-key", ""))
	before := w.snapshot(t, names...)
	w.runBlock(t, "With the plugin", 0)
	w.runBlock(t, "Back up", 0)

	t.Run("restored by the plugin", func(t *testing.T) {
		w.stopManager(t)
		w.deleteAll(t)
		w.runBlock(t, "With the plugin", 1)
		w.startManager(t)
		for _, was := range before[:2] {
			w.awaitRestored(t, was)
		}
		w.Become(t, v1alpha1.StateRevoked, controlplanetest.NewKey("default", "revoked-key", ""))
		w.expectKeyExport(t)
		w.awaitGarbageCollection(t)
		for _, was := range before[:2] {
			w.awaitRestored(t, was)
		}
	})

	t.Run("restored with the status", func(t *testing.T) {
		w.stopManager(t)
		w.deleteAll(t)
		w.runBlock(t, "Restore", 0)
		w.startManager(t)
		for _, was := range before {
			w.awaitRestored(t, was)
		}
		w.runBlock(t, "Restore", 1)
		w.expectKeyExport(t)
		w.awaitGarbageCollection(t)
		for _, was := range before {
			w.awaitRestored(t, was)
		}
	})
	t.Run("restored without the status", func(t *testing.T) {
		w.stopManager(t)
		w.deleteAll(t)
		w.blocks["no status"] = []string{strings.ReplaceAll(w.blocks["Restore"][0], "kubectl replace --subresource=status -f restored.yaml", "")}
		w.runBlock(t, "no status", 0)
		w.startManager(t)
		controlplanetest.Eventually(t, "the key conflicts with its Secret", func() error {
			var k v1alpha1.APIKey
			if err := w.admin.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: "shop-key"}, &k); err != nil {
				return err
			}
			for _, c := range k.Status.Conditions {
				if c.Type == v1alpha1.ConditionStalled && c.Reason == v1alpha1.ReasonSecretConflict {
					return nil
				}
			}
			return fmt.Errorf("it is not in conflict: %v", k.Status.Conditions)
		})
		w.runBlock(t, "Without the status", 0)
		w.awaitRestored(t, before[0])
	})
	t.Run("mirrored by its digest", func(t *testing.T) {
		w.runBlock(t, "Two clusters that serve the same keys", 0)
		// The test uses the same cluster as the second one, so the key must not exist there.
		controlplanetest.Must(t, w.admin.Delete(t.Context(), controlplanetest.NewKey("default", "shop-key", "acme")))
		w.runBlock(t, "Two clusters that serve the same keys", 1)
		w.Become(t, v1alpha1.StateActive, controlplanetest.NewKey("default", "shop-key-of-the-first-cluster", ""))
		w.awaitVerdict(t, string(before[0].data["api-key"]), "VALID")
	})
	t.Run("imported", func(t *testing.T) {
		const byValue, byDigest, byPlugin = "lg_3f9Kq2ZpW7xYvB1nTc8Rm5Ls", "im_8Hd2Xw6QzJ4yUe0aVb7Nk3Pt9G", "pl_5Rw9Ty2MbK7vXe4cLz8Nq1Hs"
		w.runBlock(t, "Import keys of another system", 0, "IMPORTED_KEY="+byPlugin)
		w.Become(t, v1alpha1.StateActive, controlplanetest.NewKey("default", "plugin-key", ""))
		w.awaitVerdict(t, byPlugin, "VALID")
		w.runBlock(t, "Import keys of another system", 1, "LEGACY_KEY="+byValue)
		w.Become(t, v1alpha1.StateActive, controlplanetest.NewKey("default", "legacy-key", ""))
		w.runBlock(t, "Import keys of another system", 2, "IMPORTED_KEY="+byDigest)
		w.Become(t, v1alpha1.StateActive, controlplanetest.NewKey("default", "imported-key", ""))
		w.awaitVerdict(t, byValue, "VALID")
		w.awaitVerdict(t, byDigest, "VALID")
	})
}

// awaitGarbageCollection waits until the garbage collector deletes a Secret whose owner does not exist. By then it has
// processed the older objects.
func (w *docRunner) awaitGarbageCollection(t *testing.T) {
	t.Helper()
	orphan := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{
		Namespace: "default", Name: "orphan",
		OwnerReferences: []metav1.OwnerReference{{APIVersion: v1alpha1.GroupVersion.String(), Kind: "APIKey", Name: "gone", UID: "00000000-0000-4000-8000-000000000000"}},
	}}
	controlplanetest.Must(t, w.admin.Create(t.Context(), orphan))
	controlplanetest.Eventually(t, "the garbage collector deletes a Secret without an owner", func() error {
		switch err := w.admin.Get(t.Context(), client.ObjectKeyFromObject(orphan), orphan); {
		case apierrors.IsNotFound(err):
			return nil
		case err != nil:
			return err
		}
		return errors.New("the garbage collector has not removed a Secret without its owner")
	})
}

func (w *docRunner) stopManager(t *testing.T) {
	t.Helper()
	controlplanetest.Must(t, w.manager.Stop(controlplanetest.Timeout))
}
