// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// verdict is a condition without its type, generation and time.
type verdict struct {
	status  metav1.ConditionStatus
	reason  string
	message string
}

func (f *Facts) setConditions(s standing, after *v1alpha1.APIKeyStatus) {
	accepted := f.acceptedVerdict(s)
	ready := f.readyVerdict(s, accepted, after)
	f.set(&after.Conditions, v1alpha1.ConditionReady, ready)
	f.set(&after.Conditions, v1alpha1.ConditionAccepted, accepted)
	f.set(&after.Conditions, v1alpha1.ConditionValid, validVerdict(s, accepted, after))
	if stalled := meta.FindStatusCondition(after.Conditions, v1alpha1.ConditionStalled); stalled != nil && stalled.Reason != ready.reason {
		meta.RemoveStatusCondition(&after.Conditions, v1alpha1.ConditionStalled) // its time is since when the reason holds
	}
	if ready.status == metav1.ConditionFalse && needsAPerson(ready.reason) {
		f.set(&after.Conditions, v1alpha1.ConditionStalled, verdict{metav1.ConditionTrue, ready.reason, ready.message})
	} else {
		meta.RemoveStatusCondition(&after.Conditions, v1alpha1.ConditionStalled)
	}
	if !f.Defaults.Verifiers || !Ended(after.State) { // what is in it is written by whoever asks the verifiers
		meta.RemoveStatusCondition(&after.Conditions, v1alpha1.ConditionEnforced)
	}
}

func (f *Facts) set(conditions *[]metav1.Condition, conditionType string, v verdict) {
	meta.SetStatusCondition(conditions, metav1.Condition{
		Type: conditionType, Status: v.status, Reason: v.reason, Message: v.message,
		ObservedGeneration: f.Key.Generation, LastTransitionTime: metav1.NewTime(f.Now),
	})
}

func (f *Facts) acceptedVerdict(s standing) verdict {
	switch {
	case s.refusal != nil:
		return verdict{metav1.ConditionFalse, s.refusal.Reason, s.refusal.Message}
	case f.awaitsAccount():
		return verdict{metav1.ConditionUnknown, v1alpha1.ReasonPending, "Account " + f.Key.Spec.Account + " does not exist: the manager creates it after --account-creation-delay if nobody else does"}
	case s.waiting:
		return verdict{metav1.ConditionUnknown, v1alpha1.ReasonPending, "Waiting for account " + f.Key.Spec.Account + " to admit the key"}
	}
	return verdict{metav1.ConditionTrue, v1alpha1.ReasonAccepted, "The key is within the policy of account " + f.Key.Spec.Account}
}

// readyVerdict names the first thing that is not as declared; Ready otherwise, with the state as its reason.
func (f *Facts) readyVerdict(s standing, accepted verdict, after *v1alpha1.APIKeyStatus) verdict {
	name := SecretName(f.Key)
	switch {
	case accepted.status == metav1.ConditionTrue && f.contested():
		return f.contestVerdict()
	case IsRefused(f.Err):
		before := meta.FindStatusCondition(f.Key.Status.Conditions, v1alpha1.ConditionReady)
		return verdict{metav1.ConditionFalse, v1alpha1.ReasonWriteFailed, refusalMessage(before, v1alpha1.ReasonWriteFailed, Say(f.Err))}
	case f.Err != nil && !IsTemplateError(f.Err):
		return verdict{metav1.ConditionFalse, v1alpha1.ReasonWriteFailed, truncate(Say(f.Err))}
	case f.unchangeable():
		return f.immutableVerdict()
	case after.State == v1alpha1.StateRevoked:
		return f.revokedVerdict()
	case accepted.status != metav1.ConditionTrue && (!s.suspended() || after.State == v1alpha1.StatePending || f.lacksSecret(s, after)):
		return verdict{metav1.ConditionFalse, accepted.reason, accepted.message}
	case f.Held.Possession != HeldOwned && f.isImported(after) && !f.lacksSecret(s, after):
		return f.carriedOutVerdict(accepted, after)
	case f.Held.Possession == HeldForeign:
		return verdict{metav1.ConditionFalse, v1alpha1.ReasonSecretConflict, truncate(f.conflictMessage())}
	case f.Held.OfferProblem != "" && f.Held.Possession == HeldOffered:
		return verdict{metav1.ConditionFalse, v1alpha1.ReasonSecretNotAdoptable, truncate("Secret " + name + " can't be adopted: " + f.Held.OfferProblem)}
	case f.Held.Possession == HeldLeftover:
		return verdict{metav1.ConditionFalse, v1alpha1.ReasonPending, truncate("Secret " + name + " of the deleted key of this name is still being removed")}
	case f.lacksSecret(s, after):
		return verdict{metav1.ConditionFalse, v1alpha1.ReasonPending, truncate("Secret " + name + " is being written")}
	}
	return f.carriedOutVerdict(accepted, after)
}

// carriedOutVerdict says that what is declared has been carried out.
func (f *Facts) carriedOutVerdict(accepted verdict, after *v1alpha1.APIKeyStatus) verdict {
	if after.State == v1alpha1.StateSuspended {
		return verdict{metav1.ConditionTrue, v1alpha1.ReasonAccountSuspended, accepted.message}
	}
	return verdict{metav1.ConditionTrue, string(after.State), stateMessages[after.State]}
}

// lacksSecret is whether the key should have a credential in its Secret and has not. A rotation under way lacks
// nothing.
func (f *Facts) lacksSecret(s standing, after *v1alpha1.APIKeyStatus) bool {
	c := current(after)
	if c == nil {
		return !f.needsNone(s)
	}
	if f.Held.Possession != HeldOwned && f.isImported(after) {
		return f.dead(c) || f.Held.Possession != HeldNothing && f.rotationDue()
	}
	return f.Held.Possession != HeldOwned || f.Held.Current.SHA256 != c.SHA256 || f.dead(c) || f.Held.Drifted
}

func (f *Facts) revokedVerdict() verdict {
	if f.Held.Possession == HeldOwned && f.Held.Material() {
		return verdict{metav1.ConditionFalse, v1alpha1.ReasonPending, truncate("Secret " + SecretName(f.Key) + " is being emptied")}
	}
	return verdict{metav1.ConditionTrue, v1alpha1.ReasonRevoked, stateMessages[v1alpha1.StateRevoked]}
}

var stateMessages = map[v1alpha1.ObservedState]string{
	v1alpha1.StateActive:   "The key is in use",
	v1alpha1.StateInactive: "The key is switched off: set spec.state to Active to use it again",
	v1alpha1.StateExpired:  "The key has expired: move spec.expiration later, or remove it, to use it again",
	v1alpha1.StateRevoked:  "The key is revoked for good: create another one",
	v1alpha1.StatePending:  "The key has no credential yet",
}

// validVerdict says whether a verifier accepts the key.
func validVerdict(s standing, accepted verdict, after *v1alpha1.APIKeyStatus) verdict {
	switch {
	case after.State == v1alpha1.StateActive:
		return verdict{metav1.ConditionTrue, v1alpha1.ReasonActive, "Verifiers accept the key"}
	case after.State != v1alpha1.StatePending && after.State != v1alpha1.StateSuspended:
		return verdict{metav1.ConditionFalse, string(after.State), stateMessages[after.State]}
	case s.refusal != nil:
		return verdict{metav1.ConditionFalse, v1alpha1.ReasonNotAccepted, accepted.message}
	case s.waiting:
		return verdict{metav1.ConditionFalse, v1alpha1.ReasonPending, accepted.message}
	}
	return verdict{metav1.ConditionFalse, v1alpha1.ReasonPending, stateMessages[v1alpha1.StatePending]}
}

// needsAPerson is whether waiting alone can never heal what a reason names.
func needsAPerson(reason string) bool {
	switch reason {
	case v1alpha1.ReasonSecretConflict, v1alpha1.ReasonSecretImmutable, v1alpha1.ReasonSecretNotAdoptable, v1alpha1.ReasonSecretContested, v1alpha1.ReasonDuplicateKey,
		v1alpha1.ReasonInvalidSpec, v1alpha1.ReasonLabelTaken, v1alpha1.ReasonScopeNotAllowed,
		v1alpha1.ReasonNamespaceNotAllowed, v1alpha1.ReasonExpirationRequired, v1alpha1.ReasonExpirationForbidden,
		v1alpha1.ReasonLifetimeTooLong, v1alpha1.ReasonIPWhitelistRequired, v1alpha1.ReasonImportNotAllowed:
		return true
	}
	return false
}
