// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// Describe says what is true of a key now, also after a failed step: it reads facts, and never promises. While the
// account has yet to speak about a new key, or about one in use, it leaves the status as it is.
func Describe(f Facts) v1alpha1.APIKeyStatus {
	s := f.assess()
	before := f.Key.Status
	if !f.Key.DeletionTimestamp.IsZero() || (s.admissionPending && f.deferStatus(s)) {
		return *before.DeepCopy()
	}
	after := *before.DeepCopy()
	after.ObservedGeneration = f.Key.Generation
	after.Credentials = f.credentials(s)
	after.RevokedCredentials = f.revokedCredentials(after.Credentials)
	after.SecretRef = f.secretRef(&after)
	after.State = f.state(s, &after)
	after.KeyID = ""
	if c := current(&after); c != nil {
		after.KeyID = c.ID
	}
	f.recordAcceptance(s, &after)
	f.recordRelease(s, &after)
	f.recordRequest(s, &after)
	f.setConditions(s, &after)
	after.NextRotationTime = nil
	if due := f.nextRotation(&after); due != nil && s.violation == nil {
		t := metav1.NewTime(*due)
		after.NextRotationTime = &t
	}
	after.History = AppendHistory(before.History, Events(f, after), f.Now)
	return after
}

// deferStatus is whether to say nothing yet.
func (f *Facts) deferStatus(s assessment) bool {
	switch {
	case f.Err != nil, f.accountCreationPending():
		return false
	case f.Key.Status.State == v1alpha1.StateActive:
		return s.desiredState == v1alpha1.StateActive
	}
	return f.Key.Status.State == "" && f.Now.Sub(f.Key.CreationTimestamp.Time) < initialStatusGracePeriod
}

// credentials are those that verifiers are to know from now on.
func (f *Facts) credentials(s assessment) []v1alpha1.Credential {
	list := slices.DeleteFunc(slices.Clone(f.Key.Status.Credentials), func(c v1alpha1.Credential) bool {
		return f.credentialExpired(&c) && (c.Role != v1alpha1.RoleCurrent || f.Secret.JustIssued)
	})
	switch {
	case s.desiredState == v1alpha1.StateRevoked:
		return without(without(list, v1alpha1.RoleStaged), v1alpha1.RolePrevious)
	case f.importsCredential() && s.mayIssue && !f.needsNoCredential(s):
		return append(list, f.importedCredential())
	case f.isImported(&f.Key.Status) && f.Secret.Ownership == SecretMissing:
		return f.withStaged(list)
	case f.Secret.Ownership != SecretOwned:
		return list
	case f.promoted() != nil:
		return f.promoteStaged(list)
	case f.secretHolds(v1alpha1.RoleCurrent):
		return f.withStaged(list)
	case !f.adoptable(), f.needsNoCredential(s):
		return list
	}
	return append(f.retireCurrent(list), f.toStatusCredential(f.Secret.Current, v1alpha1.RoleCurrent))
}

// toStatusCredential is what verifiers get to know of what stands in a Secret.
func (f *Facts) toStatusCredential(p ObservedCredential, role v1alpha1.CredentialRole) v1alpha1.Credential {
	return v1alpha1.Credential{ID: p.PublicPart.ID, Hint: p.PublicPart.Hint, SHA256: p.SHA256, IssuedAt: metav1.NewTime(f.Now), Role: role}
}

// promoteStaged makes the promoted credential the current one.
func (f *Facts) promoteStaged(list []v1alpha1.Credential) []v1alpha1.Credential {
	promoted := *f.promoted()
	promoted.Role = v1alpha1.RoleCurrent
	return append(f.retireCurrent(list), promoted)
}

// retireCurrent makes the current credential the previous one, which lives on for the overlap and never beyond its own end.
// A previous one before it ends now: never more than two are accepted. A dead one has no overlap.
func (f *Facts) retireCurrent(list []v1alpha1.Credential) []v1alpha1.Credential {
	list = without(without(list, v1alpha1.RolePrevious), v1alpha1.RoleStaged)
	overlap := f.schedule().overlap
	list = slices.DeleteFunc(list, func(c v1alpha1.Credential) bool { return overlap == 0 || f.revokedByTime(&c) })
	end := metav1.NewTime(f.Now.Add(overlap))
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

// secretRef remembers at which resourceVersion the Secret was last seen to hold the right thing, or, of a key that was never
// issued, anything at all: see claimed.
func (f *Facts) secretRef(after *v1alpha1.APIKeyStatus) *v1alpha1.SecretRef {
	if f.Secret.Ownership != SecretOwned {
		return nil
	}
	ref := &v1alpha1.SecretRef{Name: SecretName(f.Key)}
	right, revoked := "", f.desiredState() == v1alpha1.StateRevoked
	if c := current(after); c != nil && !revoked {
		right = c.SHA256
	}
	unknown := current(after) == nil && !revoked && !f.Secret.IsOffered
	retired := !f.Secret.HasPrevious || (credentialInRole(after, v1alpha1.RolePrevious) != nil && !revoked)
	if unknown || f.Secret.Current.SHA256 == right && !f.Secret.Drifted && retired {
		ref.ResourceVersion = f.Secret.ResourceVersion
	}
	return ref
}

// state is the state the key is in. A key that verifiers refuse anyway says so before it says what the account has
// against it. A key in use stays so while its account has yet to speak, also if a write fails meanwhile.
func (f *Facts) state(s assessment, after *v1alpha1.APIKeyStatus) v1alpha1.ObservedState {
	waiting := s.admissionPending && (f.Key.Status.State != v1alpha1.StateActive || s.desiredState != v1alpha1.StateActive)
	blocked, issued := s.violation != nil || waiting, slices.ContainsFunc(after.Credentials, f.isUsable)
	switch {
	case s.desiredState == v1alpha1.StateRevoked:
		return v1alpha1.StateRevoked
	case s.desiredState == v1alpha1.StateActive && issued && s.suspended():
		return v1alpha1.StateSuspended
	case s.desiredState == v1alpha1.StateActive && (blocked || !issued), blocked && !issued:
		return v1alpha1.StatePending
	}
	return s.desiredState
}

// recordAcceptance keeps what the key was accepted with, so that a stricter policy binds it only from the next change
// of that field on.
func (f *Facts) recordAcceptance(s assessment, after *v1alpha1.APIKeyStatus) {
	if s.violation != nil || s.admissionPending {
		return
	}
	after.ExpirationTime = nil
	if expiration, err := f.expiration(); err == nil && expiration != nil {
		t := metav1.NewTime(expiration.UTC())
		after.ExpirationTime = &t
	}
	if specUnwritten(f.Account) {
		return // no policy has accepted the key yet
	}
	after.IPRestriction = v1alpha1.IPUnrestricted
	if len(f.Key.Spec.IPWhitelist) > 0 {
		after.IPRestriction = v1alpha1.IPRestricted
	}
}

// recordRelease gives the key's grant back: under counting: Usable, and where a policy that was written after the key was
// issued refuses it. From this write on the key needs another grant to become usable, whatever a stale cache says of its
// slot.
func (f *Facts) recordRelease(s assessment, after *v1alpha1.APIKeyStatus) {
	if f.Account == nil {
		return
	}
	if slot := f.slot(); slot != nil && f.losesSlot(s.violation) && !grantReleased(f.Key, slot) {
		after.ReleasedGrant = slot.Grant
	}
	if !countsUsableOnly(f.Account) {
		return
	}
	switch after.State {
	case v1alpha1.StateInactive, v1alpha1.StateExpired, v1alpha1.StateRevoked:
		if slot := f.slot(); slot != nil && !grantReleased(f.Key, slot) {
			after.ReleasedGrant = slot.Grant
		}
	case v1alpha1.StatePending, v1alpha1.StateActive, v1alpha1.StateSuspended:
	}
}
