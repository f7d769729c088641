// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
)

// This file simulates months of some keys and their accounts. One manager reconciles an object only when it is enqueued, by
// a change that is watched or at the time that its last reconcile returned, so that a missing requeue is detected.

type story struct {
	*sim
	manager *manager
	// due is when each key and account is to be reconciled: "key shop/a", "account acme".
	due map[string]time.Time
	// read is the number of entries of each log that have been handled.
	read [kinds]int
	told []string
}

const (
	rounds  = 300 * time.Millisecond // the delay of a reconcile after a conflict, or with a lagging cache
	backoff = 5 * time.Second
)

func newStory(seed uint64, r rules) *story {
	source := rand.New(rand.NewPCG(seed, 17))
	s := newSim(func(n int, _ string) int { return int(source.Uint64() % uint64(n)) }, r, 1)
	st := &story{sim: s, manager: s.managers[0], due: map[string]time.Time{}}
	s.slow = true
	s.names = []string{"shop/a", "shop/b", "shop/c", "blog/a", "blog/d"}
	s.manager().fault = func() fault { return pick(s.chance, "fault", append(make([]fault, 18), faultBefore, faultAfter)...) }
	return st
}

func (s *sim) manager() *manager { return s.managers[0] }

// telling appends to the log.
func (s *story) telling(who, format string, args ...any) {
	s.told = append(s.told, fmt.Sprintf("%s  %-8s %s", s.w.now.Format("2006-01-02 15:04:05"), who, fmt.Sprintf(format, args...)))
}

// listen enqueues the objects that changes concern, as the watches of the controllers do.
func (s *story) listen() {
	s.listenToKeys()
	s.listenToAccounts()
	for ; s.read[kindSecret] < len(s.w.log[kindSecret]); s.read[kindSecret]++ {
		entry := s.w.log[kindSecret][s.read[kindSecret]]
		before := previous(s.w.log[kindSecret][:s.read[kindSecret]], entry.name)
		if b, ok := before.(*secret); ok && b != nil && b.labelled() {
			s.wake("key " + entry.name)
		}
	}
}

func (s *story) listenToKeys() {
	for ; s.read[kindKey] < len(s.w.log[kindKey]); s.read[kindKey]++ {
		entry := s.w.log[kindKey][s.read[kindKey]]
		was, _ := previous(s.w.log[kindKey][:s.read[kindKey]], entry.name).(*v1alpha1.APIKey)
		is, _ := entry.object.(*v1alpha1.APIKey)
		s.wakeSiblings(was, is)
		s.wakeDuplicates(was, is)
		switch {
		case is == nil:
			s.wake("account " + was.Spec.Account)
		case was == nil || was.Generation != is.Generation:
			s.wake("key " + entry.name)
			s.wake("account " + is.Spec.Account)
		case was.Status.ReleasedGrant != is.Status.ReleasedGrant || was.Status.State != is.Status.State:
			s.wake("account " + is.Spec.Account)
		}
		if is != nil {
			s.tellKey(entry.name, was, is)
		}
	}
}

// wakeSiblings enqueues the keys with a label that another key released or took.
func (s *story) wakeSiblings(was, is *v1alpha1.APIKey) {
	gaveUp, took := labelOf(was), labelOf(is)
	if gaveUp == took {
		return
	}
	known := is
	if is == nil {
		known = was
	}
	for _, k := range s.w.keysOf(known.Spec.Account) {
		if label := k.Spec.Label; label != "" && (label == gaveUp || label == took) {
			s.wake("key " + full(k))
		}
	}
}

func labelOf(k *v1alpha1.APIKey) string {
	if k == nil {
		return ""
	}
	return k.Spec.Label
}

// wakeDuplicates enqueues the other keys with a credential that a key got or lost.
func (s *story) wakeDuplicates(was, is *v1alpha1.APIKey) {
	changed := map[string]int{}
	for i, k := range []*v1alpha1.APIKey{was, is} {
		if k != nil {
			for _, digest := range keys.KeyDigests(k) {
				changed[digest] += 1 + i
			}
		}
	}
	for _, k := range s.w.keys() {
		if slices.ContainsFunc(keys.KeyDigests(k), func(d string) bool { return changed[d] == 1 || changed[d] == 2 }) {
			s.wake("key " + full(k))
		}
	}
}

func (s *story) tellKey(name string, was, is *v1alpha1.APIKey) {
	if was == nil {
		was = &v1alpha1.APIKey{}
	}
	for _, e := range is.Status.History[len(is.Status.History)-added(was.Status.History, is.Status.History):] {
		s.telling("manager", "%s: %s: %s", name, e.Reason, e.Message)
	}
	if was, is := reasonsOf(was.Status), reasonsOf(is.Status); was != is {
		s.telling("manager", "%s is %s", name, is)
	}
}

// added returns the number of entries of a history that another one does not have.
func added(before, after []v1alpha1.Transition) int {
	for n := range after {
		if kept := after[:len(after)-n]; len(kept) <= len(before) && reflect.DeepEqual(kept, before[len(before)-len(kept):]) && (len(kept) == len(before) || len(after) == 20) {
			return n
		}
	}
	return len(after)
}

func reasonsOf(s v1alpha1.APIKeyStatus) string {
	if s.State == "" {
		return ""
	}
	all := string(s.State)
	for _, c := range s.Conditions {
		all += fmt.Sprintf(" %s=%s/%s", c.Type, c.Status, c.Reason)
	}
	return all
}

func (s *story) listenToAccounts() {
	for ; s.read[kindAccount] < len(s.w.log[kindAccount]); s.read[kindAccount]++ {
		entry := s.w.log[kindAccount][s.read[kindAccount]]
		was, _ := previous(s.w.log[kindAccount][:s.read[kindAccount]], entry.name).(*v1alpha1.Account)
		is, _ := entry.object.(*v1alpha1.Account)
		everybody := is == nil || was == nil || was.Generation != is.Generation
		if everybody {
			s.wake("account " + entry.name)
		}
		for _, k := range s.w.keysOf(entry.name) {
			if everybody || !reflect.DeepEqual(was.Status.Slots, is.Status.Slots) && !sameSlot(k, was, is) {
				s.wake("key " + full(k))
			}
		}
		if is != nil && is.Status.Keys != nil && (was == nil || was.Status.Keys == nil || was.Status.Keys.Usage != is.Status.Keys.Usage || *was.Status.Keys.Waiting != *is.Status.Keys.Waiting) {
			s.telling("manager", "%s has %s keys, %d wait", is.Name, is.Status.Keys.Usage, *is.Status.Keys.Waiting)
		}
	}
}

func sameSlot(k *v1alpha1.APIKey, was, is *v1alpha1.Account) bool {
	of := func(a *v1alpha1.Account) int {
		return slices.IndexFunc(a.Status.Slots, func(s v1alpha1.Slot) bool { return s.UID == string(k.UID) })
	}
	i, j := of(was), of(is)
	return i >= 0 && j >= 0 && was.Status.Slots[i] == is.Status.Slots[j]
}

// previous is what an object was before.
func previous(log []change, name string) any {
	for _, c := range slices.Backward(log) {
		if c.name == name {
			return c.object
		}
	}
	return nil
}

func (s *story) wake(item string) { s.wakeAt(item, s.w.now) }

func (s *story) wakeAt(item string, t time.Time) {
	if due, ok := s.due[item]; !ok || t.Before(due) {
		s.due[item] = t
	}
}

// until lets the manager work until t, or until a rule is violated.
func (s *story) until(t time.Time) error {
	for {
		s.listen()
		item := s.first()
		if item == "" || s.due[item].After(t) {
			s.w.now = t
			return nil
		}
		if due := s.due[item]; due.After(s.w.now) {
			s.w.now = due
		}
		delete(s.due, item)
		s.work(item)
		if s.w.broken != nil {
			return s.w.broken
		}
	}
}

// first returns what is due first, ordered by name where times are equal.
func (s *story) first() string {
	first := ""
	for item, due := range s.due {
		if first == "" || due.Before(s.due[first]) || due.Equal(s.due[first]) && item < first {
			first = item
		}
	}
	return first
}

func (s *story) work(item string) {
	if s.chance(200, "crash") == 0 {
		s.restart()
	}
	s.manager.sync()
	r := s.begin(item)
	for calls := s.chance(40, "last call"); ; calls-- {
		if calls == 0 && s.chance(10, "crash") == 0 {
			r.stop()
			s.restart()
			return
		}
		if _, more := r.resume(); !more {
			break
		}
	}
	switch {
	case stale(r.err):
		s.wakeAt(item, s.w.now.Add(rounds))
	case r.err != nil:
		s.telling("manager", "%s: %v", item, cause(r.err))
		s.wakeAt(item, s.w.now.Add(backoff))
	case !r.next.IsZero():
		s.wakeAt(item, r.next)
	}
}

// begin starts the reconcile of an item. It must be finished or stopped, or its goroutine stays.
func (s *story) begin(item string) *round {
	if name, ok := strings.CutPrefix(item, "key "); ok {
		return s.manager.keyRound(name)
	}
	return s.manager.accountRound(strings.TrimPrefix(item, "account "))
}

func cause(err error) error {
	for errors.Unwrap(err) != nil {
		err = errors.Unwrap(err)
	}
	return err
}

// restart discards the manager's memory. When it starts, it reconciles everything.
func (s *story) restart() {
	s.telling("manager", "restarts")
	clear(s.manager.repairs)
	clear(s.manager.staged)
	clear(s.due)
	for _, name := range sortedNames(s.w.live[kindKey]) {
		s.wake("key " + name)
	}
	for _, name := range sortedNames(s.w.live[kindAccount]) {
		s.wake("account " + name)
	}
}

// live lets users act for some months, with minutes to weeks in between.
func (s *story) live(deeds int) error {
	users := s.users()
	for range deeds {
		pause := pick(s.chance, "pause", 2*time.Second, time.Minute, 3*time.Hour, 30*time.Hour, 100*time.Hour)
		pause = s.atMost(pause)
		if err := s.until(s.w.now.Add(pause)); err != nil {
			return err
		}
		if pause >= time.Minute {
			s.w.collect()
			if err := s.until(s.w.now.Add(2 * time.Minute)); err != nil { // later than every deferral, and than the recheck of a conflict
				return err
			}
			for n := 0; n < 10 && s.retries(); n++ { // the recheck of a conflict may just have failed
				if err := s.until(s.w.now.Add(backoff)); err != nil {
					return err
				}
			}
			if err := checkQuiet(s.w, s.defaults); err != nil {
				return err
			}
		}
		before := s.w.version
		s.step(users)
		if s.w.version != before {
			s.telling("user", "%s", s.deed())
		}
	}
	return s.until(s.w.now.Add(s.atMost(24 * time.Hour)))
}

// retries reports whether a write that failed is about to be retried.
func (s *story) retries() bool {
	return slices.ContainsFunc(s.w.keys(), func(k *v1alpha1.APIKey) bool {
		return reasonOf(k, v1alpha1.ConditionReady) == v1alpha1.ReasonWriteFailed && s.due["key "+full(k)].After(s.w.now)
	})
}

// atMost shortens a pause while a key is rechecked every minute.
func (s *story) atMost(pause time.Duration) time.Duration {
	for _, k := range s.w.keys() {
		switch reasonOf(k, v1alpha1.ConditionReady) {
		case v1alpha1.ReasonSecretConflict, v1alpha1.ReasonSecretNotAdoptable, v1alpha1.ReasonDuplicateKey:
			return min(pause, time.Minute)
		}
	}
	return pause
}

// deed returns what a user just did, from the logs.
func (s *story) deed() string {
	for kind := range kinds {
		if s.read[kind] == len(s.w.log[kind]) {
			continue
		}
		entry := s.w.log[kind][len(s.w.log[kind])-1]
		switch o := entry.object.(type) {
		case *v1alpha1.APIKey:
			return fmt.Sprintf("wants %s %s, label %q, expiration %q, rotation %s", entry.name, o.Spec.State, o.Spec.Label, o.Spec.Expiration, rotationText(o.Spec.Rotation))
		case *v1alpha1.Account:
			return fmt.Sprintf("wants account %s %s", entry.name, o.Spec.State)
		case *secret:
			return fmt.Sprintf("writes Secret %s", entry.name)
		}
		return "deletes " + []string{"APIKey ", "Account ", "Secret "}[kind] + entry.name
	}
	return "does something"
}

// newLife returns a simulation with a constant policy, whose rules hold at every instant.
func newLife(seed uint64) *story {
	r := rules{strict: true, counting: v1alpha1.CountAll, limit: 2}
	switch seed % 4 {
	case 1:
		r.counting, r.limit = v1alpha1.CountUsable, 2
	case 3:
		r = rules{}
	}
	s := newStory(seed, r)
	if r.strict {
		a := keystest.NewAccount("acme", keystest.MaxKeys(int32(r.limit)), keystest.Counting(r.counting))
		if seed%8 > 3 {
			keystest.ImportAllowed()(a)
		}
		_ = s.w.createAccount(a)
	}
	return s
}

// TestSimulation_Golden compares the log of one simulation with a file, so that changes of behaviour are visible.
func TestSimulation_Golden(t *testing.T) {
	t.Parallel()
	s := newLife(0)
	if err := s.live(60); err != nil {
		t.Fatalf("%v\n%s", err, strings.Join(s.told, "\n"))
	}
	golden(t, filepath.Join("testdata", "story.golden"), []byte(strings.Join(s.told, "\n")+"\n"))
}

// TestSimulation_RandomSeeds runs a hundred simulations with new seeds.
func TestSimulation_RandomSeeds(t *testing.T) {
	t.Parallel()
	lives := 100
	if testing.Short() {
		lives = 20
	}
	first := uint64(time.Now().UnixNano())
	for i, start := 0, time.Now(); i < lives && time.Since(start) < 10*time.Second; i++ {
		seed := first + uint64(i)
		s := newLife(seed)
		if err := s.live(60); err != nil {
			t.Fatalf("seed %d: %v\n%s\n%s", seed, err, strings.Join(s.told, "\n"), s.w.story())
		}
	}
}

// golden compares text with a file, or writes the file under -update.
func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s has changed (-want +got); go test ./internal/keys -update writes it anew\n%s", path, diff)
	}
}
