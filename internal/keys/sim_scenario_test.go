// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys_test

import (
	"testing"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
)

// A key has had two grants and released both. A manager whose cache still has the account with the first grant must not
// take it for a third.
func TestSimulation_StaleRecordGrantsNothing(t *testing.T) {
	t.Parallel()
	s := newSim(func(int, string) int { return 0 }, rules{strict: true, counting: v1alpha1.CountUsable, limit: 1}, 2)
	leader, laggard := s.managers[0], s.managers[1]
	_ = s.w.createAccount(keystest.NewAccount("acme", keystest.MaxKeys(1), keystest.Counting(v1alpha1.CountUsable)))
	_ = s.w.createKey(keystest.Key("a", keystest.Namespace("shop")))
	s.turn(leader)
	laggard.sync() // at the first grant
	for range 2 {
		s.setState("shop/a", v1alpha1.KeyStateInactive)
		s.turn(leader)
		s.setState("shop/a", v1alpha1.KeyStateActive)
		s.turn(leader)
	}
	s.setState("shop/a", v1alpha1.KeyStateInactive)
	_ = s.w.createKey(keystest.Key("b", keystest.Namespace("shop")))
	s.turn(leader)
	if got := s.w.key("shop/b").Status.State; got != v1alpha1.StateActive {
		t.Fatalf("the second key is %s, want the freed slot to make it Active", got)
	}
	s.setState("shop/a", v1alpha1.KeyStateActive)
	laggard.caches[kindKey].follow(s.w, 1000)
	laggard.caches[kindSecret].follow(s.w, 1000)
	finish(laggard.keyRound("shop/a"))
	if s.w.broken != nil {
		t.Fatalf("%v\n%s", s.w.broken, s.w.story())
	}
}
