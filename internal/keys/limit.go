// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"fmt"
	"strings"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// LimitMessage returns a message that an account has no free slot, how many of its slots are held by expired or revoked
// keys, and what the account allows to be done about it. The message contains numbers, so it is not suitable for a
// condition.
func LimitMessage(f AccountFacts) string {
	limit, _ := f.Settings.Limit(f.Account)
	message := fmt.Sprintf("account %s has reached its key limit of %d", f.Account.Name, limit)
	ended := f.endedHolders()
	if ended > 0 {
		message += fmt.Sprintf(", and expired or revoked keys hold %d of its slots", ended)
	}
	var ways []string
	if f.Settings.Deletion(f.Account) != v1alpha1.DeletionForbid {
		ways = append(ways, "delete a key, or ")
	}
	if ended > 0 {
		ways = append(ways, "set spec.limits.counting of the account to Usable, or ")
	}
	return message + ": " + strings.Join(ways, "") + "raise spec.limits.maxKeys of the account"
}

// endedHolders returns the number of expired and revoked keys that hold a slot.
func (f AccountFacts) endedHolders() int {
	ended := map[string]bool{}
	for _, k := range f.Keys {
		ended[string(k.UID)] = k.Status.State == v1alpha1.StateExpired || k.Status.State == v1alpha1.StateRevoked
	}
	count := 0
	for _, slot := range f.Account.Status.Slots {
		if ended[slot.UID] {
			count++
		}
	}
	return count
}
