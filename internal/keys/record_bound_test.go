// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys_test

import (
	"testing"
	"time"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
)

// maxSlots is the maximum of the schema.
const maxSlots = 1000

// overfull returns the facts of an account without room for all keys that were issued before it got a limit.
func overfull(total int) keys.AccountFacts {
	f := keys.AccountFacts{
		Account: keystest.NewAccount("acme", keystest.MaxKeys(maxSlots)), Keys: crowd(total, keystest.Issued(keystest.Epoch)),
		Confirmed: map[string]bool{}, Settings: keystest.Settings, Now: keystest.Epoch.Add(time.Hour),
	}
	f.Keys = append(f.Keys, aged("waits", 0))
	return f
}

func TestAdmit_RecordIsBounded(t *testing.T) {
	t.Parallel()
	f := overfull(maxSlots + 200)
	for range 2 {
		_, unrecorded := keys.UnconfirmedSlots(f)
		if got, want := len(unrecorded), maxSlots-len(f.Account.Status.Slots); got != want {
			t.Errorf("%d keys are to be read from the API server, want %d", got, want)
		}
		for _, k := range unrecorded {
			f.Confirmed[string(k.UID)] = true
		}
		f.Account.Status = keys.DescribeAccount(f)
		if got := len(f.Account.Status.Slots); got != maxSlots {
			t.Errorf("%d slots, want %d", got, maxSlots)
		}
		if last := f.Account.Status.Slots[maxSlots-1].Name; last != "key-000999" {
			t.Errorf("the last slot is that of %s, which is not the oldest", last)
		}
		if got := *f.Account.Status.Keys.Waiting; got != 1 {
			t.Errorf("%d keys wait, want 1", got)
		}
	}
}

// A key without a slot must not lose its credential, or its rotation, because the record has no room for it.
func TestDecide_KeyBeyondFullRecord(t *testing.T) {
	t.Parallel()
	f := overfull(maxSlots + 1)
	keystest.Slots(f.Keys[:maxSlots]...)(f.Account)
	beyond := f.Keys[maxSlots]
	now := keystest.Epoch.Add(24 * time.Hour)
	beyond.Spec.Rotation = &v1alpha1.Rotation{Interval: "1h", Overlap: "10m"}
	for name, tc := range map[string]struct {
		slots int
		key   *v1alpha1.APIKey
		want  bool
	}{
		"the record is full":           {maxSlots, beyond, true},
		"the record has room":          {maxSlots - 1, beyond, false},
		"a key that was never issued":  {maxSlots, f.Keys[maxSlots+1], false},
		"a key that released its slot": {maxSlots, aged("released", 0, keystest.Issued(keystest.Epoch), keystest.Observed(v1alpha1.StateInactive), keystest.Released("7")), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			account := f.Account.DeepCopy()
			account.Status.Slots = account.Status.Slots[:tc.slots]
			plan := keys.Decide(keys.Facts{Key: tc.key, Account: account, Secret: keystest.SecretOf(tc.key), Settings: keystest.Settings, Now: now})
			if got := len(plan.Steps) > 0; got != tc.want {
				t.Errorf("the plan is %v (%s)", plan.Steps, plan.Why)
			}
		})
	}
}

// If resourceVersions began anew, a grant must not become longer each time that its key is deactivated and activated:
// a user could make it longer than the schema allows.
func TestAdmit_GrantStaysShort(t *testing.T) {
	t.Parallel()
	k := aged("a", 0, keystest.Issued(keystest.Epoch), keystest.Observed(v1alpha1.StateInactive), keystest.Released("987654321"))
	f := keys.AccountFacts{
		Account: keystest.NewAccount("acme", keystest.Counting(v1alpha1.CountUsable)), Keys: []*v1alpha1.APIKey{k},
		Settings: keystest.Settings, Now: keystest.Epoch.Add(time.Hour),
	}
	for range 100 {
		grant := keys.Admit(f).Slots[0].Grant
		if len(grant) > 10 || grant == k.Status.ReleasedGrant {
			t.Fatalf("grant %s after %s", grant, k.Status.ReleasedGrant)
		}
		k.Status.ReleasedGrant = grant
	}
}
