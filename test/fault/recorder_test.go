// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package fault_test

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// recorder records every version of keys, accounts and Secrets, in the order of the writes. Versions are missing if the API
// server dropped them while it was down.
type recorder struct {
	client client.WithWatch

	mu        sync.Mutex
	keys      map[string]*v1alpha1.APIKey
	limits    map[string]limit
	keyWrites []write
	exports   exportHistory
	gaps      []gap
	streams   []*stream
	problems  map[string]bool
	writes    int
}

// write is a write of a key that is only rotated, or of its Secret.
type write struct {
	version uint64
	key     string
	// digest is the digest of the current key, if the Secret was written.
	digest string
	// known are the digests of the credentials without an end, if the key was written.
	known []string
}

// gap is a range of versions that were not recorded: those after one version, up to another.
type gap struct{ after, upTo uint64 }

// stream is the watch of one kind.
type stream struct {
	// namespace is empty for objects without a namespace.
	namespace string
	list      func() client.ObjectList
	reset     func()
	observe   func(watch.EventType, client.Object)
	last      string
}

func newRecorder(c client.WithWatch, limits map[string]limit) *recorder {
	return &recorder{client: c, keys: map[string]*v1alpha1.APIKey{}, limits: limits, problems: map[string]bool{}}
}

// run records until the context ends.
func (r *recorder) run(ctx context.Context) {
	r.mu.Lock()
	r.streams = []*stream{
		{namespace: home, list: func() client.ObjectList { return &v1alpha1.APIKeyList{} }, reset: func() { clear(r.keys) }, observe: r.observeKey},
		{list: func() client.ObjectList { return &v1alpha1.AccountList{} }, reset: func() {}, observe: r.observeAccount},
		{namespace: home, list: newSecretList, reset: func() {}, observe: r.observeSecret},
		{namespace: gateway, list: newSecretList, reset: func() {}, observe: r.observeExport},
	}
	streams := r.streams
	r.mu.Unlock()
	var all sync.WaitGroup
	for _, s := range streams {
		all.Go(func() {
			const pause = 50 * time.Millisecond
			for ctx.Err() == nil {
				if s.last == "" || !r.watch(ctx, s) {
					r.relist(ctx, s)
				}
				time.Sleep(pause)
			}
		})
	}
	all.Wait()
}

// watch records the events after the last recorded version. It returns false if the API server no longer has them.
func (r *recorder) watch(ctx context.Context, s *stream) bool {
	w, err := r.client.Watch(ctx, s.list(), &client.ListOptions{
		Namespace: s.namespace, Raw: &metav1.ListOptions{ResourceVersion: s.last, AllowWatchBookmarks: true},
	})
	if err != nil {
		return !apierrors.IsResourceExpired(err) && !apierrors.IsGone(err)
	}
	defer w.Stop()
	for event := range w.ResultChan() {
		object, ok := event.Object.(client.Object)
		if !ok || event.Type == watch.Error {
			return false
		}
		r.mu.Lock()
		s.last = object.GetResourceVersion()
		if event.Type != watch.Bookmark {
			r.writes++
			s.observe(event.Type, object)
		}
		r.mu.Unlock()
	}
	return true
}

// relist records the current state of a kind, and a gap before it.
func (r *recorder) relist(ctx context.Context, s *stream) {
	list := s.list()
	if err := r.client.List(ctx, list, client.InNamespace(s.namespace)); err != nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.last != "" {
		r.gaps = append(r.gaps, gap{after: version(s.last), upTo: version(list.GetResourceVersion())})
	}
	s.last = list.GetResourceVersion()
	s.reset()
	_ = meta.EachListItem(list, func(o runtime.Object) error {
		s.observe(watch.Added, o.(client.Object))
		return nil
	})
}

func newSecretList() client.ObjectList { return &corev1.SecretList{} }

func version(s string) uint64 {
	v, _ := strconv.ParseUint(s, 10, 64)
	return v
}

func (r *recorder) problem(format string, args ...any) {
	r.problems[fmt.Sprintf(format, args...)] = true
}

func (r *recorder) observeKey(kind watch.EventType, object client.Object) {
	key := object.(*v1alpha1.APIKey)
	r.exports.addStatus(kind, key)
	if kind == watch.Deleted {
		delete(r.keys, key.Name)
	} else {
		r.keys[key.Name] = key
	}
	holders := 0
	for _, k := range r.keys {
		if k.Spec.Account == key.Spec.Account && r.limits[k.Spec.Account].counts(k) {
			holders++
		}
	}
	if most := r.limits[key.Spec.Account].maxKeys; holders > most {
		r.problem("at version %s, %d keys of account %s hold a credential, and its limit is %d", key.ResourceVersion, holders, key.Spec.Account, most)
	}
	if !strings.HasPrefix(key.Name, steady) || key.Status.State != v1alpha1.StateActive {
		return
	}
	m := write{version: version(key.ResourceVersion), key: key.Name, known: []string{}}
	for _, c := range key.Status.Credentials {
		if c.NotAfter == nil {
			m.known = append(m.known, c.SHA256)
		}
	}
	r.keyWrites = append(r.keyWrites, m)
}

func (r *recorder) observeAccount(_ watch.EventType, object client.Object) {
	account := object.(*v1alpha1.Account)
	if most := r.limits[account.Name].maxKeys; len(account.Status.Slots) > most {
		r.problem("at version %s, account %s has %d slots taken, and its limit is %d", account.ResourceVersion, account.Name, len(account.Status.Slots), most)
	}
}

func (r *recorder) observeSecret(kind watch.EventType, object client.Object) {
	secret := object.(*corev1.Secret)
	if kind == watch.Deleted || !strings.HasPrefix(secret.Name, steady) {
		return
	}
	r.keyWrites = append(r.keyWrites, write{version: version(secret.ResourceVersion), key: secret.Name, digest: digest(secret.Data["api-key"])})
}

func (r *recorder) observeExport(kind watch.EventType, object client.Object) {
	r.exports.addObject(kind, object.(*corev1.Secret), time.Now())
}

func digest(material []byte) string {
	if len(material) == 0 {
		return "nothing"
	}
	sum := sha256.Sum256(material)
	return hex.EncodeToString(sum[:])
}

// isBehind reports whether a write has not been recorded yet.
func (r *recorder) isBehind(ctx context.Context) bool {
	r.mu.Lock()
	streams := r.streams
	r.mu.Unlock()
	for _, s := range streams {
		list, newest := s.list(), uint64(0)
		if r.client.List(ctx, list, client.InNamespace(s.namespace)) != nil {
			return true
		}
		_ = meta.EachListItem(list, func(o runtime.Object) error {
			newest = max(newest, version(o.(client.Object).GetResourceVersion()))
			return nil
		})
		r.mu.Lock()
		late := version(s.last) < newest
		r.mu.Unlock()
		if late {
			return true
		}
	}
	return false
}

// checkSecrets replays all writes in order, and reports a problem if a Secret held a current key that verifiers rejected. It
// returns the number of checks.
func (r *recorder) checkSecrets() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	slices.SortStableFunc(r.keyWrites, func(a, b write) int { return cmp.Compare(a.version, b.version) })
	known, held, looked := map[string][]string{}, map[string]string{}, 0
	for _, m := range r.keyWrites {
		if m.known != nil {
			known[m.key] = m.known
		} else {
			held[m.key] = m.digest
		}
		if r.isBlind(m.version) || known[m.key] == nil || held[m.key] == "" {
			continue
		}
		looked++
		if !slices.Contains(known[m.key], held[m.key]) {
			r.problem("at version %d, verifiers refuse the current key in Secret %s", m.version, m.key)
		}
	}
	return looked
}

// isBlind reports whether writes just before a version may not have been recorded.
func (r *recorder) isBlind(version uint64) bool {
	return slices.ContainsFunc(r.gaps, func(g gap) bool { return g.after < version && version <= g.upTo })
}

// checkExports replays all writes in order, and reports a problem if a credential was exported again that a KeyExport had
// withdrawn for good. It returns how many credentials were exported again.
func (r *recorder) checkExports() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	found, again := r.exports.reappearances(r.isBlind)
	for _, w := range found {
		for _, d := range w.digests {
			r.problem("at version %d, KeyExport %s holds credential %.8s again, which it had withdrawn for good", w.version, w.export, d)
		}
	}
	return again
}

// counts returns the number of recorded writes, of missing versions, and of gaps.
func (r *recorder) counts() (writes int, hidden uint64, gaps int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, g := range r.gaps {
		hidden += g.upTo - g.after
	}
	return r.writes, hidden, len(r.gaps)
}

// foundProblems returns the problems found so far.
func (r *recorder) foundProblems() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []string
	for p := range r.problems {
		list = append(list, p)
	}
	slices.Sort(list)
	return list
}
