// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"slices"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// HasUniqueLabel reports whether a key has a label that no other key of its account may have.
func HasUniqueLabel(k *v1alpha1.APIKey, a *v1alpha1.Account) bool {
	return k.Spec.Label != "" && a != nil && a.Spec.LabelPolicy != v1alpha1.LabelShared
}

// labelHolder returns the other key that has the label of a key, or "" if the key may have the label. A label belongs
// to the slot in which it is recorded, so that renaming another key can't take it from a key in use. Among keys without
// a slot, the oldest has it. known is false for a holder that is not among the siblings: it may be deleted, or too new
// for the cache.
func labelHolder(k *v1alpha1.APIKey, a *v1alpha1.Account, siblings []*v1alpha1.APIKey) (holder string, known bool) {
	if !HasUniqueLabel(k, a) {
		return "", true
	}
	form := LabelForm(k.Spec.Label)
	index := labelIndex{recorded: map[string][]v1alpha1.Slot{}, siblings: map[string]*labelSiblings{}}
	for i := range a.Status.Slots {
		if s := &a.Status.Slots[i]; s.Label != "" && LabelForm(s.Label) == form {
			index.record(s)
		}
	}
	for _, sibling := range siblings {
		index.addSibling(sibling)
	}
	return index.holder(k)
}

// labelIndex finds the slots in which a label is recorded, and the keys that request it, by its normalized form.
type labelIndex struct {
	recorded map[string][]v1alpha1.Slot
	siblings map[string]*labelSiblings
}

// labelSiblings holds the keys that request the same label.
type labelSiblings struct {
	uids   map[string]bool
	oldest *v1alpha1.APIKey
}

func newLabelIndex(list []*v1alpha1.APIKey, slots []v1alpha1.Slot) labelIndex {
	index := labelIndex{
		recorded: make(map[string][]v1alpha1.Slot, len(slots)), siblings: make(map[string]*labelSiblings, len(list)),
	}
	for i := range slots {
		index.record(&slots[i])
	}
	for _, k := range list {
		index.addSibling(k)
	}
	return index
}

// record adds a slot with its label.
func (x labelIndex) record(s *v1alpha1.Slot) {
	if s.Label != "" {
		form := LabelForm(s.Label)
		x.recorded[form] = append(x.recorded[form], *s)
	}
}

func (x labelIndex) addSibling(k *v1alpha1.APIKey) {
	if k.Spec.Label == "" {
		return
	}
	form := LabelForm(k.Spec.Label)
	known := x.siblings[form]
	if known == nil {
		known = &labelSiblings{uids: map[string]bool{}, oldest: k}
		x.siblings[form] = known
	}
	known.uids[string(k.UID)] = true
	if compareAge(k, known.oldest) < 0 {
		known.oldest = k
	}
}

// holder returns the result of labelHolder for a key with a label.
func (x labelIndex) holder(k *v1alpha1.APIKey) (holder string, known bool) {
	form := LabelForm(k.Spec.Label)
	recorded, siblings := x.recorded[form], x.siblings[form]
	switch {
	case slices.ContainsFunc(recorded, func(s v1alpha1.Slot) bool { return s.UID == string(k.UID) }):
		return "", true
	case len(recorded) > 0:
		s := recorded[0]
		return s.Namespace + "/" + s.Name, siblings != nil && siblings.uids[s.UID]
	case siblings == nil || siblings.oldest.UID == k.UID || compareAge(siblings.oldest, k) >= 0:
		return "", true
	}
	return siblings.oldest.Namespace + "/" + siblings.oldest.Name, true
}
