// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"testing"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

func TestRotate_IssuesNewCredentialEachTime(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	k := w.issued(t, "web")[0]
	for range 3 { // also within a second
		before := w.Material(t, k)
		out := w.run(t, "", "rotate", "web", "-n", k.Namespace, "--overlap", "1000h").succeed(t)
		w.Read(t, k)
		current, previous := controlplanetest.CredentialOf(k, v1alpha1.RoleCurrent), controlplanetest.CredentialOf(k, v1alpha1.RolePrevious)
		if previous == nil || previous.SHA256 != controlplanetest.Digest(before) || w.Material(t, k) == before {
			t.Fatalf("the credential was not replaced: %+v", k.Status.Credentials)
		}
		contains(t, out, "web rotated: the new credential is "+current.Hint, previous.Hint+" stays valid until "+previous.NotAfter.UTC().Format("2006-01-02T15"))
		if k.Spec.Rotation.Overlap != "1000h0m0s" {
			t.Errorf("the overlap is %s", k.Spec.Rotation.Overlap)
		}
	}
}

func TestRotate_RevokePreviousEndsEarlierCredentials(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	k := w.issued(t, "web")[0]
	before, verifier := w.Material(t, k), w.replica(t)
	controlplanetest.AwaitVerdict(t, verifier, before, "VALID")
	w.run(t, "", "rotate", "web", "-n", k.Namespace, "--revoke-previous").expectFailure(t, 2, "pass --yes")
	out := w.run(t, "", "rotate", "web", "-n", k.Namespace, "--revoke-previous", "--yes").succeed(t)
	contains(t, out, "the new credential is ")
	if w.Material(t, k) == before {
		t.Error("the credential was not replaced")
	}
	controlplanetest.AwaitVerdict(t, verifier, before, "REVOKED")
}

func TestRotate_SaysThatAnInactiveKeyIsRotatedLater(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	k := w.issued(t, "web")[0]
	w.Change(t, k, func(s *v1alpha1.APIKeySpec) { s.State = v1alpha1.KeyStateInactive })
	w.Become(t, v1alpha1.StateInactive, k)
	contains(t, w.run(t, "", "rotate", "web", "-n", k.Namespace).succeed(t), "the key is Inactive, so a new credential is issued when it is active again")
}

func TestExpire_SetsAndRemovesExpiration(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	k := w.issued(t, "web")[0]
	out := w.run(t, "", "expire", "web", "-n", k.Namespace, "--at", "2099-02-28").succeed(t)
	contains(t, out, "web expiration set: the key is Active, expiration 2099-02-28T00:00:00Z")
	out = w.run(t, "", "expire", "web", "-n", k.Namespace, "--at", "2020-02-28T12:00:00Z").succeed(t)
	contains(t, out, "the key is Expired, expiration 2020-02-28T12:00:00Z")
	out = w.run(t, "", "expire", "web", "-n", k.Namespace, "--never").succeed(t)
	contains(t, out, "web expiration removed: the key is Active and never expires")
	w.run(t, "", "expire", "web", "-n", k.Namespace, "--at", "28.02.2099").expectFailure(t, 1, "spec.expiration")
	w.Read(t, k)
	if k.Spec.Expiration != "" {
		t.Errorf("the expiration is %s", k.Spec.Expiration)
	}
}
