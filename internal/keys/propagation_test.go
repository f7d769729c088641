// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
)

// answers returns a replica that has synced, observed a version and refuses the key.
func answers(version string) keys.Replica {
	return keys.Replica{Reached: true, Synced: true, KeysVersion: version, Refused: map[types.UID]bool{uid: true}}
}

// uid is the UID of the key about which replicas are asked.
const uid = "uid-web"

// acceptsAt returns a replica that has observed a version and accepts the key.
func acceptsAt(version string) keys.Replica {
	return keys.Replica{Reached: true, Synced: true, KeysVersion: version, Refused: map[types.UID]bool{"uid-other": true}}
}

// off returns a key that is disabled, as its status says too.
func off(options ...keystest.KeyOption) *v1alpha1.APIKey {
	k := keystest.Key("web", keystest.Issued(keystest.Epoch), keystest.State(v1alpha1.KeyStateInactive), keystest.Observed(v1alpha1.StateInactive))
	for _, option := range options {
		option(k)
	}
	k.Status.ObservedGeneration = k.Generation
	return k
}

// saysEnforced sets condition Enforced in the status.
func saysEnforced(status metav1.ConditionStatus, generation int64) keystest.KeyOption {
	return func(k *v1alpha1.APIKey) {
		k.Status.Conditions = append(k.Status.Conditions, metav1.Condition{
			Type: v1alpha1.ConditionEnforced, Status: status, Reason: v1alpha1.ReasonEnforced, Message: "Before",
			ObservedGeneration: generation, LastTransitionTime: metav1.NewTime(keystest.Epoch),
		})
	}
}

func enforcedOf(s *v1alpha1.APIKeyStatus) *metav1.Condition {
	return meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionEnforced)
}

func TestPropagationStatus(t *testing.T) {
	t.Parallel()
	notSynced := keys.Replica{Reached: true}
	for name, tc := range map[string]struct {
		live []keys.Replica
		want string
	}{
		"there is no replica":                                 {nil, "Unknown/NoVerifier"},
		"the only replica knows the very version":             {[]keys.Replica{answers("100")}, "True/Enforced"},
		"all replicas know it or a later one":                 {[]keys.Replica{answers("100"), answers("101"), answers("1000")}, "True/Enforced"},
		"one has not observed it":                             {[]keys.Replica{answers("100"), answers("99")}, "False/Enforcing"},
		"digits count, not the alphabet":                      {[]keys.Replica{answers("9")}, "False/Enforcing"},
		"one refuses everything, since it is not synced":      {[]keys.Replica{answers("100"), notSynced}, "True/Enforced"},
		"one can't be reached":                                {[]keys.Replica{answers("100"), {}}, "False/Enforcing"},
		"one can't be reached, whatever it once said":         {[]keys.Replica{{Synced: true, KeysVersion: "100"}}, "False/Enforcing"},
		"one can't be reached, and one has not observed it":   {[]keys.Replica{{}, answers("1")}, "False/Enforcing"},
		"one says nothing of versions":                        {[]keys.Replica{answers("")}, "False/Enforcing"},
		"one says something that is no version":               {[]keys.Replica{answers("latest")}, "False/Enforcing"},
		"one says a number as no API server writes it":        {[]keys.Replica{answers("0099")}, "False/Enforcing"},
		"one says a negative number":                          {[]keys.Replica{answers("-100")}, "False/Enforcing"},
		"one is at a later version, and accepts the key":      {[]keys.Replica{answers("100"), acceptsAt("2163")}, "False/Enforcing"},
		"one does not know what it was asked":                 {[]keys.Replica{{Reached: true, Synced: true, KeysVersion: "100"}}, "False/Enforcing"},
		"one refuses it, and is behind":                       {[]keys.Replica{answers("100"), answers("50")}, "False/Enforcing"},
		"the one that lags is neither the first nor the last": {[]keys.Replica{answers("100"), answers("5"), answers("100")}, "False/Enforcing"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			status := keys.WithPropagation(off(), keys.PropagationStatus(uid, "100", tc.live), keystest.Epoch)
			c := enforcedOf(&status)
			if c == nil || string(c.Status)+"/"+c.Reason != tc.want {
				t.Fatalf("got %+v, want %s", c, tc.want)
			}
		})
	}
}

func TestPropagationStatus_InvalidVersionIsNotDone(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"", "unknown"} {
		if e := keys.PropagationStatus(uid, version, []keys.Replica{answers("100")}); e.Done() {
			t.Errorf("a replica at 100 enforces version %q", version)
		}
	}
}

func TestWithPropagation(t *testing.T) {
	t.Parallel()
	complete := keys.PropagationStatus(uid, "1", []keys.Replica{answers("1")})
	lags := keys.PropagationStatus(uid, "2", []keys.Replica{answers("1")})
	none := keys.PropagationStatus(uid, "1", nil)
	revoked := []keystest.KeyOption{keystest.State(v1alpha1.KeyStateRevoked), keystest.Observed(v1alpha1.StateRevoked)}
	second := keystest.Generation(2)
	for name, tc := range map[string]struct {
		key  *v1alpha1.APIKey
		with keys.Propagation
		want string
	}{
		"an inactive key is refused by all":                    {off(second), complete, "True 2"},
		"a revoked key is refused by all":                      {off(revoked...), complete, "True 1"},
		"an inactive key is not refused by all":                {off(), lags, "False 1"},
		"there is no verifier":                                 {off(), none, "Unknown 1"},
		"the verifiers went before they all refused it":        {off(saysEnforced(metav1.ConditionFalse, 1)), none, "Unknown 1"},
		"it was refused by all, and is changed otherwise":      {off(second, saysEnforced(metav1.ConditionTrue, 1)), lags, "True 1"},
		"it was refused by all, and they know of the change":   {off(second, saysEnforced(metav1.ConditionTrue, 1)), complete, "True 2"},
		"it was refused by all, and no verifier is left":       {off(saysEnforced(metav1.ConditionTrue, 1)), none, "True 1"},
		"it is inactive, and the manager is still at a change": {func() *v1alpha1.APIKey { k := off(); k.Generation++; return k }(), complete, ""},
		"it is to be active, and the manager is still at it":   {off(keystest.State(v1alpha1.KeyStateActive)), complete, ""},
		"it is expired":       {off(keystest.Observed(v1alpha1.StateExpired)), complete, ""},
		"it is being deleted": {off(keystest.Deleting(keystest.Epoch)), complete, ""},
		"it has no credential yet, and is not wanted any longer": {off(keystest.Observed(v1alpha1.StatePending)), complete, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before := tc.key.DeepCopy()
			after, got := keys.WithPropagation(tc.key, tc.with, keystest.Epoch), ""
			if c := enforcedOf(&after); c != nil {
				got = string(c.Status) + " " + strconv.FormatInt(c.ObservedGeneration, 10)
			}
			if got != tc.want {
				t.Errorf("Enforced is %q, want %q", got, tc.want)
			}
			if diff := cmp.Diff(before, tc.key); diff != "" {
				t.Errorf("the key was changed (-want +got):\n%s", diff)
			}
			meta.RemoveStatusCondition(&after.Conditions, v1alpha1.ConditionEnforced)
			meta.RemoveStatusCondition(&before.Status.Conditions, v1alpha1.ConditionEnforced)
			if !equality.Semantic.DeepEqual(before.Status, after) {
				t.Errorf("more than the condition was changed:\n%s", cmp.Diff(before.Status, after))
			}
		})
	}
}

func TestDescribe_Enforced(t *testing.T) {
	t.Parallel()
	asks := keystest.Settings
	asks.Verifiers = true
	second := keystest.Generation(2)
	for name, tc := range map[string]struct {
		key      *v1alpha1.APIKey
		defaults keys.Settings
		stays    bool
	}{
		"an inactive key is changed otherwise":   {off(second, keystest.Label("new")), asks, true},
		"an inactive key is revoked":             {off(second, keystest.State(v1alpha1.KeyStateRevoked)), asks, true},
		"the key is active again":                {off(second, keystest.State(v1alpha1.KeyStateActive)), asks, false},
		"the key is active again, but expired":   {off(second, keystest.State(v1alpha1.KeyStateActive), keystest.Expiring(keystest.Epoch)), asks, false},
		"the manager asks no verifiers any more": {off(), keystest.Settings, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			saysEnforced(metav1.ConditionTrue, 1)(tc.key)
			before := *enforcedOf(&tc.key.Status)
			after := keys.Describe(keys.Facts{
				Key: tc.key, Account: keystest.NewAccount("acme", keystest.Unlimited()), Secret: keystest.SecretOf(tc.key), Settings: tc.defaults, Now: keystest.Epoch.Add(time.Hour),
			})
			c := enforcedOf(&after)
			switch {
			case tc.stays && (c == nil || *c != before):
				t.Errorf("Enforced is %+v, was %+v", c, before)
			case !tc.stays && c != nil:
				t.Errorf("Enforced is still there: %+v", c)
			}
		})
	}
}

// Whatever replicas there are and whatever they report, Enforced becomes True only while each live replica refuses the
// key, and stays True until the key is enabled again.
func TestWithPropagation_ReportsObservedRefusalsOnly(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		k, now := off(), keystest.Epoch
		version := rapid.IntRange(1, 1200).Draw(t, "version")
		for range rapid.IntRange(1, 20).Draw(t, "steps") {
			was := enforcedOf(&k.Status)
			var live []keys.Replica
			refusedByAll := true
			for range rapid.IntRange(0, 3).Draw(t, "replicas") {
				known := rapid.IntRange(1, 1200).Draw(t, "known")
				r := answers(strconv.Itoa(known))
				r.Reached, r.Synced = rapid.Bool().Draw(t, "reached"), rapid.Bool().Draw(t, "synced")
				live = append(live, r)
				refusedByAll = refusedByAll && r.Reached && (!r.Synced || known >= version)
			}
			now = now.Add(time.Second)
			k.Status = keys.WithPropagation(k, keys.PropagationStatus(uid, strconv.Itoa(version), live), now)
			is, wasTrue := enforcedOf(&k.Status), was != nil && was.Status == metav1.ConditionTrue
			if isTrue := is.Status == metav1.ConditionTrue; isTrue != (wasTrue || refusedByAll && len(live) > 0) {
				t.Fatalf("Enforced is %+v, was %+v, with replicas %+v and version %d", is, was, live, version)
			}
			if was != nil && was.Status == is.Status && !was.LastTransitionTime.Equal(&is.LastTransitionTime) {
				t.Fatalf("the same, since another time: %+v, was %+v", is, was)
			}
			if again := keys.WithPropagation(k, keys.PropagationStatus(uid, strconv.Itoa(version), live), now.Add(time.Hour)); !equality.Semantic.DeepEqual(again, k.Status) {
				t.Fatalf("flaps: %+v, then %+v", k.Status.Conditions, again.Conditions)
			}
		}
	})
}
