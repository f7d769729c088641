// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// conditionValue is a condition without its type, generation and time.
type conditionValue struct {
	status  metav1.ConditionStatus
	reason  string
	message string
}

func (f *Facts) setConditions(s assessment, after *v1alpha1.APIKeyStatus) {
	accepted := f.acceptedCondition(s)
	ready := f.readyCondition(s, accepted, after)
	f.setCondition(&after.Conditions, v1alpha1.ConditionReady, ready)
	f.setCondition(&after.Conditions, v1alpha1.ConditionAccepted, accepted)
	f.setCondition(&after.Conditions, v1alpha1.ConditionValid, validCondition(s, accepted, after))
	if stalled := meta.FindStatusCondition(after.Conditions, v1alpha1.ConditionStalled); stalled != nil && stalled.Reason != ready.reason {
		meta.RemoveStatusCondition(&after.Conditions, v1alpha1.ConditionStalled) // its time is since when the reason holds
	}
	if ready.status == metav1.ConditionFalse && requiresUserAction(ready.reason) {
		f.setCondition(&after.Conditions, v1alpha1.ConditionStalled, conditionValue{metav1.ConditionTrue, ready.reason, ready.message})
	} else {
		meta.RemoveStatusCondition(&after.Conditions, v1alpha1.ConditionStalled)
	}
	if !f.Settings.Verifiers || !IsDisabled(after.State) { // what is in it is written by whoever asks the verifiers
		meta.RemoveStatusCondition(&after.Conditions, v1alpha1.ConditionEnforced)
	}
}

func (f *Facts) setCondition(conditions *[]metav1.Condition, conditionType string, v conditionValue) {
	meta.SetStatusCondition(conditions, metav1.Condition{
		Type: conditionType, Status: v.status, Reason: v.reason, Message: v.message,
		ObservedGeneration: f.Key.Generation, LastTransitionTime: metav1.NewTime(f.Now),
	})
}

func (f *Facts) acceptedCondition(s assessment) conditionValue {
	switch {
	case s.violation != nil:
		return conditionValue{metav1.ConditionFalse, s.violation.Reason, s.violation.Message}
	case f.accountCreationPending():
		return conditionValue{metav1.ConditionUnknown, v1alpha1.ReasonPending, "Account " + f.Key.Spec.Account + " does not exist: the manager creates it after --account-creation-delay if nobody else does"}
	case s.admissionPending:
		return conditionValue{metav1.ConditionUnknown, v1alpha1.ReasonPending, "Waiting for account " + f.Key.Spec.Account + " to admit the key"}
	}
	return conditionValue{metav1.ConditionTrue, v1alpha1.ReasonAccepted, "The key is within the policy of account " + f.Key.Spec.Account}
}

// readyCondition names the first thing that is not as declared; Ready otherwise, with the state as its reason.
func (f *Facts) readyCondition(s assessment, accepted conditionValue, after *v1alpha1.APIKeyStatus) conditionValue {
	name := SecretName(f.Key)
	switch {
	case accepted.status == metav1.ConditionTrue && f.contested():
		return f.contestedCondition()
	case IsRefused(f.Err):
		before := meta.FindStatusCondition(f.Key.Status.Conditions, v1alpha1.ConditionReady)
		return conditionValue{metav1.ConditionFalse, v1alpha1.ReasonWriteFailed, refusalMessage(before, v1alpha1.ReasonWriteFailed, PublicMessage(f.Err))}
	case f.Err != nil && !IsTemplateError(f.Err):
		return conditionValue{metav1.ConditionFalse, v1alpha1.ReasonWriteFailed, truncate(PublicMessage(f.Err))}
	case f.needsImpossibleStep():
		return f.immutableCondition()
	case after.State == v1alpha1.StateRevoked:
		return f.revokedCondition()
	case accepted.status != metav1.ConditionTrue && (!s.suspended() || after.State == v1alpha1.StatePending || f.lacksSecret(s, after)):
		return conditionValue{metav1.ConditionFalse, accepted.reason, accepted.message}
	case f.Secret.Ownership != SecretOwned && f.isImported(after) && !f.lacksSecret(s, after):
		return f.carriedOutCondition(accepted, after)
	case f.Secret.Ownership == SecretForeign:
		return conditionValue{metav1.ConditionFalse, v1alpha1.ReasonSecretConflict, truncate(f.conflictMessage())}
	case f.Secret.OfferProblem != "" && f.Secret.Ownership == SecretOffered:
		return conditionValue{metav1.ConditionFalse, v1alpha1.ReasonSecretNotAdoptable, truncate("Secret " + name + " can't be adopted: " + f.Secret.OfferProblem)}
	case f.Secret.Ownership == SecretOrphaned:
		return conditionValue{metav1.ConditionFalse, v1alpha1.ReasonPending, truncate("Secret " + name + " of the deleted key of this name is still being removed")}
	case f.lacksSecret(s, after):
		return conditionValue{metav1.ConditionFalse, v1alpha1.ReasonPending, truncate("Secret " + name + " is being written")}
	}
	return f.carriedOutCondition(accepted, after)
}

// carriedOutCondition says that what is declared has been carried out.
func (f *Facts) carriedOutCondition(accepted conditionValue, after *v1alpha1.APIKeyStatus) conditionValue {
	if after.State == v1alpha1.StateSuspended {
		return conditionValue{metav1.ConditionTrue, v1alpha1.ReasonAccountSuspended, accepted.message}
	}
	return conditionValue{metav1.ConditionTrue, string(after.State), stateMessages[after.State]}
}

// lacksSecret is whether the key should have a credential in its Secret and has not. A rotation under way lacks
// nothing.
func (f *Facts) lacksSecret(s assessment, after *v1alpha1.APIKeyStatus) bool {
	c := current(after)
	if c == nil {
		return !f.needsNoCredential(s)
	}
	if f.Secret.Ownership != SecretOwned && f.isImported(after) {
		return f.revokedByTime(c) || f.Secret.Ownership != SecretMissing && f.rotationDue()
	}
	return f.Secret.Ownership != SecretOwned || f.Secret.Current.SHA256 != c.SHA256 || f.revokedByTime(c) || f.Secret.Drifted
}

func (f *Facts) revokedCondition() conditionValue {
	if f.Secret.Ownership == SecretOwned && f.Secret.HoldsCredential() {
		return conditionValue{metav1.ConditionFalse, v1alpha1.ReasonPending, truncate("Secret " + SecretName(f.Key) + " is being emptied")}
	}
	return conditionValue{metav1.ConditionTrue, v1alpha1.ReasonRevoked, stateMessages[v1alpha1.StateRevoked]}
}

var stateMessages = map[v1alpha1.ObservedState]string{
	v1alpha1.StateActive:   "The key is in use",
	v1alpha1.StateInactive: "The key is switched off: set spec.state to Active to use it again",
	v1alpha1.StateExpired:  "The key has expired: move spec.expiration later, or remove it, to use it again",
	v1alpha1.StateRevoked:  "The key is revoked for good: create another one",
	v1alpha1.StatePending:  "The key has no credential yet",
}

// validCondition says whether a verifier accepts the key.
func validCondition(s assessment, accepted conditionValue, after *v1alpha1.APIKeyStatus) conditionValue {
	switch {
	case after.State == v1alpha1.StateActive:
		return conditionValue{metav1.ConditionTrue, v1alpha1.ReasonActive, "Verifiers accept the key"}
	case after.State != v1alpha1.StatePending && after.State != v1alpha1.StateSuspended:
		return conditionValue{metav1.ConditionFalse, string(after.State), stateMessages[after.State]}
	case s.violation != nil:
		return conditionValue{metav1.ConditionFalse, v1alpha1.ReasonNotAccepted, accepted.message}
	case s.admissionPending:
		return conditionValue{metav1.ConditionFalse, v1alpha1.ReasonPending, accepted.message}
	}
	return conditionValue{metav1.ConditionFalse, v1alpha1.ReasonPending, stateMessages[v1alpha1.StatePending]}
}

// requiresUserAction is whether waiting alone can never heal what a reason names.
func requiresUserAction(reason string) bool {
	switch reason {
	case v1alpha1.ReasonSecretConflict, v1alpha1.ReasonSecretImmutable, v1alpha1.ReasonSecretNotAdoptable, v1alpha1.ReasonSecretContested, v1alpha1.ReasonDuplicateKey,
		v1alpha1.ReasonInvalidSpec, v1alpha1.ReasonLabelTaken, v1alpha1.ReasonScopeNotAllowed,
		v1alpha1.ReasonNamespaceNotAllowed, v1alpha1.ReasonExpirationRequired, v1alpha1.ReasonExpirationForbidden,
		v1alpha1.ReasonLifetimeTooLong, v1alpha1.ReasonIPWhitelistRequired, v1alpha1.ReasonImportNotAllowed:
		return true
	}
	return false
}
