// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

func TestKeyQuery_Match(t *testing.T) {
	t.Parallel()
	k := &v1alpha1.APIKey{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "shop"},
		Spec:       v1alpha1.APIKeySpec{Account: "acme", Label: "Tienda"},
		Status: v1alpha1.APIKeyStatus{
			State: v1alpha1.StateActive,
			Credentials: []v1alpha1.Credential{
				{ID: "current", Hint: "ak_current", SHA256: "c1", Role: v1alpha1.RoleCurrent},
				{ID: "previous", Hint: "ak_previous", SHA256: "p1", Role: v1alpha1.RolePrevious},
				{ID: "staged", Hint: "ak_staged", SHA256: "s1", Role: v1alpha1.RoleStaged},
			},
			RevokedCredentials: []v1alpha1.RevokedCredential{{ID: "revoked", SHA256: "r1"}},
		},
	}
	row := func(line int, role, id, hint string) foundKey {
		return foundKey{line, "default", "shop", "acme", "Tienda", v1alpha1.StateActive, role, id, hint}
	}
	for name, tc := range map[string]struct {
		query keyQuery
		want  []foundKey
	}{
		"the ID of the current credential":       {keyQuery{ID: "current"}, []foundKey{row(0, "Current", "current", "ak_current")}},
		"the ID of the previous credential":      {keyQuery{ID: "previous"}, []foundKey{row(0, "Previous", "previous", "ak_previous")}},
		"the ID of a revoked credential":         {keyQuery{ID: "revoked"}, []foundKey{row(0, "Revoked", "revoked", "")}},
		"the hint of the staged credential":      {keyQuery{Hint: "ak_staged"}, []foundKey{row(0, "Staged", "staged", "ak_staged")}},
		"no hint matches a credential without":   {keyQuery{Hint: ""}, nil},
		"two digests, of which one is known":     {keyQuery{Lines: map[string][]int{"p1": {4}, "x": {5}}}, []foundKey{row(4, "Previous", "previous", "ak_previous")}},
		"a digest that stands in two lines":      {keyQuery{Lines: map[string][]int{"r1": {1, 2}}}, []foundKey{row(1, "Revoked", "revoked", ""), row(2, "Revoked", "revoked", "")}},
		"the beginning of an ID does not match":  {keyQuery{ID: "curr", Hint: "ak_cur"}, nil},
		"the digest of no credential":            {keyQuery{Lines: map[string][]int{"x": {1}}}, nil},
		"an ID is not looked up among the hints": {keyQuery{ID: "ak_current"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tc.want, tc.query.match(k)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestKeyQuery_Missing(t *testing.T) {
	t.Parallel()
	q := keyQuery{Lines: map[string][]int{"a": {3, 1}, "b": {2}, "c": {7}}}
	if diff := cmp.Diff([]int{2, 7}, q.missing([]foundKey{{Line: 1}, {Line: 3}})); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
