// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package gitops_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

// pruning is a repository whose manifests are applied with a prune: an account that forbids the deletion of keys, a ConfigMap, and a
// key that is in the repository at first.
type pruning struct {
	*suite

	namespace, account string
	flags              []string
}

const (
	forbid = "Forbid"
	allow  = "Allow"
)

// others returns the manifests without the key.
func (p *pruning) others(policy, config string) string {
	return `apiVersion: apikey-manager.io/v1alpha1
kind: Account
metadata: {name: ` + p.account + `, labels: {tool: ` + p.account + `}}
spec: {deletionPolicy: ` + policy + `}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: ` + config + `, namespace: ` + p.namespace + `, labels: {tool: ` + p.account + `}}
`
}

// key returns the manifest of the key.
func (p *pruning) key(state string) string {
	return `---
apiVersion: apikey-manager.io/v1alpha1
kind: APIKey
metadata: {name: web, namespace: ` + p.namespace + `, labels: {tool: ` + p.account + `}}
spec: {account: ` + p.account + `, state: ` + state + `}
`
}

// sync applies manifests and prunes the objects that are not among them.
func (p *pruning) sync(t *testing.T, manifests string) (string, error) {
	t.Helper()
	return p.kubectl(t, manifests, append([]string{"apply", "-f", "-", "--prune"}, p.flags...)...)
}

func (p *pruning) mustSync(t *testing.T, manifests string) {
	t.Helper()
	if out, err := p.sync(t, manifests); err != nil {
		t.Fatalf("the sync fails: %v\n%s", err, out)
	}
}

// TestPrune_KeyThatMustBeKept removes the manifest of a key whose account forbids the deletion of keys, with both ways of kubectl to
// prune, and then takes the ways out that docs/gitops.md describes.
func TestPrune_KeyThatMustBeKept(t *testing.T) {
	t.Parallel()
	s := shared.Get(t)
	for name, flags := range map[string]func(p *pruning) []string{
		"by label": func(p *pruning) []string {
			return []string{
				"--selector=tool=" + p.account, "--prune-allowlist=core/v1/ConfigMap",
				"--prune-allowlist=apikey-manager.io/v1alpha1/APIKey", "--namespace=" + p.namespace,
			}
		},
		"by ApplySet": func(p *pruning) []string { return []string{"--applyset=configmaps/set", "--namespace=" + p.namespace} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := &pruning{suite: s, namespace: s.newNamespace(t), account: controlplanetest.UniqueName("customer")}
			p.flags = flags(p)
			p.run(t)
		})
	}
}

func (p *pruning) run(t *testing.T) {
	t.Helper()
	k := controlplanetest.NewKey(p.namespace, "web", p.account)
	p.mustSync(t, p.others(forbid, "first")+p.key("Active"))
	p.Become(t, v1alpha1.StateActive, k)

	for range 2 { // each sync fails, and applies and prunes the other objects
		out, err := p.sync(t, p.others(forbid, "second"))
		if err == nil || !strings.Contains(out, "forbids the deletion of keys") {
			t.Fatalf("the prune of the key: %v\n%s", err, out)
		}
	}
	p.Become(t, v1alpha1.StateActive, k)
	p.Read(t, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: p.namespace, Name: "second"}})

	p.mustSync(t, p.others(forbid, "second")+p.key("Inactive"))
	p.Become(t, v1alpha1.StateInactive, k)
	p.AwaitDeleted(t, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: p.namespace, Name: "first"}})

	p.mustSync(t, p.others(allow, "second")+p.key("Inactive"))
	controlplanetest.Eventually(t, "the account allows the deletion", func() error {
		a := controlplanetest.NewAccount(p.account)
		p.Read(t, a)
		return controlplanetest.Equal(string(a.Status.DeletionPolicy), allow)
	})
	p.mustSync(t, p.others(allow, "second"))
	p.AwaitDeleted(t, k)
}
