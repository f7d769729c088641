// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"slices"
	"time"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/credential"
)

// This file implements staging: verifiers observe the digest of the next credential before the credential is written to the
// Secret. Until then, the credential exists only in the memory of one process, and in the objects of KeyExports. If that
// process ends, another credential is staged instead. The digest of the first one stays in the status until a write of the
// Secret ensures that the process, in case it is slow and has not ended, can no longer write the first credential to the
// Secret.

const (
	// propagationTimeout limits how long a rotation waits for verifiers that don't report that they have observed the
	// staged credential.
	propagationTimeout = 5 * time.Second
	// maxStaged limits the staged credentials in a status.
	maxStaged = 2
)

// hasStaged reports whether this process has the credential that the status staged last, and it has not expired.
func (a *assessment) hasStaged() bool {
	next := LastStaged(&a.Key.Status)
	return next != nil && next.SHA256 == a.Staged.SHA256 && !a.credentialExpired(next)
}

// propagationDeadline returns until when to wait for verifiers to observe the staged credential.
func (a *assessment) propagationDeadline() time.Time {
	return LastStaged(&a.Key.Status).IssuedAt.Add(propagationTimeout)
}

// canPromote reports whether the staged credential may be written to the Secret.
func (a *assessment) canPromote() bool {
	return a.hasStaged() && (a.Propagated || !a.Now.Before(a.propagationDeadline()))
}

// stagingDue reports whether to stage a credential: because a rotation is due, or because the staged credential of a
// rotation in progress is lost.
func (a *assessment) stagingDue() bool {
	lost := LastStaged(&a.Key.Status) != nil && a.desiredState == v1alpha1.StateActive
	return !a.hasStaged() && (lost || a.rotationDue(&a.Key.Status))
}

// stage returns the steps that stage the next credential. The status lists at most maxStaged staged credentials. Before
// one is dropped, FenceSecret ensures that no process can still write it to the Secret. The credential that was staged
// last is kept, because its write may have begun after the fence.
func (a *assessment) stage(name string, format credential.Format) ([]Step, string) {
	stage := StageCredential{Name: name, Format: format}
	if len(staged(&a.Key.Status)) >= maxStaged {
		return []Step{FenceSecret{Name: name}, stage}, "the staged credentials are lost"
	}
	return []Step{stage}, "the next credential is due"
}

// withStaged adds the credential that this reconcile staged to those that verifiers accept.
func (a *assessment) withStaged(list []v1alpha1.Credential) []v1alpha1.Credential {
	if isListed := slices.ContainsFunc(
		list,
		func(c v1alpha1.Credential) bool { return c.SHA256 == a.Staged.SHA256 },
	); !a.JustStaged ||
		isListed {
		return list
	}
	if last := LastStaged(&a.Key.Status); a.JustFenced {
		list = slices.DeleteFunc(list, func(c v1alpha1.Credential) bool { return c.Role == v1alpha1.RoleStaged && c.SHA256 != last.SHA256 })
	}
	return append(list, a.toStatusCredential(a.Staged, v1alpha1.RoleStaged))
}
