// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys_test

import (
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/credential"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
)

// This file simulates a manager. It observes, decides, performs, describes and patches as the controllers do. It reads
// caches that lag, and pauses before every call to the API server, so that anything may happen then: a write by another
// manager or by a user, or a crash.

type manager struct {
	w        *fakeCluster
	name     string
	defaults keys.Settings
	skew     time.Duration
	caches   [kinds]cache
	rounds   map[string]*round
	// repairs holds the manager's records of its repairs, by the UID of the key.
	repairs map[types.UID]keys.Repairs
	// staged holds the credentials that the manager keeps in memory, by the UID of the key.
	staged map[types.UID]credential.Credential
	// propagated reports whether verifiers have observed the staged credential.
	propagated func() bool
	// fault returns what happens to the next write.
	fault func() fault
	// shuffle reorders a list that was read from a cache.
	shuffle func(n int, swap func(i, j int))
}

// fault specifies how a write fails.
type fault int

const (
	faultNone   fault = iota
	faultBefore       // it does not reach the API server
	faultAfter        // it is carried out, and the response is lost
)

func newManager(w *fakeCluster, name string, settings keys.Settings) *manager {
	m := &manager{w: w, name: name, defaults: settings, rounds: map[string]*round{}, repairs: map[types.UID]keys.Repairs{}, staged: map[types.UID]credential.Credential{}}
	m.fault, m.propagated = func() fault { return faultNone }, func() bool { return true }
	for i := range m.caches {
		m.caches[i] = cache{kind: i, objects: map[string]any{}}
	}
	return m
}

// sync brings all caches up to date.
func (m *manager) sync() {
	for i := range m.caches {
		m.caches[i].follow(m.w, len(m.w.log[i]))
	}
}

// crash ends all reconciles where they are, and discards the manager's memory.
func (m *manager) crash() {
	for name, r := range m.rounds {
		r.stop()
		delete(m.rounds, name)
	}
	clear(m.repairs)
	clear(m.staged)
}

// outcome is the result of a reconcile.
type outcome struct {
	next time.Time
	err  error
}

// round is one reconcile, paused before its next call to the API server.
type round struct {
	resume func() (string, bool)
	stop   func()
	outcome
}

// start begins a reconcile. Each resume runs it up to its next call. It runs in a goroutine and not in a coroutine of iter.Pull, because
// the race detector of Go 1.26 never frees the memory of a coroutine.
func start(body func(pause func(what string)) outcome) *round {
	r := &round{}
	orders, calls := make(chan bool), make(chan string)
	var failure any
	await := func() {
		if run := <-orders; !run {
			runtime.Goexit()
		}
	}
	go func() {
		defer close(calls)
		defer func() { failure = recover() }()
		await()
		r.outcome = body(func(what string) {
			calls <- what
			await()
		})
	}()
	send := func(run bool) (string, bool) {
		select {
		case orders <- run:
		case <-calls: // it has ended
		}
		what, more := <-calls
		if failure != nil {
			panic(failure)
		}
		return what, more
	}
	r.resume, r.stop = func() (string, bool) { return send(true) }, func() { send(false) }
	return r
}

func (m *manager) keyRound(name string) *round {
	return start(func(pause func(string)) outcome {
		return (&keyRound{manager: m, pause: pause, minted: map[string]bool{}}).run(name)
	})
}

func (m *manager) accountRound(name string) *round {
	return start(func(pause func(string)) outcome { return (&accountRound{manager: m, pause: pause}).run(name) })
}

func (m *manager) clock() time.Time { return m.w.now.Add(m.skew).UTC().Truncate(time.Second) }

// write performs a write that may fail.
func (m *manager) write(do func() error) error {
	switch m.fault() {
	case faultBefore:
		return errDown
	case faultAfter:
		if err := do(); err != nil {
			return err
		}
		return errDown
	case faultNone:
	}
	return do()
}

// cachedKeys lists keys from the cache, in no particular order.
func (m *manager) cachedKeys(keep func(*v1alpha1.APIKey) bool) []*v1alpha1.APIKey {
	var list []*v1alpha1.APIKey
	for _, name := range sortedNames(m.caches[kindKey].objects) {
		if k := m.caches[kindKey].objects[name].(*v1alpha1.APIKey); keep(k) {
			list = append(list, k)
		}
	}
	if m.shuffle != nil {
		m.shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	}
	return list
}

type keyRound struct {
	*manager
	pause func(string)
	facts keys.Facts
	// minted holds the digests of the credentials that this reconcile generated.
	minted map[string]bool
}

func (r *keyRound) mint(f credential.Format) credential.Credential {
	m := r.w.mint(f)
	r.minted[m.Material.SHA256()] = true
	return m
}

func (r *keyRound) run(name string) outcome {
	key, _ := r.caches[kindKey].objects[name].(*v1alpha1.APIKey)
	if key == nil {
		return outcome{}
	}
	if err := r.observe(key); err != nil {
		return outcome{err: err}
	}
	defer func() { r.repairs[key.UID] = r.facts.Repairs }()
	for range maxRounds {
		r.observeStaged()
		plan := keys.Decide(r.facts)
		wrote, err := r.round(plan)
		if err != nil || !wrote {
			if err == nil {
				r.w.breaks(r.checkDone(plan))
			}
			return outcome{next: keys.NextCheck(r.facts), err: err}
		}
	}
	r.w.breaks(fmt.Errorf("%s: still busy after %d rounds", name, maxRounds))
	return outcome{next: keys.NextCheck(r.facts)}
}

// maxRounds limits the passes of one reconcile.
const maxRounds = 8

// round performs a plan, and reports whether another pass may find something to do.
func (r *keyRound) round(plan keys.Plan) (bool, error) {
	before := r.facts
	r.facts.Err = r.perform(plan.Steps)
	r.facts.Repairs = r.facts.Repairs.After(before, plan, r.facts.Err == nil)
	if stale(r.facts.Err) || plan.DeletesKey() {
		return false, r.facts.Err
	}
	after := keys.Describe(r.facts)
	r.w.breaks(checkDescribe(r.facts))
	if equality.Semantic.DeepEqual(r.facts.Key.Status, after) {
		return before.Secret.Ownership == keys.SecretMissing && r.facts.Secret.Ownership == keys.SecretOffered, r.facts.Err
	}
	r.w.breaks(r.checkMinted(after))
	r.pause("write the status of " + full(r.facts.Key))
	var next *v1alpha1.APIKey
	err := r.write(func() (err error) {
		next, err = r.w.writeKeyStatus(r.facts.Key, after, r.facts.Now)
		return err
	})
	if err != nil {
		return false, errors.Join(r.facts.Err, err)
	}
	r.facts.Key, r.facts.Secret.JustIssued, r.facts.Repairs.Written = next.DeepCopy(), false, ""
	r.facts.JustStaged, r.facts.JustFenced = false, false
	if last, issued := keys.LastStaged(&next.Status), r.staged[next.UID]; last == nil || last.SHA256 != issued.Material.SHA256() {
		delete(r.staged, next.UID)
	}
	clear(r.minted)
	return true, r.facts.Err
}

// checkMinted checks that a pass records no credential except those that it generated, knew before, or was offered.
func (r *keyRound) checkMinted(after v1alpha1.APIKeyStatus) error {
	for _, c := range after.Credentials {
		elsewhere := r.cachedKeys(func(k *v1alpha1.APIKey) bool { // the cache may hold a later version of the key itself
			return k.UID != r.facts.Key.UID && slices.Contains(keys.KeyDigests(k), c.SHA256)
		})
		offered := r.w.offered[c.SHA256] && r.w.importing[r.facts.Key.Spec.Account] && !keys.Issued(r.facts.Key) && len(elsewhere) == 0
		if of(r.facts.Key.Status, c.SHA256) == nil && !r.minted[c.SHA256] && !offered {
			return fmt.Errorf("status of %s: credential %s came from somewhere else", full(r.facts.Key), c.ID)
		}
	}
	return nil
}

// checkDone checks the facts when a reconcile ends with nothing to do, provided that it observed the current state.
func (r *keyRound) checkDone(plan keys.Plan) error {
	k, s := r.w.key(full(r.facts.Key)), r.w.secret(secretName(r.facts.Key))
	seen, _ := r.caches[kindSecret].objects[secretName(r.facts.Key)].(*secret)
	a, _ := r.caches[kindAccount].objects[r.facts.Key.Spec.Account].(*v1alpha1.Account)
	switch {
	case k == nil || k.ResourceVersion != r.facts.Key.ResourceVersion || s == nil || s.owner != k.UID || a == nil,
		r.facts.Secret.ResourceVersion != s.version, seen == nil, seen.version != s.version && r.facts.Secret.ResourceVersion != s.version:
		return nil
	case strings.HasPrefix(plan.Why, "waiting"), reasonOf(k, v1alpha1.ConditionReady) == v1alpha1.ReasonSecretContested, !keys.Issued(k), k.Status.State == v1alpha1.StateRevoked || reasonOf(k, v1alpha1.ConditionAccepted) != v1alpha1.ReasonAccepted:
		return nil
	}
	fail := func(format string, args ...any) error {
		return fmt.Errorf("after a reconcile of "+full(k)+" at "+r.facts.Now.Format(time.DateTime)+": "+format, args...)
	}
	for _, c := range k.Status.Credentials {
		if killed(k, &c, r.facts.Now) {
			return fail("a credential of %s is listed although it was revoked", c.IssuedAt)
		}
	}
	current, previous := s.consumed()
	if !accepts(k, current, r.facts.Now) {
		return fail("verifiers refuse what the Secret holds")
	}
	if len(previous) > 0 && !accepts(k, previous, r.facts.Now) {
		return fail("the Secret holds a previous key that verifiers refuse")
	}
	return nil
}

func stale(err error) bool {
	return errors.Is(err, errConflict) || errors.Is(err, errExists) || errors.Is(err, errMissing)
}

func (r *keyRound) observe(key *v1alpha1.APIKey) error {
	r.facts = keys.Facts{Key: key.DeepCopy(), Settings: r.defaults, Now: r.clock(), NamespaceLabels: r.w.namespaces[key.Namespace]}
	r.pause("observe the rest of " + full(key))
	r.facts.Account, _ = r.caches[kindAccount].objects[key.Spec.Account].(*v1alpha1.Account)
	if key.Spec.Label != "" {
		r.facts.Siblings = r.cachedKeys(func(k *v1alpha1.APIKey) bool {
			return k.Spec.Account == key.Spec.Account && k.Spec.Label == key.Spec.Label
		})
	}
	seen, _ := r.caches[kindSecret].objects[secretName(key)].(*secret)
	if seen != nil && !seen.labelled() {
		seen = nil // Secrets without the label are not watched
	}
	ref := key.Status.SecretRef
	switch {
	case seen == nil && ref == nil:
		r.facts.Secret = keys.ObservedSecret{Ownership: keys.SecretMissing}
	case seen != nil && keys.StatusDescribesSecret(key) && seen.version == ref.ResourceVersion &&
		keys.IsRenderedFrom(key, r.facts.Account, seen.shape.Annotations):
		r.facts.Secret = keys.SecretFromStatus(key)
	default:
		r.facts.Secret, _, _ = r.look()
	}
	r.facts.Repairs = keys.ResumeRepairs(key, r.facts.Now)
	if known, ok := r.repairs[key.UID]; ok {
		r.facts.Repairs = known.Of(key)
	}
	r.facts.Duplicates = r.duplicates()
	return nil
}

func (r *keyRound) observeStaged() {
	issued, has := r.staged[r.facts.Key.UID]
	r.facts.Staged, r.facts.Propagated = keys.ObservedCredential{}, false
	if last := keys.LastStaged(&r.facts.Key.Status); has && last != nil && last.SHA256 == issued.Material.SHA256() {
		r.facts.Staged, r.facts.Propagated = keys.ObserveCredential(issued), r.propagated()
	}
}

func (r *keyRound) duplicates() []*v1alpha1.APIKey {
	digests := r.facts.Digests()
	return r.cachedKeys(func(k *v1alpha1.APIKey) bool {
		return k.UID != r.facts.Key.UID && slices.ContainsFunc(keys.KeyDigests(k), func(d string) bool { return slices.Contains(digests, d) })
	})
}

func secretName(k *v1alpha1.APIKey) string { return k.Namespace + "/" + keys.SecretName(k) }

// look reads the key's Secret from the API server and inspects it.
func (r *keyRound) look() (keys.ObservedSecret, keys.SecretCredentials, *secret) {
	r.pause("read Secret " + secretName(r.facts.Key))
	s := r.w.secret(secretName(r.facts.Key))
	observed, credentials := inspect(s, r.facts.Key, r.facts.Account)
	return observed, credentials, s
}

func inspect(s *secret, k *v1alpha1.APIKey, a *v1alpha1.Account) (keys.ObservedSecret, keys.SecretCredentials) {
	if s == nil {
		return keys.ObservedSecret{Ownership: keys.SecretMissing}, keys.SecretCredentials{}
	}
	object := &metav1.ObjectMeta{ResourceVersion: s.version, Annotations: s.shape.Annotations}
	if s.owner != "" {
		controller := true
		object.OwnerReferences = []metav1.OwnerReference{{
			APIVersion: v1alpha1.GroupVersion.String(), Kind: "APIKey", Name: s.ofKey, UID: s.owner, Controller: &controller,
		}}
	}
	return keys.ObserveSecret(k, a, object, s.shape)
}

func (r *keyRound) perform(steps []keys.Step) error {
	for _, step := range steps {
		if err := r.do(step); stale(err) {
			return err
		} else if err != nil {
			return &keys.PublicError{Message: "Could not " + step.String() + ": the API server did not respond", Err: err}
		}
	}
	return nil
}

func (r *keyRound) do(step keys.Step) error {
	switch s := step.(type) {
	case keys.CreateAccount:
		r.pause(step.String())
		err := r.write(func() error { return r.w.createAccount(keystest.NewAccount(s.Name, keystest.CreatedByManager())) })
		if errors.Is(err, errExists) {
			return nil
		}
		return err
	case keys.CreateSecret:
		return r.createSecret(s)
	case keys.ReissueCredential:
		return r.replaceMaterial(s)
	case keys.FenceSecret:
		return r.fence(step)
	case keys.StageCredential:
		return r.stageCredential(s)
	case keys.PromoteStaged:
		issued, has := r.staged[r.facts.Key.UID]
		if !has || keys.ObserveCredential(issued) != r.facts.Staged {
			return errConflict
		}
		if r.facts.Secret.Ownership == keys.SecretMissing {
			return r.createWith(step, issued)
		}
		return r.updateSecret(step, issued)
	case keys.AdoptSecret:
		return r.adopt(step)
	case keys.RetirePrevious, keys.ClearSecret, keys.RepairSecret:
		return r.updateSecret(step, credential.Credential{})
	case keys.DeleteKey:
		return r.deleteKey(step)
	}
	panic(step)
}

func (r *keyRound) deleteKey(step keys.Step) error {
	r.pause("read the account to " + step.String())
	account := r.w.account(r.facts.Account.Name)
	if account == nil {
		return errMissing
	}
	again := r.facts
	again.Account = account
	if !keys.RetentionOver(again) {
		return errConflict
	}
	return r.write(func() error { return r.w.endKey(r.facts.Key, r.facts.Secret.ResourceVersion, r.facts.Now) })
}

func (r *keyRound) createSecret(s keys.CreateSecret) error {
	return r.createWith(s, r.mint(s.Format))
}

func (r *keyRound) createWith(step keys.Step, issued credential.Credential) error {
	content, err := keys.Render(r.facts.Key, r.facts.Account, keys.Apply(step, keys.SecretCredentials{}, issued))
	if err != nil {
		return err
	}
	r.pause(step.String())
	var created *secret
	err = r.write(func() (err error) {
		k := r.facts.Key
		created, err = r.w.createSecret(secret{name: secretName(k), owner: k.UID, ofKey: k.Name, shape: content})
		return err
	})
	if errors.Is(err, errExists) {
		r.w.forget(issued)
		r.facts.Secret, _, _ = r.look()
		r.facts.Duplicates = r.duplicates()
		return nil
	}
	if err != nil {
		return err
	}
	r.facts.Secret, r.facts.Repairs.Written = keys.JustIssuedSecret(created.version, issued), created.version
	return nil
}

func (r *keyRound) replaceMaterial(s keys.ReissueCredential) error {
	issued := r.mint(s.Format)
	if err := r.updateSecret(s, issued); err != nil {
		return err
	}
	r.facts.Secret = keys.JustIssuedSecret(r.facts.Secret.ResourceVersion, issued)
	return nil
}

func (r *keyRound) stageCredential(s keys.StageCredential) error {
	if _, exists := r.staged[r.facts.Key.UID]; exists {
		if err := r.confirm(); err != nil {
			return err
		}
	}
	issued := r.mint(s.Format)
	r.staged[r.facts.Key.UID] = issued
	r.facts.Staged, r.facts.JustStaged = keys.ObserveCredential(issued), true
	return nil
}

// confirm fails if the key differs from the facts.
func (r *keyRound) confirm() error {
	r.pause("read " + full(r.facts.Key))
	if live := r.w.key(full(r.facts.Key)); live == nil || live.ResourceVersion != r.facts.Key.ResourceVersion {
		return errConflict
	}
	return nil
}

// lookAgain reads the Secret and then the key, and fails if either differs from what was observed.
func (r *keyRound) lookAgain(want keys.Ownership) (keys.SecretCredentials, *secret, error) {
	observed, credentials, s := r.look()
	if observed.Ownership != want || observed.ResourceVersion != r.facts.Secret.ResourceVersion {
		return credentials, nil, errConflict
	}
	return credentials, s, r.confirm()
}

// fence changes the resourceVersion of the Secret.
func (r *keyRound) fence(step keys.Step) error {
	_, s, err := r.lookAgain(keys.SecretOwned)
	if err != nil {
		return err
	}
	next := s.copied()
	next.shape.Annotations = merged(next.shape.Annotations, map[string]string{keys.AnnotationFence: s.version})
	if err := r.writeSecret(step, next); err != nil {
		return err
	}
	r.facts.JustFenced = true
	return nil
}

// writeSecret writes the Secret, and updates the facts with its new content.
func (r *keyRound) writeSecret(step keys.Step, next secret) error {
	r.pause(step.String())
	var s *secret
	err := r.write(func() (err error) {
		s, err = r.w.writeSecret(next)
		return err
	})
	if err != nil {
		return err
	}
	r.facts.Repairs.Written = s.version
	r.facts.Secret, _ = inspect(s, r.facts.Key, r.facts.Account)
	return nil
}

// updateSecret applies a step to the credentials of the Secret, and renders it again. It reads the key again first.
func (r *keyRound) updateSecret(step keys.Step, issued credential.Credential) error {
	credentials, s, err := r.lookAgain(keys.SecretOwned)
	if err != nil {
		return err
	}
	content, err := keys.Render(r.facts.Key, r.facts.Account, keys.Apply(step, credentials, issued))
	if err != nil {
		return err
	}
	if !content.Matches(s.shape) {
		next := s.copied()
		r.apply(&next, content)
		return r.writeSecret(step, next)
	}
	r.facts.Secret, _ = inspect(s, r.facts.Key, r.facts.Account)
	return nil
}

// adopt adopts a Secret that is offered.
func (r *keyRound) adopt(step keys.Step) error {
	credentials, s, err := r.lookAgain(keys.SecretOffered)
	if err != nil {
		return err
	}
	content, err := keys.Render(r.facts.Key, r.facts.Account, credentials)
	if err != nil {
		return err
	}
	next := s.copied()
	r.apply(&next, content)
	next.owner, next.ofKey = r.facts.Key.UID, r.facts.Key.Name
	return r.writeSecret(step, next)
}

// apply updates a Secret to new content, as the controllers do: the metadata of other clients stays.
func (r *keyRound) apply(s *secret, content keys.SecretContent) {
	s.shape.Labels, s.shape.Annotations = content.Metadata(&metav1.ObjectMeta{Labels: s.shape.Labels, Annotations: s.shape.Annotations}, r.defaults)
	s.shape.Data = content.Data
}

func merged(all, ours map[string]string) map[string]string {
	if all == nil {
		return ours
	}
	maps.Copy(all, ours)
	return all
}

type accountRound struct {
	*manager
	pause func(string)
}

func (r *accountRound) run(name string) outcome {
	account, _ := r.caches[kindAccount].objects[name].(*v1alpha1.Account)
	if account == nil {
		return outcome{}
	}
	facts := keys.AccountFacts{
		Account: account, Settings: r.defaults, Now: r.clock(), NamespaceLabels: r.w.namespaces, Confirmed: map[string]bool{},
		Keys: r.cachedKeys(func(k *v1alpha1.APIKey) bool { return k.Spec.Account == name }),
	}
	r.confirm(facts)
	after := keys.DescribeAccount(facts)
	r.w.breaks(checkDescribeAccount(facts))
	if !equality.Semantic.DeepEqual(account.Status, after) {
		r.pause("write the record of " + name)
		if err := r.write(func() error { return r.w.writeAccountStatus(account, after) }); err != nil {
			return outcome{err: err}
		}
	}
	return outcome{}
}

func (r *accountRound) confirm(facts keys.AccountFacts) {
	missing, unrecorded := keys.UnconfirmedSlots(facts)
	for _, slot := range missing {
		r.pause("read the holder " + slot.Name)
		live := r.w.key(slot.Namespace + "/" + slot.Name)
		facts.Confirmed[slot.UID] = live == nil || string(live.UID) != slot.UID
	}
	for _, k := range unrecorded {
		r.pause("read " + full(k))
		live := r.w.key(full(k))
		facts.Confirmed[string(k.UID)] = live != nil && live.UID == k.UID && keys.RetainsSlot(live, facts.Account)
	}
}
