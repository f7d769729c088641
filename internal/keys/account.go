// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"fmt"
	"strconv"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// DescribeAccount returns the status of an account as the facts have it: which keys hold its slots, how many keys are
// in each state, and whether its spec can be carried out.
func DescribeAccount(f AccountFacts) v1alpha1.AccountStatus {
	admission := Admit(f)
	after := *f.Account.Status.DeepCopy()
	after.ObservedGeneration = f.Account.Generation
	after.DeletionPolicy = f.Settings.Deletion(f.Account)
	after.Slots = admission.Slots
	after.Keys = countKeys(f, admission)
	f.setConditions(&after)
	return after
}

func countKeys(f AccountFacts, a Admission) *v1alpha1.KeyCounts {
	counts := map[v1alpha1.ObservedState]int{}
	issued := 0
	for _, k := range f.Keys {
		counts[k.Status.State]++
		if Issued(k) {
			issued++
		}
	}
	admitted, slots := len(a.Slots), ""
	limit, unlimited := f.Settings.Limit(f.Account)
	if unlimited {
		admitted = issued
		slots = strconv.Itoa(admitted) + "/unlimited"
	} else {
		slots = fmt.Sprintf("%d/%d", admitted, limit)
	}
	return &v1alpha1.KeyCounts{
		Usage: slots, Admitted: count(admitted), Waiting: count(len(a.Waiting)),
		Active: count(counts[v1alpha1.StateActive]), Inactive: count(counts[v1alpha1.StateInactive]),
		Expired: count(counts[v1alpha1.StateExpired]), Revoked: count(counts[v1alpha1.StateRevoked]),
	}
}

func count(n int) *int32 {
	c := int32(n) //nolint:gosec // far from the bounds: objects in one API server
	return &c
}

func (f *AccountFacts) setConditions(after *v1alpha1.AccountStatus) {
	ready := conditionValue{metav1.ConditionTrue, v1alpha1.ReasonActive, "The account's keys may be used"}
	if f.Account.Spec.State == v1alpha1.AccountSuspended {
		ready = conditionValue{metav1.ConditionTrue, v1alpha1.ReasonAccountSuspended, "The account is suspended: verifiers refuse its keys"}
	}
	if holder := ExternalIDHolder(f.Account, f.Declaring); holder != nil {
		ready = conditionValue{
			metav1.ConditionFalse,
			v1alpha1.ReasonExternalIDTaken,
			truncate(
				"spec.externalID is already used by the older account " + holder.Name + ", which keeps it: change it in one of the two accounts",
			),
		}
	}
	if errs := ValidateAccount(f.Account); len(errs) > 0 {
		ready = conditionValue{metav1.ConditionFalse, v1alpha1.ReasonInvalidSpec, truncate(errs[0].Error())}
	}
	c := conditionSetter{conditions: &after.Conditions, generation: f.Account.Generation, now: f.Now}
	c.set(v1alpha1.ConditionReady, ready)
	if ready.status == metav1.ConditionFalse {
		c.set(v1alpha1.ConditionStalled, conditionValue{metav1.ConditionTrue, ready.reason, ready.message})
	} else {
		meta.RemoveStatusCondition(&after.Conditions, v1alpha1.ConditionStalled)
	}
}
