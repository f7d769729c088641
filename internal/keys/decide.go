// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"slices"
	"time"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/credential"
)

// Plan lists what a reconcile does to bring the cluster closer to the spec.
type Plan struct {
	// Steps lists the steps in the order in which they are performed, until one fails.
	Steps []Step
	// Why explains the steps, or why there is none. It is used in logs and by make plan.
	Why string
}

// DeletesKey reports whether the plan deletes the key, after which there is no status left to describe.
func (p Plan) DeletesKey() bool {
	return slices.ContainsFunc(p.Steps, func(s Step) bool {
		_, ok := s.(DeleteKey)
		return ok
	})
}

// conflictRecheckInterval separates two reconciles of a key that waits for an object which the manager does not watch,
// such as a Secret of another owner.
const conflictRecheckInterval = time.Minute

// Decide returns the steps that bring the cluster closer to the spec. Repairs of a contested Secret are delayed.
func Decide(f Facts) Plan {
	a := assess(&f)
	steps, why := a.dueSteps()
	if deletion := a.deletion(); len(steps) == 0 && len(deletion) > 0 {
		return Plan{Steps: deletion, Why: "the retention period of the account has passed"}
	}
	if slices.ContainsFunc(steps, f.isRepair) && f.Now.Before(a.nextRepair()) {
		return Plan{Steps: slices.DeleteFunc(slices.Clone(steps), f.isRepair), Why: "another client keeps changing the Secret"}
	}
	return Plan{Steps: steps, Why: why}
}

// neededSteps returns the steps that are needed, whether they are possible or not.
func (a *assessment) neededSteps() ([]Step, string) {
	name := SecretName(a.Key)
	switch {
	case !a.Key.DeletionTimestamp.IsZero():
		return nil, "the key is being deleted, and its Secret with it"
	case a.desiredState == v1alpha1.StateRevoked:
		steps, why := a.revoke(name)
		return append(steps, a.createAccount()...), why
	case a.violation != nil:
		return nil, "not accepted: " + a.violation.Reason
	case a.Account == nil:
		return a.createAccount(), "the account does not exist yet"
	case a.admissionPending:
		return nil, "waiting for the Account to be reconciled"
	}
	return a.ensureCredential(name)
}

// createAccount returns the step that creates the key's account if it does not exist and the manager may create it.
func (a *assessment) createAccount() []Step {
	if a.Account != nil || a.violation != nil || a.accountCreationPending() {
		return nil
	}
	return []Step{CreateAccount{Name: a.Key.Spec.Account}}
}

// revoke returns the steps that remove the credentials from the Secret. The Secret itself stays, so that pods that
// mount it can restart.
func (a *assessment) revoke(name string) ([]Step, string) {
	switch {
	case a.Secret.Ownership == SecretOwned && a.Secret.HoldsCredential():
		return []Step{ClearSecret{Name: name}}, "the key is revoked, and its Secret still holds a credential"
	case a.Secret.Ownership == SecretOffered && a.Secret.OfferProblem == "":
		return []Step{AdoptSecret{Name: name}}, "the key is revoked, and a Secret without an owner holds its credential"
	case a.Secret.Ownership == SecretOwned && a.Secret.Drifted:
		return []Step{RepairSecret{Name: name}}, "the Secret differs from what is declared"
	}
	return nil, "the key is revoked"
}

// ensureCredential returns the steps after which the Secret holds a credential that verifiers accept.
func (a *assessment) ensureCredential(name string) ([]Step, string) {
	format := EffectiveFormat(a.Key, a.Account)
	switch {
	case a.needsNoCredential():
		return nil, "no credential is needed"
	case a.importsCredential():
		return nil, "the imported credential is recorded in the status first"
	case a.Secret.Ownership == SecretMissing && a.isImported(&a.Key.Status):
		return a.replaceImported(name, format)
	case a.Secret.Ownership == SecretMissing:
		return []Step{CreateSecret{Name: name, Format: format}}, "the key has no Secret"
	case a.Secret.Ownership == SecretOffered && a.Secret.OfferProblem == "":
		return []Step{AdoptSecret{Name: name}}, "the Secret is offered for adoption"
	case a.Secret.Ownership != SecretOwned:
		return nil, "the Secret is owned by another object"
	case a.promoted() != nil:
		return nil, "the promotion of the staged credential is recorded in the status first"
	case a.secretHolds(v1alpha1.RoleCurrent):
		return a.rotate(name, format)
	case !a.adoptable() && !a.claimed():
		return nil, "the resourceVersion of the Secret, which holds an unknown credential, is recorded in the status first"
	case !a.adoptable():
		return []Step{ReissueCredential{Name: name, Format: format}}, "the Secret does not hold a credential that verifiers accept"
	case a.Secret.Drifted:
		return []Step{RepairSecret{Name: name}}, "the Secret differs from what is declared"
	}
	return nil, "nothing to do"
}

// rotate returns the next step of a rotation. First the next credential is staged: its digest is written to the status.
// Once verifiers know it, it is written to the Secret. Then the status names it as the current credential. A crash
// after any of these writes leaves a Secret whose credential verifiers accept.
func (a *assessment) rotate(name string, format credential.Format) ([]Step, string) {
	is, previous := current(&a.Key.Status), credentialInRole(&a.Key.Status, v1alpha1.RolePrevious)
	switch {
	case a.canPromote():
		return []Step{
			PromoteStaged{Name: name, WithOverlap: a.schedule.overlap > 0 && !a.revokedByTime(is)},
		}, "verifiers have observed the staged credential"
	case a.stagingDue():
		return a.stage(name, format)
	case a.Secret.HasPrevious && (previous == nil || a.credentialExpired(previous)):
		return []Step{RetirePrevious{Name: name}}, "the overlap has ended"
	case a.Secret.Drifted:
		return []Step{RepairSecret{Name: name}}, "the Secret differs from what is declared"
	case a.hasStaged():
		return nil, "waiting for verifiers to observe the staged credential"
	}
	return nil, "nothing to do"
}

// credentialExpired reports whether a credential has reached its notAfter time, or was revoked by
// spec.rotation.revokeBefore.
func (a *assessment) credentialExpired(c *v1alpha1.Credential) bool {
	return a.revokedByTime(c) || (c.NotAfter != nil && !a.Now.Before(c.NotAfter.Time))
}

// isUsable reports whether verifiers accept a credential while the key is Active.
func (a *assessment) isUsable(c v1alpha1.Credential) bool { return !a.credentialExpired(&c) }

// needsNoCredential reports whether a key without a credential needs none for now.
func (a *assessment) needsNoCredential() bool {
	return !Issued(a.Key) && (!a.mayIssue || a.desiredState == v1alpha1.StateExpired)
}

// NextCheck returns the first moment at which the passage of time alone changes the result of Decide or Describe. It is
// zero if there is none.
func NextCheck(f Facts) time.Time {
	a := assess(&f)
	times := []time.Time{a.retentionCheck(), a.rotationCheck(), a.admissionCheck(), a.secretCheck()}
	if expiration, err := f.expiration(); err == nil && expiration != nil {
		times = append(times, *expiration)
	}
	for _, c := range f.Key.Status.Credentials {
		if c.NotAfter != nil {
			times = append(times, c.NotAfter.Time)
		}
	}
	if before := a.schedule.revokeBefore; before != nil {
		times = append(times, before.Time)
	}
	if due := a.nextRotation(&f.Key.Status); due != nil {
		times = append(times, *due)
	}
	return earliestAfter(f.Now, times)
}

// earliestAfter returns the earliest of the times after now, or zero if there is none.
func earliestAfter(now time.Time, times []time.Time) time.Time {
	times = slices.DeleteFunc(times, func(t time.Time) bool { return !t.After(now) })
	if len(times) == 0 {
		return time.Time{}
	}
	return slices.MinFunc(times, time.Time.Compare)
}

// rotationCheck returns when a rotation stops waiting for verifiers, or zero if no rotation waits.
func (a *assessment) rotationCheck() time.Time {
	if !a.hasStaged() || a.promoted() != nil {
		return time.Time{}
	}
	return a.propagationDeadline()
}

// admissionCheck returns when to reconcile a key again that waits for its account, or zero if it does not wait.
func (a *assessment) admissionCheck() time.Time {
	switch {
	case !a.admissionPending:
		return time.Time{}
	case a.accountCreationPending():
		return a.accountCreationTime()
	}
	return a.Now.Add(admissionRecheckInterval)
}

// secretCheck returns when to read a Secret again that the manager can't write now, or zero if there is none.
func (a *assessment) secretCheck() time.Time {
	var times []time.Time
	switch {
	case a.admissionPending, a.desiredState == v1alpha1.StateRevoked:
	case a.violation == nil && (a.Secret.Ownership == SecretForeign || a.Secret.Ownership == SecretOrphaned || a.Secret.OfferProblem != ""),
		a.violation != nil && a.violation.Reason == v1alpha1.ReasonDuplicateKey && !Issued(a.Key):
		times = append(times, a.Now.Add(conflictRecheckInterval))
	}
	if a.contested() {
		times = append(times, a.contestRecheckTime())
	}
	if IsRefused(a.Err) {
		times = append(times, a.Now.Add(refusalRecheckInterval))
	}
	return earliestAfter(a.Now, times)
}
