// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"slices"
	"time"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/credential"
)

// Plan is what a round does to bring the cluster closer to the spec.
type Plan struct {
	// Steps are performed in order, up to the first that fails.
	Steps []Step
	// Why says what the steps are for, or why there is none. It is for logs and for make plan.
	Why string
}

// DeletesKey reports whether the plan deletes the key, after which there is no status left to describe.
func (p Plan) DeletesKey() bool {
	return slices.ContainsFunc(p.Steps, func(s Step) bool {
		_, ok := s.(DeleteKey)
		return ok
	})
}

// conflictRecheckInterval is the time between two reconciles of a key that waits for an object which the manager does not
// watch, such as a Secret of another owner.
const conflictRecheckInterval = time.Minute

// Decide returns the steps that bring the cluster closer to the spec. Repairs of a contested Secret wait for their time.
func Decide(f Facts) Plan {
	a := assess(&f)
	steps, why := a.dueSteps()
	if deletion := a.deletion(); len(steps) == 0 && len(deletion) > 0 {
		return Plan{Steps: deletion, Why: "the account's retention is over"}
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
		return nil, "the key is being deleted; its Secret goes with it"
	case a.desiredState == v1alpha1.StateRevoked:
		steps, why := a.revoke(name)
		return append(steps, a.createAccount()...), why
	case a.violation != nil:
		return nil, "not accepted: " + a.violation.Reason
	case a.Account == nil:
		return a.createAccount(), "the account does not exist yet"
	case a.admissionPending:
		return nil, "waiting for the account's record"
	}
	return a.ensureCredential(name)
}

// createAccount creates the account that is missing, unless that is up to a person.
func (a *assessment) createAccount() []Step {
	if a.Account != nil || a.violation != nil || a.accountCreationPending() {
		return nil
	}
	return []Step{CreateAccount{Name: a.Key.Spec.Account}}
}

// revoke empties the Secret. The object stays, so that pods that mount it can restart.
func (a *assessment) revoke(name string) ([]Step, string) {
	switch {
	case a.Secret.Ownership == SecretOwned && a.Secret.HoldsCredential():
		return []Step{ClearSecret{Name: name}}, "the key is revoked, and its Secret still holds material"
	case a.Secret.Ownership == SecretOffered && a.Secret.OfferProblem == "":
		return []Step{AdoptSecret{Name: name}}, "the Secret holds a credential of the key, which is revoked"
	case a.Secret.Ownership == SecretOwned && a.Secret.Drifted:
		return []Step{RepairSecret{Name: name}}, "the Secret is not what it should be"
	}
	return nil, "the key is revoked"
}

// ensureCredential sees to it that the Secret holds a credential that verifiers know.
func (a *assessment) ensureCredential(name string) ([]Step, string) {
	format := EffectiveFormat(a.Key, a.Account)
	switch {
	case a.needsNoCredential():
		return nil, "no credential is needed"
	case a.importsCredential():
		return nil, "the status is to name the imported credential"
	case a.Secret.Ownership == SecretMissing && a.isImported(&a.Key.Status):
		return a.replaceImported(name, format)
	case a.Secret.Ownership == SecretMissing:
		return []Step{CreateSecret{Name: name, Format: format}}, "the key has no Secret"
	case a.Secret.Ownership == SecretOffered && a.Secret.OfferProblem == "":
		return []Step{AdoptSecret{Name: name}}, "the Secret is to be adopted"
	case a.Secret.Ownership != SecretOwned:
		return nil, "the Secret of that name belongs to somebody else"
	case a.promoted() != nil:
		return nil, "the status is to say that the staged credential was promoted"
	case a.secretHolds(v1alpha1.RoleCurrent):
		return a.rotate(name, format)
	case !a.adoptable() && !a.claimed():
		return nil, "the status is to say that the Secret holds an unknown credential"
	case !a.adoptable():
		return []Step{ReissueCredential{Name: name, Format: format}}, "the Secret does not hold a credential that verifiers accept"
	case a.Secret.Drifted:
		return []Step{RepairSecret{Name: name}}, "the Secret is not what it should be"
	}
	return nil, "nothing to do"
}

// rotate takes the next step of a rotation: the next credential is staged, which means that its digest goes into the status;
// once verifiers know it, it goes into the Secret; and the status names it the current one. A crash after any of these writes
// leaves a Secret whose credential verifiers accept.
func (a *assessment) rotate(name string, format credential.Format) ([]Step, string) {
	is, previous := current(&a.Key.Status), credentialInRole(&a.Key.Status, v1alpha1.RolePrevious)
	switch {
	case a.canPromote():
		return []Step{PromoteStaged{Name: name, WithOverlap: a.schedule.overlap > 0 && !a.revokedByTime(is)}}, "verifiers know the staged credential"
	case a.stagingDue():
		return a.stage(name, format)
	case a.Secret.HasPrevious && (previous == nil || a.credentialExpired(previous)):
		return []Step{RetirePrevious{Name: name}}, "the overlap is over"
	case a.Secret.Drifted:
		return []Step{RepairSecret{Name: name}}, "the Secret is not what it should be"
	case a.hasStaged():
		return nil, "waiting for verifiers to know the staged credential"
	}
	return nil, "nothing to do"
}

// credentialExpired is whether a credential's own end has come, or it was killed.
func (a *assessment) credentialExpired(c *v1alpha1.Credential) bool {
	return a.revokedByTime(c) || (c.NotAfter != nil && !a.Now.Before(c.NotAfter.Time))
}

// isUsable reports whether verifiers accept a credential while the key is Active.
func (a *assessment) isUsable(c v1alpha1.Credential) bool { return !a.credentialExpired(&c) }

// needsNoCredential is whether a key that has no credential is to get none for now.
func (a *assessment) needsNoCredential() bool {
	return !Issued(a.Key) && (!a.mayIssue || a.desiredState == v1alpha1.StateExpired)
}

// NextCheck returns the first moment at which time alone changes what Decide or Describe returns. It is zero if there is
// none.
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

// earliestAfter returns the earliest of the times that lie after now; zero: there is none.
func earliestAfter(now time.Time, times []time.Time) time.Time {
	times = slices.DeleteFunc(times, func(t time.Time) bool { return !t.After(now) })
	if len(times) == 0 {
		return time.Time{}
	}
	return slices.MinFunc(times, time.Time.Compare)
}

// rotationCheck returns when a rotation stops waiting for verifiers; zero: none waits.
func (a *assessment) rotationCheck() time.Time {
	if !a.hasStaged() || a.promoted() != nil {
		return time.Time{}
	}
	return a.propagationDeadline()
}

// admissionCheck returns when to look again at a key that waits for its account; zero: the key does not wait.
func (a *assessment) admissionCheck() time.Time {
	switch {
	case !a.admissionPending:
		return time.Time{}
	case a.accountCreationPending():
		return a.accountCreationTime()
	}
	return a.Now.Add(admissionRecheckInterval)
}

// secretCheck returns when to look again at a Secret that the manager can't write now; zero: there is none.
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
