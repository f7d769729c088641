// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/lookup"
)

// stagedExports records which KeyExports have handled which staged credentials, so that a rotation writes a credential to the
// Secret of the key only when the KeyExports hold it.
type stagedExports struct {
	client.Reader
	settings keys.Settings

	mu sync.Mutex
	// handled holds the digests of the staged credentials that a KeyExport holds or withholds, by its UID.
	handled map[types.UID]map[string]bool
	// waiting holds the keys whose rotation waits, by their UID.
	waiting map[types.UID]waitingKey
	// enqueueCh receives the keys whose staged credential a KeyExport has handled.
	enqueueCh chan event.GenericEvent
}

// waitingKey identifies a key and the digest of its staged credential.
type waitingKey struct {
	types.NamespacedName
	digest string
}

func newStagedExports(reader client.Reader, settings keys.Settings) *stagedExports {
	return &stagedExports{
		Reader: reader, settings: settings, handled: map[types.UID]map[string]bool{}, waiting: map[types.UID]waitingKey{},
		enqueueCh: make(chan event.GenericEvent),
	}
}

// done reports whether every KeyExport has handled the credential that the status of a key staged last. If not, the key is
// enqueued once a KeyExport has handled it.
func (s *stagedExports) done(ctx context.Context, key *v1alpha1.APIKey) bool {
	next := keys.LastStaged(&key.Status)
	if s == nil || next == nil {
		return true
	}
	exports, err := lookup.Exports(ctx, s, "")
	if err != nil {
		log.FromContext(ctx).Error(err, "Could not find the KeyExports of a staged credential")
		return false // the rotation does not wait for long
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range exports {
		if exportIsReconciled(e, s.settings) && exportsAccount(e, key.Spec.Account) && !s.handled[e.UID][next.SHA256] {
			s.waiting[key.UID] = waitingKey{client.ObjectKeyFromObject(key), next.SHA256}
			return false
		}
	}
	delete(s.waiting, key.UID)
	return true
}

// record replaces the digests that a KeyExport has handled, and enqueues the keys that wait for them.
func (s *stagedExports) record(ctx context.Context, export types.UID, digests map[string]bool) {
	if s == nil {
		return
	}
	s.mu.Lock()
	s.handled[export] = digests
	var list []types.NamespacedName
	for uid, w := range s.waiting {
		if digests[w.digest] {
			list = append(list, w.NamespacedName)
			delete(s.waiting, uid)
		}
	}
	s.mu.Unlock()
	enqueue(ctx, s.enqueueCh, list...)
}

// forgetKey drops a key whose rotation no longer waits.
func (s *stagedExports) forgetKey(uid types.UID) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.waiting, uid)
}

// forgetExport drops a KeyExport that no longer exists.
func (s *stagedExports) forgetExport(uid types.UID) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.handled, uid)
}

// exportIsReconciled reports whether the manager writes the objects of a KeyExport.
func exportIsReconciled(e *v1alpha1.KeyExport, settings keys.Settings) bool {
	return settings.WatchesNamespace(e.Namespace) && e.DeletionTimestamp.IsZero() && len(e.Undecodable) == 0
}

// exportsAccount reports whether the spec of a KeyExport may select keys of an account, judging by the name alone.
func exportsAccount(e *v1alpha1.KeyExport, account string) bool {
	return len(e.Spec.Accounts) == 0 || slices.Contains(e.Spec.Accounts, account)
}
