// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"slices"
	"time"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// AccountFacts are everything that may decide who holds a slot of an account.
type AccountFacts struct {
	// Account as it was read. Its resourceVersion names the grants decided on it.
	Account *v1alpha1.Account
	// Keys are all that name the account, as far as is known.
	Keys []*v1alpha1.APIKey
	// Declaring are the accounts that declare the same external ID, this one or not.
	Declaring []*v1alpha1.Account
	// NamespaceLabels are the labels of the keys' namespaces, by name.
	NamespaceLabels map[string]map[string]string
	// Confirmed are the UIDs for which the API server itself, not a cache, has just confirmed what makes Admit change the
	// record against a key: that a slot's holder no longer exists, or that a key without a slot is owed one.
	Confirmed map[string]bool
	// Settings are what the manager's flags say.
	Settings Settings
	// Now is read once per round: UTC, whole seconds.
	Now time.Time
}

// Admission is who holds a slot, and who waits for one.
type Admission struct {
	Slots   []v1alpha1.Slot
	Waiting []*v1alpha1.APIKey
}

// Admit decides who holds a slot of an account.
//
// A slot, once granted, belongs to its key until the key no longer exists, or, under counting: Usable, until the key's
// own status says that it gave this grant back. Both are facts that can't become untrue again, so a stale cache can
// delay a slot's way to the next key but never give it to two. A lower limit evicts nobody. Free slots go to the
// waiting keys, oldest first (creation time, then UID).
func Admit(f AccountFacts) Admission {
	a := admitter{AccountFacts: f, byUID: map[string]*v1alpha1.APIKey{}, byLabel: map[string][]*v1alpha1.APIKey{}}
	for _, k := range f.Keys {
		a.byUID[string(k.UID)] = k
		if k.Spec.Label != "" {
			label := LabelForm(k.Spec.Label)
			a.byLabel[label] = append(a.byLabel[label], k)
		}
	}
	a.account = f.Account.DeepCopy()
	a.pruneSlots()
	a.orderSlots()
	a.relabelSlots()
	waiting := a.assignSlots(a.candidates())
	return Admission{Slots: a.account.Status.Slots, Waiting: waiting}
}

// admitter is the work of one Admit. Its account is a copy whose slots change as it goes, so that every check sees
// what was decided before it.
type admitter struct {
	AccountFacts
	account *v1alpha1.Account
	byUID   map[string]*v1alpha1.APIKey
	byLabel map[string][]*v1alpha1.APIKey
}

// pruneSlots drops the slots that came free, and renews those whose key gave its grant back and wants to be usable again.
func (a *admitter) pruneSlots() {
	kept := make([]v1alpha1.Slot, 0, len(a.account.Status.Slots))
	for _, slot := range a.account.Status.Slots {
		k := a.byUID[slot.UID]
		switch {
		case k == nil && a.Confirmed[slot.UID]:
			continue
		case k == nil, len(k.Undecodable) > 0, !grantReleased(k, &slot):
		case !acceptedUnderPolicy(k): // and was refused
			continue
		case a.wantsActive(k):
			slot.Grant = a.newGrant(k)
		case countsUsableOnly(a.account):
			continue
		}
		kept = append(kept, slot)
	}
	a.account.Status.Slots = kept
}

// relabelSlots records the labels of keys that were renamed, where the new label is free. The old ones come free first,
// whatever becomes of the new, so that two keys can swap labels and none is held that nobody wants.
func (a *admitter) relabelSlots() {
	slots := a.account.Status.Slots
	renamed := func(slot *v1alpha1.Slot) *v1alpha1.APIKey {
		if k := a.byUID[slot.UID]; k != nil && len(k.Undecodable) == 0 && k.Spec.Label != slot.Label {
			return k
		}
		return nil
	}
	for i := range slots {
		if renamed(&slots[i]) != nil {
			slots[i].Label = ""
		}
	}
	for i := range slots {
		if k := renamed(&slots[i]); k != nil && a.isLabelFree(k) {
			slots[i].Label = k.Spec.Label
		}
	}
}

// candidates are the keys that ask for a slot and have none, oldest first.
func (a *admitter) candidates() []*v1alpha1.APIKey {
	held := map[string]bool{}
	for _, slot := range a.account.Status.Slots {
		held[slot.UID] = true
	}
	var list []*v1alpha1.APIKey
	for _, k := range a.Keys {
		if !held[string(k.UID)] && k.DeletionTimestamp.IsZero() && a.countsTowardsLimit(k) {
			list = append(list, k)
		}
	}
	slices.SortFunc(list, compareAge)
	return list
}

// assignSlots records the candidates that are owed a slot: those issued without a limit, or before the record was lost.
// It gives what is free then to the first of the others, and returns those that wait. A debt that the API server has
// not confirmed is not paid, but what it may cost is not given to anybody else.
func (a *admitter) assignSlots(candidates []*v1alpha1.APIKey) (waiting []*v1alpha1.APIKey) {
	limit, unlimited := a.Settings.Limit(a.account)
	if unlimited {
		return nil
	}
	var others []*v1alpha1.APIKey
	for _, k := range candidates {
		switch {
		case len(k.Undecodable) > 0 && MayBeIssued(k):
			limit-- // it may be owed a slot
		case !RetainsSlot(k, a.account):
			others = append(others, k)
		case a.Confirmed[string(k.UID)]:
			a.grant(k)
		default:
			limit--
		}
	}
	for _, k := range others {
		switch {
		case CheckPolicy(a.facts(k)) != nil:
		case len(a.account.Status.Slots) < limit && a.isLabelFree(k):
			a.grant(k)
		default:
			waiting = append(waiting, k)
		}
	}
	return waiting
}

// isLabelFree is whether the record leaves a key its label. It does not while it names another holder, even if that one
// may be gone: only the API server can say so.
func (a *admitter) isLabelFree(k *v1alpha1.APIKey) bool {
	holder, _ := labelHolder(k, a.account, a.byLabel[LabelForm(k.Spec.Label)])
	return holder == ""
}

func (a *admitter) grant(k *v1alpha1.APIKey) {
	label := ""
	if a.isLabelFree(k) {
		label = k.Spec.Label
	}
	a.account.Status.Slots = append(a.account.Status.Slots, v1alpha1.Slot{
		Namespace: k.Namespace, Name: k.Name, UID: string(k.UID), Grant: a.newGrant(k), Label: label,
	})
}

// newGrant names a grant after the account's resourceVersion, so that it is later than any that the key gave back. Where
// resourceVersions began anew, as after etcd was restored, another digit makes it so.
func (a *admitter) newGrant(k *v1alpha1.APIKey) string {
	if version := a.account.ResourceVersion; isLaterGrant(version, k.Status.ReleasedGrant) {
		return version
	}
	return k.Status.ReleasedGrant + "0"
}

// countsTowardsLimit is whether a key counts towards the limit.
func (a *admitter) countsTowardsLimit(k *v1alpha1.APIKey) bool {
	return !countsUsableOnly(a.account) || a.wantsActive(k)
}

func (a *admitter) wantsActive(k *v1alpha1.APIKey) bool {
	f := a.facts(k)
	return f.desiredState() == v1alpha1.StateActive
}

func (a *admitter) facts(k *v1alpha1.APIKey) Facts {
	return Facts{
		Key: k, Account: a.account, NamespaceLabels: a.NamespaceLabels[k.Namespace], Siblings: a.byLabel[LabelForm(k.Spec.Label)],
		Settings: a.Settings, Now: a.Now,
	}
}

// UnconfirmedSlots are the keys about which Admit would change the record if only the API server confirmed it: holders that are
// not among the known keys, and keys that are owed a slot and have none. The caller asks and fills Confirmed.
func UnconfirmedSlots(f AccountFacts) (missing []v1alpha1.Slot, unrecorded []*v1alpha1.APIKey) {
	known := map[string]bool{}
	for _, k := range f.Keys {
		known[string(k.UID)] = true
	}
	for _, slot := range f.Account.Status.Slots {
		if !known[slot.UID] {
			missing = append(missing, slot)
		}
		known[slot.UID] = false
	}
	if _, unlimited := f.Settings.Limit(f.Account); unlimited {
		return missing, nil
	}
	for _, k := range f.Keys {
		if known[string(k.UID)] && RetainsSlot(k, f.Account) {
			unrecorded = append(unrecorded, k)
		}
	}
	return missing, unrecorded
}

// NeedsSlot is whether a key of an account must hold a slot to be what it wants to be.
func NeedsSlot(f Facts) bool {
	return !countsUsableOnly(f.Account) || f.desiredState() == v1alpha1.StateActive
}

// WouldExceedLimit is whether a new key of the account would have to wait, judged by the record and by the keys ahead of it.
func WouldExceedLimit(f AccountFacts) bool {
	limit, unlimited := f.Settings.Limit(f.Account)
	if unlimited {
		return false
	}
	a := Admit(f)
	return len(a.Slots)+len(a.Waiting) >= limit
}
