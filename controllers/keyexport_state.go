// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/credential"
	"github.com/apikey-manager/apikey-manager/internal/export"
)

// exportStates holds what the controller knows of each KeyExport. The zero value is ready to use.
type exportStates struct {
	mu      sync.Mutex
	byName  map[types.NamespacedName]*exportState
	changed map[types.NamespacedName]time.Time
	// written holds the version of each object that this process wrote last, by the UID of the object.
	written map[types.UID]string
}

// exportState holds what the controller knows of a KeyExport from one reconciliation to the next. Only the reconciliation of this
// KeyExport uses it, of which there is one at a time.
type exportState struct {
	uid types.UID
	// generation is the generation of the spec that rules were compiled from, or that compileErr is about.
	generation int64
	rules      *export.Export
	compileErr error

	// objects holds the objects that the KeyExport owns, as they were read or written last.
	objects map[string]*exportObject
	// searched reports whether objects that the cache lacks were searched.
	searched bool
	// deleted holds the UIDs of deleted objects that the cache may still contain.
	deleted map[types.UID]bool
	// foreign holds the objects that the KeyExport does not own although they have a name that it needs, and when that was seen.
	foreign map[string]time.Time

	// snapshot holds what the last reconciliation was based on if it left nothing to do, or is nil.
	snapshot *exportSnapshot
	// rendered holds the entries of credentials by digest.
	rendered map[string]*renderedEntry
	// additions limits the writes that add credentials, and withdrawals the others.
	additions, withdrawals writeLimit

	// latest holds the KeyExport as this process wrote its status last, or nil.
	latest *v1alpha1.KeyExport

	// next is the time at which the result of the last reconciliation changes although no object does.
	next time.Time
	// pendingSince is the time since which a withdrawal is to be written, or the zero time.
	pendingSince time.Time
}

// exportObject holds what the API server stores of an object.
type exportObject struct {
	meta  metav1.ObjectMeta
	items map[string]export.Item
	// identified reports whether the credentials in items were identified.
	identified bool
	// unchangeable holds why the object cannot be changed, or "".
	unchangeable string
	// trackedByOthers reports whether managedFields name another client.
	trackedByOthers bool
}

// renderedEntry holds the entry of a credential, and what it was made from.
type renderedEntry struct {
	entry export.Entry
	err   error
	// key, account and externalID identify the versions of the key and of the account, and generation that of the KeyExport.
	uid                      types.UID
	key, account, externalID string
	generation               int64
	// material holds the credential under content Key.
	material credential.Material
	// unreadable holds the version of the Secret in which the credential was not found.
	unreadable string
	// used reports whether the current reconciliation uses the entry.
	used bool
}

// get returns the state of a KeyExport, and when a change was received first that no reconciliation has handled.
func (s *exportStates) get(e *v1alpha1.KeyExport, now time.Time) (state *exportState, changed time.Time) {
	name := types.NamespacedName{Namespace: e.Namespace, Name: e.Name}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byName == nil {
		s.byName = map[types.NamespacedName]*exportState{}
	}
	if state = s.byName[name]; state == nil || state.uid != e.UID {
		state = &exportState{
			uid: e.UID, objects: map[string]*exportObject{}, deleted: map[types.UID]bool{}, foreign: map[string]time.Time{},
			rendered: map[string]*renderedEntry{},
		}
		s.byName[name] = state
	}
	changed, ok := s.changed[name]
	delete(s.changed, name)
	if !ok {
		changed = now
	}
	return state, changed
}

// has reports whether a state is that of a KeyExport that is not forgotten.
func (s *exportStates) has(name types.NamespacedName, state *exportState) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.byName[name] == state
}

// markChanged records that a change of a key, an account or a namespace was received that may concern a KeyExport.
func (s *exportStates) markChanged(name types.NamespacedName, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.changed == nil {
		s.changed = map[types.NamespacedName]time.Time{}
	}
	if _, ok := s.changed[name]; !ok {
		s.changed[name] = now
	}
}

// recordWrite records that this process wrote a version of an object.
func (s *exportStates) recordWrite(object client.Object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.written == nil {
		s.written = map[types.UID]string{}
	}
	s.written[object.GetUID()] = object.GetResourceVersion()
}

// isOwnWrite reports whether a version of an object is the one that this process wrote last. There is nothing to do about it. It
// returns false if the event about a write is faster than the response to it.
func (s *exportStates) isOwnWrite(object client.Object) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	version, ok := s.written[object.GetUID()]
	return ok && version == object.GetResourceVersion()
}

// forgetObject drops the version of an object that is deleted.
func (s *exportStates) forgetObject(uid types.UID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.written, uid)
}

// forget drops the state of a KeyExport that is deleted.
func (s *exportStates) forget(name types.NamespacedName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.byName, name)
	delete(s.changed, name)
}

const (
	// maxAdditions is the number of writes that may add credentials without a delay.
	maxAdditions = 200
	// maxWithdrawals is the number of writes that may only withdraw credentials without a delay.
	maxWithdrawals = 500
	// writeInterval is the time after which one further write is allowed.
	writeInterval = 500 * time.Millisecond
)

// writeLimit limits the writes of large objects, so that changes of many keys do not fill the API server's store with versions of
// them. The zero value allows as many as there may be without a delay.
type writeLimit struct {
	used int
	// since is the time at which used was reduced last.
	since time.Time
}

// allowed reports whether a write is allowed of which there may be some number without a delay, and otherwise when one is.
func (l *writeLimit) allowed(now time.Time, most int) (bool, time.Time) {
	if n := int(now.Sub(l.since) / writeInterval); n > 0 || now.Before(l.since) {
		l.used, l.since = max(0, l.used-max(n, 0)), now
	}
	return l.used < most, l.since.Add(writeInterval)
}

// use counts writes.
func (l *writeLimit) use(n int) { l.used += n }
