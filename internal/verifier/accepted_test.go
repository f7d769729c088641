// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package verifier_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
	"github.com/apikey-manager/apikey-manager/internal/verifier"
)

// TestAcceptedCredentials_EqualVerdicts draws two keys, which may share credentials, and their account. At each instant
// the credentials that keys.AcceptedCredentials returns must be those that the index accepts from a whitelisted address.
func TestAcceptedCredentials_EqualVerdicts(t *testing.T) {
	t.Parallel()
	accepted, shadowed := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		s, other := drawSuite(t), drawSuite(t).key
		other.Name, other.UID = "blog", types.UID(drawMostly(t, "UID", "uid-blog", "uid-z"))
		all := []*v1alpha1.APIKey{s.key, other}
		for _, k := range all {
			spoil(t, k)
		}
		if s.account != nil && drawMostly(t, "account undecodable", false, true) {
			s.account.Undecodable = []string{"spec.state"}
		}
		x := s.index()
		x.PutKey(other)
		shared := keys.FindSharedDigests(all)
		for _, k := range all {
			for _, now := range append(instantsOf(k), epoch, hour, hour.Add(24*time.Hour)) {
				for _, at := range []time.Time{now.Add(-time.Second), now.Add(-time.Millisecond), now, now.Add(time.Second)} {
					accepted += checkAccepted(t, x, suite{k, s.account, s.labels}, shared, at)
				}
			}
			shadowed += len(shared.Shadowed(k))
		}
	})
	if accepted == 0 || shadowed == 0 {
		t.Errorf("%d credentials were accepted and %d issued to another key first, so the test proves too little", accepted, shadowed)
	}
}

// spoil draws changes that no other test of the index needs in combination.
func spoil(t *rapid.T, k *v1alpha1.APIKey) {
	if drawMostly(t, "deleting", false, true) {
		keystest.Deleting(epoch)(k)
	}
	if drawMostly(t, "undecodable", false, true) {
		k.Undecodable = []string{"spec.scopes"}
	}
	k.CreationTimestamp = metav1.NewTime(drawMostly(t, "created", epoch, epoch.Add(time.Second)))
	if invalid := drawMostly(t, "invalid time", false, true); invalid {
		k.Spec.Rotation = &v1alpha1.Rotation{RevokeBefore: "nonsense"}
	}
	for i := range k.Status.Credentials {
		c := &k.Status.Credentials[i]
		c.IssuedAt = metav1.NewTime(rapid.SampledFrom([]time.Time{epoch, epoch.Add(time.Second), hour}).Draw(t, "issued"))
		c.Role = rapid.SampledFrom([]v1alpha1.CredentialRole{v1alpha1.RoleStaged, v1alpha1.RoleCurrent, v1alpha1.RolePrevious}).Draw(t, "role")
		if !drawMostly(t, "shared", true, false) {
			own := keystest.CredentialOf(k.Name + c.Hint)
			c.SHA256, c.Hint = own.SHA256, k.Name+c.Hint
		}
	}
	if drawMostly(t, "repeats", false, true) {
		c := k.Status.Credentials[0]
		c.NotAfter = drawTime(t, "not after, repeated")
		k.Status.Credentials = append(k.Status.Credentials, c)
	}
}

// instantsOf returns the times in the spec and status of a key.
func instantsOf(k *v1alpha1.APIKey) []time.Time {
	var list []time.Time
	for _, zone := range []string{"UTC", "Pacific/Apia", "America/Havana"} {
		if t, err := keys.ResolveExpiration(k.Spec.Expiration, zone); err == nil && t != nil {
			list = append(list, *t)
		}
	}
	return list
}

// checkAccepted compares the accepted credentials of a key with the verdicts at a time, and returns how many there are.
// It also checks that the next change is not before the time that AcceptedCredentials returns.
func checkAccepted(t *rapid.T, x *verifier.Index, s suite, shared keys.SharedDigests, now time.Time) int {
	got, next := acceptedAt(s, shared, now)
	if want := acceptedBy(x, s.key, now); !cmp.Equal(got, want) {
		t.Fatalf("at %s:\n%s\nkey %+v\naccount %+v", now, cmp.Diff(want, got), s.key, s.account)
	}
	if next.IsZero() {
		next = now.AddDate(10, 0, 0)
	} else if !next.After(now) || cmp.Equal(acceptedBy(x, s.key, next), got) && len(shared.Shadowed(s.key)) == 0 {
		t.Fatalf("at %s: next is %s, when nothing changes: %v\nkey %+v", now, next, got, s.key)
	}
	if last := next.Add(-time.Millisecond); !cmp.Equal(acceptedBy(x, s.key, last), got) {
		t.Fatalf("at %s: next is %s, but verdicts change before\nkey %+v", now, next, s.key)
	}
	return len(got)
}

func acceptedAt(s suite, shared keys.SharedDigests, now time.Time) (digests []string, next time.Time) {
	accepted, next := keys.AcceptedCredentials(s.key, s.account, s.labels, now)
	for _, c := range accepted {
		if !slices.Contains(shared.Shadowed(s.key), c.SHA256) {
			digests = append(digests, c.SHA256)
		}
	}
	slices.Sort(digests)
	return digests, next
}

// acceptedBy returns the digests of the credentials that an index accepts for a key from an address in its whitelist.
func acceptedBy(x *verifier.Index, k *v1alpha1.APIKey, now time.Time) []string {
	in := verifier.Input{ExtractResult: verifier.Valid, Client: home}
	for _, entry := range k.Spec.IPWhitelist {
		if network, err := keys.ParseNetwork(entry); err == nil {
			in.Client = network.Addr()
		}
	}
	var digests []string
	for _, c := range k.Status.Credentials {
		in.Key = material(c.Hint)
		if v := x.Check(&in, now); v.Code == verifier.Valid && v.Key().Name == k.Name {
			digests = append(digests, c.SHA256)
		}
	}
	slices.Sort(digests)
	return slices.Compact(digests)
}

// TestAcceptedCredentials_UnknownNamespace states what the labels of an unknown namespace mean to a selector.
func TestAcceptedCredentials_UnknownNamespace(t *testing.T) {
	t.Parallel()
	a := policy(func(s *v1alpha1.AccountSpec) { s.AllowedNamespaces = &metav1.LabelSelector{} })
	for name, tt := range map[string]struct {
		labels labels.Set
		want   int
	}{"known": {labels.Set{}, 1}, "unknown": {nil, 0}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got, _ := keys.AcceptedCredentials(issued(), a, tt.labels, epoch); len(got) != tt.want {
				t.Errorf("got %d credentials, want %d", len(got), tt.want)
			}
		})
	}
}

// A status that lists a revoked credential twice does not make it valid.
func TestIndexCheck_RevokedCredentialListedTwice(t *testing.T) {
	t.Parallel()
	k := issued(keystest.Revoked("default/shop", epoch))
	k.Status.Credentials = append(k.Status.Credentials, k.Status.Credentials[0])
	in := newInput(nil)
	if v := (suite{key: k, account: policy(func(*v1alpha1.AccountSpec) {})}).index().Check(&in, epoch); v.Code != verifier.Revoked {
		t.Errorf("got %s", v.Code)
	}
}
