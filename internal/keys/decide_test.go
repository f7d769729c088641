// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/credential"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
)

// outline is the part of a plan and a status that the tables of this file compare.
type outline struct {
	Steps  string
	Next   time.Duration // from now; zero: never
	State  v1alpha1.ObservedState
	Ready  string // status/reason
	Accept string
	Valid  string
}

func outlineOf(f keys.Facts) outline {
	plan, after := keys.Decide(f), keys.Describe(f)
	o := outline{State: after.State, Ready: conditionOf(after, v1alpha1.ConditionReady), Accept: conditionOf(after, v1alpha1.ConditionAccepted), Valid: conditionOf(after, v1alpha1.ConditionValid)}
	for _, step := range plan.Steps {
		o.Steps += step.String() + "; "
	}
	if next := keys.NextCheck(f); !next.IsZero() {
		o.Next = next.Sub(f.Now)
	}
	return o
}

func conditionOf(s v1alpha1.APIKeyStatus, conditionType string) string {
	for _, c := range s.Conditions {
		if c.Type == conditionType {
			return string(c.Status) + "/" + c.Reason
		}
	}
	return ""
}

// now is the current time in the tables of this file.
var now = keystest.Epoch.Add(30 * 24 * time.Hour)

// decideFixture holds the keys, accounts and Secrets of the tables.
type decideFixture struct {
	key, inUse                                   func(...keystest.KeyOption) *v1alpha1.APIKey
	with                                         func(*v1alpha1.APIKey, ...keystest.AccountOption) *v1alpha1.Account
	recorded                                     *v1alpha1.Account
	usable                                       keystest.AccountOption
	issued, inactive, revoked                    keystest.KeyOption
	observed                                     func(v1alpha1.ObservedState) keystest.KeyOption
	claimed                                      func(version string) keystest.KeyOption
	missing, foreign, orphaned, empty, cleared   keys.ObservedSecret
	own, justIssued, drifted, another, malformed keys.ObservedSecret
	offered, driftedOffer, ownerless, badOffer   keys.ObservedSecret
	accepted, pending                            string
	active                                       outline
	refused                                      func(reason string) outline
	except                                       func(outline, func(*outline)) outline
}

func newDecideFixture() *decideFixture {
	d := &decideFixture{
		key:      func(options ...keystest.KeyOption) *v1alpha1.APIKey { return keystest.Key("shop", options...) },
		issued:   keystest.Issued(keystest.Epoch),
		usable:   keystest.Counting(v1alpha1.CountUsable),
		inactive: keystest.State(v1alpha1.KeyStateInactive), revoked: keystest.State(v1alpha1.KeyStateRevoked), observed: keystest.Observed,
		missing:  keys.ObservedSecret{Ownership: keys.SecretMissing},
		foreign:  keys.ObservedSecret{Ownership: keys.SecretForeign},
		orphaned: keys.ObservedSecret{Ownership: keys.SecretOrphaned},
		empty:    keys.ObservedSecret{Ownership: keys.SecretOwned, ResourceVersion: "7"},
		own:      keystest.ObservedSecret("default/shop"), another: keystest.ObservedSecret("another"),
		malformed: keys.ObservedSecret{Ownership: keys.SecretOwned, ResourceVersion: "7", Current: keys.ObservedCredential{SHA256: strings.Repeat("a", 64)}},
		badOffer:  keys.ObservedSecret{Ownership: keys.SecretOffered, ResourceVersion: "7", OfferProblem: "its entry api-key is bad"},
		accepted:  "True/Accepted", pending: "False/Pending",
		active: outline{State: v1alpha1.StateActive, Ready: "True/Active", Accept: "True/Accepted", Valid: "True/Active"},
		refused: func(reason string) outline {
			return outline{State: v1alpha1.StatePending, Ready: "False/" + reason, Accept: "False/" + reason, Valid: "False/NotAccepted"}
		},
		except: func(o outline, change func(*outline)) outline { change(&o); return o },
		with: func(k *v1alpha1.APIKey, options ...keystest.AccountOption) *v1alpha1.Account {
			return keystest.NewAccount("acme", append(options, keystest.Slots(k))...)
		},
		claimed: func(version string) keystest.KeyOption {
			return keystest.Status(func(s *v1alpha1.APIKeyStatus) {
				s.SecretRef = &v1alpha1.SecretRef{Name: "shop", ResourceVersion: version}
			})
		},
	}
	d.inUse = func(options ...keystest.KeyOption) *v1alpha1.APIKey { return d.key(append(options, d.issued)...) }
	d.recorded = d.with(d.key())
	d.justIssued, d.drifted, d.offered, d.ownerless = d.own, d.own, d.own, d.own
	d.justIssued.JustIssued, d.drifted.Drifted = true, true
	d.driftedOffer, d.cleared = d.drifted, d.empty
	d.offered.IsOffered, d.driftedOffer.IsOffered, d.ownerless.IsOffered, d.ownerless.Ownership = true, true, true, keys.SecretOffered
	d.cleared.Drifted = true
	return d
}

// decideCase holds facts, and the outline of what Decide and Describe return for them.
type decideCase struct {
	key     *v1alpha1.APIKey
	account *v1alpha1.Account
	held    keys.ObservedSecret
	err     error
	want    outline
}

// checkDecide runs the cases of a table. Besides what a case wants, every description is stable and the facts stay unchanged.
func checkDecide(t *testing.T, cases map[string]decideCase) {
	t.Helper()
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := keys.Facts{Key: tc.key, Account: tc.account, Secret: tc.held, Settings: keystest.Settings, Now: now, Err: tc.err}
			before := tc.key.DeepCopy()
			if diff := cmp.Diff(tc.want, outlineOf(f)); diff != "" {
				t.Errorf("-want +got:\n%s%s", diff, keys.Decide(f).Why)
			}
			if err := checkDescribe(f); err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff(before, tc.key); diff != "" {
				t.Errorf("the key that was read has changed:\n%s", diff)
			}
			if keys.Decide(f).Why == "" {
				t.Error("the plan does not say why")
			}
		})
	}
}

func TestDecide_IssuesTheFirstCredential(t *testing.T) {
	t.Parallel()
	d := newDecideFixture()
	checkDecide(t, map[string]decideCase{
		"the first key of an account that does not exist": {
			key: d.key(), held: d.missing, want: outline{Steps: "create Account acme; ", Next: 5 * time.Second, State: v1alpha1.StatePending, Ready: d.pending, Accept: "Unknown/Pending", Valid: d.pending},
		},
		"a new key without a slot": {
			key: d.key(), account: keystest.NewAccount("acme"), held: d.missing, want: outline{Next: 5 * time.Second, State: v1alpha1.StatePending, Ready: d.pending, Accept: "Unknown/Pending", Valid: d.pending},
		},
		"a very new key without a slot says nothing yet": {
			key: d.key(keystest.Created(now.Add(-time.Second))), account: keystest.NewAccount("acme"), held: d.missing, want: outline{Next: 5 * time.Second},
		},
		"a new key with a slot": {
			key: d.key(), account: d.recorded, held: d.missing, want: outline{Steps: "create Secret shop with a new Token; ", State: v1alpha1.StatePending, Ready: d.pending, Accept: d.accepted, Valid: d.pending},
		},
		"its Secret has just been made": {key: d.key(), account: d.recorded, held: d.justIssued, want: d.active},
		"its Secret was made before a crash: the status says that it is unknown": {
			key: d.key(), account: d.recorded, held: d.own, want: outline{State: v1alpha1.StatePending, Ready: d.pending, Accept: d.accepted, Valid: d.pending},
		},
		"its Secret was created before a crash, as the status records: it is overwritten": {
			key: d.key(d.claimed("7")), account: d.recorded, held: d.own,
			want: outline{Steps: "replace the credential in Secret shop with a new Token; ", State: v1alpha1.StatePending, Ready: d.pending, Accept: d.accepted, Valid: d.pending},
		},
		"its Secret was written since the status said that it is unknown": {
			key: d.key(d.claimed("6")), account: d.recorded, held: d.own, want: outline{State: v1alpha1.StatePending, Ready: d.pending, Accept: d.accepted, Valid: d.pending},
		},
		"its Secret was offered, and is adopted": {key: d.key(), account: d.with(d.key(), keystest.ImportAllowed()), held: d.offered, want: d.active},
		"its Secret was offered, is adopted, and drifted": {
			key: d.key(), account: d.with(d.key(), keystest.ImportAllowed()), held: d.driftedOffer,
			want: d.except(d.active, func(o *outline) { o.Steps, o.Ready = "repair Secret shop; ", d.pending }),
		},
		"a Secret without an owner is offered": {
			key: d.key(), account: d.with(d.key(), keystest.ImportAllowed()), held: d.ownerless,
			want: outline{Steps: "adopt Secret shop; ", State: v1alpha1.StatePending, Ready: d.pending, Accept: d.accepted, Valid: d.pending},
		},
		"a Secret without an owner is offered, and holds no key": {
			key: d.key(), account: d.with(d.key(), keystest.ImportAllowed()), held: d.badOffer,
			want: outline{Next: time.Minute, State: v1alpha1.StatePending, Ready: "False/SecretNotAdoptable", Accept: d.accepted, Valid: d.pending},
		},
		"its Secret holds something that is no key": {
			key: d.key(d.claimed("7")), account: d.recorded, held: d.malformed, want: outline{Steps: "replace the credential in Secret shop with a new Token; ", State: v1alpha1.StatePending, Ready: d.pending, Accept: d.accepted, Valid: d.pending},
		},
		"its Secret holds nothing": {
			key: d.key(d.claimed("7")), account: d.recorded, held: d.empty, want: outline{Steps: "replace the credential in Secret shop with a new Token; ", State: v1alpha1.StatePending, Ready: d.pending, Accept: d.accepted, Valid: d.pending},
		},
		"a Secret, and no slot: it is not adopted": {
			key: d.key(), account: keystest.NewAccount("acme"), held: d.own, want: outline{Next: 5 * time.Second, State: v1alpha1.StatePending, Ready: d.pending, Accept: "Unknown/Pending", Valid: d.pending},
		},
		"its Secret could not be made": {
			key: d.key(), account: d.recorded, held: d.missing, err: errDown,
			want: outline{Steps: "create Secret shop with a new Token; ", State: v1alpha1.StatePending, Ready: "False/WriteFailed", Accept: d.accepted, Valid: d.pending},
		},
		"an inactive key gets a credential too, for later": {
			key: d.key(d.inactive), account: d.recorded, held: d.missing,
			want: outline{Steps: "create Secret shop with a new Token; ", State: v1alpha1.StateInactive, Ready: d.pending, Accept: d.accepted, Valid: "False/Inactive"},
		},
		"an expired key gets none": {
			key: d.key(keystest.Expiring(now)), account: d.recorded, held: d.missing, want: outline{State: v1alpha1.StateExpired, Ready: "True/Expired", Accept: d.accepted, Valid: "False/Expired"},
		},
		"a revoked key gets none": {
			key: d.key(d.revoked), account: d.recorded, held: d.missing, want: outline{State: v1alpha1.StateRevoked, Ready: "True/Revoked", Accept: d.accepted, Valid: "False/Revoked"},
		},
		"Usable: an inactive key needs no slot, and gets no credential": {
			key: d.key(d.inactive), account: keystest.NewAccount("acme", d.usable), held: d.missing, want: outline{State: v1alpha1.StateInactive, Ready: "True/Inactive", Accept: d.accepted, Valid: "False/Inactive"},
		},
		"without a limit no slot is needed": {
			key: d.key(), account: keystest.NewAccount("acme", keystest.Unlimited()), held: d.missing,
			want: outline{Steps: "create Secret shop with a new Token; ", State: v1alpha1.StatePending, Ready: d.pending, Accept: d.accepted, Valid: d.pending},
		},
	})
}

func TestDecide_FollowsTheState(t *testing.T) {
	t.Parallel()
	d := newDecideFixture()
	checkDecide(t, map[string]decideCase{
		"in use":                        {key: d.inUse(), account: d.recorded, held: d.own, want: d.active},
		"inactive":                      {key: d.inUse(d.inactive), account: d.recorded, held: d.own, want: outline{State: v1alpha1.StateInactive, Ready: "True/Inactive", Accept: d.accepted, Valid: "False/Inactive"}},
		"switched on again":             {key: d.inUse(), account: d.recorded, held: d.own, want: d.active},
		"inactive and expired":          {key: d.inUse(d.inactive, keystest.Expiring(now)), account: d.recorded, held: d.own, want: outline{State: v1alpha1.StateInactive, Ready: "True/Inactive", Accept: d.accepted, Valid: "False/Inactive"}},
		"a second before it expires":    {key: d.inUse(keystest.Expiring(now.Add(time.Second))), account: d.recorded, held: d.own, want: d.except(d.active, func(o *outline) { o.Next = time.Second })},
		"the very second it expires":    {key: d.inUse(keystest.Expiring(now)), account: d.recorded, held: d.own, want: outline{State: v1alpha1.StateExpired, Ready: "True/Expired", Accept: d.accepted, Valid: "False/Expired"}},
		"expired, and moved later":      {key: d.inUse(keystest.Expiring(now.Add(time.Hour)), func(k *v1alpha1.APIKey) { k.Status.State = v1alpha1.StateExpired }), account: d.recorded, held: d.own, want: d.except(d.active, func(o *outline) { o.Next = time.Hour })},
		"expired, and never to be more": {key: d.key(d.issued, d.observed(v1alpha1.StateExpired)), account: d.recorded, held: d.own, want: d.active},
		"revoked": {
			key: d.inUse(d.revoked), account: d.recorded, held: d.own, want: outline{Steps: "remove all credentials from Secret shop; ", State: v1alpha1.StateRevoked, Ready: d.pending, Accept: d.accepted, Valid: "False/Revoked"},
		},
		"revoked, and emptied":              {key: d.inUse(d.revoked), account: d.recorded, held: d.empty, want: outline{State: v1alpha1.StateRevoked, Ready: "True/Revoked", Accept: d.accepted, Valid: "False/Revoked"}},
		"revoked, and no Secret exists":     {key: d.inUse(d.revoked), account: d.recorded, held: d.missing, want: outline{State: v1alpha1.StateRevoked, Ready: "True/Revoked", Accept: d.accepted, Valid: "False/Revoked"}},
		"revoked, and a foreign Secret":     {key: d.inUse(d.revoked), account: d.recorded, held: d.foreign, want: outline{State: v1alpha1.StateRevoked, Ready: "True/Revoked", Accept: d.accepted, Valid: "False/Revoked"}},
		"revoked, emptied, and drifted":     {key: d.inUse(d.revoked), account: d.recorded, held: d.cleared, want: outline{Steps: "repair Secret shop; ", State: v1alpha1.StateRevoked, Ready: "True/Revoked", Accept: d.accepted, Valid: "False/Revoked"}},
		"revoked, and put back by a client": {key: d.inUse(d.revoked, d.observed(v1alpha1.StateRevoked)), account: d.recorded, held: d.another, want: outline{Steps: "remove all credentials from Secret shop; ", State: v1alpha1.StateRevoked, Ready: d.pending, Accept: d.accepted, Valid: "False/Revoked"}},
		"revoked, and the Secret could not be emptied": {
			key: d.inUse(d.revoked), account: d.recorded, held: d.own, err: errDown,
			want: outline{Steps: "remove all credentials from Secret shop; ", State: v1alpha1.StateRevoked, Ready: "False/WriteFailed", Accept: d.accepted, Valid: "False/Revoked"},
		},
		"revoked in a suspended account: it is emptied all the same": {
			key: d.inUse(d.revoked), account: d.with(d.key(), keystest.Suspended()), held: d.own,
			want: outline{Steps: "remove all credentials from Secret shop; ", State: v1alpha1.StateRevoked, Ready: d.pending, Accept: "False/AccountSuspended", Valid: "False/Revoked"},
		},
		"revoked without an account: it is emptied first": {
			key: d.inUse(d.revoked), held: d.own,
			want: outline{Steps: "remove all credentials from Secret shop; create Account acme; ", Next: 5 * time.Second, State: v1alpha1.StateRevoked, Ready: d.pending, Accept: "Unknown/Pending", Valid: "False/Revoked"},
		},
		"a revocation is not deferred": {
			key: d.inUse(d.revoked), account: keystest.NewAccount("acme"), held: d.own,
			want: outline{Steps: "remove all credentials from Secret shop; ", Next: 5 * time.Second, State: v1alpha1.StateRevoked, Ready: d.pending, Accept: "Unknown/Pending", Valid: "False/Revoked"},
		},
		"a deactivation is not deferred": {
			key: d.inUse(d.inactive), account: keystest.NewAccount("acme"), held: d.own,
			want: outline{Next: 5 * time.Second, State: v1alpha1.StateInactive, Ready: d.pending, Accept: "Unknown/Pending", Valid: "False/Inactive"},
		},
		"an expiry is not deferred": {
			key: d.inUse(keystest.Expiring(now)), account: keystest.NewAccount("acme"), held: d.own,
			want: outline{Next: 5 * time.Second, State: v1alpha1.StateExpired, Ready: d.pending, Accept: "Unknown/Pending", Valid: "False/Expired"},
		},
	})
}

func TestDecide_KeepsTheSecret(t *testing.T) {
	t.Parallel()
	d := newDecideFixture()
	checkDecide(t, map[string]decideCase{
		"the Secret was deleted": {
			key: d.inUse(), account: d.recorded, held: d.missing, want: d.except(d.active, func(o *outline) { o.Steps, o.Ready = "create Secret shop with a new Token; ", d.pending }),
		},
		"the Secret has a key that verifiers do not know": {
			key: d.inUse(), account: d.recorded, held: d.another, want: d.except(d.active, func(o *outline) {
				o.Steps, o.Ready = "replace the credential in Secret shop with a new Token; ", d.pending
			}),
		},
		"the Secret has something that is no key": {
			key: d.inUse(), account: d.recorded, held: d.malformed, want: d.except(d.active, func(o *outline) {
				o.Steps, o.Ready = "replace the credential in Secret shop with a new Token; ", d.pending
			}),
		},
		"the Secret has been emptied": {
			key: d.inUse(), account: d.recorded, held: d.empty, want: d.except(d.active, func(o *outline) {
				o.Steps, o.Ready = "replace the credential in Secret shop with a new Token; ", d.pending
			}),
		},
		"the Secret has drifted": {
			key: d.inUse(), account: d.recorded, held: d.drifted, want: d.except(d.active, func(o *outline) { o.Steps, o.Ready = "repair Secret shop; ", d.pending }),
		},
		"the Secret could not be put right": {
			key: d.inUse(), account: d.recorded, held: d.another, err: errDown, want: d.except(d.active, func(o *outline) {
				o.Steps, o.Ready = "replace the credential in Secret shop with a new Token; ", "False/WriteFailed"
			}),
		},
		"the Secret is foreign": {
			key: d.inUse(), account: d.recorded, held: d.foreign, want: d.except(d.active, func(o *outline) { o.Next, o.Ready = time.Minute, "False/SecretConflict" }),
		},
		"the Secret is foreign from the start": {
			key: d.key(), account: d.recorded, held: d.foreign, want: outline{Next: time.Minute, State: v1alpha1.StatePending, Ready: "False/SecretConflict", Accept: d.accepted, Valid: d.pending},
		},
		"the Secret is that of the deleted key of this name": {
			key: d.key(), account: d.recorded, held: d.orphaned, want: outline{Next: time.Minute, State: v1alpha1.StatePending, Ready: d.pending, Accept: d.accepted, Valid: d.pending},
		},
		"inactive, and the Secret was deleted: it is created again": {
			key: d.inUse(d.inactive), account: d.recorded, held: d.missing,
			want: outline{Steps: "create Secret shop with a new Token; ", State: v1alpha1.StateInactive, Ready: d.pending, Accept: d.accepted, Valid: "False/Inactive"},
		},
		"refused, and the Secret is foreign: it is not read": {
			key: d.inUse(), account: d.with(d.key(), keystest.Suspended()), held: d.foreign,
			want: d.except(d.refused(v1alpha1.ReasonAccountSuspended), func(o *outline) { o.State = v1alpha1.StateSuspended }),
		},
	})
}

func TestDecide_FollowsTheAccount(t *testing.T) {
	t.Parallel()
	d := newDecideFixture()
	checkDecide(t, map[string]decideCase{
		"the account was deleted and is created again: the key stays in use": {
			key: d.inUse(), held: d.own, want: outline{Steps: "create Account acme; ", Next: 5 * time.Second, State: v1alpha1.StateActive},
		},
		"the account was deleted and can't be created: the key stays in use, and reports it": {
			key: d.inUse(), held: d.own, err: errDown,
			want: outline{Steps: "create Account acme; ", Next: 5 * time.Second, State: v1alpha1.StateActive, Ready: "False/WriteFailed", Accept: "Unknown/Pending", Valid: "True/Active"},
		},
		"the record is lost: the key stays in use": {
			key: d.inUse(), account: keystest.NewAccount("acme", keystest.MaxKeys(0)), held: d.own, want: outline{Next: 5 * time.Second, State: v1alpha1.StateActive},
		},
		"the account is suspended": {
			key: d.inUse(), account: d.with(d.key(), keystest.Suspended()), held: d.own,
			want: outline{State: v1alpha1.StateSuspended, Ready: "True/AccountSuspended", Accept: "False/AccountSuspended", Valid: "False/NotAccepted"},
		},
		"the account is suspended, and the key has no credential yet": {
			key: d.key(), account: d.with(d.key(), keystest.Suspended()), held: d.missing, want: d.refused(v1alpha1.ReasonAccountSuspended),
		},
		"the account is suspended, and the Secret is lost": {
			key: d.inUse(), account: d.with(d.key(), keystest.Suspended()), held: d.missing,
			want: d.except(d.refused(v1alpha1.ReasonAccountSuspended), func(o *outline) { o.State = v1alpha1.StateSuspended }),
		},
		"the account is suspended, and the key is off anyway": {
			key: d.inUse(d.inactive), account: d.with(d.key(), keystest.Suspended()), held: d.own,
			want: outline{State: v1alpha1.StateInactive, Ready: "True/Inactive", Accept: "False/AccountSuspended", Valid: "False/Inactive"},
		},
		"the account is back": {key: d.key(d.issued, d.observed(v1alpha1.StateSuspended)), account: d.recorded, held: d.own, want: d.active},
		"the namespace is not allowed": {
			key: d.inUse(), account: d.with(d.key(), policy(func(a *v1alpha1.AccountSpec) { a.AllowedNamespaces = team })), held: d.own, want: d.refused(v1alpha1.ReasonNamespaceNotAllowed),
		},
		"the account's zone does not exist": {
			key: d.inUse(keystest.Expiration("2027-01-01")), account: d.with(d.key(), keystest.Zone("Mars/Base")), held: d.own, want: d.refused(v1alpha1.ReasonInvalidSpec),
		},
		"every slot is taken": {
			key: d.key(), account: keystest.NewAccount("acme", keystest.MaxKeys(1), keystest.Slots(keystest.Key("other"))), held: d.missing, want: d.refused(v1alpha1.ReasonLimitReached),
		},
		"every slot is taken, one of them by the deleted key of this name": {
			key: d.key(), account: keystest.NewAccount("acme", keystest.MaxKeys(1), keystest.Slots(d.key(keystest.UID("before")))), held: d.missing,
			want: outline{Next: 5 * time.Second, State: v1alpha1.StatePending, Ready: d.pending, Accept: "Unknown/Pending", Valid: d.pending},
		},
		"a slot has come free": {
			key: d.key(d.observed(v1alpha1.StatePending)), account: d.recorded, held: d.missing,
			want: outline{Steps: "create Secret shop with a new Token; ", State: v1alpha1.StatePending, Ready: d.pending, Accept: d.accepted, Valid: d.pending},
		},
		"another key has the label": {
			key: d.key(keystest.Label("web")), account: keystest.NewAccount("acme", keystest.Slots(keystest.Key("other", keystest.Label("web")))), held: d.missing,
			want: outline{Next: 5 * time.Second, State: v1alpha1.StatePending, Ready: d.pending, Accept: "Unknown/Pending", Valid: d.pending}, // it is not among the siblings, so it may be deleted
		},
		"a new label is not on record yet: the key stays in use": {
			key: d.inUse(keystest.Label("web")), account: d.recorded, held: d.own, want: outline{Next: 5 * time.Second, State: v1alpha1.StateActive},
		},

		"inactive while the record is lost, its credential revoked": {
			key: d.inUse(d.inactive, keystest.RevokedBefore(now)), account: keystest.NewAccount("acme"), held: d.own,
			want: outline{Next: 5 * time.Second, State: v1alpha1.StatePending, Ready: d.pending, Accept: "Unknown/Pending", Valid: d.pending},
		},
	})
}

func TestDecide_ObservesGrantsUnderUsable(t *testing.T) {
	t.Parallel()
	d := newDecideFixture()
	checkDecide(t, map[string]decideCase{
		"Usable: active again, under a released grant": {
			key: d.key(d.issued, d.observed(v1alpha1.StateInactive), keystest.Released("1")), account: d.with(d.key(), d.usable), held: d.own,
			want: outline{Next: 5 * time.Second, State: v1alpha1.StatePending, Ready: d.pending, Accept: "Unknown/Pending", Valid: d.pending},
		},
		"Usable: active again, under a grant before the released one": {
			key: d.key(d.issued, d.observed(v1alpha1.StateInactive), keystest.Released("10")), account: keystest.NewAccount("acme", d.usable, ownSlot("9")), held: d.own,
			want: outline{Next: 5 * time.Second, State: v1alpha1.StatePending, Ready: d.pending, Accept: "Unknown/Pending", Valid: d.pending},
		},
		"Usable: switched on again, under a new grant": {
			key: d.key(d.issued, d.observed(v1alpha1.StateInactive), keystest.Released("9")), account: keystest.NewAccount("acme", d.usable, ownSlot("10")), held: d.own, want: d.active,
		},
		"Usable: switched on again, and no slot is left": {
			key: d.key(d.issued, d.observed(v1alpha1.StateInactive), keystest.Released("9")), account: keystest.NewAccount("acme", d.usable, keystest.MaxKeys(1), keystest.Slots(keystest.Key("other"))), held: d.own,
			want: d.refused(v1alpha1.ReasonLimitReached),
		},
		"All: a key without a slot that gave its grant back before": {
			key: d.key(d.issued, d.inactive, d.observed(v1alpha1.StateInactive), keystest.Released("9")), account: keystest.NewAccount("acme", keystest.MaxKeys(1), keystest.Slots(keystest.Key("other"))), held: d.own,
			want: outline{State: v1alpha1.StateInactive, Ready: "False/LimitReached", Accept: "False/LimitReached", Valid: "False/Inactive"},
		},

		"being deleted: it is left alone": {key: d.key(keystest.Deleting(now)), account: d.recorded, held: d.own, want: outline{}},
		"revoked and being deleted":       {key: d.key(d.revoked, keystest.Deleting(now)), account: d.recorded, held: d.own, want: outline{}},
	})
}

func ownSlot(grant string) keystest.AccountOption {
	return func(a *v1alpha1.Account) {
		a.Status.Slots = append(a.Status.Slots, keystest.SlotOf(keystest.Key("shop"), grant))
	}
}

// A credential in a Secret is adopted only if this reconcile generated it, or if it was offered and none was issued
// before, and only for a key that needs a credential.
func TestDescribe_AdoptsOnlyTrustedCredentials(t *testing.T) {
	t.Parallel()
	key := func(options ...keystest.KeyOption) *v1alpha1.APIKey { return keystest.Key("shop", options...) }
	issued, revoked := keystest.Issued(keystest.Epoch), keystest.State(v1alpha1.KeyStateRevoked)
	recorded := keystest.NewAccount("acme", keystest.Slots(key()))
	own, another := keystest.ObservedSecret("default/shop"), keystest.ObservedSecret("another")
	with := func(h keys.ObservedSecret, change func(*keys.ObservedSecret)) keys.ObservedSecret {
		change(&h)
		return h
	}
	minted, offer := func(h *keys.ObservedSecret) { h.JustIssued = true }, func(h *keys.ObservedSecret) { h.IsOffered = true }
	const first, second = "first", "second"
	names := map[string]string{own.Current.SHA256: first, another.Current.SHA256: second, "": "none"}
	for name, tc := range map[string]struct {
		key     *v1alpha1.APIKey
		account *v1alpha1.Account
		held    keys.ObservedSecret
		others  []*v1alpha1.APIKey
		want    string
	}{
		"nothing was issued: a reconcile crashed": {key: key(), account: recorded, held: own, want: "none"},
		"nothing was issued, and it was offered":  {key: key(), account: recorded, held: with(own, offer), want: first},
		"another was issued, and it was offered":  {key: key(issued), account: recorded, held: with(another, offer), want: first},
		"offered, and another key has it": {
			key: key(), account: recorded, held: with(own, offer), others: []*v1alpha1.APIKey{keystest.Key("other", keystest.WithCredential("default/shop", v1alpha1.RoleCurrent, now))}, want: "none",
		},
		"offered, and another key revoked it": {
			key: key(), account: recorded, held: with(own, offer), others: []*v1alpha1.APIKey{keystest.Key("other", keystest.Revoked("default/shop", now))}, want: "none",
		},
		"offered, and this key revoked it":                    {key: key(keystest.Revoked("default/shop", now)), account: recorded, held: with(own, offer), want: "none"},
		"nothing was issued, and this reconcile generated it": {key: key(), account: recorded, held: with(own, minted), want: first},
		"another was issued, and this reconcile generated it": {key: key(issued), account: recorded, held: with(another, minted), want: second},
		"another was issued, and a client wrote this one":     {key: key(issued), account: recorded, held: another, want: first},
		"it is what was issued":                               {key: key(issued), account: recorded, held: own, want: first},
		"it is no well-formed key":                            {key: key(), account: recorded, held: with(own, func(h *keys.ObservedSecret) { h.Current.PublicPart = credential.PublicPart{} }), want: "none"},
		"the Secret is foreign":                               {key: key(), account: recorded, held: with(own, func(h *keys.ObservedSecret) { h.Ownership = keys.SecretForeign }), want: "none"},
		"the Secret is a deleted key's":                       {key: key(), account: recorded, held: with(own, func(h *keys.ObservedSecret) { h.Ownership = keys.SecretOrphaned }), want: "none"},
		"the key has no slot":                                 {key: key(), account: keystest.NewAccount("acme"), held: own, want: "none"},
		"the account is not known":                            {key: key(), held: own, want: "none"},
		"the key is refused":                                  {key: key(), account: keystest.NewAccount("acme", keystest.Slots(key()), keystest.Suspended()), held: own, want: "none"},
		"the key is revoked":                                  {key: key(revoked), account: recorded, held: own, want: "none"},
		"the key is revoked, and this reconcile generated it": {key: key(issued, revoked), account: recorded, held: with(another, minted), want: first},
		"the key has expired":                                 {key: key(keystest.Expiring(now)), account: recorded, held: own, want: "none"},
		"the key is inactive":                                 {key: key(keystest.State(v1alpha1.KeyStateInactive)), account: recorded, held: with(own, offer), want: first},
		"the key is being deleted":                            {key: key(keystest.Deleting(now)), account: recorded, held: own, want: "none"},
		"another one is staged":                               {key: key(issued, keystest.WithCredential("another", v1alpha1.RoleStaged, now)), account: recorded, held: own, want: first},
		"the Secret holds the one that was staged":            {key: key(issued, keystest.WithCredential("another", v1alpha1.RoleStaged, now)), account: recorded, held: another, want: second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			digest := ""
			if c := currentOf(keys.Describe(keys.Facts{Key: tc.key, Account: tc.account, Secret: tc.held, Duplicates: tc.others, Settings: keystest.Settings, Now: now})); c != nil {
				digest = c.SHA256
			}
			if got := names[digest]; got != tc.want {
				t.Errorf("the current credential is %s, want %s", got, tc.want)
			}
		})
	}
}

// The released grant in the status never becomes an earlier one, whatever a stale record contains.
func TestDescribe_ReleasesGrantUnderUsable(t *testing.T) {
	t.Parallel()
	usable := keystest.Counting(v1alpha1.CountUsable)
	inactive, expired, revoked := keystest.State(v1alpha1.KeyStateInactive), keystest.Expiring(now), keystest.State(v1alpha1.KeyStateRevoked)
	for name, tc := range map[string]struct {
		option   keystest.KeyOption
		released string
		account  []keystest.AccountOption
		want     string
	}{
		"in use":                            {keystest.Label(""), "", []keystest.AccountOption{usable, ownSlot("9")}, ""},
		"inactive":                          {inactive, "", []keystest.AccountOption{usable, ownSlot("9")}, "9"},
		"expired":                           {expired, "", []keystest.AccountOption{usable, ownSlot("9")}, "9"},
		"revoked":                           {revoked, "", []keystest.AccountOption{usable, ownSlot("9")}, "9"},
		"inactive again, under a new grant": {inactive, "9", []keystest.AccountOption{usable, ownSlot("10")}, "10"},
		"a stale record":                    {inactive, "10", []keystest.AccountOption{usable, ownSlot("9")}, "10"},
		"a record without it":               {inactive, "10", []keystest.AccountOption{usable}, "10"},
		"in use again: it is remembered":    {keystest.Label(""), "9", []keystest.AccountOption{usable, ownSlot("10")}, "9"},
		"refused, it keeps its slot":        {keystest.Whitelist("x"), "", []keystest.AccountOption{usable, ownSlot("9")}, ""},
		"inactive in a suspended account":   {inactive, "", []keystest.AccountOption{usable, keystest.Suspended(), ownSlot("9")}, "9"},
		"All gives nothing back":            {inactive, "", []keystest.AccountOption{ownSlot("9")}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := keystest.Key("shop", keystest.Issued(keystest.Epoch), keystest.Released(tc.released), tc.option)
			f := keys.Facts{Key: k, Account: keystest.NewAccount("acme", tc.account...), Secret: keystest.SecretOf(k), Settings: keystest.Settings, Now: now}
			if got := keys.Describe(f).ReleasedGrant; got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

// The status records the values that later policies are compared with and that verifiers read.
func TestDescribe_RecordsAcceptedValues(t *testing.T) {
	t.Parallel()
	k := keystest.Key("shop", keystest.Expiration("2026-07-01"), keystest.Whitelist("::1"), keystest.Generation(4))
	f := keys.Facts{
		Key: k, Account: keystest.NewAccount("acme", keystest.Zone("Europe/Madrid"), keystest.Slots(k)), Secret: keystest.SecretOf(k), Settings: keystest.Settings, Now: now,
	}
	f.Secret.JustIssued = true
	c := keystest.CredentialOf("default/shop")
	c.IssuedAt = metav1.NewTime(now)
	end := metav1.NewTime(time.Date(2026, 6, 30, 22, 0, 0, 0, time.UTC))
	want := v1alpha1.APIKeyStatus{
		ObservedGeneration: 4, State: v1alpha1.StateActive, KeyID: c.ID, ExpirationTime: &end, IPRestriction: v1alpha1.IPRestricted,
		SecretRef: &v1alpha1.SecretRef{Name: "shop", ResourceVersion: "7"}, Credentials: []v1alpha1.Credential{c},
		History: []v1alpha1.Transition{{Time: metav1.NewTime(now), Reason: v1alpha1.ReasonIssued, Message: "Issued credential " + c.ID}},
	}
	got := keys.Describe(f)
	got.Conditions = nil
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}

	// A key that is refused keeps the values with which it was accepted.
	k.Status = keys.Describe(f)
	k.Spec.Expiration, k.Spec.IPWhitelist = "2027-07-01", nil
	f.Account = keystest.NewAccount("acme", keystest.Slots(k), policy(whitelistRequired))
	if got := keys.Describe(f); got.ExpirationTime == nil || !got.ExpirationTime.Equal(&end) || got.IPRestriction != v1alpha1.IPRestricted {
		t.Errorf("refused, it remembers %s, %s", got.ExpirationTime, got.IPRestriction)
	}

	// Values removed from the spec are removed from the status.
	f.Account = keystest.NewAccount("acme", keystest.Slots(k))
	k.Spec.Expiration = ""
	if got := keys.Describe(f); got.ExpirationTime != nil || got.IPRestriction != v1alpha1.IPUnrestricted {
		t.Errorf("accepted, it remembers %s, %s", got.ExpirationTime, got.IPRestriction)
	}
}

// TestDescribe_ReissueKeepsPreviousCredential reissues the credential of a key twice.
func TestDescribe_ReissueKeepsPreviousCredential(t *testing.T) {
	t.Parallel()
	k := keystest.Key("shop", keystest.Issued(keystest.Epoch))
	f := keys.Facts{Key: k, Account: keystest.NewAccount("acme", keystest.Slots(k)), Settings: keystest.Settings, Now: now}
	reissue := func(name string) {
		f.Secret = keystest.ObservedSecret(name)
		f.Secret.JustIssued = true
		k.Status = keys.Describe(f)
	}
	roles := func() string {
		text := ""
		for _, c := range k.Status.Credentials {
			end := "for ever"
			if c.NotAfter != nil {
				end = c.NotAfter.Sub(now).String()
			}
			text += fmt.Sprintf("%s of %s until %s; ", c.Role, c.IssuedAt.UTC().Format(time.DateOnly), end)
		}
		return text
	}
	reissue("second")
	if got, want := roles(), "Previous of 2026-01-10 until 24h0m0s; Current of 2026-02-09 until for ever; "; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := keys.NextCheck(f), now.Add(24*time.Hour); !got.Equal(want) {
		t.Errorf("it looks again at %s, want %s", got, want)
	}
	f.Now = now.Add(time.Hour)
	reissue("third")
	if got, want := roles(), "Previous of 2026-02-09 until 25h0m0s; Current of 2026-02-09 until for ever; "; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	f.Now, f.Secret.JustIssued = now.Add(25*time.Hour-time.Second), false
	if k.Status = keys.Describe(f); len(k.Status.Credentials) != 2 {
		t.Errorf("a second too early: %s", roles())
	}
	f.Now = now.Add(25 * time.Hour)
	if k.Status = keys.Describe(f); len(k.Status.Credentials) != 1 {
		t.Errorf("too late: %s", roles())
	}
	if got, next := keys.Decide(f), keys.NextCheck(f); len(got.Steps) > 0 || !next.IsZero() {
		t.Errorf("then it does %v, and looks at %s", got.Steps, next)
	}
}

// TestDescribe_KeepsTwentyHistoryEntries disables and enables a key for a year.
func TestDescribe_KeepsTwentyHistoryEntries(t *testing.T) {
	t.Parallel()
	k := keystest.Key("shop", keystest.Issued(keystest.Epoch))
	f := keys.Facts{Key: k, Account: keystest.NewAccount("acme", keystest.Slots(k)), Secret: keystest.SecretOf(k), Settings: keystest.Settings}
	for day := range 365 {
		f.Now = now.AddDate(0, 0, day)
		k.Spec.State = v1alpha1.KeyStateInactive
		if day%2 == 1 {
			k.Spec.State = v1alpha1.KeyStateActive
		}
		k.Status = keys.Describe(f)
	}
	h := k.Status.History
	if len(h) != 20 || !h[19].Time.Equal(&metav1.Time{Time: f.Now}) || h[19].Reason != v1alpha1.ReasonDeactivated || h[18].Reason != v1alpha1.ReasonActivated || !h[0].Time.Before(&h[1].Time) {
		t.Errorf("%d transitions: %v", len(h), h)
	}
}

// The transition time of a condition is the time of the last change of its status, not of the last reconcile.
func TestDescribe_TransitionTimeFollowsStatus(t *testing.T) {
	t.Parallel()
	k := keystest.Key("shop", keystest.Issued(keystest.Epoch))
	f := keys.Facts{Key: k, Account: keystest.NewAccount("acme", keystest.Slots(k)), Secret: keystest.SecretOf(k), Settings: keystest.Settings, Now: now}
	k.Status = keys.Describe(f)
	f.Now = now.Add(time.Hour)
	k.Spec.State = v1alpha1.KeyStateInactive
	for _, c := range keys.Describe(f).Conditions {
		want := now
		if c.Type == v1alpha1.ConditionValid { // the only one whose status changes
			want = f.Now
		}
		if !c.LastTransitionTime.Time.Equal(want) {
			t.Errorf("%s has been %s since %s, want %s", c.Type, c.Status, c.LastTransitionTime, want)
		}
	}
}

func TestSecretFromStatus_MatchesDescribedSecret(t *testing.T) {
	t.Parallel()
	k := keystest.Key("shop", keystest.Issued(keystest.Epoch))
	f := keys.Facts{Key: k, Account: keystest.NewAccount("acme", keystest.Slots(k)), Secret: keystest.SecretOf(k), Settings: keystest.Settings, Now: now}
	k.Status = keys.Describe(f)
	if diff := cmp.Diff(f.Secret, keys.SecretFromStatus(k)); diff != "" {
		t.Errorf("in use, -seen +remembered:\n%s", diff)
	}
	k.Spec.State = v1alpha1.KeyStateRevoked
	if k.Status = keys.Describe(f); k.Status.SecretRef.ResourceVersion != "" {
		t.Errorf("a Secret that must still be emptied is remembered as right")
	}
	f.Secret = keys.ObservedSecret{Ownership: keys.SecretOwned, ResourceVersion: "8"}
	k.Status = keys.Describe(f)
	if diff := cmp.Diff(f.Secret, keys.SecretFromStatus(k)); diff != "" {
		t.Errorf("revoked, -seen +remembered:\n%s", diff)
	}
}

func TestJustIssuedSecret(t *testing.T) {
	t.Parallel()
	want := keystest.ObservedSecret("default/shop")
	want.JustIssued = true
	if diff := cmp.Diff(want, keys.JustIssuedSecret("7", keystest.NewCredential("default/shop"))); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// A plan says that a credential is generated, and never which.
func TestStep_String(t *testing.T) {
	t.Parallel()
	for want, step := range map[string]keys.Step{
		"create Account acme":                                    keys.CreateAccount{Name: "acme"},
		"create Secret shop with a new Token":                    keys.CreateSecret{Name: "shop", Format: keystest.Token},
		"replace the credential in Secret shop with a new Token": keys.ReissueCredential{Name: "shop", Format: keystest.Token},
		"stage a new Token for Secret shop":                      keys.StageCredential{Name: "shop", Format: keystest.Token},
		"fence Secret shop against pending writes":               keys.FenceSecret{Name: "shop"},
		"write the staged credential to Secret shop":             keys.PromoteStaged{Name: "shop"},
		"remove the previous credential from Secret shop":        keys.RetirePrevious{Name: "shop"},
		"remove all credentials from Secret shop":                keys.ClearSecret{Name: "shop"},
		"repair Secret shop":                                     keys.RepairSecret{Name: "shop"},
	} {
		if got := fmt.Sprintf("%v", step); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
