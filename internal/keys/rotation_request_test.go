// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys_test

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
)

// TestRotationRequest checks which requests cause a rotation, and which are acknowledged without one. The credential
// was issued at the time called now.
func TestRotationRequest(t *testing.T) {
	t.Parallel()
	observed := func(at time.Time) keystest.KeyOption {
		return keystest.Status(func(s *v1alpha1.APIKeyStatus) { s.Rotation.ObservedRequestedAt = keystest.Instant(at) })
	}
	// accepted is the generation of the spec with which the key was accepted. The current generation is 2.
	accepted := func(generation int64) keystest.KeyOption {
		return keystest.Status(func(s *v1alpha1.APIKeyStatus) {
			s.ObservedGeneration = generation
			s.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionAccepted, Status: metav1.ConditionTrue, Reason: "Accepted", Message: "x", ObservedGeneration: generation, LastTransitionTime: metav1.NewTime(now)}}
		})
	}
	zoned := func(k *v1alpha1.APIKey) {
		k.Spec.Rotation = &v1alpha1.Rotation{RequestedAt: v1alpha1.Instant(now.In(time.FixedZone("", 3600)).Format(time.RFC3339))}
	}
	for name, tc := range map[string]struct {
		options      []keystest.KeyOption
		rotates      bool
		acknowledged bool
	}{
		"a request of a later second":             {options: []keystest.KeyOption{accepted(1), keystest.Requested(now.Add(time.Second))}, rotates: true},
		"one of the second of the issue":          {options: []keystest.KeyOption{accepted(1), keystest.Requested(now)}, rotates: true},
		"the same, already carried out":           {options: []keystest.KeyOption{accepted(1), keystest.Requested(now), observed(now)}, acknowledged: true},
		"the same, written in another zone":       {options: []keystest.KeyOption{accepted(1), zoned, observed(now)}, acknowledged: true},
		"the same, with one before carried out":   {options: []keystest.KeyOption{accepted(1), keystest.Requested(now), observed(now.Add(-time.Second))}, rotates: true},
		"seen by a release that records nothing":  {options: []keystest.KeyOption{accepted(2), keystest.Requested(now)}, acknowledged: true},
		"of a key that was not accepted so far":   {options: []keystest.KeyOption{keystest.Requested(now)}, rotates: true},
		"an earlier one":                          {options: []keystest.KeyOption{accepted(1), keystest.Requested(now.Add(-time.Second))}, acknowledged: true},
		"one in the future":                       {options: []keystest.KeyOption{accepted(1), keystest.Requested(now.Add(time.Hour))}},
		"one of an inactive key":                  {options: []keystest.KeyOption{accepted(1), keystest.Requested(now), keystest.State(v1alpha1.KeyStateInactive)}},
		"an earlier one of an inactive key":       {options: []keystest.KeyOption{accepted(1), keystest.Requested(now.Add(-time.Second)), keystest.State(v1alpha1.KeyStateInactive)}, acknowledged: true},
		"one of the second, with an interval too": {options: []keystest.KeyOption{accepted(1), keystest.Rotation("1h", "0s"), keystest.Requested(now)}, rotates: true},
		"none": {options: []keystest.KeyOption{accepted(1)}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := keystest.Key("shop", append([]keystest.KeyOption{keystest.Generation(2), keystest.Issued(now)}, tc.options...)...)
			f := keys.Facts{Key: k, Account: keystest.NewAccount("acme", keystest.Slots(k)), Secret: keystest.SecretOf(k), Settings: keystest.Settings, Now: now.Add(2 * time.Second)}
			plan := keys.Decide(f)
			if rotates := len(plan.Steps) > 0; rotates != tc.rotates {
				t.Errorf("steps %v, want a rotation: %t", plan.Steps, tc.rotates)
			}
			if tc.rotates { // as the controller does when it performs the steps
				f.Staged, f.JustStaged = keystest.ObservedCredential("next"), true
			}
			after := keys.Describe(f)
			want := v1alpha1.Instant("")
			if tc.acknowledged {
				want = k.Spec.Rotation.RequestedAt
			}
			if k.Status.Rotation.ObservedRequestedAt != "" && !tc.acknowledged {
				want = k.Status.Rotation.ObservedRequestedAt
			}
			if got := after.Rotation.ObservedRequestedAt; got != want {
				t.Errorf("acknowledged is %q, want %q", got, want)
			}
			if !tc.rotates {
				return
			}
			f.Key = k.DeepCopy()
			f.Key.Status, f.JustStaged = after, false
			f.Secret.Current = f.Staged // the Secret was written
			if got := keys.Describe(f).Rotation.ObservedRequestedAt; got != k.Spec.Rotation.RequestedAt {
				t.Errorf("after the rotation the request is acknowledged as %q", got)
			}
		})
	}
}

// A credential that is issued after the request satisfies it.
func TestRotationRequest_SatisfiedByFirstIssue(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		requested time.Time
		want      bool
	}{"of the same second": {now, true}, "of an earlier one": {now.Add(-time.Hour), true}, "of a later one": {now.Add(time.Second), false}} {
		k := keystest.Key("shop", keystest.Requested(tc.requested))
		f := keys.Facts{Key: k, Account: keystest.NewAccount("acme", keystest.Slots(k)), Secret: keystest.ObservedSecret("default/shop"), Settings: keystest.Settings, Now: now}
		f.Secret.JustIssued = true
		after := keys.Describe(f)
		if got := after.Rotation.ObservedRequestedAt == k.Spec.Rotation.RequestedAt; got != tc.want {
			t.Errorf("a request %s: acknowledged %t, want %t", name, got, tc.want)
		}
		if due := after.NextRotationTime; (due == nil) != tc.want {
			t.Errorf("a request %s: the next rotation is %v", name, due)
		}
	}
}

func TestIsRotationPending(t *testing.T) {
	t.Parallel()
	observed := func(at time.Time) keystest.KeyOption {
		return keystest.Status(func(s *v1alpha1.APIKeyStatus) { s.Rotation.ObservedRequestedAt = keystest.Instant(at) })
	}
	current := keystest.WithCredential("current", v1alpha1.RoleCurrent, now)
	for name, tc := range map[string]struct {
		options []keystest.KeyOption
		want    bool
	}{
		"no request":                                {[]keystest.KeyOption{current}, false},
		"a schedule alone":                          {[]keystest.KeyOption{current, keystest.Rotation("720h", "24h")}, false},
		"a request that was not observed":           {[]keystest.KeyOption{current, keystest.Requested(now)}, true},
		"a request that was observed":               {[]keystest.KeyOption{current, keystest.Requested(now), observed(now)}, false},
		"another request was observed":              {[]keystest.KeyOption{current, keystest.Requested(now.Add(time.Second)), observed(now)}, true},
		"the next credential is staged":             {[]keystest.KeyOption{current, keystest.WithCredential("next", v1alpha1.RoleStaged, now), keystest.Requested(now), observed(now)}, true},
		"the credential is to be revoked":           {[]keystest.KeyOption{current, keystest.RevokedBefore(now.Add(time.Second))}, true},
		"the credential was issued at revokeBefore": {[]keystest.KeyOption{current, keystest.RevokedBefore(now)}, false},
		"only the previous credential is older":     {[]keystest.KeyOption{current, keystest.WithCredential("previous", v1alpha1.RolePrevious, now.Add(-time.Second)), keystest.RevokedBefore(now)}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := keys.IsRotationPending(keystest.Key("shop", tc.options...)); got != tc.want {
				t.Errorf("IsRotationPending = %t, want %t", got, tc.want)
			}
		})
	}
}
