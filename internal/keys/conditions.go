// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// conditionValue holds a condition without its type, generation and time.
type conditionValue struct {
	status  metav1.ConditionStatus
	reason  string
	message string
}

func (a *assessment) setConditions(after *v1alpha1.APIKeyStatus) {
	accepted := a.acceptedCondition()
	ready := a.readyCondition(accepted, after)
	c := conditionSetter{conditions: &after.Conditions, generation: a.Key.Generation, now: a.Now}
	c.set(v1alpha1.ConditionReady, ready)
	c.set(v1alpha1.ConditionAccepted, accepted)
	c.set(v1alpha1.ConditionValid, a.validCondition(accepted, after))
	c.setStalled(ready.status == metav1.ConditionFalse && requiresUserAction(ready.reason), ready)
	if !a.Settings.Verifiers || !IsDisabled(after.State) { // the usage controller sets it
		meta.RemoveStatusCondition(&after.Conditions, v1alpha1.ConditionEnforced)
	}
}

// conditionSetter sets the conditions of one object, as they are at one time.
type conditionSetter struct {
	conditions *[]metav1.Condition
	generation int64
	now        time.Time
}

// set sets the condition of a type.
func (c conditionSetter) set(conditionType string, v conditionValue) {
	meta.SetStatusCondition(c.conditions, metav1.Condition{
		Type: conditionType, Status: v.status, Reason: v.reason, Message: v.message,
		ObservedGeneration: c.generation, LastTransitionTime: metav1.NewTime(c.now),
	})
}

// setStalled sets condition Stalled while the object can't become Ready until a user changes something. The transition
// time of the condition is the time since which its reason applies.
func (c conditionSetter) setStalled(stalled bool, ready conditionValue) {
	was := meta.FindStatusCondition(*c.conditions, v1alpha1.ConditionStalled)
	if !stalled || was != nil && was.Reason != ready.reason {
		meta.RemoveStatusCondition(c.conditions, v1alpha1.ConditionStalled)
	}
	if stalled {
		c.set(v1alpha1.ConditionStalled, conditionValue{metav1.ConditionTrue, ready.reason, ready.message})
	}
}

func (a *assessment) acceptedCondition() conditionValue {
	switch {
	case a.violation != nil:
		return conditionValue{metav1.ConditionFalse, a.violation.Reason, a.violation.Message}
	case a.accountCreationPending():
		return conditionValue{
			metav1.ConditionUnknown,
			v1alpha1.ReasonPending,
			"Account " + a.Key.Spec.Account + " does not exist yet: the manager creates it once the key is older than --account-creation-delay",
		}
	case a.admissionPending:
		return conditionValue{metav1.ConditionUnknown, v1alpha1.ReasonPending, "Waiting for Account " + a.Key.Spec.Account + " to be reconciled"}
	}
	return conditionValue{metav1.ConditionTrue, v1alpha1.ReasonAccepted, "The key is within the policy of account " + a.Key.Spec.Account}
}

// readyCondition describes the first thing that differs from the spec. If nothing does, the condition is true with the
// state as its reason.
func (a *assessment) readyCondition(accepted conditionValue, after *v1alpha1.APIKeyStatus) conditionValue {
	name := SecretName(a.Key)
	switch {
	case accepted.status == metav1.ConditionTrue && a.contested():
		return a.contestedCondition()
	case IsRefused(a.Err):
		before := meta.FindStatusCondition(a.Key.Status.Conditions, v1alpha1.ConditionReady)
		return conditionValue{
			metav1.ConditionFalse,
			v1alpha1.ReasonWriteFailed,
			RefusalMessage(before, v1alpha1.ReasonWriteFailed, PublicMessage(a.Err)),
		}
	case a.Err != nil && !IsTemplateError(a.Err):
		return conditionValue{metav1.ConditionFalse, v1alpha1.ReasonWriteFailed, truncate(PublicMessage(a.Err))}
	case a.needsImpossibleStep():
		return a.immutableCondition()
	case after.State == v1alpha1.StateRevoked:
		return a.revokedCondition()
	case accepted.status != metav1.ConditionTrue && (!a.suspended() || after.State == v1alpha1.StatePending || a.lacksSecret(after)):
		return conditionValue{metav1.ConditionFalse, accepted.reason, accepted.message}
	case a.Secret.Ownership != SecretOwned && a.isImported(after) && !a.lacksSecret(after):
		return a.carriedOutCondition(accepted, after)
	case a.Secret.Ownership == SecretForeign:
		return conditionValue{metav1.ConditionFalse, v1alpha1.ReasonSecretConflict, truncate(a.conflictMessage())}
	case a.Secret.OfferProblem != "" && a.Secret.Ownership == SecretOffered:
		return conditionValue{
			metav1.ConditionFalse,
			v1alpha1.ReasonSecretNotAdoptable,
			truncate("Secret " + name + " can't be adopted: " + a.Secret.OfferProblem),
		}
	case a.Secret.Ownership == SecretOrphaned:
		return conditionValue{
			metav1.ConditionFalse,
			v1alpha1.ReasonPending,
			truncate("Secret " + name + " belongs to a deleted APIKey of the same name and is being garbage-collected"),
		}
	case a.lacksSecret(after):
		return conditionValue{metav1.ConditionFalse, v1alpha1.ReasonPending, truncate("Waiting for Secret " + name + " to be written")}
	}
	return a.carriedOutCondition(accepted, after)
}

// carriedOutCondition returns the condition of a key whose spec has been carried out.
func (a *assessment) carriedOutCondition(accepted conditionValue, after *v1alpha1.APIKeyStatus) conditionValue {
	if after.State == v1alpha1.StateSuspended {
		return conditionValue{metav1.ConditionTrue, v1alpha1.ReasonAccountSuspended, accepted.message}
	}
	return conditionValue{metav1.ConditionTrue, string(after.State), stateMessages[after.State]}
}

// lacksSecret reports whether the Secret does not hold the credential that it should hold. A rotation in progress does
// not count.
func (a *assessment) lacksSecret(after *v1alpha1.APIKeyStatus) bool {
	c := current(after)
	if c == nil {
		return !a.needsNoCredential()
	}
	if a.Secret.Ownership != SecretOwned && a.isImported(after) {
		return a.revokedByTime(c) || a.Secret.Ownership != SecretMissing && a.rotationDue(after)
	}
	return a.Secret.Ownership != SecretOwned || a.Secret.Current.SHA256 != c.SHA256 || a.revokedByTime(c) || a.Secret.Drifted
}

func (a *assessment) revokedCondition() conditionValue {
	if a.Secret.Ownership == SecretOwned && a.Secret.HoldsCredential() {
		return conditionValue{
			metav1.ConditionFalse,
			v1alpha1.ReasonPending,
			truncate("Waiting for the key material to be removed from Secret " + SecretName(a.Key)),
		}
	}
	return conditionValue{metav1.ConditionTrue, v1alpha1.ReasonRevoked, stateMessages[v1alpha1.StateRevoked]}
}

var stateMessages = map[v1alpha1.ObservedState]string{
	v1alpha1.StateActive:   "The key is in use",
	v1alpha1.StateInactive: "The key is inactive: set spec.state to Active to enable it",
	v1alpha1.StateExpired:  "The key has expired: set a later spec.expiration, or remove it, to enable the key",
	v1alpha1.StateRevoked:  "The key is revoked permanently: create a new one",
	v1alpha1.StatePending:  "The key has no credential yet",
}

// validCondition returns the condition that says whether verifiers accept the key.
func (a *assessment) validCondition(accepted conditionValue, after *v1alpha1.APIKeyStatus) conditionValue {
	switch {
	case after.State == v1alpha1.StateActive:
		return conditionValue{metav1.ConditionTrue, v1alpha1.ReasonActive, "Verifiers accept the key"}
	case after.State != v1alpha1.StatePending && after.State != v1alpha1.StateSuspended:
		return conditionValue{metav1.ConditionFalse, string(after.State), stateMessages[after.State]}
	case a.violation != nil:
		return conditionValue{metav1.ConditionFalse, v1alpha1.ReasonNotAccepted, accepted.message}
	case a.admissionPending:
		return conditionValue{metav1.ConditionFalse, v1alpha1.ReasonPending, accepted.message}
	}
	return conditionValue{metav1.ConditionFalse, v1alpha1.ReasonPending, stateMessages[v1alpha1.StatePending]}
}

// requiresUserAction reports whether a problem with this reason persists until a user changes something.
func requiresUserAction(reason string) bool {
	switch reason {
	case v1alpha1.ReasonSecretConflict,
		v1alpha1.ReasonSecretImmutable,
		v1alpha1.ReasonSecretNotAdoptable,
		v1alpha1.ReasonSecretContested,
		v1alpha1.ReasonDuplicateKey,
		v1alpha1.ReasonInvalidSpec,
		v1alpha1.ReasonLabelTaken,
		v1alpha1.ReasonScopeNotAllowed,
		v1alpha1.ReasonRateLimitNotAllowed,
		v1alpha1.ReasonNamespaceNotAllowed,
		v1alpha1.ReasonExpirationRequired,
		v1alpha1.ReasonExpirationForbidden,
		v1alpha1.ReasonLifetimeTooLong,
		v1alpha1.ReasonIPWhitelistRequired,
		v1alpha1.ReasonImportNotAllowed:
		return true
	}
	return false
}
