// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/usage"
)

// IsDisabled is whether a person switched a key off that is in this state, so that they want to know who still accepts it.
func IsDisabled(s v1alpha1.ObservedState) bool {
	return s == v1alpha1.StateInactive || s == v1alpha1.StateRevoked
}

// WantsDisabled is whether a person wants a key to be refused.
func WantsDisabled(k *v1alpha1.APIKey) bool {
	return k.Spec.State == v1alpha1.KeyStateInactive || k.Spec.State == v1alpha1.KeyStateRevoked
}

// Replica is what one live replica of the verifier says of itself. The zero value is one that can't be reached.
type Replica struct {
	// Reached is whether it answered.
	Reached bool
	// Synced is whether it gives verdicts. Before, it refuses every key.
	Synced bool
	// KeysVersion is the newest resourceVersion of APIKeys that it enforces.
	KeysVersion string
	// Refused are the keys that it refuses, of those that it was asked about.
	Refused map[types.UID]bool
	// Known are the credentials that it knows, of those that it was asked about.
	Known map[usage.CredentialReference]bool
}

// KnownByAll reports whether every live replica knows a credential and gives verdicts. Its word is asked for, and not which
// version of the key it has come to: versions mean nothing after the API server's store was rolled back.
func KnownByAll(c usage.CredentialReference, live []Replica) bool {
	return !slices.ContainsFunc(live, func(r Replica) bool { return !r.Reached || !r.Synced || !r.Known[c] })
}

// Refuses reports whether the replica refuses a key, and will go on to. Its word that it refuses the key is needed: after
// the API server's store was rolled back, the order of versions means nothing. It must have come to the key's version as
// well: one that is behind may refuse a key that it does not know yet, or that was switched off before, and accept the key
// for a moment while it catches up.
func (r Replica) Refuses(uid types.UID, version string) bool {
	return r.Reached && (!r.Synced || r.Refused[uid] && r.hasObserved(version))
}

// hasObserved reports whether the replica has observed a resourceVersion of APIKeys, or a later one.
func (r Replica) hasObserved(version string) bool {
	order, err := resourceversion.CompareResourceVersion(r.KeysVersion, version)
	return err == nil && order >= 0
}

// Propagation is how far the verifiers have come in refusing a key. Two of them may be compared.
type Propagation struct{ conditionValue }

// PropagationStatus returns how far all live replicas have come with refusing a key that is switched off in a version of it.
func PropagationStatus(uid types.UID, version string, live []Replica) Propagation {
	lags := func(r Replica) bool { return !r.Refuses(uid, version) }
	switch {
	case len(live) == 0:
		return Propagation{conditionValue{metav1.ConditionUnknown, v1alpha1.ReasonNoVerifier, "There is no verifier"}}
	case !slices.ContainsFunc(live, lags):
		return Propagation{conditionValue{metav1.ConditionTrue, v1alpha1.ReasonEnforced, "Every verifier refuses the key"}}
	}
	return Propagation{conditionValue{metav1.ConditionFalse, v1alpha1.ReasonEnforcing, "Some verifier has yet to say that it refuses the key"}}
}

// Done is whether every verifier refuses the key.
func (e Propagation) Done() bool { return e.status == metav1.ConditionTrue }

// InProgress is whether some verifier may still accept the key.
func (e Propagation) InProgress() bool { return e.status == metav1.ConditionFalse }

// IsEnforced is whether the status says of a key as it is now that every verifier refuses it.
func IsEnforced(k *v1alpha1.APIKey) bool {
	c := meta.FindStatusCondition(k.Status.Conditions, v1alpha1.ConditionEnforced)
	return c != nil && c.Status == metav1.ConditionTrue && c.ObservedGeneration == k.Generation
}

// DisabledStatusObserved is whether the status says of a key as it is now that it is switched off, so that its version is one for
// verifiers to know.
func DisabledStatusObserved(k *v1alpha1.APIKey) bool {
	return WantsDisabled(k) && IsDisabled(k.Status.State) && k.Status.ObservedGeneration == k.Generation && k.DeletionTimestamp.IsZero()
}

// WithPropagation returns a key's status with how far its verifiers have come. That every verifier refuses the key is not taken
// back: a verifier that starts later reads the key before it answers.
func WithPropagation(k *v1alpha1.APIKey, e Propagation, now time.Time) v1alpha1.APIKeyStatus {
	after := *k.Status.DeepCopy()
	was := meta.IsStatusConditionTrue(after.Conditions, v1alpha1.ConditionEnforced)
	if !DisabledStatusObserved(k) || was && !e.Done() {
		return after
	}
	conditionSetter{conditions: &after.Conditions, generation: k.Generation, now: now}.set(v1alpha1.ConditionEnforced, e.conditionValue)
	return after
}
