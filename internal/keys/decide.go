// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"slices"
	"time"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/credential"
)

// Plan is what to do now, when to look again, and why.
type Plan struct {
	// Steps in order. Perform stops at the first that fails.
	Steps []Step
	// Next is when to look again even if nothing happens; zero: only then.
	Next time.Time
	// Why is one phrase for people who debug.
	Why string
	// FoundChange means that another client changed the Secret, and that it is to be put back, now or later.
	FoundChange bool
	// Repairs means that a step does so.
	Repairs bool
}

// DeletesKey reports whether the plan is to delete the key, after which there is nothing left to describe.
func (p Plan) DeletesKey() bool {
	return slices.ContainsFunc(p.Steps, func(s Step) bool {
		_, ok := s.(DeleteKey)
		return ok
	})
}

// conflictRecheckInterval is how often to look again at a Secret that belongs to somebody else: nobody tells us when it goes.
const conflictRecheckInterval = time.Minute

// Decide says which steps bring the world closer to the spec, and when to look again.
func Decide(f Facts) Plan {
	steps, why := f.dueSteps()
	if deletion := f.deletion(); len(steps) == 0 && len(deletion) > 0 {
		steps, why = deletion, "the account's retention is over"
	}
	plan := Plan{Steps: steps, Why: why, Next: f.next()}
	if !slices.ContainsFunc(steps, f.isRepair) {
		return plan
	}
	plan.FoundChange, plan.Repairs = true, !f.Now.Before(f.nextRepair())
	if !plan.Repairs {
		plan.Steps, plan.Why = slices.DeleteFunc(steps, f.isRepair), "another client keeps changing the Secret"
	}
	return plan
}

// neededSteps returns the steps that are needed, whether they are possible or not.
func (f *Facts) neededSteps() ([]Step, string) {
	s := f.assess()
	name := SecretName(f.Key)
	switch {
	case !f.Key.DeletionTimestamp.IsZero():
		return nil, "the key is being deleted; its Secret goes with it"
	case s.desiredState == v1alpha1.StateRevoked:
		steps, why := f.revoke(name)
		return append(steps, f.createAccount(s)...), why
	case s.violation != nil:
		return nil, "not accepted: " + s.violation.Reason
	case f.Account == nil:
		return f.createAccount(s), "the account does not exist yet"
	case s.admissionPending:
		return nil, "waiting for the account's record"
	}
	return f.ensureCredential(name, s)
}

// createAccount creates the account that is missing, unless that is up to a person.
func (f *Facts) createAccount(s assessment) []Step {
	if f.Account != nil || s.violation != nil || f.accountCreationPending() {
		return nil
	}
	return []Step{CreateAccount{Name: f.Key.Spec.Account}}
}

// revoke empties the Secret. The object stays, so that pods that mount it can restart.
func (f *Facts) revoke(name string) ([]Step, string) {
	switch {
	case f.Secret.Ownership == SecretOwned && f.Secret.HoldsCredential():
		return []Step{ClearSecret{Name: name}}, "the key is revoked, and its Secret still holds material"
	case f.Secret.Ownership == SecretOffered && f.Secret.OfferProblem == "":
		return []Step{AdoptSecret{Name: name}}, "the Secret holds a credential of the key, which is revoked"
	case f.Secret.Ownership == SecretOwned && f.Secret.Drifted:
		return []Step{RepairSecret{Name: name}}, "the Secret is not what it should be"
	}
	return nil, "the key is revoked"
}

// ensureCredential sees to it that the Secret holds a credential that verifiers know.
func (f *Facts) ensureCredential(name string, s assessment) ([]Step, string) {
	format := EffectiveFormat(f.Key, f.Account)
	switch {
	case f.needsNoCredential(s):
		return nil, "no credential is needed"
	case f.importsCredential():
		return nil, "the status is to name the imported credential"
	case f.Secret.Ownership == SecretMissing && f.isImported(&f.Key.Status):
		return f.replaceImported(name, format)
	case f.Secret.Ownership == SecretMissing:
		return []Step{CreateSecret{Name: name, Format: format}}, "the key has no Secret"
	case f.Secret.Ownership == SecretOffered && f.Secret.OfferProblem == "":
		return []Step{AdoptSecret{Name: name}}, "the Secret is to be adopted"
	case f.Secret.Ownership != SecretOwned:
		return nil, "the Secret of that name belongs to somebody else"
	case f.promoted() != nil:
		return nil, "the status is to say that the staged credential was promoted"
	case f.secretHolds(v1alpha1.RoleCurrent):
		return f.rotate(name, format)
	case !f.adoptable() && !f.claimed():
		return nil, "the status is to say that the Secret holds an unknown credential"
	case !f.adoptable():
		return []Step{ReissueCredential{Name: name, Format: format}}, "the Secret does not hold a credential that verifiers accept"
	case f.Secret.Drifted:
		return []Step{RepairSecret{Name: name}}, "the Secret is not what it should be"
	}
	return nil, "nothing to do"
}

// rotate takes the next step of a rotation: the next credential is staged, which means that its digest goes into the status;
// once verifiers know it, it goes into the Secret; and the status names it the current one. A crash after any of these writes
// leaves a Secret whose credential verifiers accept.
func (f *Facts) rotate(name string, format credential.Format) ([]Step, string) {
	is, previous := current(&f.Key.Status), credentialInRole(&f.Key.Status, v1alpha1.RolePrevious)
	switch {
	case f.canPromote():
		return []Step{PromoteStaged{Name: name, WithOverlap: f.schedule().overlap > 0 && !f.revokedByTime(is)}}, "verifiers know the staged credential"
	case f.stagingDue():
		return f.stage(name, format)
	case f.Secret.HasPrevious && (previous == nil || f.credentialExpired(previous)):
		return []Step{RetirePrevious{Name: name}}, "the overlap is over"
	case f.Secret.Drifted:
		return []Step{RepairSecret{Name: name}}, "the Secret is not what it should be"
	case f.hasStaged():
		return nil, "waiting for verifiers to know the staged credential"
	}
	return nil, "nothing to do"
}

// credentialExpired is whether a credential's own end has come, or it was killed.
func (f *Facts) credentialExpired(c *v1alpha1.Credential) bool {
	return f.revokedByTime(c) || (c.NotAfter != nil && !f.Now.Before(c.NotAfter.Time))
}

// isUsable reports whether verifiers accept a credential while the key is Active.
func (f *Facts) isUsable(c v1alpha1.Credential) bool { return !f.credentialExpired(&c) }

// needsNoCredential is whether a key that has no credential is to get none for now.
func (f *Facts) needsNoCredential(s assessment) bool {
	return !Issued(f.Key) && (!s.mayIssue || s.desiredState == v1alpha1.StateExpired)
}

// next is the first moment at which time alone changes something.
func (f *Facts) next() time.Time {
	var next time.Time
	sooner := func(t time.Time) {
		if t.After(f.Now) && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	if expiration, err := f.expiration(); err == nil && expiration != nil {
		sooner(*expiration)
	}
	for _, c := range f.Key.Status.Credentials {
		if c.NotAfter != nil {
			sooner(c.NotAfter.Time)
		}
	}
	if due := f.nextRotation(&f.Key.Status); due != nil {
		sooner(*due)
	}
	if f.hasStaged() && f.promoted() == nil {
		sooner(f.propagationDeadline())
	}
	sooner(f.retentionCheck())
	if before := f.schedule().revokeBefore; before != nil {
		sooner(before.Time)
	}
	s := f.assess()
	switch {
	case s.admissionPending && f.accountCreationPending():
		sooner(f.accountCreationTime())
	case s.admissionPending:
		sooner(f.Now.Add(admissionRecheckInterval))
	case s.desiredState == v1alpha1.StateRevoked:
	case s.violation == nil && (f.Secret.Ownership == SecretForeign || f.Secret.Ownership == SecretOrphaned || f.Secret.OfferProblem != ""),
		s.violation != nil && s.violation.Reason == v1alpha1.ReasonDuplicateKey && !Issued(f.Key):
		sooner(f.Now.Add(conflictRecheckInterval))
	}
	if f.contested() {
		sooner(f.contestRecheckTime())
	}
	if IsRefused(f.Err) {
		sooner(f.Now.Add(refusalRecheckInterval))
	}
	return next
}
