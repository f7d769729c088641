// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package export

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
)

// maxListed limits the lists in the status.
const maxListed = 50

// Facts holds everything that Describe reads.
type Facts struct {
	// Export holds the KeyExport as it was read.
	Export *v1alpha1.KeyExport
	// Objects holds the objects that the KeyExport owns after the writes that succeeded.
	Objects Objects
	// Withheld lists the keys that are withheld, in any order, and more than once if they have several reasons. Then the
	// first one is reported.
	Withheld []Withheld
	// Violation describes why the export can't make progress until a user changes something, or is nil. Its reason is
	// InvalidSpec, TargetConflict, TargetImmutable or ConfigMapsNotAllowed.
	Violation *keys.Violation
	// Err holds the error of the write that failed, if any.
	Err error
	// Now holds the current time.
	Now time.Time
}

// Describe returns the status of a KeyExport. It describes what is true after the writes, also if one of them failed.
func Describe(f Facts) v1alpha1.KeyExportStatus {
	s := *f.Export.Status.DeepCopy()
	s.ObservedGeneration = f.Export.Generation
	keyCount, credentials := count(f.Objects)
	withheld := listWithheld(f.Withheld)
	s.Keys, s.Credentials, s.WithheldKeys = number(keyCount), number(credentials), number(len(withheld))
	names := slices.Sorted(maps.Keys(f.Objects))
	s.Withheld, s.ObjectCount, s.Objects = first(withheld), number(len(names)), first(names)
	setConditions(&f, &s)
	return s
}

// first returns the elements of a list that the status has room for, or nil if there are none.
func first[T any](list []T) []T {
	if len(list) == 0 {
		return nil
	}
	return list[:min(maxListed, len(list))]
}

func number(n int) *int32 {
	limited := int32(min(n, math.MaxInt32)) //nolint:gosec // it is not negative
	return &limited
}

// count returns how many keys and credentials the objects hold. An item that could not be identified counts as one of
// each.
func count(objects Objects) (keyCount, credentials int) {
	uids := map[types.UID]struct{}{}
	for _, o := range objects {
		credentials += len(o.Items)
		for _, item := range o.Items {
			if item.UID == "" {
				keyCount++
			} else {
				uids[item.UID] = struct{}{}
			}
		}
	}
	return keyCount + len(uids), credentials
}

// listWithheld returns the first reason of each key, by namespace and name.
func listWithheld(withheld []Withheld) []v1alpha1.WithheldKey {
	list, seen := make([]v1alpha1.WithheldKey, 0, len(withheld)), make(map[types.NamespacedName]bool, len(withheld))
	for _, w := range withheld {
		if !seen[w.Key] {
			seen[w.Key] = true
			list = append(list, v1alpha1.WithheldKey{Namespace: w.Key.Namespace, Name: w.Key.Name, Reason: w.Reason})
		}
	}
	slices.SortFunc(list, func(a, b v1alpha1.WithheldKey) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return list
}

// setConditions sets Ready and Stalled.
func setConditions(f *Facts, s *v1alpha1.KeyExportStatus) {
	ready := metav1.Condition{
		Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonExported, Message: exportedMessage(s),
		ObservedGeneration: f.Export.Generation, LastTransitionTime: metav1.NewTime(f.Now),
	}
	switch {
	case f.Violation != nil:
		ready.Status, ready.Reason, ready.Message = metav1.ConditionFalse, f.Violation.Reason, keys.TruncateMessage(f.Violation.Message)
	case f.Err != nil:
		before := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionReady)
		ready.Status, ready.Reason = metav1.ConditionFalse, v1alpha1.ReasonWriteFailed
		ready.Message = keys.RefusalMessage(before, v1alpha1.ReasonWriteFailed, keys.PublicMessage(f.Err))
	}
	meta.SetStatusCondition(&s.Conditions, ready)
	was := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionStalled)
	if f.Violation == nil || was != nil && was.Reason != ready.Reason {
		meta.RemoveStatusCondition(&s.Conditions, v1alpha1.ConditionStalled)
	}
	if f.Violation != nil {
		stalled := ready
		stalled.Type, stalled.Status = v1alpha1.ConditionStalled, metav1.ConditionTrue
		meta.SetStatusCondition(&s.Conditions, stalled)
	}
}

// exportedMessage returns the message of an export that is carried out. It contains no numbers, so that the condition does
// not change with each key.
func exportedMessage(s *v1alpha1.KeyExportStatus) string {
	if *s.WithheldKeys > 0 {
		return "The objects hold all selected keys that verifiers accept, except those in status.withheld"
	}
	return "The objects hold all selected keys that verifiers accept"
}
