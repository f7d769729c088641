// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"fmt"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// Accounts share equal settings, and only those: an account that allows no scope is not one that allows all.
func TestSettingsCache_SharesEqualSettings(t *testing.T) {
	t.Parallel()
	one := int32(1)
	var c settingsCache
	seen := map[*accountSettings]string{}
	for name, spec := range map[string]v1alpha1.AccountSpec{
		"none":             {},
		"suspended":        {State: v1alpha1.AccountSuspended},
		"zone":             {TimeZone: "Europe/Madrid"},
		"plan":             {Plan: "gold"},
		"no scope allowed": {AllowedScopes: []string{}},
		"scope allowed":    {AllowedScopes: []string{"a"}},
		"default scope":    {KeyDefaults: &v1alpha1.KeyDefaults{Scopes: []string{"a"}}},
		"whitelist":        {IPWhitelistPolicy: v1alpha1.IPWhitelistRequired},
		"any namespace":    {AllowedNamespaces: &metav1.LabelSelector{}},
		"namespaces":       {AllowedNamespaces: &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}}},
		"metadata":         {Metadata: map[string]v1alpha1.MetadataValue{"a": "b"}},
		"rate limits":      {RateLimits: []v1alpha1.RateLimit{{Name: "a", Requests: &one}}},
	} {
		s := c.of(&spec)
		if other, known := seen[s]; known {
			t.Errorf("%s and %s share settings", name, other)
		}
		seen[s] = name
		named := spec.DeepCopy()
		named.DisplayName, named.ExternalID = "Customer", "4711"
		if again := c.of(named); again != s {
			t.Errorf("%s: equal settings are not shared", name)
		}
	}
}

// The settings of many accounts that differ do not fill the cache without limit.
func TestSettingsCache_IsBounded(t *testing.T) {
	t.Parallel()
	var c settingsCache
	for i := range 10_000 {
		c.of(&v1alpha1.AccountSpec{Plan: fmt.Sprint(i)})
		if c.length > maxIDsLength {
			t.Fatalf("the IDs of %d settings have %d bytes", len(c.settings), c.length)
		}
	}
	if len(c.settings) > 5_000 {
		t.Errorf("got %d settings", len(c.settings))
	}
}
