// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys_test

import (
	"strings"
	"testing"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
)

func TestSecretPolicy_Types(t *testing.T) {
	t.Parallel()
	for secretType, allowed := range map[string]bool{
		"":                               true,
		"Opaque":                         true,
		"example.com/api-key":            true,
		"kubernetes.io/basic-auth":       true,
		"kubernetes.io/dockerconfigjson": true,
		"notkubernetes.io/tls":           true, // another domain
		"kubernetes.io.example.com/tls":  true, // a domain below example.com
		"example.com/kubernetes.io":      true,

		"kubernetes.io/service-account-token":    false,
		"kubernetes.io/tls":                      false,
		"kubernetes.io/ssh-auth":                 false,
		"kubernetes.io/dockercfg":                false,
		"kubernetes.io/something-new":            false,
		"kubernetes.io":                          false,
		"kubernetes.io/":                         false,
		"kubernetes.io/basic-auth/x":             false,
		"Kubernetes.io/Service-Account-Token":    false,
		"\u0020kubernetes.io/ssh-auth":           false,
		"KUBERNETES.IO/BASIC-AUTH":               false,
		"bootstrap.kubernetes.io/token":          false,
		"node.k8s.io/x":                          false,
		"k8s.io/x":                               false,
		"cluster.x-k8s.io/secret":                false,
		"addons.cluster.x-k8s.io/resource-set":   false,
		"helm.sh/release.v1":                     false,
		"helm.sh/release.v2":                     false,
		"meta.helm.sh/x":                         false,
		"rke.cattle.io/machine-plan":             false,
		"apikey-manager.io/anything":             false,
		"deep.down.bootstrap.kubernetes.io/what": false,
	} {
		t.Run(secretType, func(t *testing.T) {
			t.Parallel()
			data := map[string]string{"password": "{{ .Key }}", ".dockerconfigjson": `{"auths":{"x":{"password":"{{ .Key }}"}}}`}
			checkRefusal(t, keystest.Template(v1alpha1.SecretTemplate{Type: secretType, Data: data}), allowed, "spec.secret.template.type", "example.com/api-key")
		})
	}
}

func TestSecretPolicy_Metadata(t *testing.T) {
	t.Parallel()
	for name, allowed := range map[string]bool{
		"team":                             true,
		"kubernetes.io":                    true, // a name without a domain
		"example.com/team":                 true,
		"konghq.com/credential":            true,
		"authorino.kuadrant.io/managed-by": true,
		"k8s.io.example.com/a":             true,

		"kubernetes.io/service-account.name": false,
		"app.kubernetes.io/managed-by":       false,
		"kubectl.kubernetes.io/restart":      false,
		"k8s.io/a":                           false,
		"a.b.k8s.io/c":                       false,
		"cluster.x-k8s.io/cluster-name":      false,
		"apikey-manager.io/account":          false,
		"apikey-manager.io/adopt":            false,
		"verifier.apikey-manager.io/a":       false,
		"argocd.argoproj.io/secret-type":     false, // reserved by the flag
		"x.argocd.argoproj.io/a":             false,
	} {
		metadata := map[string]string{"example.com/other": "b", name: "a"}
		for field, template := range map[string]v1alpha1.SecretTemplate{"labels": {Labels: metadata}, "annotations": {Annotations: metadata}} {
			t.Run(field+"/"+name, func(t *testing.T) {
				t.Parallel()
				checkRefusal(t, keystest.Template(template), allowed, "spec.secret.template."+field+"["+name+"]", "example.com/team")
			})
		}
	}
}

// checkRefusal checks whether a key is refused under the given settings. The message names the field and what to
// change.
func checkRefusal(t *testing.T, option keystest.KeyOption, allowed bool, field, wayOut string) {
	t.Helper()
	facts := keys.Facts{Key: keystest.Key("shop", option), Account: keystest.NewAccount("acme"), Now: keystest.Epoch}
	facts.Settings.ReservedDomains = []string{"argocd.argoproj.io"}
	refusal := keys.CheckPolicy(facts)
	switch {
	case allowed && refusal != nil:
		t.Errorf("refused: %s", refusal.Message)
	case !allowed && refusal == nil:
		t.Error("not refused")
	case !allowed && (refusal.Reason != v1alpha1.ReasonInvalidSpec || !strings.HasPrefix(refusal.Message, field+": ") || !strings.HasSuffix(refusal.Message, wayOut)):
		t.Errorf("got %+v, want InvalidSpec of %s that ends in %s", refusal, field, wayOut)
	}
}

func TestSecretPolicy_ReservedByFlags(t *testing.T) {
	t.Parallel()
	facts := keys.Facts{Account: keystest.NewAccount("acme"), Now: keystest.Epoch}
	facts.Key = keystest.Key("shop", keystest.Template(v1alpha1.SecretTemplate{
		Type: "example.com/a", Labels: map[string]string{"argocd.argoproj.io/secret-type": "cluster"},
	}))
	if r := keys.CheckPolicy(facts); r != nil {
		t.Errorf("refused without a flag that reserves it: %s", r.Message)
	}
	facts.Key = keystest.Key("shop", keystest.Template(v1alpha1.SecretTemplate{Type: "example.com/a"}))
	facts.Settings.ReservedDomains = []string{"example.com"}
	if keys.CheckPolicy(facts) == nil {
		t.Error("a type of a reserved domain was not refused")
	}
}
