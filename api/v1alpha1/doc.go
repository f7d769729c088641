// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Package v1alpha1 contains the API types of apikey-manager: APIKey, Account, and their conditions and reasons.
//
// It imports only the standard library and apimachinery, so that every package can import it. The rules about keys are
// in internal/keys.
//
// +kubebuilder:object:generate=true
// +groupName=apikey-manager.io
package v1alpha1
