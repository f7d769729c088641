// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Package v1alpha1 holds the words of apikey-manager: APIKey, Account, their conditions and reasons.
//
// It imports the standard library and apimachinery only, so that anything may import it. No rule about keys lives
// here; those are in internal/keys.
//
// +kubebuilder:object:generate=true
// +groupName=apikey-manager.io
package v1alpha1
