// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"bytes"
	"maps"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// This file holds what the API server never lets change: the entries of an immutable Secret, and the type of any Secret. The
// manager does not try, and says so. Labels and annotations of an immutable Secret can be changed.

// CanReplace reports whether the API server lets a Secret be given the shape.
func (s Shape) CanReplace(secret Shape) bool {
	return s.Type == orElse(secret.Type, typeOpaque) && (!secret.Immutable || s.hasEntriesOf(secret))
}

func (s Shape) hasEntriesOf(secret Shape) bool {
	return maps.EqualFunc(secret.Data, s.Data, bytes.Equal)
}

// IsUnchangeable reports whether the API server would refuse a step, since it changes what never changes in the key's Secret.
func (f *Facts) IsUnchangeable(step Step) bool {
	if f.Held.Possession != HeldOwned {
		return false
	}
	switch step.(type) {
	case ReplaceMaterial, FenceSecret, StageCredential, PromoteStaged, RetirePrevious, EmptySecret:
		return f.Held.Immutable || f.Held.WrongType != ""
	case MendSecret:
		return f.Held.Immutable && f.Held.EntriesDrifted || f.Held.WrongType != ""
	}
	return false
}

// unchangeable reports whether a step is needed that the API server would refuse.
func (f *Facts) unchangeable() bool {
	steps, _ := f.neededSteps()
	return slices.ContainsFunc(steps, f.IsUnchangeable)
}

// dueSteps returns the steps that are due and possible, repairs that are put off included.
func (f *Facts) dueSteps() ([]Step, string) {
	steps, why := f.neededSteps()
	if !slices.ContainsFunc(steps, f.IsUnchangeable) {
		return steps, why
	}
	return slices.DeleteFunc(steps, f.IsUnchangeable), "the Secret can't be changed"
}

// immutableVerdict names the way out of a Secret that can't be changed.
func (f *Facts) immutableVerdict() verdict {
	message := "Secret " + SecretName(f.Key) + " is immutable and has to change"
	if f.Held.WrongType != "" {
		message = "Secret " + SecretName(f.Key) + " has type " + f.Held.WrongType + " and the key declares another, which can't be changed"
	}
	if f.wants() == v1alpha1.StateRevoked {
		message += ": delete it, since the key is revoked"
	} else {
		message += ": delete it, and the manager writes another one, with a new key"
	}
	return verdict{metav1.ConditionFalse, v1alpha1.ReasonSecretImmutable, truncate(message)}
}
