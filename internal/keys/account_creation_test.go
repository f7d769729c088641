// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys_test

import (
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
)

func TestDecide_DelaysAccountCreation(t *testing.T) {
	t.Parallel()
	const delay = 5 * time.Second
	due := keystest.Epoch.Add(delay)
	for name, tc := range map[string]struct {
		now     time.Time
		delay   time.Duration
		state   v1alpha1.KeyState
		creates bool
	}{
		"a new key":                  {now: keystest.Epoch, delay: delay},
		"a second too early":         {now: due.Add(-time.Second), delay: delay},
		"in time":                    {now: due, delay: delay, creates: true},
		"later":                      {now: due.Add(time.Hour), delay: delay, creates: true},
		"no delay":                   {now: keystest.Epoch, creates: true},
		"a new key that is revoked":  {now: keystest.Epoch, delay: delay, state: v1alpha1.KeyStateRevoked},
		"an old key that is revoked": {now: due, delay: delay, state: v1alpha1.KeyStateRevoked, creates: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			settings := keystest.Settings
			settings.AccountCreationDelay = tc.delay
			f := keys.Facts{Key: keystest.Key("shop", keystest.State(tc.state)), Secret: keys.ObservedSecret{Ownership: keys.SecretMissing}, Settings: settings, Now: tc.now}
			plan := keys.Decide(f)
			if creates := len(plan.Steps) == 1; creates != tc.creates {
				t.Errorf("the plan is %v", plan.Steps)
			}
			if next := keys.NextCheck(f); !tc.creates && !next.Equal(due) {
				t.Errorf("it looks again at %s, want %s", next, due)
			}
			if tc.creates || tc.state == v1alpha1.KeyStateRevoked {
				return
			}
			accepted := meta.FindStatusCondition(keys.Describe(f).Conditions, v1alpha1.ConditionAccepted)
			if accepted == nil || accepted.Reason != v1alpha1.ReasonPending || !strings.Contains(accepted.Message, "Account acme does not exist") {
				t.Errorf("accepted is %+v", accepted)
			}
		})
	}
}
