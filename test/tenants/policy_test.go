// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package tenants_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/discovery"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

const (
	certificate = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"
	withKey     = `{"auths":{"registry.example.com":{"auth":"{{ .Key }}"}}}`
)

// harmlessTypes are Secret types that only tell applications how to read the entries, with the entries that Kubernetes
// requires. Users who may create Secrets may create them through keys.
var harmlessTypes = map[string]map[string]string{
	"example.com/api-key":            {"api-key": "{{ .Key }}"},
	"kubernetes.io/basic-auth":       {"password": "{{ .Key }}"},
	"kubernetes.io/dockerconfigjson": {".dockerconfigjson": withKey},
}

// reservedTypes are Secret types that Kubernetes or its tools act upon. No user can create them through keys.
var reservedTypes = map[string]map[string]string{
	"kubernetes.io/tls":          {"tls.crt": certificate, "tls.key": "{{ .Key }}"},
	"kubernetes.io/ssh-auth":     {"ssh-privatekey": "{{ .Key }}"},
	"kubernetes.io/dockercfg":    {".dockercfg": withKey},
	"cluster.x-k8s.io/secret":    {"value": "{{ .Key }}"},
	"rke.cattle.io/machine-plan": {"plan": "{{ .Key }}"},
	"node.k8s.io/anything":       {"a": "{{ .Key }}"},
	"Kubernetes.io/TLS":          {"a": "{{ .Key }}"},
	"helm.sh/release.v1":         {"release": "{{ .Key }}"},
}

func typeOutcomes() []outcome {
	var all []outcome
	for secretType, data := range harmlessTypes {
		all = append(all, outcome{"a Secret of type " + secretType, createSecret(secretType, data), declareType(secretType, data)})
	}
	for secretType, data := range reservedTypes {
		all = append(all, outcome{"a Secret of type " + secretType + ", written by the manager", nil, declareType(secretType, data)})
	}
	return all
}

func declareType(secretType string, data map[string]string) func(*tenant) bool {
	name := "type-" + strings.ToLower(strings.NewReplacer("/", "-", ".", "-").Replace(secretType))
	return func(u *tenant) bool {
		suffix := ""
		if secretType != strings.ToLower(secretType) {
			suffix = "-capitals"
		}
		secret := u.createTemplated(name+suffix, v1alpha1.SecretTemplate{Type: secretType, Data: data})
		return secret != nil && string(secret.Type) == secretType
	}
}

// metadataOutcomes returns the outcomes that concern labels and annotations that controllers act upon.
func metadataOutcomes() []outcome {
	all := []outcome{{"a Secret with labels and annotations of the user's own", createSecret("", nil), func(u *tenant) bool {
		own := map[string]string{"example.com/team": "a"}
		secret := u.createTemplated("metadata", v1alpha1.SecretTemplate{Labels: own, Annotations: own})
		return secret != nil && secret.Labels["example.com/team"] == "a" && secret.Annotations["example.com/team"] == "a"
	}}}
	for name, reserved := range map[string]string{
		"argo": "argocd.argoproj.io/secret-type", "token": "kubernetes.io/service-account.name", "part": "app.kubernetes.io/part-of",
		"cluster": "cluster.x-k8s.io/cluster-name", "adopt": "apikey-manager.io/adopt",
	} {
		own := map[string]string{reserved: "cluster"}
		all = append(all,
			outcome{"a Secret with label " + reserved + ", written by the manager", nil, func(u *tenant) bool {
				secret := u.createTemplated("label-"+name, v1alpha1.SecretTemplate{Labels: own})
				return secret != nil && secret.Labels[reserved] == "cluster"
			}},
			outcome{"a Secret with annotation " + reserved + ", written by the manager", nil, func(u *tenant) bool {
				secret := u.createTemplated("annotation-"+name, v1alpha1.SecretTemplate{Annotations: own})
				return secret != nil && secret.Annotations[reserved] == "cluster"
			}},
		)
	}
	return all
}

// byManager reports whether a field manager is one of the manager's.
func byManager(name string) bool {
	return name == "manager" || strings.HasPrefix(name, "apikey-manager")
}

// checkManagerWrites checks the kinds of all objects that the manager has written.
func (f *fixture) checkManagerWrites(t *testing.T) {
	want := sets.New("Secret", "Account", "APIKey", "KeyExport", "Event", "ValidatingWebhookConfiguration")
	got := sets.New[string]()
	for _, kind := range f.kinds(t) {
		list := &metav1.PartialObjectMetadataList{}
		list.SetGroupVersionKind(kind)
		if err := f.admin.List(t.Context(), list); err != nil {
			t.Fatalf("list %s: %v", kind, err)
		}
		for _, object := range list.Items {
			for _, entry := range object.ManagedFields {
				if byManager(entry.Manager) {
					got.Insert(kind.Kind)
				}
			}
		}
	}
	if !got.Equal(want) {
		t.Errorf("the manager wrote %v, want %v", sets.List(got), sets.List(want))
	}
	f.checkSecrets(t)
}

// kinds returns all kinds that the API server lists.
func (f *fixture) kinds(t *testing.T) []schema.GroupVersionKind {
	t.Helper()
	d, err := discovery.NewDiscoveryClientForConfig(f.plane.Config())
	if err != nil {
		t.Fatal(err)
	}
	lists, err := discovery.ServerPreferredResources(d)
	if err != nil {
		t.Fatal(err)
	}
	var kinds []schema.GroupVersionKind
	for _, list := range lists {
		for _, resource := range list.APIResources {
			if sets.New([]string(resource.Verbs)...).Has("list") && resource.Kind != "ComponentStatus" {
				kinds = append(kinds, schema.FromAPIVersionAndKind(list.GroupVersion, resource.Kind))
			}
		}
	}
	return kinds
}

// checkSecrets checks that each Secret of a key or a KeyExport has a harmless type, and no metadata that controllers act upon.
func (f *fixture) checkSecrets(t *testing.T) {
	t.Helper()
	var secrets corev1.SecretList
	if err := f.admin.List(t.Context(), &secrets, client.MatchingLabels{"app.kubernetes.io/managed-by": "apikey-manager"}); err != nil {
		t.Fatal(err)
	}
	ours := sets.New("app.kubernetes.io/managed-by", "apikey-manager.io/account", "apikey-manager.io/apikey",
		"apikey-manager.io/shape", "apikey-manager.io/template-metadata", "apikey-manager.io/revoked", "apikey-manager.io/keyexport")
	for i := range secrets.Items {
		s := &secrets.Items[i]
		if s.Type != corev1.SecretTypeOpaque && harmlessTypes[string(s.Type)] == nil {
			t.Errorf("Secret %s/%s is of type %s", s.Namespace, s.Name, s.Type)
		}
		for name := range sets.KeySet(s.Labels).Union(sets.KeySet(s.Annotations)) {
			if !ours.Has(name) && !strings.HasPrefix(name, "example.com/") {
				t.Errorf("Secret %s/%s has %s", s.Namespace, s.Name, name)
			}
		}
	}
}
