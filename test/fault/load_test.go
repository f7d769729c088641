// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package fault_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

const (
	home = "fault" // the namespace of all keys

	steady   = "steady-"   // keys that are only ever rotated
	wild     = "wild-"     // keys that are rotated, switched, compromised, and lose their Secrets
	queued   = "queued-"   // keys that are switched, more than their account has slots for
	passing  = "passing-"  // keys that come and go, more than their account has slots for
	expiring = "expiring-" // keys that expire within seconds, some after being revoked
	mailed   = "told-"     // keys whose mail is due at once
)

// limit is how many keys of an account may have a credential at any time.
type limit struct {
	maxKeys int
	usable  bool // only usable keys count
}

func (l limit) counts(k *v1alpha1.APIKey) bool {
	if l.usable {
		return k.Status.State == v1alpha1.StateActive
	}
	return len(k.Status.Credentials) > 0
}

var limits = map[string]limit{
	"busy":  {maxKeys: 20},
	"queue": {maxKeys: 3, usable: true},
	"small": {maxKeys: 4},
	"large": {maxKeys: 1000},
}

// load creates and changes keys at random.
type load struct {
	client client.Client
	random *rand.Rand

	// pause is locked while the load is paused.
	pause sync.RWMutex
	mu    sync.Mutex
	// existing are the keys that are known to exist, by name.
	existing             map[string]types.UID
	serial, done, failed int
}

func newLoad(c client.Client, seed uint64) *load {
	return &load{client: c, random: rand.New(rand.NewPCG(seed, 1)), existing: map[string]types.UID{}}
}

// createObjects creates the KeyExports, the accounts, and the keys that are not deleted.
func (l *load) createObjects(ctx context.Context) error {
	for _, name := range []string{home, gateway} {
		if err := l.client.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}); err != nil {
			return err
		}
	}
	for _, e := range exports() {
		if err := l.client.Create(ctx, e); err != nil {
			return err
		}
	}
	for name, limit := range limits {
		most := int32(limit.maxKeys)
		account := &v1alpha1.Account{ObjectMeta: metav1.ObjectMeta{Name: name}}
		account.Spec.Limits = &v1alpha1.Limits{MaxKeys: &most, Enforcement: v1alpha1.EnforcementQueue}
		account.Spec.ExportPolicy = v1alpha1.ExportKey
		if limit.usable {
			account.Spec.Limits.Counting = v1alpha1.CountUsable
		}
		if err := l.client.Create(ctx, account); err != nil {
			return err
		}
	}
	for i := range 10 {
		for _, kind := range []string{steady, wild} {
			overlap := v1alpha1.Duration(fmt.Sprintf("%ds", 2+l.random.IntN(9)))
			if err := l.create(ctx, number(kind, i), "busy", func(s *v1alpha1.APIKeySpec) { s.Rotation = &v1alpha1.Rotation{Overlap: overlap} }); err != nil {
				return err
			}
		}
	}
	for i := range 8 {
		if err := l.create(ctx, number(queued, i), "queue", nil); err != nil {
			return err
		}
	}
	return nil
}

// run executes random actions until the context ends.
func (l *load) run(ctx context.Context) {
	const pause = 90 * time.Millisecond
	for ctx.Err() == nil {
		l.pause.RLock()
		err := l.try(ctx)
		l.pause.RUnlock()
		l.mu.Lock()
		l.done++
		if err != nil && client.IgnoreNotFound(err) != nil {
			l.failed++
		}
		l.mu.Unlock()
		time.Sleep(pause)
	}
}

// total returns the number of actions, and how many of them failed.
func (l *load) total() (done, failed int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.done, l.failed
}

func (l *load) try(ctx context.Context) error {
	const patience = 3 * time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return l.randomAction(ctx)
}

// randomAction executes a random action. It may return an error, because the API server may be down.
func (l *load) randomAction(ctx context.Context) error {
	what, which := l.random.IntN(100), l.random.IntN(10)
	switch {
	case what < 35:
		return l.rotate(ctx, number(steady, which))
	case what < 52:
		return l.rotate(ctx, number(wild, which))
	case what < 58:
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: home, Name: number(wild, which)}}
		return l.client.Delete(ctx, secret)
	case what < 62:
		return l.change(ctx, number(wild, which), map[string]any{"rotation": map[string]any{"revokeBefore": now()}})
	case what < 68:
		return l.toggle(ctx, number(wild, which))
	case what < 78:
		return l.toggle(ctx, number(queued, which%8))
	case what < 84:
		return l.createOrDelete(ctx, number(passing, which%8))
	case what < 88:
		l.serial++
		end := time.Now().Add(time.Duration(3+which) * time.Second).UTC().Format(time.RFC3339)
		return l.create(ctx, number(expiring, l.serial), "large", func(s *v1alpha1.APIKeySpec) { s.Expiration = end })
	case what < 91:
		return l.change(ctx, number(expiring, l.serial), map[string]any{"state": v1alpha1.KeyStateRevoked})
	}
	l.serial++
	return l.create(ctx, number(mailed, l.serial), "large", func(s *v1alpha1.APIKeySpec) {
		s.Expiration = time.Now().Add(48 * time.Hour).UTC().Format(time.RFC3339)
		s.Notification = &v1alpha1.Notification{Emails: []string{number(mailed, l.serial) + "@example.com"}}
	})
}

func number(kind string, i int) string { return fmt.Sprintf("%s%d", kind, i) }

func now() string { return time.Now().UTC().Truncate(time.Second).Format(time.RFC3339) }

func (l *load) rotate(ctx context.Context, name string) error {
	return l.change(ctx, name, map[string]any{"rotation": map[string]any{"requestedAt": now()}})
}

func (l *load) toggle(ctx context.Context, name string) error {
	state := v1alpha1.KeyStateActive
	if l.random.IntN(2) == 0 {
		state = v1alpha1.KeyStateInactive
	}
	return l.change(ctx, name, map[string]any{"state": state})
}

func (l *load) change(ctx context.Context, name string, spec map[string]any) error {
	patch, err := json.Marshal(map[string]any{"spec": spec})
	if err != nil {
		return err
	}
	key := &v1alpha1.APIKey{ObjectMeta: metav1.ObjectMeta{Namespace: home, Name: name}}
	return l.client.Patch(ctx, key, client.RawPatch(types.MergePatchType, patch))
}

func (l *load) createOrDelete(ctx context.Context, name string) error {
	if l.random.IntN(2) == 0 {
		return client.IgnoreAlreadyExists(l.create(ctx, name, "small", nil))
	}
	l.mu.Lock()
	delete(l.existing, name) // whether or not the answer tells
	l.mu.Unlock()
	return l.client.Delete(ctx, &v1alpha1.APIKey{ObjectMeta: metav1.ObjectMeta{Namespace: home, Name: name}})
}

func (l *load) create(ctx context.Context, name, account string, with func(*v1alpha1.APIKeySpec)) error {
	key := &v1alpha1.APIKey{ObjectMeta: metav1.ObjectMeta{Namespace: home, Name: name}, Spec: v1alpha1.APIKeySpec{Account: account}}
	if with != nil {
		with(&key.Spec)
	}
	if err := l.client.Create(ctx, key); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.existing[name] = key.UID
	return nil
}
