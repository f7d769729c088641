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

// IsDisabled reports whether a key in this state was disabled by a user, who wants to know when all verifiers refuse
// it.
func IsDisabled(s v1alpha1.ObservedState) bool {
	return s == v1alpha1.StateInactive || s == v1alpha1.StateRevoked
}

// WantsDisabled reports whether the spec of a key disables it.
func WantsDisabled(k *v1alpha1.APIKey) bool {
	return k.Spec.State == v1alpha1.KeyStateInactive || k.Spec.State == v1alpha1.KeyStateRevoked
}

// Replica describes what a live replica of the verifier reported. The zero value stands for a replica that can't be
// reached.
type Replica struct {
	// Reached reports whether the replica responded.
	Reached bool
	// Synced reports whether the replica has synced its caches. Until then, it refuses every key.
	Synced bool
	// KeysVersion holds the newest resourceVersion of APIKeys that the replica has observed.
	KeysVersion string
	// Refused holds the keys that the replica refuses, among those that the manager asked about.
	Refused map[types.UID]bool
	// Known holds the credentials that the replica knows, among those that the manager asked about.
	Known map[usage.CredentialReference]bool
}

// KnownByAll reports whether every live replica has synced and knows a credential. It does not compare
// resourceVersions, which mean nothing after etcd was restored from a backup.
func KnownByAll(c usage.CredentialReference, live []Replica) bool {
	return !slices.ContainsFunc(live, func(r Replica) bool { return !r.Reached || !r.Synced || !r.Known[c] })
}

// Refuses reports whether the replica refuses a key, and will continue to. The replica must report that it refuses the
// key, because the order of resourceVersions means nothing after etcd was restored from a backup. It must also have
// observed the version of the key: a replica that lags may refuse a key that it does not know yet, or that was disabled
// before, and accept the key for a moment while it catches up.
func (r Replica) Refuses(uid types.UID, version string) bool {
	return r.Reached && (!r.Synced || r.Refused[uid] && r.hasObserved(version))
}

// hasObserved reports whether the replica has observed a resourceVersion of APIKeys, or a later one.
func (r Replica) hasObserved(version string) bool {
	order, err := resourceversion.CompareResourceVersion(r.KeysVersion, version)
	return err == nil && order >= 0
}

// Propagation describes how far the refusal of a key has spread to the verifiers. Values are comparable.
type Propagation struct{ conditionValue }

// PropagationStatus returns how far the refusal of a key that is disabled as of a resourceVersion has spread: unknown
// if no replica is live, done if all of them refuse the key, in progress otherwise.
func PropagationStatus(uid types.UID, version string, live []Replica) Propagation {
	lags := func(r Replica) bool { return !r.Refuses(uid, version) }
	switch {
	case len(live) == 0:
		return Propagation{conditionValue{metav1.ConditionUnknown, v1alpha1.ReasonNoVerifier, "There is no verifier"}}
	case !slices.ContainsFunc(live, lags):
		return Propagation{conditionValue{metav1.ConditionTrue, v1alpha1.ReasonEnforced, "Every verifier refuses the key"}}
	}
	return Propagation{
		conditionValue{metav1.ConditionFalse, v1alpha1.ReasonEnforcing, "Waiting for every verifier to report that it refuses the key"},
	}
}

// Done reports whether every verifier refuses the key.
func (e Propagation) Done() bool { return e.status == metav1.ConditionTrue }

// InProgress reports whether some verifier may still accept the key.
func (e Propagation) InProgress() bool { return e.status == metav1.ConditionFalse }

// IsEnforced reports whether the status says, for the current generation of a key, that every verifier refuses it.
func IsEnforced(k *v1alpha1.APIKey) bool {
	c := meta.FindStatusCondition(k.Status.Conditions, v1alpha1.ConditionEnforced)
	return c != nil && c.Status == metav1.ConditionTrue && c.ObservedGeneration == k.Generation
}

// DisabledStatusObserved reports whether the status says, for the current generation of a key, that it is disabled, so
// that verifiers can be expected to observe its resourceVersion.
func DisabledStatusObserved(k *v1alpha1.APIKey) bool {
	return WantsDisabled(k) && IsDisabled(k.Status.State) && k.Status.ObservedGeneration == k.Generation && k.DeletionTimestamp.IsZero()
}

// WithPropagation returns the status of a key with condition Enforced. The condition does not change back from True: a
// verifier that starts later reads the key before it answers requests.
func WithPropagation(k *v1alpha1.APIKey, e Propagation, now time.Time) v1alpha1.APIKeyStatus {
	after := *k.Status.DeepCopy()
	was := meta.IsStatusConditionTrue(after.Conditions, v1alpha1.ConditionEnforced)
	if !DisabledStatusObserved(k) || was && !e.Done() {
		return after
	}
	conditionSetter{conditions: &after.Conditions, generation: k.Generation, now: now}.set(v1alpha1.ConditionEnforced, e.conditionValue)
	return after
}
