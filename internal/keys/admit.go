// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"math"
	"math/big"
	"slices"
	"time"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// maxSlots limits the slots in the record of an account. The schema has the same limit, which is also the highest value of
// spec.limits.maxKeys and of --default-max-keys. Only keys that were issued without a limit, or before the record was lost,
// can be more.
const maxSlots = 1000

// AccountFacts holds everything that Admit and DescribeAccount read.
type AccountFacts struct {
	// Account holds the account as it was read. New grants are named after its resourceVersion.
	Account *v1alpha1.Account
	// Keys lists the keys that name the account, as far as is known.
	Keys []*v1alpha1.APIKey
	// Declaring lists the accounts that declare the same external ID. It may include the account itself.
	Declaring []*v1alpha1.Account
	// NamespaceLabels holds the labels of the keys' namespaces, by the name of the namespace.
	NamespaceLabels map[string]map[string]string
	// Confirmed holds the UIDs that were confirmed by a read from the API server, not from a cache: that the holder of
	// a slot no longer exists, or that a key without a slot retains one. Admit changes the record against a key only
	// then.
	Confirmed map[string]bool
	// Settings holds the settings of the manager's flags.
	Settings Settings
	// Now holds the current time in UTC, in whole seconds. It is read once per reconcile.
	Now time.Time
}

// Admission lists the slots of an account and the keys that wait for one.
type Admission struct {
	Slots   []v1alpha1.Slot
	Waiting []*v1alpha1.APIKey
}

// Admit decides which keys of an account hold a slot.
//
// A key keeps its slot until the key no longer exists or, under counting: Usable, until the status of the key says that
// it released the grant. Neither fact can become untrue again, so a stale cache can delay the reuse of a slot but never
// assign it twice. Lowering the limit evicts no key. Free slots go to the waiting keys, oldest first (by creation time,
// then UID).
func Admit(f AccountFacts) Admission {
	a := newAdmitter(f)
	waiting := a.assignSlots(a.candidates(), math.MaxInt)
	return Admission{Slots: a.account.Status.Slots, Waiting: waiting}
}

// admitter holds the state of one call of Admit. Its account is a copy whose slots are changed on the way, so that each
// check sees the decisions before it.
type admitter struct {
	AccountFacts
	account *v1alpha1.Account
	// policy holds the account without its slots, for the checks that do not concern the slots.
	policy *v1alpha1.Account
	byUID  map[string]*v1alpha1.APIKey
	labels labelIndex
}

// newAdmitter returns an admitter whose account has no slots left that are free, and the present labels of the others.
func newAdmitter(f AccountFacts) *admitter {
	f.Keys = f.Settings.Watched(f.Keys)
	a := &admitter{AccountFacts: f, account: f.Account.DeepCopy(), byUID: make(map[string]*v1alpha1.APIKey, len(f.Keys))}
	policy := *f.Account
	policy.Status.Slots = nil
	a.policy = &policy
	for _, k := range f.Keys {
		a.byUID[string(k.UID)] = k
	}
	a.pruneSlots()
	a.orderSlots()
	a.relabelSlots()
	return a
}

// pruneSlots drops the slots that are free, and renews the grant of those whose key released it and wants to be usable
// again.
func (a *admitter) pruneSlots() {
	kept := make([]v1alpha1.Slot, 0, len(a.account.Status.Slots))
	for _, slot := range a.account.Status.Slots {
		k := a.byUID[slot.UID]
		switch {
		case k == nil && a.Confirmed[slot.UID]:
			continue
		case k == nil, len(k.Undecodable) > 0, !grantReleased(k, &slot):
		case !acceptedUnderPolicy(k): // its grant was released because it violates the policy
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

// relabelSlots records the labels of renamed keys, where the new label is free. All old labels are released first,
// whether or not the new ones are free, so that two keys can swap labels and no unused label stays reserved.
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
	a.labels = newLabelIndex(a.Keys, slots)
	for i := range slots {
		if k := renamed(&slots[i]); k != nil && a.isLabelFree(k) {
			slots[i].Label = k.Spec.Label
			a.labels.record(&slots[i])
		}
	}
}

// candidates returns the keys that need a slot and hold none, oldest first.
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

// assignSlots records the candidates that retain a slot, because they were issued without a limit or before the record
// was lost. It assigns the slots that are then free to the oldest of the other candidates and returns those that wait.
// A retained slot that the API server has not confirmed, or for which the record has no room, is not recorded yet, but it
// is not assigned to another key either. It stops as soon as enough keys hold a slot or wait for one.
func (a *admitter) assignSlots(candidates []*v1alpha1.APIKey, enough int) (waiting []*v1alpha1.APIKey) {
	limit, unlimited := a.Settings.Limit(a.account)
	if unlimited {
		return nil
	}
	var others []*v1alpha1.APIKey
	for _, k := range candidates {
		switch {
		case len(k.Undecodable) > 0 && MayBeIssued(k):
			limit-- // the key may retain a slot
		case !RetainsSlot(k, a.account):
			others = append(others, k)
		case a.Confirmed[string(k.UID)] && !recordFull(a.account):
			a.grant(k)
		default:
			limit--
		}
	}
	for _, k := range others {
		if len(a.account.Status.Slots)+len(waiting) >= enough {
			break
		}
		holder, known := a.labelHolder(k)
		switch {
		case holder != "" && known, CheckPolicy(a.facts(k)) != nil: // the key violates the policy
		case len(a.account.Status.Slots) < limit && holder == "":
			a.grant(k)
		default:
			waiting = append(waiting, k)
		}
	}
	return waiting
}

// isLabelFree reports whether the key may have its label according to the record. It may not while the record names
// another holder, even one that may be deleted: only a read from the API server can confirm that.
func (a *admitter) isLabelFree(k *v1alpha1.APIKey) bool {
	holder, _ := a.labelHolder(k)
	return holder == ""
}

// labelHolder returns the same as the function of that name, without a search through all slots and keys.
func (a *admitter) labelHolder(k *v1alpha1.APIKey) (holder string, known bool) {
	if !HasUniqueLabel(k, a.account) {
		return "", true
	}
	return a.labels.holder(k)
}

func (a *admitter) grant(k *v1alpha1.APIKey) {
	label := ""
	if a.isLabelFree(k) {
		label = k.Spec.Label
	}
	slot := v1alpha1.Slot{Namespace: k.Namespace, Name: k.Name, UID: string(k.UID), Grant: a.newGrant(k), Label: label}
	a.account.Status.Slots = append(a.account.Status.Slots, slot)
	a.labels.record(&slot)
}

// newGrant names a grant after the account's resourceVersion, so that it is later than any grant that the key released.
// If resourceVersions started again, as after a restore of etcd, it is the number after that of the released grant: it
// must not become longer each time that the key releases its grant.
func (a *admitter) newGrant(k *v1alpha1.APIKey) string {
	if version := a.account.ResourceVersion; isLaterGrant(version, k.Status.ReleasedGrant) {
		return version
	}
	released, ok := new(big.Int).SetString(k.Status.ReleasedGrant, 10)
	if !ok {
		return k.Status.ReleasedGrant + "0"
	}
	return released.Add(released, big.NewInt(1)).String()
}

// countsTowardsLimit reports whether a key counts towards the limit.
func (a *admitter) countsTowardsLimit(k *v1alpha1.APIKey) bool {
	return !countsUsableOnly(a.account) || a.wantsActive(k)
}

func (a *admitter) wantsActive(k *v1alpha1.APIKey) bool {
	f := a.facts(k)
	return f.desiredState() == v1alpha1.StateActive
}

// facts returns the facts of a key for all checks but that of its label.
func (a *admitter) facts(k *v1alpha1.APIKey) Facts {
	return Facts{Key: k, Account: a.policy, NamespaceLabels: a.NamespaceLabels[k.Namespace], Settings: a.Settings, Now: a.Now}
}

// recordFull reports whether the record of an account has no room for another slot.
func recordFull(a *v1alpha1.Account) bool { return len(a.Status.Slots) >= maxSlots }

// UnconfirmedSlots returns the slots and keys for which Admit would change the record if the API server confirmed it:
// slots whose holder is not among the known keys, and keys that retain a slot and have none, the oldest ones for which the
// record has room. The caller reads them from the API server and fills Confirmed.
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
	slices.SortFunc(unrecorded, compareAge)
	room := max(0, maxSlots-len(f.Account.Status.Slots))
	return missing, unrecorded[:min(len(unrecorded), room)]
}

// NeedsSlot reports whether a key must hold a slot to reach its desired state.
func NeedsSlot(f Facts) bool {
	return !countsUsableOnly(f.Account) || f.desiredState() == v1alpha1.StateActive
}

// WouldExceedLimit reports whether a new key of the account would have to wait for a slot, according to the record and
// the keys that wait already.
func WouldExceedLimit(f AccountFacts) bool {
	limit, unlimited := f.Settings.Limit(f.Account)
	if unlimited {
		return false
	}
	a := newAdmitter(f)
	waiting := a.assignSlots(a.candidates(), limit)
	return len(a.account.Status.Slots)+len(waiting) >= limit
}
