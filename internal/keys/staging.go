// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"slices"
	"time"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/credential"
)

// This file holds how the next credential comes to be known to verifiers before it goes into the Secret. It exists in the
// memory of one process until then. If that process dies, another credential takes its place. The digest of the first stays in
// the status all the same, until a write of the Secret has made sure that the process, should it be slow and not dead, can't
// write the first credential to the Secret any more.

const (
	// stagedPollTimeout is how long a rotation waits for verifiers that don't say that they know the staged credential.
	propagationTimeout = 5 * time.Second
	// maxStaged is how many staged credentials a status lists.
	maxStaged = 2
)

// hasStaged reports whether this process has the credential that the status staged last, and verifiers are to accept it.
func (a *assessment) hasStaged() bool {
	next := LastStaged(&a.Key.Status)
	return next != nil && next.SHA256 == a.Staged.SHA256 && !a.credentialExpired(next)
}

// propagationDeadline returns until when to wait for verifiers to know the staged credential.
func (a *assessment) propagationDeadline() time.Time {
	return LastStaged(&a.Key.Status).IssuedAt.Add(propagationTimeout)
}

// canPromote reports whether the staged credential may go into the Secret.
func (a *assessment) canPromote() bool {
	return a.hasStaged() && (a.Propagated || !a.Now.Before(a.propagationDeadline()))
}

// stagingDue reports whether to stage a credential: a rotation is due, or one is under way whose credential no process has.
func (a *assessment) stagingDue() bool {
	lost := LastStaged(&a.Key.Status) != nil && a.desiredState == v1alpha1.StateActive
	return !a.hasStaged() && (lost || a.rotationDue())
}

// stage returns the steps that stage the next credential. No more staged credentials are listed than maxStaged: before one is
// dropped, the Secret is fenced against the process that may be about to write it. That of the credential staged last may
// have begun after the fence, so that one is kept.
func (a *assessment) stage(name string, format credential.Format) ([]Step, string) {
	stage := StageCredential{Name: name, Format: format}
	if len(staged(&a.Key.Status)) >= maxStaged {
		return []Step{FenceSecret{Name: name}, stage}, "the staged credentials are lost"
	}
	return []Step{stage}, "the next credential is due"
}

// withStaged adds the credential that this round staged to those that verifiers are to know.
func (a *assessment) withStaged(list []v1alpha1.Credential) []v1alpha1.Credential {
	if isListed := slices.ContainsFunc(list, func(c v1alpha1.Credential) bool { return c.SHA256 == a.Staged.SHA256 }); !a.JustStaged || isListed {
		return list
	}
	if last := LastStaged(&a.Key.Status); a.JustFenced {
		list = slices.DeleteFunc(list, func(c v1alpha1.Credential) bool { return c.Role == v1alpha1.RoleStaged && c.SHA256 != last.SHA256 })
	}
	return append(list, a.toStatusCredential(a.Staged, v1alpha1.RoleStaged))
}
