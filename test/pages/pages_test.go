// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Package pages_test runs the commands of README and docs on a real API server, with the manager, its webhooks and a verifier. All
// pages share them and run one after the other, each without the keys and accounts of the others.
package pages_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/test/console"
	"github.com/apikey-manager/apikey-manager/test/controlplane"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

// suite holds a control plane with a manager and a verifier.
type suite struct {
	controlplanetest.Objects

	plane    *controlplane.ControlPlane
	admin    client.Client
	verifier *controlplane.Verifier
}

// page is a page whose commands are run.
type page struct {
	name string
	// before prepares what the page leaves to the reader, by the heading below which it is needed.
	before map[string]func(*testing.T)
}

func TestPages(t *testing.T) {
	s := start(t)
	for _, p := range []page{
		{name: "README.md"},
		{name: "docs/access.md", before: map[string]func(*testing.T){"Bind the roles": s.namespace("shop")}},
		{name: "docs/cookbook.md"},
		{name: "docs/gitops.md"},
		{name: "docs/spec/account.md", before: map[string]func(*testing.T){"Deletion policy": s.applyKeyIn("shop")}},
		{name: "docs/spec/apikey.md", before: s.beforeAPIKeyPage()},
		{name: "docs/spec/keyexport.md", before: map[string]func(*testing.T){"Creation": s.beforeKeyExportPage}},
		{name: "docs/troubleshooting.md", before: map[string]func(*testing.T){"Troubleshooting": s.applyKeyIn("default")}},
		{name: "docs/tutorial.md"},
	} {
		t.Run(p.name, func(t *testing.T) {
			s.cleanUp(t)
			runner := &console.Runner{Root: s.plane.Root(), Environment: s.environment(), Before: p.before}
			runner.Run(t, p.name)
		})
	}
	t.Run("docs/runbooks", s.testRunbooks)
}

// testRunbooks runs the pages of docs/runbooks/, whose commands look at key shop-key of account acme, and at KeyExport
// gateway-keys.
func (s *suite) testRunbooks(t *testing.T) {
	s.cleanUp(t)
	s.applyKeyIn("default")(t)
	s.namespace("gateway")(t)
	s.Create(t, &v1alpha1.KeyExport{
		ObjectMeta: metav1.ObjectMeta{Namespace: "gateway", Name: "gateway-keys"},
		Spec:       v1alpha1.KeyExportSpec{Target: v1alpha1.ExportTarget{Kind: v1alpha1.ExportToSecret, Name: "gateway-keys"}},
	})
	pages, err := filepath.Glob(filepath.Join(s.plane.Root(), "docs", "runbooks", "*Key*.md"))
	controlplanetest.Must(t, err)
	runner := &console.Runner{Root: s.plane.Root(), Environment: s.environment()}
	for _, page := range pages {
		runner.Run(t, "docs/runbooks/"+filepath.Base(page))
	}
}

func start(t *testing.T) *suite {
	t.Helper()
	port, err := controlplane.FreePort()
	controlplanetest.Must(t, err)
	plane := controlplanetest.Start(t, controlplane.Options{WebhookPort: port})
	admin := controlplanetest.Connect(t, plane.Config())
	s := &suite{Objects: controlplanetest.NewObjects(admin), plane: plane, admin: admin}
	verifiers, err := controlplanetest.NewVerifiers(t.Context(), plane)
	controlplanetest.Must(t, err)
	s.verifier = verifiers.StartReplica(t, admin)
	buildPlugin(t, plane.Root())
	_, err = controlplanetest.StartManager(t.Context(), plane, controlplane.ManagerOptions{
		WebhookPort: port, Flags: controlplanetest.VerifierFlags(t, plane, admin),
	})
	controlplanetest.Must(t, err)
	controlplanetest.Must(t, controlplanetest.AwaitWebhooks(t.Context(), admin, true))
	return s
}

// buildPlugin builds bin/kubectl-apikey, as make build does.
func buildPlugin(t *testing.T, root string) {
	t.Helper()
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags=-s -w", "-o", filepath.Join("bin", "kubectl-apikey"), "./cmd/kubectl-apikey")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build ./cmd/kubectl-apikey: %v\n%s", err, out)
	}
}

// environment returns the environment of the commands. $VERIFIER is the URL of the verifier.
func (s *suite) environment() []string {
	return []string{
		"KUBECONFIG=" + s.plane.Kubeconfig(),
		"KUBECACHEDIR=" + filepath.Join(s.plane.Dir(), "cache"),
		"PATH=" + filepath.Dir(s.plane.Kubectl()) + ":" + filepath.Join(s.plane.Root(), "bin") + ":" + os.Getenv("PATH"),
		"VERIFIER=http://" + s.verifier.HTTP,
	}
}

// cleanUp deletes the KeyExports, keys, Secrets and accounts of earlier pages.
func (s *suite) cleanUp(t *testing.T) {
	t.Helper()
	var exports v1alpha1.KeyExportList
	controlplanetest.Must(t, s.admin.List(t.Context(), &exports))
	for i := range exports.Items {
		e := &exports.Items[i]
		controlplanetest.Must(t, client.IgnoreNotFound(s.admin.Delete(t.Context(), e)))
		s.AwaitDeleted(t, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: e.Namespace, Name: e.Spec.Target.Name}})
	}
	var accounts v1alpha1.AccountList
	controlplanetest.Must(t, s.admin.List(t.Context(), &accounts))
	for i := range accounts.Items { // keys of these accounts may be deleted only under another policy
		allow := controlplanetest.MergePatch(`{"spec":{"deletionPolicy":"Allow"}}`)
		controlplanetest.Must(t, s.admin.Patch(t.Context(), &accounts.Items[i], allow))
	}
	var list v1alpha1.APIKeyList
	controlplanetest.Must(t, s.admin.List(t.Context(), &list))
	for i := range list.Items {
		k := &list.Items[i]
		controlplanetest.Eventually(t, "the key can be deleted", func() error { return client.IgnoreNotFound(s.admin.Delete(t.Context(), k)) })
		s.AwaitDeleted(t, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: k.Namespace, Name: keys.SecretName(k)}})
	}
	unowned := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "shop-key"}} // of "Adoption of a Secret"
	controlplanetest.Must(t, client.IgnoreNotFound(s.admin.Delete(t.Context(), unowned)))
	for i := range accounts.Items {
		a := &accounts.Items[i]
		controlplanetest.Eventually(t, "the account can be deleted", func() error { return client.IgnoreNotFound(s.admin.Delete(t.Context(), a)) })
	}
}

// namespace returns a function that creates a namespace unless it exists.
func (s *suite) namespace(name string) func(*testing.T) {
	return func(t *testing.T) {
		t.Helper()
		err := s.admin.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
		if !apierrors.IsAlreadyExists(err) {
			controlplanetest.Must(t, err)
		}
	}
}

// applyKeyIn returns a function that creates key shop-key of account acme in a namespace, unless it exists.
func (s *suite) applyKeyIn(namespace string) func(*testing.T) {
	return func(t *testing.T) {
		t.Helper()
		s.namespace(namespace)(t)
		k := controlplanetest.NewKey(namespace, "shop-key", "acme")
		if exists, err := controlplanetest.Exists(t.Context(), s.admin, k); err != nil || exists {
			controlplanetest.Must(t, err)
			return
		}
		s.Issue(t, k)
	}
}

// beforeKeyExportPage creates the key of docs/spec/keyexport.md, and the namespace of its gateway.
func (s *suite) beforeKeyExportPage(t *testing.T) {
	t.Helper()
	s.namespace("gateway")(t)
	s.applyKeyIn("shop")(t)
}

// beforeAPIKeyPage returns what docs/spec/apikey.md needs: its tasks use the same key, which some of them delete.
func (s *suite) beforeAPIKeyPage() map[string]func(*testing.T) {
	return map[string]func(*testing.T){
		"Expiration mails": func(t *testing.T) {
			t.Helper()
			s.Issue(t, controlplanetest.NewKey("default", "newsletter-key", "acme"))
		},
		"Adoption of a Secret": func(t *testing.T) {
			t.Helper()
			s.namespace("shop")(t)
			s.Create(t, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "shop-key"}})
		},
		"Events and history": s.applyKeyIn("default"),
	}
}
