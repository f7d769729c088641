// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
)

// fight simulates a manager and another client that both write the Secret of a key, in steps of one second.
type fight struct {
	t       *testing.T
	key     *v1alpha1.APIKey
	held    keys.ObservedSecret
	repairs keys.Repairs
	now     time.Time
	version int
	// undo is the change that the other client makes to the Secret.
	undo func(*keys.ObservedSecret)
	// repaired lists the seconds in which the manager repaired the Secret. statuses counts the writes of the status.
	repaired []int
	statuses int
}

func newFight(t *testing.T, undo func(*keys.ObservedSecret), options ...keystest.KeyOption) *fight {
	t.Helper()
	k := keystest.Key("shop", append(options, keystest.Issued(keystest.Epoch))...)
	f := &fight{t: t, key: k, held: keystest.SecretOf(k), now: keystest.Epoch, undo: undo, repairs: keys.ResumeRepairs(k, keystest.Epoch)}
	f.reconcile()
	f.statuses = 0
	return f
}

func (f *fight) facts() keys.Facts {
	return keys.Facts{
		Key: f.key, Account: keystest.NewAccount("acme", keystest.Slots(f.key)), Secret: f.held, Repairs: f.repairs.Of(f.key), Settings: keystest.Settings, Now: f.now,
	}
}

// reconcile does what the controller does, and returns when it is to be called again.
func (f *fight) reconcile() time.Time {
	f.t.Helper()
	facts := f.facts()
	for {
		plan, before := keys.Decide(facts), facts
		for _, step := range plan.Steps {
			f.perform(&facts, step)
		}
		facts.Repairs = facts.Repairs.After(before, plan, true)
		after := keys.Describe(facts)
		if err := checkDescribe(facts); err != nil {
			f.t.Fatal(err)
		}
		if cmp.Equal(facts.Key.Status, after) {
			f.repairs = facts.Repairs
			return keys.NextCheck(facts)
		}
		f.statuses++
		facts.Key = facts.Key.DeepCopy()
		facts.Key.Status = after
		facts.Secret.JustIssued, facts.Repairs.Written = false, ""
		f.key, f.held = facts.Key, facts.Secret
	}
}

func (f *fight) perform(facts *keys.Facts, step keys.Step) {
	f.repaired = append(f.repaired, int(f.now.Sub(keystest.Epoch).Seconds()))
	f.version++
	version := strings.Repeat("m", f.version)
	switch s := step.(type) {
	case keys.RepairSecret:
		facts.Secret.Drifted, facts.Secret.ResourceVersion = false, version
	case keys.ClearSecret:
		facts.Secret = keys.ObservedSecret{Ownership: keys.SecretOwned, ResourceVersion: version}
	case keys.CreateSecret, keys.ReissueCredential:
		facts.Secret = keys.JustIssuedSecret(version, keystest.NewCredential(version))
	default:
		f.t.Fatalf("unexpected step %s", s)
	}
	f.held, facts.Repairs.Written = facts.Secret, version
}

// attack lets the other client write for a time: once a second, unless nothing has changed since its last write.
func (f *fight) attack(d time.Duration) {
	f.t.Helper()
	last := ""
	for end := f.now.Add(d); f.now.Before(end); {
		if f.held.ResourceVersion != last || last == "" {
			f.undo(&f.held)
			f.version++
			f.held.ResourceVersion = strings.Repeat("x", f.version)
			last = f.held.ResourceVersion
			if f.held.Ownership == keys.SecretMissing {
				f.held.ResourceVersion, last = "", ""
			}
		}
		repaired := len(f.repaired)
		next := f.now.Add(time.Second)
		if due := f.reconcile(); len(f.repaired) == repaired && due.After(next) {
			next = due // nothing happens until then
		}
		f.now = next
		if next.After(end) {
			f.now = end
		}
	}
}

func (f *fight) ready() string { return conditionOf(f.key.Status, v1alpha1.ConditionReady) }

var fights = map[string]func(*keys.ObservedSecret){
	"drift": func(h *keys.ObservedSecret) { h.Drifted, h.Writer = true, "argocd-controller" },
	"credential": func(h *keys.ObservedSecret) {
		h.Current, h.Writer = keystest.ObservedCredential("theirs"), "argocd-controller"
	},
	"deletion": func(h *keys.ObservedSecret) { *h = keys.ObservedSecret{Ownership: keys.SecretMissing} },
}

// There are three repairs without a delay, then after 1 minute, 2 more, 4 more and so on, at least once an hour.
func TestContest_BacksOff(t *testing.T) {
	t.Parallel()
	for name, undo := range fights {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFight(t, undo)
			f.attack(10 * time.Second)
			if want := []int{0, 1, 2}; !cmp.Equal(want, f.repaired) || f.ready() != "False/SecretContested" || conditionOf(f.key.Status, v1alpha1.ConditionStalled) != "True/SecretContested" {
				t.Fatalf("repaired at %v, want %v; Ready is %s", f.repaired, want, f.ready())
			}
			if text := message(f.key.Status, v1alpha1.ConditionStalled); name != "deletion" && !strings.Contains(text, "argocd-controller") {
				t.Errorf("the message does not name who writes: %q", text)
			}
			before := f.statuses
			f.attack(50 * time.Second)
			if f.statuses != before {
				t.Errorf("wrote the status %d times while backing off", f.statuses-before)
			}
			f.attack(6 * time.Hour)
			// contested since second 3: a minute later, 2 minutes later, ... 32 minutes later, then each hour
			want := []int{0, 1, 2, 63, 183, 423, 903, 1863, 3783, 7383, 10983, 14583, 18183}
			if diff := cmp.Diff(want, f.repaired[:min(len(want), len(f.repaired))]); diff != "" || len(f.repaired) > len(want)+1 {
				t.Errorf("repairs at these seconds (-want +got):\n%s", diff)
			}
			if f.ready() != "False/SecretContested" {
				t.Errorf("Ready is %s in the middle of the fight", f.ready())
			}
			if n := len(f.key.Status.Credentials); n > 2 {
				t.Errorf("%d credentials are accepted", n)
			}
		})
	}
}

// Another client keeps adding a credential to the Secret of a revoked key.
func TestContest_RevokedKey(t *testing.T) {
	t.Parallel()
	f := newFight(t, fights["credential"], keystest.State(v1alpha1.KeyStateRevoked))
	f.repaired = nil
	f.attack(30 * time.Second)
	if len(f.repaired) != 3 || f.ready() != "False/SecretContested" || f.key.Status.State != v1alpha1.StateRevoked {
		t.Errorf("emptied at %v, Ready %s", f.repaired, f.ready())
	}
}

// A contest ends a minute after the last write of another client, or at once with a change of the spec.
func TestContest_Ends(t *testing.T) {
	t.Parallel()
	f := newFight(t, fights["credential"])
	f.attack(10 * time.Second)
	next := f.reconcile()
	if want := keystest.Epoch.Add(63 * time.Second); !next.Equal(want) {
		t.Fatalf("looks again at %s, want %s", next, want)
	}
	f.now = next
	next = f.reconcile()
	if len(f.repaired) != 4 || f.ready() != "False/SecretContested" || !next.Equal(f.now.Add(time.Minute)) {
		t.Fatalf("repaired at %v, Ready %s, looks again at %s", f.repaired, f.ready(), next)
	}
	f.now = next
	f.reconcile()
	if f.ready() != "True/Active" || conditionOf(f.key.Status, v1alpha1.ConditionStalled) != "" {
		t.Errorf("a minute after the last write Ready is %s", f.ready())
	}

	f = newFight(t, fights["credential"])
	f.attack(10 * time.Second)
	f.key = f.key.DeepCopy()
	f.key.Generation++
	f.reconcile()
	if len(f.repaired) != 4 || f.ready() != "True/Active" {
		t.Errorf("after a change of the spec: repaired at %v, Ready %s", f.repaired, f.ready())
	}
}

// After a restart, the manager knows nothing but the status.
func TestContest_SurvivesRestart(t *testing.T) {
	t.Parallel()
	f := newFight(t, fights["drift"])
	f.attack(10 * time.Second)
	for range 20 {
		f.repairs = keys.ResumeRepairs(f.key, f.now)
		f.attack(time.Second)
	}
	if len(f.repaired) != 3 || f.ready() != "False/SecretContested" {
		t.Errorf("repaired at %v, Ready %s", f.repaired, f.ready())
	}
}

// Changes by the manager itself, and single changes by others, are no contest.
func TestContest_IgnoresOwnAndSingleChanges(t *testing.T) {
	t.Parallel()
	f := newFight(t, fights["drift"])
	for range 10 {
		f.attack(time.Second)
		f.now = f.now.Add(30 * time.Second)
	}
	if len(f.repaired) != 10 || f.ready() != "True/Active" {
		t.Errorf("two changes a minute: repaired at %v, Ready %s", f.repaired, f.ready())
	}
	f = newFight(t, fights["drift"])
	for range 10 { // a template that changes, be it ten times a second
		f.held.Drifted = true
		f.reconcile()
	}
	if len(f.repaired) != 10 || f.ready() != "True/Active" {
		t.Errorf("our own changes: %d, Ready %s", len(f.repaired), f.ready())
	}
}

func TestContest_SanitizesFieldManager(t *testing.T) {
	t.Parallel()
	at := func(s int64) *metav1.Time { return &metav1.Time{Time: time.Unix(s, 0)} }
	for name, tc := range map[string]struct {
		fields []metav1.ManagedFieldsEntry
		want   string
	}{
		"nobody":                {nil, ""},
		"this manager alone":    {[]metav1.ManagedFieldsEntry{{Manager: keys.FieldManager, Time: at(9)}}, ""},
		"the last one":          {[]metav1.ManagedFieldsEntry{{Manager: "late", Time: at(8)}, {Manager: "early", Time: at(2)}, {Manager: keys.FieldManager, Time: at(9)}}, "late"},
		"without a time":        {[]metav1.ManagedFieldsEntry{{Manager: "late", Time: at(8)}, {Manager: "forged"}}, "late"},
		"without a time, first": {[]metav1.ManagedFieldsEntry{{Manager: "forged"}, {Manager: "late", Time: at(8)}}, "late"},
		"not what is hostile":   {[]metav1.ManagedFieldsEntry{{Manager: "a\nb\"<script>\u202e 12:30", Time: at(8)}}, "a_b__script___12_30"},
		"not what is too long":  {[]metav1.ManagedFieldsEntry{{Manager: strings.Repeat("x", 128), Time: at(8)}}, strings.Repeat("x", 40)},
	} {
		observed, _ := keys.ObserveSecret(keystest.Key("shop"), nil, &metav1.ObjectMeta{ManagedFields: tc.fields}, keys.SecretContent{})
		if observed.Writer != tc.want {
			t.Errorf("%s: %q, want %q", name, observed.Writer, tc.want)
		}
	}
	if c := meta.FindStatusCondition(newFight(t, fights["drift"]).key.Status.Conditions, v1alpha1.ConditionStalled); c != nil {
		t.Errorf("Stalled without a fight: %+v", c)
	}
}

// TestRepairs_ExcludeTheFirstClearing: a revocation whose first write failed is no contest, even right after repairs.
func TestRepairs_ExcludeTheFirstClearing(t *testing.T) {
	t.Parallel()
	now := keystest.Epoch.Add(time.Hour)
	k := keystest.Key("shop", keystest.Issued(keystest.Epoch), keystest.State(v1alpha1.KeyStateRevoked))
	f := keys.Facts{Key: k, Account: keystest.NewAccount("acme", keystest.Slots(k)), Secret: keystest.SecretOf(k), Settings: keystest.Settings, Now: now, Err: errors.New("x")}
	f.Repairs = keys.Repairs{Generation: k.Generation, Times: []time.Time{now, now, now}}
	k.Status = keys.Describe(f)
	if got := conditionOf(k.Status, v1alpha1.ConditionReady); got != "False/WriteFailed" {
		t.Fatalf("after the failed write Ready is %s", got)
	}
	f.Err = nil
	if plan := keys.Decide(f); len(plan.Steps) != 1 || conditionOf(keys.Describe(f), v1alpha1.ConditionStalled) != "" {
		t.Errorf("then the plan is %v", plan)
	}
}
