// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package verifier

import "slices"

// externalIDs records which account owns each external ID: if several accounts declare the same one, the oldest owns
// it. The others are treated as if they declared none, so that an account cannot impersonate another one by copying its
// external ID. The policies of accounts change together with this record, under the writer lock of the index. Verdicts
// read only the policy.
type externalIDs struct {
	holders map[string]*account
	// waiting holds the younger accounts that declare an external ID which another account owns.
	waiting map[string][]*account
}

func newExternalIDs() externalIDs {
	return externalIDs{holders: map[string]*account{}, waiting: map[string][]*account{}}
}

// setPolicy sets the policy of an account, including the external ID if the account owns it. A nil policy means that
// the account was removed. Two accounts never own the same external ID at the same time.
func (e *externalIDs) setPolicy(a *account, next *policy) {
	before := a.policy.Load()
	if before != nil && next != nil {
		next.keepSettings(before)
	}
	if before != nil && next != nil && before.hasSameDeclaration(next) {
		next.ownsID = before.ownsID
		a.policy.Store(next)
		return
	}
	if before != nil && before.declaredID != "" {
		e.remove(a, before)
	}
	if next != nil && next.declaredID != "" {
		e.add(a, next)
	}
	a.policy.Store(next)
}

// add registers the external ID that next declares, and takes it over from a younger account.
func (e *externalIDs) add(a *account, next *policy) {
	id := next.declaredID
	holder := e.holders[id]
	if holder != nil {
		held := holder.policy.Load()
		if !next.isOlderThan(held) {
			e.waiting[id] = append(e.waiting[id], a)
			return
		}
		holder.policy.Store(held.withOwnership(false))
		e.waiting[id] = append(e.waiting[id], holder)
	}
	e.holders[id] = a
	next.ownsID = true
}

// remove removes the external ID that an account declared. If the account owned it, the oldest other account that
// declares it becomes the owner.
func (e *externalIDs) remove(a *account, before *policy) {
	id := before.declaredID
	if e.holders[id] != a {
		e.removeWaiting(id, a)
		return
	}
	a.policy.Store(before.withOwnership(false))
	others := e.waiting[id]
	if len(others) == 0 {
		delete(e.holders, id)
		return
	}
	oldest := slices.MinFunc(others, func(a, b *account) int {
		if a.policy.Load().isOlderThan(b.policy.Load()) {
			return -1
		}
		return 1
	})
	e.removeWaiting(id, oldest)
	e.holders[id] = oldest
	oldest.policy.Store(oldest.policy.Load().withOwnership(true))
}

func (e *externalIDs) removeWaiting(id string, a *account) {
	others := slices.DeleteFunc(e.waiting[id], func(other *account) bool { return other == a })
	if len(others) == 0 {
		delete(e.waiting, id)
		return
	}
	e.waiting[id] = others
}

// withOwnership returns a copy of the policy that owns its declared external ID, or does not.
func (p *policy) withOwnership(owns bool) *policy {
	next := *p
	next.ownsID = owns
	return &next
}

// hasSameDeclaration reports whether two policies of an account declare the same external ID and have the same age.
func (p *policy) hasSameDeclaration(other *policy) bool {
	return p.declaredID == other.declaredID && p.createdAt == other.createdAt && p.uidText() == other.uidText()
}

// isOlderThan reports whether the Account of p was created before the Account of than: by creation time, then by UID.
func (p *policy) isOlderThan(than *policy) bool {
	if p.createdAt != than.createdAt {
		return p.createdAt.seconds() < than.createdAt.seconds()
	}
	return p.uidText() < than.uidText()
}
