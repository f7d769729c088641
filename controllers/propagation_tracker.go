// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/usage"
)

const (
	// maxKeysPerPoll is the number of keys in one poll, so that a replica can respond within its timeout. The remaining keys
	// are in the next poll.
	maxKeysPerPoll = 10 * usage.MaxReferences
	// firstReportDelay is how long to wait before reporting Enforced=False. Most changes propagate sooner, which saves a
	// status write.
	firstReportDelay = 500 * time.Millisecond
	// reportInterval is the shortest time between two reports of a propagation that is not done, so that a verifier that comes
	// and goes causes few status writes.
	reportInterval = 30 * time.Second
)

// propagationTracker keeps the disabled keys that some verifier may still accept.
type propagationTracker struct {
	clock clock.PassiveClock
	// recorder records how long propagation takes; nil: nothing is recorded.
	recorder VerifierRecorder
	// triggered receives a value when there is a reason to poll at once.
	triggered trigger

	mu    sync.Mutex
	waits map[types.UID]*disabledKey
}

// disabledKey holds the state of a disabled key that some verifier may still accept.
type disabledKey struct {
	key types.NamespacedName
	// seenAt is the time at which the key was first seen to be disabled.
	seenAt time.Time
	// measuring reports whether to record how long propagation takes: this manager saw the key being disabled while in use.
	measuring bool
	// generation is the one that the verifiers are polled for since a time, and version is the resourceVersion of the key that
	// they must have observed.
	generation int64
	version    string
	since      time.Time
	// writable reports whether the status describes that generation, so that the condition may be set.
	writable bool
	// reported is the propagation that the status is to show, since reportedAt; zero: none yet.
	reported   keys.Propagation
	reportedAt time.Time
}

func newPropagationTracker(now clock.PassiveClock, recorder VerifierRecorder) *propagationTracker {
	return &propagationTracker{clock: now, recorder: recorder, triggered: newTrigger(), waits: map[types.UID]*disabledKey{}}
}

// reset stops all measurements: what another manager saw while it led is not measured here.
func (t *propagationTracker) reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, w := range t.waits {
		w.measuring = false
	}
}

// track begins or stops to track a key, according to its object. was is the object before the update, or nil.
func (t *propagationTracker) track(was, is *v1alpha1.APIKey) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(is.Undecodable) > 0 || !keys.WantsDisabled(is) || keys.IsEnforced(is) {
		delete(t.waits, is.UID)
		return
	}
	w := t.waits[is.UID]
	if w == nil {
		w = &disabledKey{key: types.NamespacedName{Namespace: is.Namespace, Name: is.Name}, seenAt: t.clock.Now()}
		w.measuring = was != nil && was.Status.State == v1alpha1.StateActive && !keys.WantsDisabled(was)
		t.waits[is.UID] = w
	}
	if w.generation != is.Generation {
		w.generation, w.version, w.since = is.Generation, is.ResourceVersion, t.clock.Now()
		w.writable, w.reported = false, keys.Propagation{}
		t.triggered.fire()
	}
	if !w.writable && keys.DisabledStatusObserved(is) {
		w.writable = true
		t.triggered.fire()
	}
}

// forget drops a key that no longer exists.
func (t *propagationTracker) forget(uid types.UID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.waits, uid)
}

// unconfirmed returns the keys to poll for, and the versions of them that verifiers must have observed.
func (t *propagationTracker) unconfirmed() (versions map[types.UID]string, references []usage.KeyReference) {
	t.mu.Lock()
	defer t.mu.Unlock()
	versions = map[types.UID]string{}
	for uid, w := range t.waits { // in random order, so that keys that wait for long do not block the others
		if len(references) == maxKeysPerPoll {
			break
		}
		if !w.reported.Done() {
			versions[uid] = w.version
			references = append(references, usage.KeyReference{Namespace: w.key.Namespace, Name: w.key.Name, UID: uid})
		}
	}
	return versions, references
}

// evaluate compares the states of the replicas with the versions that they were polled for. It returns the keys whose status
// has to be written, and reports whether to poll again soon.
func (t *propagationTracker) evaluate(
	versions map[types.UID]string,
	live []keys.Replica,
) (changed []types.NamespacedName, inProgress bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for uid, version := range versions {
		w := t.waits[uid]
		if w == nil || w.version != version {
			continue // it changed meanwhile, and is polled for anew
		}
		p := keys.PropagationStatus(uid, version, live)
		if p.Done() {
			t.measure(w)
		}
		if w.writable && w.shouldReport(p, t.clock.Now()) {
			w.reported, w.reportedAt = p, t.clock.Now()
			changed = append(changed, w.key)
		}
		inProgress = inProgress || p.InProgress() || w.writable && p != w.reported
	}
	return changed, inProgress
}

// shouldReport reports whether the status is to show a propagation that differs from the one reported last.
func (w *disabledKey) shouldReport(p keys.Propagation, now time.Time) bool {
	switch {
	case p == w.reported:
		return false
	case p.Done():
		return true
	case w.reported == keys.Propagation{}:
		return !p.InProgress() || now.Sub(w.since) >= firstReportDelay
	}
	return now.Sub(w.reportedAt) >= reportInterval
}

// measure records, once, the time from when a key was seen to be disabled until all verifiers refused it.
func (t *propagationTracker) measure(w *disabledKey) {
	if w.measuring && t.recorder != nil {
		t.recorder.Enforced(t.clock.Since(w.seenAt))
	}
	w.measuring = false
}

// apply sets condition Enforced of a key, if there is something to report about its current generation.
func (t *propagationTracker) apply(k *v1alpha1.APIKey, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if w := t.waits[k.UID]; w != nil && w.generation == k.Generation && w.reported != (keys.Propagation{}) {
		k.Status = keys.WithPropagation(k, w.reported, now.UTC().Truncate(time.Second))
	}
}
