// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

const (
	// leastExportKeys is the least number of keys for which each part of a phase has keys of its own in both exports.
	leastExportKeys = 100
	// exportChanges is how many keys are switched off and on again, one after the other.
	exportChanges = 100
	// changeInterval is the least time from one of them to the next. The manager adds credentials once a second if it has to
	// add some all the time.
	changeInterval = 1100 * time.Millisecond
	// exportExpirations is how many keys expire, a second after each other.
	exportExpirations = 100
	// exportBurst is how many keys are switched off at once.
	exportBurst = 500
)

// exportPhase holds the results for a KeyExport, and those of the bare client, which updates a copy of its largest object.
type exportPhase struct {
	content       v1alpha1.ExportContent
	keys, objects int
	size          int // of the largest object, in bytes

	complete time.Duration // from the create of the KeyExport until its objects held all credentials
	creation counts

	withdrawn, added []float64 // milliseconds
	expired          []float64
	changes, writes  int // changes of keys, and writes of objects meanwhile
	unaffected       int // writes of objects while keys were changed in ways that do not concern the export
	changeRequests   counts
	cpu              map[string]float64
	doubles          int // how often an entry was in two objects at once

	burst, burstWrites int
	burstTime          time.Duration

	before, after, restarted memory
	sweep                    time.Duration // from the start of a manager to the withdrawal of what was to be withdrawn before
	restartRequests          counts

	bare []float64
}

// measureExports measures a KeyExport of all keys by digest, and one of a tenth of the keys that holds the keys themselves.
func (b *bench) measureExports(ctx context.Context) ([]exportPhase, error) {
	const few = 10
	var phases []exportPhase
	for content, n := range map[v1alpha1.ExportContent]int{
		v1alpha1.ExportContentDigest: b.exportKeys, v1alpha1.ExportContentKey: max(1, b.exportKeys/few),
	} {
		accounts := min(n, max(b.accounts*n/b.exportKeys, (n+highestLimit-1)/highestLimit))
		p, err := b.exportPhase(ctx, content, n, accounts)
		if err != nil {
			return phases, fmt.Errorf("measure a KeyExport with content %s: %w", content, err)
		}
		phases = append(phases, p)
	}
	slices.SortFunc(phases, func(a, b exportPhase) int { return b.keys - a.keys })
	return phases, nil
}

// exportRun is one phase in progress.
type exportRun struct {
	*bench

	phase   exportPhase
	dataset dataset
	// export is the KeyExport. It is in a namespace of its own.
	export *v1alpha1.KeyExport
	// ids are the ids of the credentials of keys, by the names of the keys.
	ids     map[string]string
	entries *entries
	states  *states
	manager *manager
	// changed, expiring, burst and late are the keys that are changed in each part of the phase.
	changed, expiring, burst, late []*v1alpha1.APIKey
}

// exportPhase issues keys and measures a KeyExport of them.
func (b *bench) exportPhase(ctx context.Context, content v1alpha1.ExportContent, keys, accounts int) (exportPhase, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r := &exportRun{bench: b, phase: exportPhase{content: content, keys: keys}}
	for _, step := range []func(context.Context) error{
		func(ctx context.Context) error { return r.prepare(ctx, accounts) },
		r.create, r.changeKeys, r.expireKeys, r.switchOffAtOnce, r.restart, r.updateBare, r.cleanUp,
	} {
		if err := step(ctx); err != nil {
			return r.phase, err
		}
	}
	return r.phase, nil
}

// prepare issues the keys, and starts a manager that has all of them in its memory.
func (r *exportRun) prepare(ctx context.Context, accounts int) (err error) {
	r.printf("%s: issuing %d keys", r.phase.content, r.phase.keys)
	if r.dataset, err = r.createDataset(ctx, r.phase.keys, accounts, v1alpha1.ExportKey); err != nil {
		return err
	}
	if err := r.start(ctx, 0); err != nil {
		return err
	}
	if _, err := r.drive(ctx, r.dataset, func(*v1alpha1.APIKey) {}); err != nil {
		return err
	}
	if _, _, err := r.manager.awaitIdle(ctx, 0); err != nil {
		return err
	}
	if err := r.manager.Stop(time.Minute); err != nil {
		return err
	}
	if err := r.choose(ctx); err != nil {
		return err
	}
	if r.states, err = watchStates(ctx, r.admin, r.dataset.namespace.Name); err != nil {
		return err
	}
	if err := r.start(ctx, r.phase.keys+accounts); err != nil {
		return err
	}
	r.phase.before, err = r.manager.memory(ctx)
	return err
}

// start starts a manager and waits until it is idle after a number of reconciliations.
func (r *exportRun) start(ctx context.Context, rounds int) (err error) {
	if r.manager, err = r.startManager(ctx, r.builds[0].binary); err != nil {
		return err
	}
	_, _, err = r.manager.awaitIdle(ctx, rounds)
	return err
}

// choose reads the ids of the keys, and chooses which of them are changed. The parts have no key in common.
func (r *exportRun) choose(ctx context.Context) error {
	var list v1alpha1.APIKeyList
	if err := r.admin.List(ctx, &list, client.InNamespace(r.dataset.namespace.Name)); err != nil {
		return err
	}
	r.ids = map[string]string{}
	for i := range list.Items {
		r.ids[list.Items[i].Name] = list.Items[i].Status.KeyID
	}
	n := len(r.dataset.keys)
	shuffled := make([]*v1alpha1.APIKey, 0, n)
	for _, i := range rand.New(rand.NewPCG(1, 2)).Perm(n) {
		shuffled = append(shuffled, r.dataset.keys[i])
	}
	take := func(most int) []*v1alpha1.APIKey {
		taken := shuffled[:min(most, len(shuffled), max(1, n/10))]
		shuffled = shuffled[len(taken):]
		return taken
	}
	r.changed, r.expiring, r.burst, r.late = take(exportChanges), take(exportExpirations), take(exportBurst), take(1)
	return nil
}

// create creates the KeyExport, and waits until its objects hold all credentials.
func (r *exportRun) create(ctx context.Context) (err error) {
	r.printf("%s: creating a KeyExport", r.phase.content)
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: r.dataset.namespace.Name + "-gateway"}}
	if err := r.admin.Create(ctx, namespace); err != nil {
		return err
	}
	if r.entries, err = watchEntries(ctx, r.admin, client.InNamespace(namespace.Name)); err != nil {
		return err
	}
	r.export = &v1alpha1.KeyExport{ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: "gateway"}}
	r.export.Spec = v1alpha1.KeyExportSpec{
		Content: r.phase.content, Target: v1alpha1.ExportTarget{Kind: v1alpha1.ExportToSecret, Name: "gateway-keys"},
	}
	r.phase.creation, err = r.requestsDuring(ctx, func() error {
		began := time.Now()
		if err := r.admin.Create(ctx, r.export); err != nil {
			return err
		}
		if err := r.awaitCredentials(ctx, r.phase.keys); err != nil {
			return err
		}
		r.phase.complete = time.Since(began)
		return r.settle(ctx)
	})
	if err != nil {
		return err
	}
	_, r.phase.size = r.entries.largest()
	r.phase.objects = len(r.entries.objects)
	r.profileHeap(ctx)
	r.phase.after, err = r.manager.memory(ctx)
	return err
}

// awaitCredentials waits until the objects hold a number of entries.
func (r *exportRun) awaitCredentials(ctx context.Context, n int) error {
	return r.entries.await(ctx, fmt.Sprintf("%d entries", n), func() bool { return len(r.entries.present) == n })
}

// settle waits until the manager is idle and the KeyExport is Ready.
func (r *exportRun) settle(ctx context.Context) error {
	if _, _, err := r.manager.awaitIdle(ctx, 0); err != nil {
		return err
	}
	if err := r.admin.Get(ctx, client.ObjectKeyFromObject(r.export), r.export); err != nil {
		return err
	}
	if !meta.IsStatusConditionTrue(r.export.Status.Conditions, v1alpha1.ConditionReady) {
		return fmt.Errorf("the KeyExport is not Ready: %+v", r.export.Status.Conditions)
	}
	return nil
}

// requestsDuring returns the requests that the API server served while do ran.
func (r *exportRun) requestsDuring(ctx context.Context, do func() error) (counts, error) {
	before, err := r.served(ctx)
	if err != nil {
		return nil, err
	}
	if err := do(); err != nil {
		return nil, err
	}
	after, err := r.served(ctx)
	return after.requests.since(before.requests), err
}

// writesDuring returns the number of writes of objects while do ran and until the manager was idle.
func (r *exportRun) writesDuring(ctx context.Context, do func() error) (int, error) {
	before, _ := r.entries.counts()
	if err := do(); err != nil {
		return 0, err
	}
	if err := r.settle(ctx); err != nil {
		return 0, err
	}
	after, doubles := r.entries.counts()
	r.phase.doubles = doubles
	return after - before, nil
}

// changeKeys switches keys off and on again, one after the other.
func (r *exportRun) changeKeys(ctx context.Context) (err error) {
	r.printf("%s: switching %d keys off and on", r.phase.content, len(r.changed))
	r.phase.changes = 2 * len(r.changed)
	r.startProfile(ctx)
	cpu := processorTime()
	r.phase.changeRequests, err = r.requestsDuring(ctx, func() (err error) {
		r.phase.writes, err = r.writesDuring(ctx, func() error {
			turn := time.NewTicker(changeInterval)
			defer turn.Stop()
			for _, key := range r.changed {
				if err := r.changeKey(ctx, key); err != nil {
					return err
				}
				<-turn.C
			}
			r.phase.cpu = processorTime()
			return nil
		})
		return err
	})
	for program := range r.phase.cpu {
		r.phase.cpu[program] -= cpu[program]
	}
	r.stopProfile(ctx, "cpu.pprof")
	return err
}

func (r *exportRun) changeKey(ctx context.Context, key *v1alpha1.APIKey) error {
	id := r.ids[key.Name]
	if err := r.patch(ctx, key, map[string]any{"state": v1alpha1.KeyStateInactive}); err != nil {
		return err
	}
	off := time.Now()
	gone, err := r.entries.vanishedAt(ctx, id)
	if err != nil {
		return err
	}
	if _, err := r.states.reachedAt(ctx, key.Name, v1alpha1.StateInactive); err != nil {
		return err
	}
	if err := r.patch(ctx, key, map[string]any{"state": v1alpha1.KeyStateActive}); err != nil {
		return err
	}
	on, err := r.states.reachedAt(ctx, key.Name, v1alpha1.StateActive)
	if err != nil {
		return err
	}
	back, err := r.entries.appearedAt(ctx, id)
	r.phase.withdrawn = append(r.phase.withdrawn, milliseconds(off, gone))
	r.phase.added = append(r.phase.added, milliseconds(on, back))
	return err
}

// milliseconds returns the time between two instants. On a busy machine, the second one may be recorded before the first.
func milliseconds(from, to time.Time) float64 {
	return max(0, float64(to.Sub(from))/float64(time.Millisecond))
}

func (r *exportRun) patch(ctx context.Context, key *v1alpha1.APIKey, spec map[string]any) error {
	patch, err := json.Marshal(map[string]any{"spec": spec})
	if err != nil {
		return err
	}
	return r.admin.Patch(ctx, key.DeepCopy(), client.RawPatch(types.MergePatchType, patch))
}

// expireKeys lets keys expire, a second after each other. That their expiration is set before must not cause a write.
func (r *exportRun) expireKeys(ctx context.Context) (err error) {
	const margin = 20 * time.Second // for the manager to settle before the first one expires
	r.printf("%s: letting %d keys expire", r.phase.content, len(r.expiring))
	first := time.Now().Truncate(time.Second).Add(margin)
	r.phase.unaffected, err = r.writesDuring(ctx, func() error {
		for i, key := range r.expiring {
			end := first.Add(time.Duration(i) * time.Second).UTC().Format(time.RFC3339)
			if err := r.patch(ctx, key, map[string]any{"expiration": end}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if time.Now().After(first) {
		return errors.New("the manager was not idle before the first key expired: there are too many keys for this machine")
	}
	for i, key := range r.expiring {
		gone, err := r.entries.vanishedAt(ctx, r.ids[key.Name])
		if err != nil {
			return err
		}
		end := first.Add(time.Duration(i) * time.Second)
		if gone.Before(end) {
			return fmt.Errorf("the entry of APIKey %s vanished %s before it expired", key.Name, end.Sub(gone))
		}
		r.phase.expired = append(r.phase.expired, milliseconds(end, gone))
	}
	return nil
}

// switchOffAtOnce switches many keys off at once, and waits until none of them is exported.
func (r *exportRun) switchOffAtOnce(ctx context.Context) (err error) {
	r.phase.burst = len(r.burst)
	r.printf("%s: switching %d keys off at once", r.phase.content, r.phase.burst)
	r.phase.burstWrites, err = r.writesDuring(ctx, func() error {
		err := parallel(ctx, r.concurrency, r.burst, func(ctx context.Context, key *v1alpha1.APIKey) error {
			return r.patch(ctx, key, map[string]any{"state": v1alpha1.KeyStateInactive})
		})
		if err != nil {
			return err
		}
		last, now := time.Time{}, time.Now()
		for _, key := range r.burst {
			gone, err := r.entries.vanishedAt(ctx, r.ids[key.Name])
			if err != nil {
				return err
			}
			if gone.After(last) {
				last = gone
			}
		}
		r.phase.burstTime = max(0, last.Sub(now))
		return nil
	})
	return err
}

// restart switches a key off while no manager runs, and measures how long a manager takes to withdraw it after its start.
func (r *exportRun) restart(ctx context.Context) error {
	r.printf("%s: restarting the manager", r.phase.content)
	if err := r.manager.Stop(time.Minute); err != nil {
		return err
	}
	key := r.late[0]
	if err := r.patch(ctx, key, map[string]any{"state": v1alpha1.KeyStateInactive}); err != nil {
		return err
	}
	requests, err := r.requestsDuring(ctx, func() error {
		if err := r.start(ctx, r.phase.keys+r.dataset.accounts); err != nil {
			return err
		}
		gone, err := r.entries.vanishedAt(ctx, r.ids[key.Name])
		r.phase.sweep = gone.Sub(r.manager.began)
		return err
	})
	if err != nil {
		return err
	}
	r.phase.restartRequests = requests
	if r.phase.restarted, err = r.manager.memory(ctx); err != nil {
		return err
	}
	return r.manager.Stop(time.Minute)
}

// updateBare removes an entry from a copy of the largest object and adds it again, as often as keys were changed, with the
// identity of the manager.
func (r *exportRun) updateBare(ctx context.Context) error {
	r.printf("%s: updating a copy of the largest object", r.phase.content)
	name, _ := r.entries.largest()
	bare := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: r.dataset.namespace.Name, Name: "bare"}}
	bare.Data = maps.Clone(r.entries.objects[name])
	if err := r.issuer.Create(ctx, bare); err != nil {
		return err
	}
	e, err := watchEntries(ctx, r.admin, client.InNamespace(bare.Namespace), client.MatchingFields{"metadata.name": bare.Name})
	if err != nil {
		return err
	}
	names := slices.Sorted(maps.Keys(bare.Data))
	for i := range r.phase.changes {
		entry := names[(i/2)%len(names)]
		wait := e.vanishedAt
		if _, held := bare.Data[entry]; held {
			delete(bare.Data, entry)
		} else {
			bare.Data[entry] = r.entries.objects[name][entry]
			wait = e.appearedAt
		}
		began := time.Now()
		if err := r.issuer.Update(ctx, bare); err != nil {
			return err
		}
		at, err := wait(ctx, entry)
		if err != nil {
			return err
		}
		r.phase.bare = append(r.phase.bare, milliseconds(began, at))
	}
	return nil
}

// cleanUp deletes all objects of the phase.
func (r *exportRun) cleanUp(ctx context.Context) error {
	if err := errors.Join(
		r.admin.Delete(ctx, r.export),
		r.admin.DeleteAllOf(ctx, &corev1.Secret{}, client.InNamespace(r.export.Namespace)),
	); err != nil {
		return fmt.Errorf("clean up: %w", err)
	}
	return r.bench.cleanUp(ctx, r.dataset)
}
