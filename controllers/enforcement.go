// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/usage"
)

const (
	// disabledPollTimeout is how long one replica may take to say which keys it refuses.
	disabledPollTimeout = time.Second
	// maxKeysPerPoll is how many keys are asked about at once, so that a replica can answer in its time. If more wait, the rest is
	// asked about next.
	maxKeysPerPoll = 10 * usage.MaxReferences
	// firstReportDelay is how long verifiers may take before the status says that they are at it: most often that saves a write.
	firstReportDelay = 500 * time.Millisecond
	// reportInterval is how long what is not complete is left to stand, so that a verifier that comes and goes costs few writes.
	reportInterval = 30 * time.Second
)

// disabledKey is a key that is switched off, and that not every verifier is known to refuse.
type disabledKey struct {
	key types.NamespacedName
	// seen is when the key was first seen to be switched off.
	seen time.Time
	// measuring is whether to measure how long it takes: the key was in use, and was switched off under our eyes.
	measuring bool
	// generation is the one that is asked about, since a time, and version the key's in which verifiers must know it.
	generation int64
	version    string
	since      time.Time
	// writable is whether the status speaks of that generation, so that the condition may.
	writable bool
	// reported is what the status is to say, since a time; zero: nothing yet.
	reported   keys.Propagation
	reportedAt time.Time
}

// track takes note of a key as it is now. was is what it was before, if it changed under our eyes.
func (r *UsageReconciler) track(was, is *v1alpha1.APIKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(is.Undecodable) > 0 || !keys.WantsDisabled(is) || keys.IsEnforced(is) {
		delete(r.waits, is.UID)
		return
	}
	w := r.waits[is.UID]
	if w == nil {
		w = &disabledKey{key: types.NamespacedName{Namespace: is.Namespace, Name: is.Name}, seen: r.Clock.Now()}
		w.measuring = was != nil && was.Status.State == v1alpha1.StateActive && !keys.WantsDisabled(was)
		r.waits[is.UID] = w
	}
	if w.generation != is.Generation {
		w.generation, w.version, w.since = is.Generation, is.ResourceVersion, r.Clock.Now()
		w.writable, w.reported = false, keys.Propagation{}
		r.trigger()
	}
	if !w.writable && keys.DisabledStatusObserved(is) {
		w.writable = true
		r.trigger()
	}
}

func (r *UsageReconciler) trigger() {
	select {
	case r.triggered <- struct{}{}:
	default:
	}
}

// keyHandler takes note of keys that are switched off. It wakes nobody: what there is to write comes of asking.
func (r *UsageReconciler) keyHandler() handler.EventHandler {
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, _ queue) {
			r.track(nil, e.Object.(*v1alpha1.APIKey)) //nolint:forcetypeassert // watched as APIKey
		},
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, _ queue) {
			if e.ObjectOld.GetUID() != e.ObjectNew.GetUID() { // nobody told of the end of the one before
				r.forget(e.ObjectOld.GetUID())
			}
			r.track(e.ObjectOld.(*v1alpha1.APIKey), e.ObjectNew.(*v1alpha1.APIKey)) //nolint:forcetypeassert // watched as APIKey
		},
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, _ queue) { r.forget(e.Object.GetUID()) },
	}
}

// forget drops what is known of a key that is no more.
func (r *UsageReconciler) forget(uid types.UID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.waits, uid)
	r.ledger.Forget(uid)
}

// sliceHandler asks again when verifiers come and go.
func (r *UsageReconciler) sliceHandler() handler.EventHandler {
	return handler.Funcs{
		CreateFunc: func(context.Context, event.CreateEvent, queue) { r.trigger() },
		UpdateFunc: func(context.Context, event.UpdateEvent, queue) { r.trigger() },
		DeleteFunc: func(context.Context, event.DeleteEvent, queue) { r.trigger() },
	}
}

// pollDisabled asks verifiers once whether they refuse the keys that are switched off, and reports whether to ask again soon.
func (r *UsageReconciler) pollDisabled(ctx context.Context) bool {
	changed, underway, err := r.pollDisabledOnce(ctx)
	if err != nil && ctx.Err() == nil {
		log.FromContext(ctx).Error(err, "Could not ask verifiers what they enforce")
		underway = true
	}
	enqueue(ctx, r.enqueueCh, changed...)
	return underway
}

// pollDisabledOnce asks all replicas, and returns the keys of which there is something new to say, and whether to ask again soon.
func (r *UsageReconciler) pollDisabledOnce(ctx context.Context) (changed []types.NamespacedName, underway bool, err error) {
	versions, references := r.unconfirmed()
	if len(versions) == 0 {
		return nil, false, nil
	}
	question := func(*replica) UsageRequest { return UsageRequest{Refused: references} }
	live, err := r.Verifiers.poll(ctx, r, disabledPollTimeout, question, func(*replica) {})
	if err != nil {
		return nil, false, err
	}
	states := make([]keys.Replica, len(live))
	for i := range live {
		states[i] = live[i].state()
		if live[i].err != nil {
			log.FromContext(ctx).V(1).Info("Could not ask a verifier what it enforces", "address", live[i].address, "cause", live[i].err.Error())
		}
	}
	changed, underway = r.evaluate(versions, states)
	if len(versions) == maxKeysPerPoll && len(changed) > 0 { // others wait, and those before them are done
		r.trigger()
	}
	return changed, underway, nil
}

// unconfirmed returns the keys that verifiers are to be asked about, and the versions of them that verifiers must know.
func (r *UsageReconciler) unconfirmed() (versions map[types.UID]string, references []usage.KeyReference) {
	r.mu.Lock()
	defer r.mu.Unlock()
	versions = map[types.UID]string{}
	for uid, w := range r.waits { // in no order, so that keys that wait for long keep no others waiting
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

// evaluate holds what replicas said against the keys, and the versions of them, about which they were asked.
func (r *UsageReconciler) evaluate(versions map[types.UID]string, live []keys.Replica) (changed []types.NamespacedName, underway bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for uid, version := range versions {
		w := r.waits[uid]
		if w == nil || w.version != version {
			continue // it changed meanwhile, and is asked about anew
		}
		e := keys.PropagationStatus(uid, version, live)
		if e.Done() {
			r.measure(w)
		}
		if w.writable && w.shouldReport(e, r.Clock.Now()) {
			w.reported, w.reportedAt = e, r.Clock.Now()
			changed = append(changed, w.key)
		}
		underway = underway || e.InProgress() || w.writable && e != w.reported
	}
	return changed, underway
}

// shouldReport is whether the status is to say something else now than what it was told last.
func (w *disabledKey) shouldReport(e keys.Propagation, now time.Time) bool {
	switch {
	case e == w.reported:
		return false
	case e.Done():
		return true
	case w.reported == keys.Propagation{}:
		return !e.InProgress() || now.Sub(w.since) >= firstReportDelay
	}
	return now.Sub(w.reportedAt) >= reportInterval
}

// measure takes the time from the moment in which a key was seen to be switched off until all verifiers refused it, once.
func (r *UsageReconciler) measure(w *disabledKey) {
	if w.measuring && r.Verifiers.Recorder != nil {
		r.Verifiers.Recorder.Enforced(r.Clock.Since(w.seen))
	}
	w.measuring = false
}
