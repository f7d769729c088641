// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys_test

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
)

// TestCheckPolicy_HidesOtherNamespaces refuses a key of one tenant for each reason, in an account in which another
// tenant has keys, and checks that the namespace and names of that tenant occur in nothing that the owner of the key
// can read.
func TestCheckPolicy_HidesOtherNamespaces(t *testing.T) {
	t.Parallel()
	foreign := []*v1alpha1.APIKey{
		keystest.Key("gx", keystest.Namespace("tenant-a"), keystest.Label("web"), keystest.Issued(keystest.Epoch), keystest.Revoked("shared", keystest.Epoch), keystest.Created(keystest.Epoch.Add(-time.Hour))),
		keystest.Key("gy", keystest.Namespace("tenant-a"), keystest.Label("old"), keystest.Created(keystest.Epoch.Add(-time.Hour))),
	}
	held := keystest.Slots(foreign[0])
	covered := map[string]bool{}
	for _, tc := range []struct {
		reason  string
		key     []keystest.KeyOption
		account []keystest.AccountOption
		missing bool
	}{
		{reason: v1alpha1.ReasonAccountNotFound, missing: true},
		{reason: v1alpha1.ReasonAccountSuspended, account: []keystest.AccountOption{keystest.Suspended()}},
		{reason: v1alpha1.ReasonNamespaceNotAllowed, account: []keystest.AccountOption{policy(func(a *v1alpha1.AccountSpec) { a.AllowedNamespaces = team })}},
		{reason: v1alpha1.ReasonLimitReached, account: []keystest.AccountOption{keystest.MaxKeys(1)}},
		{reason: v1alpha1.ReasonLabelTaken, key: []keystest.KeyOption{keystest.Label("web")}},
		{reason: v1alpha1.ReasonLabelTaken, key: []keystest.KeyOption{keystest.Label("old")}},
		{reason: v1alpha1.ReasonScopeNotAllowed, key: []keystest.KeyOption{keystest.Scopes("admin")}, account: []keystest.AccountOption{policy(func(a *v1alpha1.AccountSpec) { a.AllowedScopes = []string{"read"} })}},
		{reason: v1alpha1.ReasonRateLimitNotAllowed, key: []keystest.KeyOption{keystest.RateLimits(keystest.RateLimit("requests", 1, v1alpha1.RateLimitMinute))}},
		{reason: v1alpha1.ReasonExpirationRequired, account: []keystest.AccountOption{expirations(v1alpha1.ExpirationPolicy{Mode: v1alpha1.ExpirationRequired})}},
		{reason: v1alpha1.ReasonExpirationForbidden, key: []keystest.KeyOption{keystest.Expiring(year)}, account: []keystest.AccountOption{expirations(v1alpha1.ExpirationPolicy{Mode: v1alpha1.ExpirationForbidden})}},
		{reason: v1alpha1.ReasonLifetimeTooLong, key: []keystest.KeyOption{keystest.Expiring(year)}, account: []keystest.AccountOption{expirations(v1alpha1.ExpirationPolicy{MaxLifetime: "2h"})}},
		{reason: v1alpha1.ReasonIPWhitelistRequired, account: []keystest.AccountOption{policy(whitelistRequired)}},
		{reason: v1alpha1.ReasonImportNotAllowed, key: []keystest.KeyOption{keystest.Import("elsewhere")}},
		{reason: v1alpha1.ReasonDuplicateKey, key: []keystest.KeyOption{keystest.Import("shared")}, account: []keystest.AccountOption{keystest.ImportAllowed()}},
		{reason: v1alpha1.ReasonDuplicateKey, key: []keystest.KeyOption{keystest.WithCredential("shared", v1alpha1.RoleCurrent, keystest.Epoch.Add(time.Minute))}},
		{reason: v1alpha1.ReasonInvalidSpec, key: []keystest.KeyOption{keystest.Whitelist("10.0.0.1/8")}},
	} {
		f := keys.Facts{
			Key: keystest.Key("mine", append([]keystest.KeyOption{keystest.Namespace("tenant-b")}, tc.key...)...), Siblings: foreign, Duplicates: foreign[:1],
			Settings: keystest.Settings, Now: keystest.Epoch.Add(time.Hour),
		}
		f.Settings.RequireAccount = true
		if !tc.missing {
			f.Account = keystest.NewAccount("acme", append([]keystest.AccountOption{held}, tc.account...)...)
		}
		status := keys.Describe(f)
		said := fmt.Sprintf("%+v %+v", status, keys.Events(f, status))
		if !strings.Contains(said, tc.reason) {
			t.Errorf("%s: the status is %s", tc.reason, said)
		}
		for _, name := range []string{"tenant-a", "gx", "gy"} {
			if strings.Contains(said, name) {
				t.Errorf("%s names %s of another tenant: %s", tc.reason, name, said)
			}
		}
		covered[tc.reason] = true
	}
	for _, reason := range reasonsOfRefusal(t) {
		if !covered[reason] {
			t.Errorf("%s is not tried: add a row", reason)
		}
	}
}

// reasonsOfRefusal returns the reasons that api/v1alpha1 documents for Accepted=False.
func reasonsOfRefusal(t *testing.T) []string {
	t.Helper()
	source, err := os.ReadFile("../../api/v1alpha1/conditions.go")
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, match := range regexp.MustCompile(`// Reason(\w+) \(Accepted=False`).FindAllStringSubmatch(string(source), -1) {
		list = append(list, match[1])
	}
	if len(list) == 0 {
		t.Fatal("there is no reason")
	}
	return list
}

// Users of the same namespace learn the name of the key that has the label.
func TestCheckPolicy_NamesHolderInSameNamespace(t *testing.T) {
	t.Parallel()
	holder := keystest.Key("gx", keystest.Label("web"), keystest.Created(keystest.Epoch.Add(-time.Hour)))
	r := keys.CheckPolicy(keys.Facts{
		Key: keystest.Key("mine", keystest.Label("web")), Account: keystest.NewAccount("acme"), Siblings: []*v1alpha1.APIKey{holder},
		Settings: keystest.Settings, Now: keystest.Epoch.Add(time.Hour),
	})
	if r == nil || !strings.Contains(r.Message, "APIKey "+holder.Namespace+"/gx") {
		t.Errorf("refused with %+v, want the holder's name", r)
	}
}
