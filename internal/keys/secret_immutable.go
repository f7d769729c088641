// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"bytes"
	"cmp"
	"maps"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// This file handles what can never be changed in the API server: the entries of an immutable Secret, and the type of any
// Secret. The manager does not try, and reports it in the status. Labels and annotations of an immutable Secret can be
// changed.

// CanReplace reports whether the API server accepts an update of a Secret to this content.
func (s SecretContent) CanReplace(secret SecretContent) bool {
	return s.Type == cmp.Or(secret.Type, typeOpaque) && (!secret.Immutable || s.hasEntriesOf(secret))
}

func (s SecretContent) hasEntriesOf(secret SecretContent) bool {
	return maps.EqualFunc(secret.Data, s.Data, bytes.Equal)
}

// IsUnchangeable reports whether the API server would refuse a step because it changes an immutable part of the key's
// Secret.
func (f *Facts) IsUnchangeable(step Step) bool {
	if f.Secret.Ownership != SecretOwned {
		return false
	}
	switch step.(type) {
	case ReissueCredential, FenceSecret, StageCredential, PromoteStaged, RetirePrevious, ClearSecret:
		return f.Secret.Immutable || f.Secret.WrongType != ""
	case RepairSecret:
		return f.Secret.Immutable && f.Secret.EntriesDrifted || f.Secret.WrongType != ""
	}
	return false
}

// needsImpossibleStep reports whether a step is needed that the API server would refuse.
func (a *assessment) needsImpossibleStep() bool {
	return slices.ContainsFunc(a.needed, a.IsUnchangeable)
}

// dueSteps returns the steps that are needed and possible, including repairs that are delayed.
func (a *assessment) dueSteps() ([]Step, string) {
	if !a.needsImpossibleStep() {
		return a.needed, a.why
	}
	return slices.DeleteFunc(slices.Clone(a.needed), a.IsUnchangeable), "the Secret can't be changed"
}

// immutableCondition returns the condition that says how to replace a Secret that can't be changed.
func (a *assessment) immutableCondition() conditionValue {
	message := "Secret " + SecretName(a.Key) + " is immutable and must be changed"
	if a.Secret.WrongType != "" {
		message = "Secret " + SecretName(a.Key) + " has type " + a.Secret.WrongType + " and the key declares another, which can't be changed"
	}
	if a.desiredState == v1alpha1.StateRevoked {
		message += ": delete it, since the key is revoked"
	} else {
		message += ": delete it, and the manager creates another one with a new key"
	}
	return conditionValue{metav1.ConditionFalse, v1alpha1.ReasonSecretImmutable, truncate(message)}
}
