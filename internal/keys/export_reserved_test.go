// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys_test

import (
	"strings"
	"testing"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
)

func TestCheckExportDomains(t *testing.T) {
	t.Parallel()
	settings := keys.Settings{ReservedDomains: []string{"argocd.argoproj.io"}}
	for name, tc := range map[string]struct {
		target v1alpha1.ExportTarget
		want   string
	}{
		"nothing":                 {},
		"Opaque":                  {target: v1alpha1.ExportTarget{Type: "Opaque"}},
		"a type of a gateway":     {target: v1alpha1.ExportTarget{Type: "nginx.org/apikey"}},
		"metadata of a gateway":   {target: v1alpha1.ExportTarget{Labels: map[string]string{"konghq.com/credential": "key-auth"}}},
		"a name without a domain": {target: v1alpha1.ExportTarget{Labels: map[string]string{"argocd.argoproj.io": "a"}}},
		"a type below it":         {v1alpha1.ExportTarget{Type: "x.ArgoCD.argoproj.io/x"}, "spec.target.type"},
		"a type of a flag":        {v1alpha1.ExportTarget{Type: "argocd.argoproj.io/x"}, "spec.target.type"},
		"a label of a flag":       {v1alpha1.ExportTarget{Labels: map[string]string{"argocd.argoproj.io/secret-type": "cluster"}}, "spec.target.labels[argocd.argoproj.io/secret-type]"},
		"a label below it":        {v1alpha1.ExportTarget{Labels: map[string]string{"x.argocd.argoproj.io/a": "b"}}, "spec.target.labels"},
		"an annotation of a flag": {v1alpha1.ExportTarget{Annotations: map[string]string{"argocd.argoproj.io/a": "b"}}, "spec.target.annotations"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := settings.CheckExportDomains(&tc.target).ToAggregate()
			if (tc.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want an error about %q", err, tc.want)
			}
		})
	}
}
