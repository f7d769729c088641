// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/export"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/lookup"
)

// snapshotLifetime limits how long a snapshot is used. Several events follow each change of a key, soon after each other. It also
// limits the consequences of a restore of the API server's store, after which another content may have the same resourceVersion.
const snapshotLifetime = 10 * time.Second

// exportSnapshot holds what a reconciliation of a KeyExport was based on that left nothing to do, and the status that it described.
// A reconciliation that is based on the same ends early. If it cannot be sure, it evaluates all keys again, so a snapshot never
// determines what the objects hold.
type exportSnapshot struct {
	rules        *export.Export
	onlyWithdraw bool
	// at is the time of the reconciliation in seconds since the Unix epoch, and next the time at which its result changes although
	// no object does.
	at   int64
	next time.Time

	keys       map[types.UID]observedKey
	accounts   map[string]observedAccount
	namespaces map[string]map[string]string
	// sharesDigests reports whether several keys had, or had revoked, the same credential.
	sharesDigests bool

	status v1alpha1.KeyExportStatus
}

// observedKey identifies the version of a key. matters reports whether the export held or withheld a credential of it.
type observedKey struct {
	version string
	matters bool
}

// observedAccount identifies what exports use of an account, as accountHandler does.
type observedAccount struct {
	uid         types.UID
	generation  int64
	labels      map[string]string
	undecodable int
	externalID  string
}

func observeAccount(a *v1alpha1.Account) observedAccount {
	return observedAccount{a.UID, a.Generation, a.Labels, len(a.Undecodable), a.Spec.ExternalID}
}

func (o observedAccount) equals(a *v1alpha1.Account) bool {
	return o.uid == a.UID && o.generation == a.Generation && o.undecodable == len(a.Undecodable) && o.externalID == a.Spec.ExternalID &&
		maps.Equal(o.labels, a.Labels)
}

// takeSnapshot records what a reconciliation was based on, if it left nothing to do.
func (run *exportRun) takeSnapshot(status v1alpha1.KeyExportStatus) {
	isComplete := run.placed && run.violation == nil && run.removes == 0 && run.retry.IsZero() && !run.incomplete
	if !isComplete {
		return
	}
	s := &exportSnapshot{
		rules: run.rules, onlyWithdraw: run.onlyWithdraw, at: run.now.Unix(), next: run.next, keys: run.observed,
		accounts: make(map[string]observedAccount, len(run.accounts)), namespaces: run.namespaces,
		sharesDigests: len(run.shared) > 0, status: status,
	}
	for name, a := range run.accounts {
		s.accounts[name] = observeAccount(a)
	}
	run.state.snapshot = s
}

// isUnchanged reports whether the last reconciliation left nothing to do, and this one has the same result.
func (r *KeyExportReconciler) isUnchanged(ctx context.Context, run *exportRun) bool {
	s, second := run.state.snapshot, run.now.Unix()
	switch {
	case s == nil || s.rules != run.rules || s.onlyWithdraw != run.onlyWithdraw,
		second < s.at || second >= s.at+int64(snapshotLifetime/time.Second),
		!s.next.IsZero() && !run.now.Before(s.next),
		!equality.Semantic.DeepEqual(run.state.newer(run.export).Status, s.status),
		!maps.EqualFunc(s.accounts, run.accounts, observedAccount.equals),
		!maps.EqualFunc(s.namespaces, run.namespaces, maps.Equal[map[string]string]):
		return false
	}
	return r.keysUnchanged(ctx, run, s)
}

// keysUnchanged reports whether no key changed, apart from keys that do not matter to the export, neither before nor after.
func (r *KeyExportReconciler) keysUnchanged(ctx context.Context, run *exportRun, s *exportSnapshot) bool {
	for _, k := range run.keys {
		was, isKnown := s.keys[k.UID]
		switch {
		case isKnown && was.version == k.ResourceVersion:
		case was.matters || s.sharesDigests || run.mattersAlone(k) || r.sharesDigest(ctx, k):
			return false
		default:
			s.keys[k.UID] = observedKey{version: k.ResourceVersion}
		}
	}
	return len(s.keys) == len(run.keys)
}

// mattersAlone reports whether the export holds or withholds a credential of a key, unless it belongs to another key.
func (run *exportRun) mattersAlone(k *v1alpha1.APIKey) bool {
	return matters(run.rules.Evaluate(run.candidate(k), run.now))
}

// matters reports whether an export holds or withholds a credential of a key.
func matters(e export.Evaluation) bool { return len(e.Credentials) > 0 || e.Withheld != "" }

// sharesDigest reports whether another key has, or has revoked, a credential of a key. Then it may change what the export holds of
// the other key.
func (r *KeyExportReconciler) sharesDigest(ctx context.Context, k *v1alpha1.APIKey) bool {
	return slices.ContainsFunc(keys.KeyDigests(k), func(digest string) bool {
		list, err := lookup.Keys(ctx, r, keys.IndexDigest, digest)
		return err != nil || slices.ContainsFunc(list, func(other *v1alpha1.APIKey) bool { return other.UID != k.UID })
	})
}
