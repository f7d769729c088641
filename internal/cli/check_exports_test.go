// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

func TestFlagValues(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ args, want []string }{
		"one argument":                       {[]string{"--leader-elect", "--export-configmap-namespaces=a,b", "--v=1"}, []string{"a", "b"}},
		"two arguments":                      {[]string{"--export-configmap-namespaces", "a", "--leader-elect"}, []string{"a"}},
		"repeated":                           {[]string{"--export-configmap-namespaces=a", "--export-configmap-namespaces=b"}, []string{"a", "b"}},
		"not set":                            {[]string{"--watch-namespaces=a", "--export-configmap-namespaces-x=b"}, nil},
		"after another flag without a value": {[]string{"--watch-namespaces", "--export-configmap-namespaces=a"}, []string{"a"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := &appsv1.Deployment{}
			d.Spec.Template.Spec.Containers = []corev1.Container{{Name: "manager", Args: tc.args}, {Args: []string{"--export-configmap-namespaces=z"}}}
			if diff := cmp.Diff(tc.want, flagValues(d, configMapFlag)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
	if got := flagValues(&appsv1.Deployment{}, configMapFlag); got != nil {
		t.Errorf("without a container: %q", got)
	}
}

func TestConfigMapNamespaces(t *testing.T) {
	t.Parallel()
	export := func(namespace string, kind v1alpha1.ExportTargetKind) v1alpha1.KeyExport {
		x := *gatewayKeys()
		x.Namespace, x.Spec.Target.Kind = namespace, kind
		return x
	}
	got := configMapNamespaces([]v1alpha1.KeyExport{
		export("b", v1alpha1.ExportToConfigMap), export("c", v1alpha1.ExportToSecret), export("a", v1alpha1.ExportToConfigMap), export("b", v1alpha1.ExportToConfigMap),
	})
	if diff := cmp.Diff([]string{"a", "b"}, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
