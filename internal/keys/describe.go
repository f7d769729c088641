// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// Describe returns the status of a key according to the facts, also after a step failed. It returns the status
// unchanged while the key is being deleted, and while a new key or an Active key waits for its account to be
// reconciled.
func Describe(f Facts) v1alpha1.APIKeyStatus {
	a := assess(&f)
	after := *f.Key.Status.DeepCopy()
	if !f.Key.DeletionTimestamp.IsZero() || a.admissionPending && a.deferStatus() {
		return after
	}
	after.ObservedGeneration = f.Key.Generation
	after.Credentials = a.credentials()
	after.RevokedCredentials = a.revokedCredentials(after.Credentials)
	after.SecretRef = a.secretRef(&after)
	after.State = a.state(&after)
	after.KeyID = ""
	if c := current(&after); c != nil {
		after.KeyID = c.ID
	}
	a.recordAcceptance(&after)
	a.recordRelease(&after)
	a.recordRequest(&after)
	a.setConditions(&after)
	after.NextRotationTime = a.nextRotationTime(&after)
	after.History = AppendHistory(after.History, a.events(after), f.Now)
	return after
}

// nextRotationTime returns when the next credential of an accepted key is due, or nil if never.
func (a *assessment) nextRotationTime(after *v1alpha1.APIKeyStatus) *metav1.Time {
	due := a.nextRotation(after)
	if due == nil || a.violation != nil {
		return nil
	}
	return &metav1.Time{Time: *due}
}

// deferStatus reports whether to leave the status unchanged because the account has not been reconciled yet.
func (a *assessment) deferStatus() bool {
	switch {
	case a.Err != nil, a.accountCreationPending():
		return false
	case a.Key.Status.State == v1alpha1.StateActive:
		return a.desiredState == v1alpha1.StateActive
	}
	return a.Key.Status.State == "" && a.Now.Sub(a.firstSeen()) < initialStatusGracePeriod
}

// firstSeen returns when a key without a status was first reconciled.
func (f *Facts) firstSeen() time.Time {
	if f.FirstSeen.IsZero() {
		return f.Key.CreationTimestamp.Time
	}
	return f.FirstSeen
}

// credentials returns the credentials that verifiers accept from now on.
func (a *assessment) credentials() []v1alpha1.Credential {
	list := slices.DeleteFunc(slices.Clone(a.Key.Status.Credentials), func(c v1alpha1.Credential) bool {
		return a.credentialExpired(&c) && (c.Role != v1alpha1.RoleCurrent || a.Secret.JustIssued)
	})
	switch {
	case a.desiredState == v1alpha1.StateRevoked:
		return without(without(list, v1alpha1.RoleStaged), v1alpha1.RolePrevious)
	case a.importsCredential() && a.mayIssue && !a.needsNoCredential():
		return append(list, a.importedCredential())
	case a.isImported(&a.Key.Status) && a.Secret.Ownership == SecretMissing:
		return a.withStaged(list)
	case a.Secret.Ownership != SecretOwned:
		return list
	case a.promoted() != nil:
		return a.promoteStaged(list)
	case a.secretHolds(v1alpha1.RoleCurrent):
		return a.withStaged(list)
	case !a.adoptable(), a.needsNoCredential():
		return list
	}
	return append(a.retireCurrent(list), a.toStatusCredential(a.Secret.Current, v1alpha1.RoleCurrent))
}

// toStatusCredential returns the status entry for a credential of a Secret.
func (a *assessment) toStatusCredential(p ObservedCredential, role v1alpha1.CredentialRole) v1alpha1.Credential {
	return v1alpha1.Credential{ID: p.PublicPart.ID, Hint: p.PublicPart.Hint, SHA256: p.SHA256, IssuedAt: metav1.NewTime(a.Now), Role: role}
}

// promoteStaged makes the promoted credential the current one.
func (a *assessment) promoteStaged(list []v1alpha1.Credential) []v1alpha1.Credential {
	promoted := *a.promoted()
	promoted.Role = v1alpha1.RoleCurrent
	return append(a.retireCurrent(list), promoted)
}

// retireCurrent makes the current credential the previous one. It stays valid for the overlap, but not beyond its own
// notAfter time. The previous credential before it ends now, so that at most two credentials are accepted. A revoked
// credential has no overlap.
func (a *assessment) retireCurrent(list []v1alpha1.Credential) []v1alpha1.Credential {
	list = without(without(list, v1alpha1.RolePrevious), v1alpha1.RoleStaged)
	overlap := a.schedule.overlap
	list = slices.DeleteFunc(list, func(c v1alpha1.Credential) bool { return overlap == 0 || a.revokedByTime(&c) })
	end := metav1.NewTime(a.Now.Add(overlap))
	for i := range list {
		list[i].Role = v1alpha1.RolePrevious
		if list[i].NotAfter == nil || end.Before(list[i].NotAfter) {
			list[i].NotAfter = &end
		}
	}
	return list
}

func without(list []v1alpha1.Credential, role v1alpha1.CredentialRole) []v1alpha1.Credential {
	return slices.DeleteFunc(list, func(c v1alpha1.Credential) bool { return c.Role == role })
}

// secretRef returns the reference to the key's Secret. It records the resourceVersion at which the Secret was last seen
// with the right content or, for a key that was never issued, with any content: see claimed.
func (a *assessment) secretRef(after *v1alpha1.APIKeyStatus) *v1alpha1.SecretRef {
	if a.Secret.Ownership != SecretOwned {
		return nil
	}
	ref := &v1alpha1.SecretRef{Name: SecretName(a.Key)}
	right, revoked := "", a.desiredState == v1alpha1.StateRevoked
	if c := current(after); c != nil && !revoked {
		right = c.SHA256
	}
	unknown := current(after) == nil && !revoked && !a.Secret.IsOffered
	retired := !a.Secret.HasPrevious || (credentialInRole(after, v1alpha1.RolePrevious) != nil && !revoked)
	if unknown || a.Secret.Current.SHA256 == right && !a.Secret.Drifted && retired {
		ref.ResourceVersion = a.Secret.ResourceVersion
	}
	return ref
}

// state returns the state of the key. A state in which verifiers refuse the key takes precedence over a violation of
// the account's policy. A key in use stays Active while its account has not been reconciled yet, even if a write fails
// meanwhile.
func (a *assessment) state(after *v1alpha1.APIKeyStatus) v1alpha1.ObservedState {
	waiting := a.admissionPending && (a.Key.Status.State != v1alpha1.StateActive || a.desiredState != v1alpha1.StateActive)
	blocked, issued := a.violation != nil || waiting, slices.ContainsFunc(after.Credentials, a.isUsable)
	switch {
	case a.desiredState == v1alpha1.StateRevoked:
		return v1alpha1.StateRevoked
	case a.desiredState == v1alpha1.StateActive && issued && a.suspended():
		return v1alpha1.StateSuspended
	case a.desiredState == v1alpha1.StateActive && (blocked || !issued), blocked && !issued:
		return v1alpha1.StatePending
	}
	return a.desiredState
}

// recordAcceptance records the values with which the key was accepted, so that a stricter policy applies to it only
// once the field is changed.
func (a *assessment) recordAcceptance(after *v1alpha1.APIKeyStatus) {
	if a.violation != nil || a.admissionPending {
		return
	}
	after.ExpirationTime = nil
	if expiration, err := a.expiration(); err == nil && expiration != nil {
		t := metav1.NewTime(expiration.UTC())
		after.ExpirationTime = &t
	}
	if specUnwritten(a.Account) {
		return // no policy exists yet under which the key could be accepted
	}
	after.IPRestriction = v1alpha1.IPUnrestricted
	if len(a.Key.Spec.IPWhitelist) > 0 {
		after.IPRestriction = v1alpha1.IPRestricted
	}
}

// recordRelease releases the key's grant: under counting: Usable, and when a policy that was written after the key was
// issued refuses it. From this write on, the key needs another grant to become usable, whatever a stale cache says of
// its slot.
func (a *assessment) recordRelease(after *v1alpha1.APIKeyStatus) {
	if a.Account == nil {
		return
	}
	if slot := a.slot(); slot != nil && a.losesSlot(a.violation) && !grantReleased(a.Key, slot) {
		after.ReleasedGrant = slot.Grant
	}
	if !countsUsableOnly(a.Account) {
		return
	}
	switch after.State {
	case v1alpha1.StateInactive, v1alpha1.StateExpired, v1alpha1.StateRevoked:
		if slot := a.slot(); slot != nil && !grantReleased(a.Key, slot) {
			after.ReleasedGrant = slot.Grant
		}
	case v1alpha1.StatePending, v1alpha1.StateActive, v1alpha1.StateSuspended:
	}
}
