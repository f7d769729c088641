// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// FieldManager is the field manager name with which the manager writes Secrets.
const FieldManager = "apikey-manager"

const (
	// contestWindow is the period in which repairs are counted. A contest is over once the Secret has stayed unchanged
	// for this long.
	contestWindow = time.Minute
	// maxRepairs limits the repairs within the window that are made without a delay.
	maxRepairs = 3
	// maxRepairInterval limits the time between two repairs of a contested Secret.
	maxRepairInterval = time.Hour
)

// Repairs records the manager's recent repairs of a key's Secret. A repair is a write that undoes another client's
// change. Condition Stalled with reason SecretContested records the contest itself, so that a restart of the manager
// does not reset the delays.
type Repairs struct {
	// Generation holds the generation of the key. A change of the spec ends a contest.
	Generation int64
	// Times lists the times of the last repairs, oldest first.
	Times []time.Time
	// FoundChangeAt holds the time when the Secret was last found changed by another client.
	FoundChangeAt time.Time
	// Written holds the resourceVersion of the Secret that the manager wrote and has not recorded in the status yet.
	Written string
}

// ResumeRepairs returns the record with which a restarted manager begins. It assumes that a contested Secret was
// repaired just now.
func ResumeRepairs(k *v1alpha1.APIKey, now time.Time) Repairs {
	r := Repairs{Generation: k.Generation}
	if contestOf(k) != nil {
		r.Times, r.FoundChangeAt = []time.Time{now}, now
	}
	return r
}

// After returns the record after a plan for the facts was performed, or failed.
func (r Repairs) After(f Facts, plan Plan, performed bool) Repairs {
	if assess(&f).repairDue() {
		r.FoundChangeAt = f.Now
	}
	if performed && slices.ContainsFunc(plan.Steps, f.isRepair) {
		r.Times = append(slices.Clone(r.Times[max(0, len(r.Times)-maxRepairs+1):]), f.Now)
	}
	return r
}

// Of returns the record for the current generation of a key. It discards the repairs made before the spec was changed.
func (r Repairs) Of(k *v1alpha1.APIKey) Repairs {
	if r.Generation != k.Generation {
		return Repairs{Generation: k.Generation, Written: r.Written}
	}
	return r
}

// Idle reports whether the record can be discarded.
func (r Repairs) Idle(now time.Time) bool {
	return r.Written == "" && now.Sub(r.FoundChangeAt) > 2*maxRepairInterval
}

// recent returns the number of repairs within the window.
func (r Repairs) recent(now time.Time) int {
	n := 0
	for _, t := range r.Times {
		if now.Sub(t) < contestWindow {
			n++
		}
	}
	return n
}

// last returns when the Secret was last repaired, or since if no repair is recorded.
func (r Repairs) last(since time.Time) time.Time {
	if len(r.Times) == 0 {
		return since
	}
	return r.Times[len(r.Times)-1]
}

// contestOf returns the condition that says that a key's Secret is contested under the current spec, or nil if it is
// not.
func contestOf(k *v1alpha1.APIKey) *metav1.Condition {
	c := meta.FindStatusCondition(k.Status.Conditions, v1alpha1.ConditionStalled)
	if c == nil || c.Reason != v1alpha1.ReasonSecretContested || c.ObservedGeneration != k.Generation {
		return nil
	}
	return c
}

// isRepair reports whether a step undoes another client's change of the Secret.
func (f *Facts) isRepair(step Step) bool {
	switch step.(type) {
	case CreateSecret:
		return Issued(f.Key)
	case ReissueCredential, RepairSecret:
		return f.changedByOthers()
	case ClearSecret:
		return f.Key.Status.State == v1alpha1.StateRevoked && f.changedByOthers()
	}
	return false
}

// changedByOthers reports whether another client changed the Secret since the status recorded that it was right: it has neither
// the recorded resourceVersion nor the one that this manager wrote last. The status of a contested Secret records none.
func (f *Facts) changedByOthers() bool {
	ref, version := f.Key.Status.SecretRef, f.Secret.ResourceVersion
	if version == f.Repairs.Written || ref == nil || ref.ResourceVersion == version {
		return false
	}
	return ref.ResourceVersion != "" || contestOf(f.Key) != nil
}

// repairDue reports whether a repair is needed, whether now or after its delay.
func (a *assessment) repairDue() bool {
	steps, _ := a.dueSteps()
	return slices.ContainsFunc(steps, a.isRepair)
}

// nextRepair returns the time before which the Secret is not repaired again, or zero if it may be repaired now. Counted
// from the beginning of a contest, repairs follow after one minute, two more, four more and so on, up to an hour.
func (a *assessment) nextRepair() time.Time {
	if c := contestOf(a.Key); c != nil {
		return repairAfter(c.LastTransitionTime.Time, a.Repairs.last(c.LastTransitionTime.Time))
	}
	if a.Repairs.recent(a.Now) >= maxRepairs {
		return repairAfter(a.Now, a.Now)
	}
	return time.Time{}
}

// repairAfter returns the next repair after the last one, for a Secret that has been contested since the given time.
func repairAfter(since, last time.Time) time.Time {
	next, interval := since.Add(contestWindow), contestWindow
	for !next.After(last) && interval < maxRepairInterval {
		interval = min(2*interval, maxRepairInterval)
		next = next.Add(interval)
	}
	if missed := last.Sub(next); missed >= 0 {
		next = next.Add(missed - missed%maxRepairInterval + maxRepairInterval)
	}
	return next
}

// contested reports whether another client keeps changing the Secret, so that repairs are delayed with exponential
// backoff.
func (a *assessment) contested() bool {
	due := a.repairDue()
	if contestOf(a.Key) != nil {
		return due || a.Now.Before(a.Repairs.FoundChangeAt.Add(contestWindow))
	}
	return due && a.Now.Before(a.nextRepair())
}

// contestRecheckTime returns when to read a contested Secret again.
func (a *assessment) contestRecheckTime() time.Time {
	if a.repairDue() {
		return a.nextRepair()
	}
	return a.Repairs.FoundChangeAt.Add(contestWindow)
}

// contestedCondition returns the condition that names the client that keeps changing the Secret. It does not change
// while the contest lasts.
func (a *assessment) contestedCondition() conditionValue {
	v := conditionValue{status: metav1.ConditionFalse, reason: v1alpha1.ReasonSecretContested}
	name := SecretName(a.Key)
	switch c := contestOf(a.Key); {
	case c != nil:
		v.message = c.Message
	case a.Secret.Ownership == SecretMissing:
		v.message = truncate(
			"Another client keeps deleting Secret " + name + ", so the manager writes it again less and less often: stop that client",
		)
	case a.Secret.Writer == "":
		v.message = truncate("Another client keeps changing Secret " + name + ", so the manager repairs it less and less often: stop that client")
	default:
		v.message = truncate(
			"Field manager " + a.Secret.Writer + " keeps changing Secret " + name + ", so the manager repairs it less and less " +
				"often: stop that client",
		)
	}
	return v
}

// lastWriter returns the field manager, other than this one, that last changed an object, or "" if there is none.
// Clients choose that name freely, so the result is shortened and restricted to plain characters.
func lastWriter(entries []metav1.ManagedFieldsEntry) string {
	var last *metav1.ManagedFieldsEntry
	for i, e := range entries {
		if e.Manager != FieldManager && e.Subresource == "" && (last == nil || last.Time == nil || last.Time.Before(e.Time)) {
			last = &entries[i]
		}
	}
	if last == nil {
		return ""
	}
	return plainName(last.Manager, maxManager)
}
