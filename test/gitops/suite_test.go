// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Package gitops_test checks what GitOps tools see of keys and accounts: their health, by kstatus for Flux and by the Lua script of
// the samples for Argo CD; that the manager never writes what a tool has applied; and what a prune does to a key that must be kept.
// The objects are real ones, of a manager with its webhooks on a real API server.
package gitops_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

// unreviewed is a label of keys and accounts that the webhooks do not review when they are created or changed, as if no manager
// answered.
const unreviewed = "example.com/unreviewed"

// suite holds what all tests share.
type suite struct{ *controlplanetest.Installation }

var shared = controlplanetest.Shared[*suite]{New: newSuite}

func TestMain(m *testing.M) {
	const parallel = 16
	shared.Main(m, parallel)
}

func newSuite(ctx context.Context) (s *suite, err error) {
	s = &suite{}
	if s.Installation, err = controlplanetest.NewInstallation(ctx); err != nil {
		return s, err
	}
	if err := s.StartManager(ctx); err != nil {
		return s, err
	}
	return s, s.exemptUnreviewed(ctx)
}

// exemptUnreviewed exempts objects with label unreviewed from the webhooks, and waits until the API server does so.
func (s *suite) exemptUnreviewed(ctx context.Context) error {
	configuration := &admissionregistrationv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "apikey-manager"}}
	if err := s.Admin.Get(ctx, client.ObjectKeyFromObject(configuration), configuration); err != nil {
		return err
	}
	before := configuration.DeepCopy()
	reviewed := metav1.LabelSelectorRequirement{Key: unreviewed, Operator: metav1.LabelSelectorOpDoesNotExist}
	for i := range configuration.Webhooks {
		configuration.Webhooks[i].ObjectSelector = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{reviewed}}
	}
	if err := s.Admin.Patch(ctx, configuration, client.MergeFrom(before)); err != nil {
		return err
	}
	probe := brokenAccount("probe")
	return controlplanetest.Await(ctx, func() error { return s.Admin.Create(ctx, probe.DeepCopy(), client.DryRunAll) })
}

// brokenAccount returns an account that is not reviewed, with a selector that cannot be carried out.
func brokenAccount(name string) *v1alpha1.Account {
	a := controlplanetest.NewAccount(name, func(a *v1alpha1.AccountSpec) {
		a.AllowedNamespaces = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Bogus"}}}
	})
	a.Labels = map[string]string{unreviewed: ""}
	return a
}

// kubectl runs kubectl as an administrator in the directory of the samples for GitOps, and returns its output.
func (s *suite) kubectl(t *testing.T, stdin string, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	cmd := exec.CommandContext(t.Context(), s.Plane.Kubectl(), append([]string{"--kubeconfig=" + s.Plane.Kubeconfig()}, args...)...)
	cmd.Env = append(os.Environ(), "KUBECTL_APPLYSET=true", "KUBECACHEDIR="+filepath.Join(s.Plane.Dir(), "cache"))
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.Dir = strings.NewReader(stdin), &out, &out, samples(s.Plane.Root())
	err := cmd.Run()
	return out.String(), err
}

// mustKubectl runs kubectl, and returns its output. It ends the test if the command fails.
func (s *suite) mustKubectl(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	out, err := s.kubectl(t, stdin, args...)
	if err != nil {
		t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// samples returns the directory of the samples for GitOps.
func samples(root string) string { return filepath.Join(root, "config", "samples", "gitops") }

func (s *suite) newNamespace(t *testing.T) string {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: controlplanetest.UniqueName("team")}}
	s.Create(t, namespace)
	return namespace.Name
}

// newAccount creates an account, and waits until the manager, and so its webhook, has observed it.
func (s *suite) newAccount(t *testing.T, changes ...func(*v1alpha1.AccountSpec)) *v1alpha1.Account {
	t.Helper()
	a := controlplanetest.NewAccount(controlplanetest.UniqueName("customer"), changes...)
	s.Create(t, a)
	controlplanetest.Eventually(t, "the account is reconciled", func() error {
		s.Read(t, a)
		if a.Status.ObservedGeneration != a.Generation {
			return errors.New("not yet")
		}
		return nil
	})
	return a
}
