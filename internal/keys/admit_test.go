// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
)

// aged returns a key that was created the given number of hours after Epoch, and whose UID is its name.
func aged(name string, hours int, options ...keystest.KeyOption) *v1alpha1.APIKey {
	return keystest.Key(name, append([]keystest.KeyOption{
		keystest.UID(name), keystest.Created(keystest.Epoch.Add(time.Duration(hours) * time.Hour)),
	}, options...)...)
}

// slots prints slots as name=grant, with the label in parentheses.
func slots(list []v1alpha1.Slot) string {
	text := ""
	for _, s := range list {
		text += fmt.Sprintf(" %s=%s", s.UID, s.Grant)
		if s.Label != "" {
			text += "(" + s.Label + ")"
		}
	}
	return text
}

func names(list []*v1alpha1.APIKey) string {
	text := ""
	for _, k := range list {
		text += " " + string(k.UID)
	}
	return text
}

func TestAdmit(t *testing.T) {
	t.Parallel()
	usable := keystest.Counting(v1alpha1.CountUsable)
	inactive, revoked := keystest.State(v1alpha1.KeyStateInactive), keystest.State(v1alpha1.KeyStateRevoked)
	issued := keystest.Issued(keystest.Epoch)
	expired := keystest.Expiring(keystest.Epoch.Add(99 * time.Hour)) // a second before now
	label := keystest.Label
	type list = []*v1alpha1.APIKey
	for name, tc := range map[string]struct {
		options     []keystest.AccountOption
		holders     list
		keys        list
		confirmed   []string
		wantSlots   string
		wantWaiting string
	}{
		"no keys": {},
		"the oldest come first": {
			options: []keystest.AccountOption{keystest.MaxKeys(2)}, keys: list{aged("c", 3), aged("a", 1), aged("b", 2)},
			wantSlots: " a=100 b=100", wantWaiting: " c",
		},
		"of the same second the smaller UID comes first": {
			options: []keystest.AccountOption{keystest.MaxKeys(2)}, keys: list{aged("z", 1), aged("y", 1), aged("x", 1)},
			wantSlots: " x=100 y=100", wantWaiting: " z",
		},
		"one record admits all that fit": {
			options: []keystest.AccountOption{keystest.MaxKeys(5)}, holders: list{aged("a", 1)}, keys: list{aged("a", 1), aged("b", 2), aged("c", 3)},
			wantSlots: " a=1 b=100 c=100",
		},
		"a limit of zero": {
			options: []keystest.AccountOption{keystest.MaxKeys(0)}, keys: list{aged("a", 1)}, wantWaiting: " a",
		},
		"a younger holder stays before an older key": {
			options: []keystest.AccountOption{keystest.MaxKeys(1)}, holders: list{aged("b", 2)}, keys: list{aged("a", 1), aged("b", 2)},
			wantSlots: " b=1", wantWaiting: " a",
		},
		"a lower limit evicts no key, and admits none": {
			options: []keystest.AccountOption{keystest.MaxKeys(1)}, holders: list{aged("a", 1), aged("b", 2)}, keys: list{aged("a", 1), aged("b", 2), aged("c", 3)},
			wantSlots: " a=1 b=2", wantWaiting: " c",
		},
		"a holder that the cache does not have is kept": {
			options: []keystest.AccountOption{keystest.MaxKeys(1)}, holders: list{aged("a", 1)}, keys: list{aged("b", 2)},
			wantSlots: " a=1", wantWaiting: " b",
		},
		"a holder that the API server does not have either is dropped": {
			options: []keystest.AccountOption{keystest.MaxKeys(1)}, holders: list{aged("a", 1)}, keys: list{aged("b", 2)}, confirmed: []string{"a"},
			wantSlots: " b=100",
		},
		"a confirmation does not touch a holder that is there": {
			options: []keystest.AccountOption{keystest.MaxKeys(1)}, holders: list{aged("a", 1)}, keys: list{aged("a", 1)}, confirmed: []string{"a"},
			wantSlots: " a=1",
		},
		"a holder that is being deleted keeps its slot until it is deleted": {
			options: []keystest.AccountOption{keystest.MaxKeys(1)}, holders: list{aged("a", 1)}, keys: list{aged("a", 1, keystest.Deleting(keystest.Epoch)), aged("b", 2)},
			wantSlots: " a=1", wantWaiting: " b",
		},
		"a key that is being deleted gets none": {
			options: []keystest.AccountOption{keystest.MaxKeys(1)}, keys: list{aged("a", 1, keystest.Deleting(keystest.Epoch)), aged("b", 2)},
			wantSlots: " b=100",
		},
		"a key made again under the same name is another": {
			options: []keystest.AccountOption{keystest.MaxKeys(1)}, holders: list{aged("a", 1)}, keys: list{aged("a", 2, keystest.UID("a2"))}, confirmed: []string{"a"},
			wantSlots: " a2=100",
		},
		"a key that is refused gets none, and is not in the way": {
			options: []keystest.AccountOption{keystest.MaxKeys(1)}, keys: list{aged("a", 1, keystest.Whitelist("nonsense")), aged("b", 2)},
			wantSlots: " b=100",
		},
		"a holder that comes to be refused keeps its slot": {
			options: []keystest.AccountOption{keystest.MaxKeys(1)}, holders: list{aged("a", 1)}, keys: list{aged("a", 1, keystest.Whitelist("nonsense")), aged("b", 2)},
			wantSlots: " a=1", wantWaiting: " b",
		},
		"a suspended account grants nothing, and takes nothing": {
			options: []keystest.AccountOption{keystest.MaxKeys(3), keystest.Suspended()}, holders: list{aged("a", 1)}, keys: list{aged("a", 1), aged("b", 2)},
			wantSlots: " a=1",
		},

		"All counts the inactive, the expired and the revoked": {
			options:   []keystest.AccountOption{keystest.MaxKeys(3)},
			keys:      list{aged("a", 1, inactive), aged("b", 2, expired), aged("c", 3, revoked), aged("d", 4)},
			wantSlots: " a=100 b=100 c=100", wantWaiting: " d",
		},
		"Usable counts none of them": {
			options:   []keystest.AccountOption{keystest.MaxKeys(1), usable},
			keys:      list{aged("a", 1, inactive), aged("b", 2, expired), aged("c", 3, revoked), aged("d", 4)},
			wantSlots: " d=100",
		},
		"Usable: an inactive holder keeps its slot until its status releases the grant": {
			options: []keystest.AccountOption{keystest.MaxKeys(1), usable}, holders: list{aged("a", 1)}, keys: list{aged("a", 1, issued, inactive), aged("b", 2)},
			wantSlots: " a=1", wantWaiting: " b",
		},
		"Usable: then the next key gets the slot": {
			options: []keystest.AccountOption{keystest.MaxKeys(1), usable}, holders: list{aged("a", 1)}, keys: list{aged("a", 1, issued, inactive, keystest.Released("1")), aged("b", 2)},
			wantSlots: " b=100",
		},
		"Usable: a grant released earlier is another one": {
			options: []keystest.AccountOption{keystest.MaxKeys(1), usable, slotOf("a", "90")}, keys: list{aged("a", 1, issued, inactive, keystest.Released("9")), aged("b", 2)},
			wantSlots: " a=90", wantWaiting: " b",
		},
		"Usable: a grant before the released one is released too": {
			options: []keystest.AccountOption{keystest.MaxKeys(1), usable, slotOf("a", "9")}, keys: list{aged("a", 1, issued, inactive, keystest.Released("90")), aged("b", 2)},
			wantSlots: " b=100",
		},
		"Usable: a key that wants to be used again gets a new grant, before those that wait": {
			options: []keystest.AccountOption{keystest.MaxKeys(1), usable, slotOf("b", "9")}, keys: list{aged("a", 1), aged("b", 2, issued, keystest.Observed(v1alpha1.StateInactive), keystest.Released("9"))},
			wantSlots: " b=100", wantWaiting: " a",
		},
		"Usable: without a slot it waits like any other": {
			options: []keystest.AccountOption{keystest.MaxKeys(1), usable}, holders: list{aged("b", 2)},
			keys:      list{aged("a", 1, issued, keystest.Observed(v1alpha1.StateInactive), keystest.Released("9")), aged("b", 2)},
			wantSlots: " b=1", wantWaiting: " a",
		},
		"Usable: and gets a free one with a grant that is later than any it had": {
			options:   []keystest.AccountOption{keystest.MaxKeys(1), usable},
			keys:      list{aged("a", 1, issued, keystest.Observed(v1alpha1.StateInactive), keystest.Released("99"))},
			wantSlots: " a=100",
		},
		"Usable: also where resourceVersions began anew": {
			options:   []keystest.AccountOption{keystest.MaxKeys(1), usable},
			keys:      list{aged("a", 1, issued, keystest.Observed(v1alpha1.StateInactive), keystest.Released("123456"))},
			wantSlots: " a=123457",
		},
		"All: a grant released under another counting is renewed": {
			options: []keystest.AccountOption{keystest.MaxKeys(1), slotOf("a", "9")}, keys: list{aged("a", 1, issued, keystest.Observed(v1alpha1.StateInactive), keystest.Released("9"))},
			wantSlots: " a=100",
		},
		"All: and kept while it is not wanted": {
			options: []keystest.AccountOption{keystest.MaxKeys(1), slotOf("a", "9")}, keys: list{aged("a", 1, issued, inactive, keystest.Released("9")), aged("b", 2)},
			wantSlots: " a=9", wantWaiting: " b",
		},

		"without a limit nothing is recorded": {
			options: []keystest.AccountOption{keystest.Unlimited()}, keys: list{aged("a", 1), aged("b", 2, issued)},
		},
		"without a limit what is on record stays": {
			options: []keystest.AccountOption{keystest.Unlimited()}, holders: list{aged("a", 1)}, keys: list{aged("a", 1), aged("b", 2)},
			wantSlots: " a=1",
		},
		"a key issued without a limit is owed a slot when there is one, whatever it is": {
			options: []keystest.AccountOption{keystest.MaxKeys(1)}, holders: list{aged("a", 1)}, keys: list{aged("a", 1), aged("b", 2, issued)}, confirmed: []string{"b"},
			wantSlots: " a=1 b=100",
		},
		"an unconfirmed slot is not recorded, and no other key gets it": {
			options: []keystest.AccountOption{keystest.MaxKeys(1)}, keys: list{aged("a", 1), aged("b", 2, issued)},
			wantWaiting: " a",
		},
		"a lost record is made good before anybody new is admitted": {
			options: []keystest.AccountOption{keystest.MaxKeys(2)}, keys: list{aged("a", 1), aged("b", 2, issued), aged("c", 3, issued)}, confirmed: []string{"b", "c"},
			wantSlots: " b=100 c=100", wantWaiting: " a",
		},
		"Usable: a key that gave its grant back is owed nothing": {
			options: []keystest.AccountOption{keystest.MaxKeys(0), usable}, keys: list{aged("a", 1, issued, keystest.Observed(v1alpha1.StateInactive), keystest.Released("9"))}, confirmed: []string{"a"},
			wantWaiting: " a",
		},
		"All: a key that gave its grant back is owed nothing either": {
			options: []keystest.AccountOption{keystest.MaxKeys(0)}, keys: list{aged("a", 1, issued, inactive, keystest.Observed(v1alpha1.StateInactive), keystest.Released("9"))}, confirmed: []string{"a"},
			wantWaiting: " a",
		},

		"labels are recorded": {
			options: []keystest.AccountOption{keystest.MaxKeys(2)}, keys: list{aged("a", 1, label("web")), aged("b", 2, label("blog"))},
			wantSlots: " a=100(web) b=100(blog)",
		},
		"of two that want a label the older gets it, and the slot": {
			options: []keystest.AccountOption{keystest.MaxKeys(2)}, keys: list{aged("b", 2, label("web")), aged("a", 1, label("web"))},
			wantSlots: " a=100(web)",
		},
		"an older key does not take the label of a holder": {
			options: []keystest.AccountOption{keystest.MaxKeys(2)}, holders: list{aged("b", 2, label("web"))}, keys: list{aged("a", 1, label("web")), aged("b", 2, label("web"))},
			wantSlots: " b=1(web)",
		},
		"a rename is recorded, and sets the old label free for the next": {
			options: []keystest.AccountOption{keystest.MaxKeys(2)}, holders: list{aged("a", 1, label("web"))}, keys: list{aged("a", 1, label("shop")), aged("b", 2, label("web"))},
			wantSlots: " a=1(shop) b=100(web)",
		},
		"a rename to a label that is taken sets the old one free all the same": {
			options: []keystest.AccountOption{keystest.MaxKeys(3)}, holders: list{aged("a", 1, label("web")), aged("b", 2, label("blog"))},
			keys:      list{aged("a", 1, label("blog")), aged("b", 2, label("blog")), aged("c", 3, label("web"))},
			wantSlots: " a=1 b=2(blog) c=100(web)",
		},
		"two keys swap labels": {
			options: []keystest.AccountOption{keystest.MaxKeys(2)}, holders: list{aged("a", 1, label("web")), aged("b", 2, label("blog"))},
			keys:      list{aged("a", 1, label("blog")), aged("b", 2, label("web"))},
			wantSlots: " a=1(blog) b=2(web)",
		},
		"of two holders that are renamed to the same label the older gets it": {
			options: []keystest.AccountOption{keystest.MaxKeys(2)}, holders: list{aged("b", 2, label("x")), aged("a", 1, label("y"))},
			keys:      list{aged("a", 1, label("web")), aged("b", 2, label("web"))},
			wantSlots: " b=1 a=2(web)",
		},
		"a label given up": {
			options: []keystest.AccountOption{keystest.MaxKeys(2)}, holders: list{aged("a", 1, label("web"))}, keys: list{aged("a", 1), aged("b", 2, label("web"))},
			wantSlots: " a=1 b=100(web)",
		},
		"the label of a holder that may be deleted is not free yet, and a key that wants it waits": {
			options: []keystest.AccountOption{keystest.MaxKeys(2)}, holders: list{aged("a", 1, label("web"))}, keys: list{aged("b", 2, label("web")), aged("c", 3)},
			wantSlots: " a=1(web) c=100", wantWaiting: " b",
		},
		"it is free once the API server confirms it": {
			options: []keystest.AccountOption{keystest.MaxKeys(2)}, holders: list{aged("a", 1, label("web"))}, keys: list{aged("b", 2, label("web"))}, confirmed: []string{"a"},
			wantSlots: " b=100(web)",
		},
		"a slot that is owed comes without a label that another has": {
			options: []keystest.AccountOption{keystest.MaxKeys(2)}, holders: list{aged("a", 2, label("web"))}, keys: list{aged("a", 2, label("web")), aged("b", 1, issued, label("web"))}, confirmed: []string{"b"},
			wantSlots: " a=1(web) b=100",
		},
		"where labels are shared all are recorded": {
			options: []keystest.AccountOption{keystest.MaxKeys(2), policy(func(a *v1alpha1.AccountSpec) { a.LabelPolicy = v1alpha1.LabelShared })},
			keys:    list{aged("a", 1, label("web")), aged("b", 2, label("web"))}, wantSlots: " a=100(web) b=100(web)",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := keys.AccountFacts{
				Account: keystest.NewAccount("acme", append(tc.options, keystest.Slots(tc.holders...))...), Keys: tc.keys,
				Confirmed: map[string]bool{}, Settings: keystest.Settings, Now: keystest.Epoch.Add(100 * time.Hour),
			}
			for _, uid := range tc.confirmed {
				f.Confirmed[uid] = true
			}
			before := f.Account.DeepCopy()
			for range 2 {
				got := keys.Admit(f)
				if diff := cmp.Diff(tc.wantSlots+" |"+tc.wantWaiting, slots(got.Slots)+" |"+names(got.Waiting)); diff != "" {
					t.Errorf("-want +got:\n%s", diff)
				}
				slices.Reverse(f.Keys) // caches list in any order
			}
			if diff := cmp.Diff(before, f.Account); diff != "" {
				t.Errorf("the account that was read has changed:\n%s", diff)
			}
		})
	}
}

// slotOf records a slot with the given grant.
func slotOf(name, grant string) keystest.AccountOption {
	return func(a *v1alpha1.Account) {
		a.Status.Slots = append(a.Status.Slots, keystest.SlotOf(aged(name, 1), grant))
	}
}

// Each unconfirmed slot or key costs a read from the API server, so there must be no needless ones.
func TestUnconfirmedSlots(t *testing.T) {
	t.Parallel()
	issued := keystest.Issued(keystest.Epoch)
	for name, tc := range map[string]struct {
		options                     []keystest.AccountOption
		keys                        []*v1alpha1.APIKey
		wantMissing, wantUnrecorded string
	}{
		"all is as recorded": {
			options: []keystest.AccountOption{keystest.Slots(aged("a", 1))}, keys: []*v1alpha1.APIKey{aged("a", 1, issued), aged("b", 2)},
		},
		"a holder is not known": {
			options: []keystest.AccountOption{keystest.Slots(aged("a", 1), aged("b", 2))}, keys: []*v1alpha1.APIKey{aged("b", 2)}, wantMissing: " a=1",
		},
		"a key in use has no slot": {
			keys: []*v1alpha1.APIKey{aged("a", 1, issued)}, wantUnrecorded: " a",
		},
		"a key in use has no slot, and no limit": {
			options: []keystest.AccountOption{keystest.Unlimited()}, keys: []*v1alpha1.APIKey{aged("a", 1, issued)},
		},
		"a holder is not known, and there is no limit": {
			options: []keystest.AccountOption{keystest.Unlimited(), keystest.Slots(aged("a", 1))}, wantMissing: " a=1",
		},
		"Usable: an inactive key needs no slot": {
			options: []keystest.AccountOption{keystest.Counting(v1alpha1.CountUsable)},
			keys:    []*v1alpha1.APIKey{aged("a", 1, issued, keystest.Observed(v1alpha1.StateInactive))},
		},
		"All: an inactive key does": {
			keys: []*v1alpha1.APIKey{aged("a", 1, issued, keystest.Observed(v1alpha1.StateInactive))}, wantUnrecorded: " a",
		},
		"All: unless it gave its slot back before": {
			keys: []*v1alpha1.APIKey{aged("a", 1, issued, keystest.Observed(v1alpha1.StateInactive), keystest.Released("9"))},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			missing, unrecorded := keys.UnconfirmedSlots(keys.AccountFacts{
				Account: keystest.NewAccount("acme", tc.options...), Keys: tc.keys, Settings: keystest.Settings, Now: keystest.Epoch,
			})
			if diff := cmp.Diff(tc.wantMissing+" |"+tc.wantUnrecorded, slots(missing)+" |"+names(unrecorded)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestNeedsSlot(t *testing.T) {
	t.Parallel()
	usable, inactive := keystest.Counting(v1alpha1.CountUsable), keystest.State(v1alpha1.KeyStateInactive)
	for name, tc := range map[string]struct {
		key     *v1alpha1.APIKey
		options []keystest.AccountOption
		want    bool
	}{
		"All: every key":                     {aged("a", 1, inactive), nil, true},
		"Usable: a key to be used":           {aged("a", 1), []keystest.AccountOption{usable}, true},
		"Usable: an inactive key":            {aged("a", 1, inactive), []keystest.AccountOption{usable}, false},
		"Usable: a key that has expired":     {aged("a", 1, keystest.Expiring(keystest.Epoch)), []keystest.AccountOption{usable}, false},
		"Usable: a key that has not expired": {aged("a", 1, keystest.Expiring(keystest.Epoch.Add(time.Second))), []keystest.AccountOption{usable}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := keys.Facts{Key: tc.key, Account: keystest.NewAccount("acme", tc.options...), Settings: keystest.Settings, Now: keystest.Epoch}
			if got := keys.NeedsSlot(f); got != tc.want {
				t.Errorf("got %t", got)
			}
		})
	}
}

func TestWouldExceedLimit(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		options []keystest.AccountOption
		keys    []*v1alpha1.APIKey
		want    bool
	}{
		"an empty account":                   {options: []keystest.AccountOption{keystest.MaxKeys(1)}},
		"an account without room":            {options: []keystest.AccountOption{keystest.MaxKeys(0)}, want: true},
		"the last slot is taken":             {options: []keystest.AccountOption{keystest.MaxKeys(1), keystest.Slots(aged("a", 1))}, keys: []*v1alpha1.APIKey{aged("a", 1)}, want: true},
		"the last slot will be":              {options: []keystest.AccountOption{keystest.MaxKeys(1)}, keys: []*v1alpha1.APIKey{aged("a", 1)}, want: true},
		"who is refused takes none":          {options: []keystest.AccountOption{keystest.MaxKeys(1)}, keys: []*v1alpha1.APIKey{aged("a", 1, keystest.Whitelist("x"))}},
		"a slot is left":                     {options: []keystest.AccountOption{keystest.MaxKeys(2), keystest.Slots(aged("a", 1))}, keys: []*v1alpha1.APIKey{aged("a", 1)}},
		"no limit":                           {options: []keystest.AccountOption{keystest.Unlimited()}, keys: []*v1alpha1.APIKey{aged("a", 1), aged("b", 1)}},
		"over a limit that was lowered":      {options: []keystest.AccountOption{keystest.MaxKeys(1), keystest.Slots(aged("a", 1), aged("b", 1))}, want: true},
		"Usable: an inactive key takes none": {options: []keystest.AccountOption{keystest.MaxKeys(1), keystest.Counting(v1alpha1.CountUsable)}, keys: []*v1alpha1.APIKey{aged("a", 1, keystest.State(v1alpha1.KeyStateInactive))}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := keys.WouldExceedLimit(keys.AccountFacts{Account: keystest.NewAccount("acme", tc.options...), Keys: tc.keys, Settings: keystest.Settings, Now: keystest.Epoch})
			if got != tc.want {
				t.Errorf("got %t", got)
			}
		})
	}
}

func TestAdmit_UnwatchedNamespaces(t *testing.T) {
	t.Parallel()
	never, issued, inside := aged("never", 1), aged("issued", 2, keystest.Issued(keystest.Epoch)), aged("inside", 3)
	inside.Namespace = "shop"
	settings := keystest.Settings
	settings.Namespaces = []string{"shop"}
	got := keys.Admit(keys.AccountFacts{
		Account: keystest.NewAccount("acme", keystest.MaxKeys(2)), Keys: []*v1alpha1.APIKey{never, issued, inside},
		Confirmed: map[string]bool{string(issued.UID): true}, Settings: settings, Now: keystest.Epoch,
	})
	var holders []string
	for _, slot := range got.Slots {
		holders = append(holders, slot.Name)
	}
	if !slices.Equal(holders, []string{"issued", "inside"}) || len(got.Waiting) > 0 {
		t.Errorf("the slots are held by %v, and %d keys wait", holders, len(got.Waiting))
	}
}
