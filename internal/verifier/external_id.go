// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package verifier

import "slices"

// externalIDs records which account holds each external ID: of several that declare the same one, the oldest. The others
// are treated as if they declared none, so that nobody takes over the identity of an account by copying its external ID.
// The policies of accounts change with it, under the lock of the index's writer; verdicts read nothing but the policy.
type externalIDs struct {
	holders map[string]*account
	// waiting are the younger accounts that declare an ID which another account holds.
	waiting map[string][]*account
}

func newExternalIDs() externalIDs {
	return externalIDs{holders: map[string]*account{}, waiting: map[string][]*account{}}
}

// setPolicy gives an account its next policy, with the external ID if the account holds it; nil: the account is gone. At no
// time do two accounts hold the same ID.
func (e *externalIDs) setPolicy(a *account, next *policy) {
	before := a.policy.Load()
	if before != nil && next != nil && before.hasSameDeclaration(next) {
		next.externalID = before.externalID
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

func (e *externalIDs) add(a *account, next *policy) {
	id := next.declaredID
	holder := e.holders[id]
	if holder != nil {
		held := holder.policy.Load()
		if !next.isOlderThan(held) {
			e.waiting[id] = append(e.waiting[id], a)
			return
		}
		holder.policy.Store(held.withExternalID(""))
		e.waiting[id] = append(e.waiting[id], holder)
	}
	e.holders[id] = a
	next.externalID = id
}

func (e *externalIDs) remove(a *account, before *policy) {
	id := before.declaredID
	if e.holders[id] != a {
		e.removeWaiting(id, a)
		return
	}
	a.policy.Store(before.withExternalID(""))
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
	oldest.policy.Store(oldest.policy.Load().withExternalID(id))
}

func (e *externalIDs) removeWaiting(id string, a *account) {
	others := slices.DeleteFunc(e.waiting[id], func(other *account) bool { return other == a })
	if len(others) == 0 {
		delete(e.waiting, id)
		return
	}
	e.waiting[id] = others
}

// withExternalID returns the same policy with another external ID in force.
func (p *policy) withExternalID(id string) *policy {
	next := *p
	next.externalID = id
	return &next
}

// hasSameDeclaration reports whether two policies of an account declare the same external ID with the same age.
func (p *policy) hasSameDeclaration(other *policy) bool {
	return p.declaredID == other.declaredID && p.createdAt == other.createdAt && p.uid == other.uid
}

// isOlderThan reports whether the Account of a policy was created before that of another one: by creation time, then UID.
func (p *policy) isOlderThan(than *policy) bool {
	if p.createdAt != than.createdAt {
		return p.createdAt < than.createdAt
	}
	return p.uid < than.uid
}
