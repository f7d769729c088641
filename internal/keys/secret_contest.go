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

// FieldManager is the name under which the manager writes Secrets.
const FieldManager = "apikey-manager"

const (
	// contestWindow is the time within which repairs are counted, and for which a Secret must stay as it is for the contest
	// to be over.
	contestWindow = time.Minute
	// maxRepairs is how often within the window a Secret is repaired at once.
	maxRepairs = 3
	// maxRepairInterval is the longest time between two repairs of a contested Secret.
	maxRepairInterval = time.Hour
)

// Repairs is what a manager remembers of its repairs of a key's Secret. A repair is a write that undoes another client's
// change. The rest follows from condition Stalled with reason SecretContested, so a restart does not begin anew.
type Repairs struct {
	// Generation is that of the key. A change of the spec ends a contest.
	Generation int64
	// Times are those of the last repairs, oldest first.
	Times []time.Time
	// FoundChangeAt is when the Secret was last found changed by another client.
	FoundChangeAt time.Time
	// Written is the resourceVersion of the Secret that the manager wrote and could not record in the status yet.
	Written string
}

// ResumeRepairs returns what a manager that just started assumes: a contested Secret was repaired a moment ago.
func ResumeRepairs(k *v1alpha1.APIKey, now time.Time) Repairs {
	r := Repairs{Generation: k.Generation}
	if contestOf(k) != nil {
		r.Times, r.FoundChangeAt = []time.Time{now}, now
	}
	return r
}

// After returns what to remember after a plan for the facts was performed, or failed.
func (r Repairs) After(f Facts, plan Plan, performed bool) Repairs {
	if assess(&f).repairDue() {
		r.FoundChangeAt = f.Now
	}
	if performed && slices.ContainsFunc(plan.Steps, f.isRepair) {
		r.Times = append(slices.Clone(r.Times[max(0, len(r.Times)-maxRepairs+1):]), f.Now)
	}
	return r
}

// Of returns what to remember of a key: nothing of the time before its spec was changed.
func (r Repairs) Of(k *v1alpha1.APIKey) Repairs {
	if r.Generation != k.Generation {
		return Repairs{Generation: k.Generation, Written: r.Written}
	}
	return r
}

// Idle reports whether there is nothing to remember any more.
func (r Repairs) Idle(now time.Time) bool {
	return r.Written == "" && now.Sub(r.FoundChangeAt) > 2*maxRepairInterval
}

// recent counts the repairs within the window.
func (r Repairs) recent(now time.Time) int {
	n := 0
	for _, t := range r.Times {
		if now.Sub(t) < contestWindow {
			n++
		}
	}
	return n
}

// last returns when the Secret was last repaired; since: it is not known to have been.
func (r Repairs) last(since time.Time) time.Time {
	if len(r.Times) == 0 {
		return since
	}
	return r.Times[len(r.Times)-1]
}

// contestOf returns the condition that says that a key's Secret is contested, under the spec as it is; nil: it is not.
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

// changedByOthers reports whether the Secret is neither what the status remembers nor what this manager wrote last.
func (f *Facts) changedByOthers() bool {
	ref, version := f.Key.Status.SecretRef, f.Secret.ResourceVersion
	return version != f.Repairs.Written && (ref == nil || ref.ResourceVersion != version)
}

// repairDue reports whether a repair is due, be it now or later.
func (a *assessment) repairDue() bool {
	steps, _ := a.dueSteps()
	return slices.ContainsFunc(steps, a.isRepair)
}

// nextRepair returns before which time the Secret is not to be repaired again; zero: at once. From the beginning of a
// contest on there is a repair after a minute, two more, four more and so on, up to an hour.
func (a *assessment) nextRepair() time.Time {
	if c := contestOf(a.Key); c != nil {
		return repairAfter(c.LastTransitionTime.Time, a.Repairs.last(c.LastTransitionTime.Time))
	}
	if a.Repairs.recent(a.Now) >= maxRepairs {
		return repairAfter(a.Now, a.Now)
	}
	return time.Time{}
}

// repairAfter returns the first time after the last repair at which a Secret that is contested since a time is repaired.
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

// contested reports whether another client keeps changing the Secret, so that it is repaired ever more seldom.
func (a *assessment) contested() bool {
	due := a.repairDue()
	if contestOf(a.Key) != nil {
		return due || a.Now.Before(a.Repairs.FoundChangeAt.Add(contestWindow))
	}
	return due && a.Now.Before(a.nextRepair())
}

// contestRecheckTime returns when to look at a contested Secret again.
func (a *assessment) contestRecheckTime() time.Time {
	if a.repairDue() {
		return a.nextRepair()
	}
	return a.Repairs.FoundChangeAt.Add(contestWindow)
}

// contestedCondition names who keeps changing the Secret. It stays as it is while the contest lasts.
func (a *assessment) contestedCondition() conditionValue {
	v := conditionValue{status: metav1.ConditionFalse, reason: v1alpha1.ReasonSecretContested}
	name := SecretName(a.Key)
	switch c := contestOf(a.Key); {
	case c != nil:
		v.message = c.Message
	case a.Secret.Ownership == SecretMissing:
		v.message = truncate("Another client keeps deleting Secret " + name + ", so it is written again ever more seldom: make that client leave it alone")
	case a.Secret.Writer == "":
		v.message = truncate("Another client keeps changing Secret " + name + ", so it is put back ever more seldom: make that client leave it alone")
	default:
		v.message = truncate("Field manager " + a.Secret.Writer + " keeps changing Secret " + name + ", so it is put back ever more seldom: make it leave the Secret alone")
	}
	return v
}

// lastWriter returns the field manager, other than this one, that last changed an object; empty: none did. Clients choose
// that name, so what is returned is short and plain.
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
