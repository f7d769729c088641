// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys_test

import (
	"fmt"
	"maps"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/credential"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
)

// This file runs users and managers on a simulated cluster, in random order.

// chance chooses one of n.
type chance func(n int, what string) int

func pick[T any](c chance, what string, of ...T) T { return of[c(len(of), what)] }

func sortedNames(m map[string]any) []string { return slices.Sorted(maps.Keys(m)) }

type sim struct {
	w        *fakeCluster
	chance   chance
	defaults keys.Settings
	managers []*manager
	accounts []string
	names    []string
	labels   []string
	// free means that policies change too.
	free bool
	// slow means that time advances in months, and keys are not rotated every few minutes.
	slow bool
	// log receives the log, if it is set.
	log func(format string, args ...any)
}

func newSim(c chance, r rules, managers int) *sim {
	s := &sim{
		w: newWorld(r), chance: c, defaults: keystest.Settings, free: !r.strict, accounts: []string{"acme"},
		names: []string{"shop/a", "shop/b", "shop/c", "blog/a", "blog/d"}, labels: []string{"", "x", "y"},
		log: func(string, ...any) {},
	}
	if s.free {
		s.accounts = append(s.accounts, "zeta")
	} else {
		s.names = s.names[:2+c(4, "names")]
	}
	for i := range managers {
		m := newManager(s.w, fmt.Sprint("m", i), s.defaults)
		m.fault = func() fault {
			return pick(c, "fault", faultNone, faultNone, faultNone, faultNone, faultNone, faultBefore, faultAfter)
		}
		m.propagated = func() bool { return c(3, "propagated") > 0 }
		m.shuffle = func(n int, swap func(i, j int)) {
			for i := n - 1; i > 0; i-- {
				swap(i, c(i+1, "order"))
			}
		}
		s.managers = append(s.managers, m)
	}
	return s
}

// action is something that may happen, with a weight.
type action struct {
	name   string
	weight int
	do     func()
}

// swarm gives each action a random weight for one run, so that every mix of a few actions occurs at some time.
func (s *sim) swarm(actions []action) []action {
	for i := range actions {
		actions[i].weight *= pick(s.chance, "weight of "+actions[i].name, 1, 1, 0, 5)
	}
	return actions
}

// step runs one action.
func (s *sim) step(actions []action) {
	total := 0
	for _, a := range actions {
		total += a.weight
	}
	n := s.chance(total, "action")
	for _, a := range actions {
		if n -= a.weight; n < 0 {
			s.w.tell("%s", a.name)
			a.do()
			return
		}
	}
}

// machinery returns the actions of managers, caches, the garbage collector and the clock.
func (s *sim) machinery() []action {
	return []action{
		{"run", 30, func() { s.runSome(s.anyManager()) }},
		{"advance", 15, func() { s.advance(s.anyManager()) }},
		{"turn", 10, func() { s.turn(s.managers[0]) }},
		{"glimpse", 10, func() { s.glimpse(s.managers[len(s.managers)-1]) }},
		{"crash", 1, func() { s.crash(s.anyManager()) }},
		{"collect", 2, s.w.collect},
		{"tick", 4, func() {
			s.w.now = s.w.now.Add(pick(s.chance, "tick", time.Second, 3*time.Second, 10*time.Second, time.Hour))
		}},
	}
}

func (s *sim) anyManager() *manager { return pick(s.chance, "manager", s.managers...) }

// runSome begins a reconcile, or continues one for some calls.
func (s *sim) runSome(m *manager) {
	name := pick(s.chance, "round", append([]string{"", ""}, s.names...)...)
	r := m.rounds[name]
	if name == "" {
		name = "account " + pick(s.chance, "account", s.accounts...)
		if r = m.rounds[name]; r == nil {
			r = m.accountRound(name[len("account "):])
		}
	} else if r == nil {
		r = m.keyRound(name)
	}
	m.rounds[name] = r
	s.w.tell("%s: %s", m.name, name)
	for n := pick(s.chance, "calls", 1, 2, 3, 100); n > 0; n-- {
		what, more := r.resume()
		if !more {
			s.w.tell("%s: %s is done: %v", m.name, name, r.err)
			delete(m.rounds, name)
			return
		}
		s.w.tell("%s: %s is about to %s", m.name, name, what)
	}
}

func (s *sim) advance(m *manager) {
	m.caches[pick(s.chance, "kind", kindKey, kindKey, kindAccount, kindSecret)].follow(s.w, pick(s.chance, "entries", 1, 2, 1000, 1000))
}

// turn lets one manager reconcile everything, while the others fall behind.
func (s *sim) turn(m *manager) {
	m.crash()
	s.pass(m)
	s.pass(m)
}

// glimpse runs a reconcile of a manager whose caches are current except for one kind of object.
func (s *sim) glimpse(m *manager) {
	m.crash()
	m.sync()
	kind := pick(s.chance, "kind", kindAccount, kindKey, kindSecret)
	m.caches[kind].restart(s.w, s.chance(len(s.w.log[kind])+1, "entries"))
	for range 1 + s.chance(2, "rounds") {
		name := pick(s.chance, "round", append([]string{""}, s.names...)...)
		if name == "" {
			finish(m.accountRound(pick(s.chance, "account", s.accounts...)))
		} else {
			finish(m.keyRound(name))
		}
	}
}

func (s *sim) crash(m *manager) {
	m.crash()
	m.skew = pick(s.chance, "skew", 0, 2*time.Second, -2*time.Second)
	for i := range m.caches {
		m.caches[i].restart(s.w, s.chance(len(s.w.log[i])+1, "list"))
	}
}

// users returns the actions of users on keys and Secrets.
func (s *sim) users() []action {
	list := []action{
		{"create", 12, s.createKey},
		{"delete", 4, func() { s.w.deleteKey(s.anyName()) }},
		{"deactivate", 4, func() { s.setState(s.anyName(), v1alpha1.KeyStateInactive) }},
		{"activate", 4, func() { s.setState(s.anyName(), v1alpha1.KeyStateActive) }},
		{"revoke", 1, func() { s.setState(s.anyName(), v1alpha1.KeyStateRevoked) }},
		{"expiration", 3, func() {
			e := s.anyExpiration()
			s.w.changeKey(s.anyName(), func(k *v1alpha1.APIKeySpec) { k.Expiration = e })
		}},
		{"rename", 2, func() {
			l := pick(s.chance, "label", s.labels...)
			s.w.changeKey(s.anyName(), func(k *v1alpha1.APIKeySpec) { k.Label = l })
		}},
		{"delete Secret", 2, func() {
			name := s.anyName()
			s.w.disturbed[name] = true
			s.w.deleteSecret(name)
		}},
		{"rotation", 6, s.changeRotation},
		{"request", 3, s.request},
		{"kill", 2, s.kill},
		{"format", 2, s.changeFormat},
		{"template", 3, s.changeTemplate},
		{"edit Secret", 2, s.editSecret},
		{"suspend", 1, func() { s.setAccount(func(a *v1alpha1.AccountSpec) { a.State = v1alpha1.AccountSuspended }) }},
		{"resume", 2, func() { s.setAccount(func(a *v1alpha1.AccountSpec) { a.State = v1alpha1.AccountActive }) }},
	}
	if s.free {
		list = append(list, action{"policy", 4, s.changePolicy}, action{"delete account", 1, func() { s.w.deleteAccount(pick(s.chance, "account", s.accounts...)) }})
	}
	return list
}

func (s *sim) anyName() string { return pick(s.chance, "key", s.names...) }

func (s *sim) anyExpiration() string {
	return pick(s.chance, "expiration", "", s.w.now.Add(5*time.Second).Format(time.RFC3339), s.w.now.Add(time.Hour).Format(time.RFC3339),
		"2020-01-01", "2026-01-11", s.w.now.Format(time.RFC3339))
}

func (s *sim) createKey() {
	name := s.anyName()
	k := keystest.Key(name[5:], keystest.Namespace(name[:4]), keystest.Account(pick(s.chance, "account", s.accounts...)),
		keystest.Label(pick(s.chance, "label", s.labels...)))
	if s.chance(4, "expires") == 0 {
		k.Spec.Expiration = s.anyExpiration()
	}
	k.Spec.State = pick(s.chance, "state", v1alpha1.KeyStateActive, v1alpha1.KeyStateActive, v1alpha1.KeyStateActive, v1alpha1.KeyStateInactive)
	if s.w.importing[k.Spec.Account] && s.chance(6, "imports") == 0 {
		keystest.Import("elsewhere/" + name)(k)
		s.w.offered[k.Spec.Import.SHA256] = true
	}
	_ = s.w.createKey(k)
}

func (s *sim) setState(name string, state v1alpha1.KeyState) {
	if k := s.w.key(name); k != nil && k.Spec.State != v1alpha1.KeyStateRevoked && k.Spec.State != state {
		s.w.changeKey(name, func(k *v1alpha1.APIKeySpec) { k.State = state })
	}
}

// changeKey changes the spec of a key, if there is one.
func (s *sim) changeKey(change func(*v1alpha1.APIKeySpec)) {
	if name := s.anyName(); s.w.key(name) != nil {
		s.w.changeKey(name, change)
	}
}

func setRotation(k *v1alpha1.APIKeySpec, change func(*v1alpha1.Rotation)) {
	if k.Rotation == nil {
		k.Rotation = &v1alpha1.Rotation{}
	}
	change(k.Rotation)
	if *k.Rotation == (v1alpha1.Rotation{}) {
		k.Rotation = nil
	}
}

func (s *sim) changeRotation() {
	type rotation = [2]v1alpha1.Duration
	list := []rotation{{"", ""}, {"", "0s"}, {"", "5s"}, {"300h", "1h"}, {"720h", "48h"}, {"200h", "0s"}}
	if !s.slow {
		list = append(list, rotation{"1m", "0s"}, rotation{"1m", "10s"}, rotation{"1h", ""}, rotation{"30h", "1h"})
	}
	d := pick(s.chance, "rotation", list...)
	s.changeKey(func(k *v1alpha1.APIKeySpec) {
		setRotation(k, func(r *v1alpha1.Rotation) { r.Interval, r.Overlap = d[0], d[1] })
	})
}

func (s *sim) request() {
	at := keystest.Instant(s.w.now.Add(pick(s.chance, "requested", 0, 0, time.Second, -time.Hour, time.Hour)).Truncate(time.Second))
	s.changeKey(func(k *v1alpha1.APIKeySpec) { setRotation(k, func(r *v1alpha1.Rotation) { r.RequestedAt = at }) })
}

func (s *sim) kill() {
	at := keystest.Instant(s.w.now.Add(pick(s.chance, "revoked before", 0, time.Second, -time.Hour, 20*time.Second, time.Hour)).Truncate(time.Second))
	if s.chance(5, "take back") == 0 {
		at = ""
	}
	s.changeKey(func(k *v1alpha1.APIKeySpec) { setRotation(k, func(r *v1alpha1.Rotation) { r.RevokeBefore = at }) })
}

func (s *sim) changeFormat() {
	f := pick(s.chance, "format", nil, &v1alpha1.Format{Prefix: "shop"}, &v1alpha1.Format{Type: v1alpha1.FormatUUID}, &v1alpha1.Format{Type: v1alpha1.FormatHex, Length: 32},
		&v1alpha1.Format{Type: v1alpha1.FormatAlphanumeric, Length: 22}, &v1alpha1.Format{Type: v1alpha1.FormatAlphanumeric, Length: 256})
	s.changeKey(func(k *v1alpha1.APIKeySpec) { k.Format = f })
}

// templates lists the templates that the simulated users give their Secrets. The last is not accepted.
var templates = []*v1alpha1.SecretTemplate{
	nil,
	{Labels: map[string]string{"konghq.com/credential": "key-auth"}, Data: map[string]string{"key": "{{ .Key }}"}},
	{Data: map[string]string{"config.json": `{"key":{{ .Key | quote }},"previous":{{ .PreviousKey | quote }},"label":{{ .Label | quote }},"until":"{{ .Expiration }}"}`}},
	{Annotations: map[string]string{"example.com/owner": "me"}},
	{Data: map[string]string{"api-key": "{{ .Key }}", "previous-api-key": "{{ .PreviousKey }}", "id": "{{ .KeyID }}"}},
	{Data: map[string]string{"key": "{{ .Nope }}"}},
}

func (s *sim) changeTemplate() {
	t := pick(s.chance, "template", templates...)
	previous := pick(s.chance, "previous key", "", v1alpha1.PreviousKeyOmit, v1alpha1.PreviousKeyInclude)
	s.changeKey(func(k *v1alpha1.APIKeySpec) {
		k.Secret = nil
		if t != nil || previous != "" {
			k.Secret = &v1alpha1.SecretSpec{Template: t.DeepCopy(), PreviousKey: previous}
		}
	})
}

func (s *sim) editSecret() {
	name := s.anyName()
	old := s.w.secret(name)
	if old == nil {
		if s.chance(4, "foreign") == 0 {
			_, _ = s.w.createSecret(secret{name: name, shape: keys.SecretContent{Data: map[string][]byte{keys.EntryCurrent: []byte("hello")}}})
		} else if s.chance(2, "offered") == 0 {
			_, _ = s.w.createSecret(s.offer(secret{name: name}, name))
		}
		return
	}
	edited := old.copied()
	if edited.shape.Data == nil {
		edited.shape.Data = map[string][]byte{}
	}
	edit := pick(s.chance, "edit", "garbage", "material", "empty", "label", "owner", "entry", "previous", "annotation", "offer")
	switch edit {
	case "garbage":
		for entry := range edited.shape.Data {
			edited.shape.Data[entry] = []byte("garbage")
		}
	case "material":
		m := s.plant()
		edited.shape.Data[keys.EntryCurrent] = m
		s.w.offered[m.SHA256()] = edited.shape.Annotations[v1alpha1.AdoptAnnotation] != ""
	case "empty":
		edited.shape.Data = nil
	case "label":
		delete(edited.shape.Labels, keys.LabelManagedBy)
	case "owner":
		edited.owner, edited.ofKey = "", ""
	case "entry":
		edited.shape.Data["extra"] = []byte("more")
	case "previous":
		edited.shape.Data[keys.EntryPrevious] = []byte("garbage")
	case "offer":
		edited = s.offer(edited, name)
	case "annotation":
		delete(edited.shape.Annotations, keys.AnnotationTemplateHash)
	}
	if edit != "label" && edit != "annotation" && edit != "entry" {
		s.w.disturbed[name] = true
	}
	_, _ = s.w.writeSecret(edited)
}

// plant generates a well-formed key that no manager generated.
func (s *sim) plant() credential.Material {
	m := s.w.mint(keystest.Token).Material
	delete(s.w.minted, m.SHA256())
	s.w.planted[m.SHA256()] = true
	return m
}

// offer offers a Secret for adoption to the key of its name, with a new credential, or with one that exists in the cluster.
func (s *sim) offer(offered secret, name string) secret {
	m := credential.Material("hello")
	switch known := s.w.materials; {
	case s.chance(3, "replayed") == 0 && len(known) > 0:
		m = known[s.chance(len(known), "material")]
	case s.chance(4, "malformed") > 0:
		m = s.plant()
	}
	offered.owner, offered.ofKey = "", ""
	offered.shape.Annotations = merged(offered.shape.Annotations, map[string]string{v1alpha1.AdoptAnnotation: name[5:]})
	offered.shape.Data = map[string][]byte{keys.EntryCurrent: m, "key": m}
	s.w.offered[m.SHA256()] = true
	return offered
}

func (s *sim) setAccount(change func(*v1alpha1.AccountSpec)) {
	s.w.changeAccount(pick(s.chance, "account", s.accounts...), change)
}

func (s *sim) changePolicy() {
	s.setAccount(pick(s.chance, "policy",
		func(a *v1alpha1.AccountSpec) { a.Limits = nil },
		func(a *v1alpha1.AccountSpec) { setLimit(a, int32(s.chance(4, "limit"))) },
		func(a *v1alpha1.AccountSpec) { a.Limits = &v1alpha1.Limits{Unlimited: v1alpha1.SwitchEnabled} },
		func(a *v1alpha1.AccountSpec) {
			if a.Limits == nil {
				a.Limits = &v1alpha1.Limits{}
			}
			a.Limits.Counting = pick(s.chance, "counting", v1alpha1.CountAll, v1alpha1.CountUsable)
		},
		func(a *v1alpha1.AccountSpec) {
			a.LabelPolicy = pick(s.chance, "labels", v1alpha1.LabelUnique, v1alpha1.LabelShared)
		},
		func(a *v1alpha1.AccountSpec) {
			a.ImportPolicy = pick(s.chance, "imports", v1alpha1.ImportForbid, v1alpha1.ImportAllow)
		},
		func(a *v1alpha1.AccountSpec) {
			a.TimeZone = pick(s.chance, "zone", "UTC", "Europe/Madrid", "Mars/Base")
		},
		func(a *v1alpha1.AccountSpec) {
			a.AllowedNamespaces = pick(s.chance, "namespaces", nil, &metav1.LabelSelector{MatchLabels: map[string]string{"team": "a"}})
		},
		func(a *v1alpha1.AccountSpec) {
			a.ExpirationPolicy = pick(s.chance, "expirations", nil, &v1alpha1.ExpirationPolicy{Mode: v1alpha1.ExpirationRequired},
				&v1alpha1.ExpirationPolicy{Mode: v1alpha1.ExpirationForbidden}, &v1alpha1.ExpirationPolicy{MaxLifetime: "1h"})
		},
		s.changeRetention(),
		func(a *v1alpha1.AccountSpec) {
			a.IPWhitelistPolicy = pick(s.chance, "addresses", v1alpha1.IPWhitelistOptional, v1alpha1.IPWhitelistRequired)
		},
	))
}

// changeRetention changes how long expired and revoked keys are kept, and whether keys may be deleted at all.
func (s *sim) changeRetention() func(*v1alpha1.AccountSpec) {
	return func(a *v1alpha1.AccountSpec) {
		a.Retention = pick(s.chance, "retention", nil, &v1alpha1.Retention{ExpiredAfter: "1m"}, &v1alpha1.Retention{RevokedAfter: "1h"},
			&v1alpha1.Retention{ExpiredAfter: "20h", RevokedAfter: "1m"})
		a.DeletionPolicy = pick(s.chance, "deletion", "", "", v1alpha1.DeletionForbid, v1alpha1.DeletionRequireConfirmation)
	}
}

func setLimit(a *v1alpha1.AccountSpec, n int32) {
	if a.Limits == nil {
		a.Limits = &v1alpha1.Limits{}
	}
	a.Limits.MaxKeys, a.Limits.Unlimited = &n, ""
}

// enoughPasses is the number of passes over everything after which nothing may be left to do.
const enoughPasses = 12

// settle lets the managers work undisturbed, with current caches, until there is nothing left to do.
func (s *sim) settle() error {
	for _, m := range s.managers {
		m.crash()
		m.skew, m.fault, m.propagated = 0, func() fault { return faultNone }, func() bool { return true }
	}
	for range 3 { // the second pass comes after every deferral, the third after every overlap
		if err := s.settleNow(); err != nil {
			return err
		}
		s.w.now = s.w.now.Add(25 * time.Hour)
	}
	if err := s.settleNow(); err != nil {
		return err
	}
	return checkQuiet(s.w, s.defaults)
}

func (s *sim) settleNow() error {
	for range enoughPasses {
		s.w.tell("settle")
		before := s.w.version
		s.w.collect()
		for _, m := range s.managers {
			s.pass(m)
		}
		if s.w.broken != nil {
			return s.w.broken
		}
		if s.w.version == before {
			return nil
		}
	}
	return fmt.Errorf("not quiet after %d passes", enoughPasses)
}

// pass reconciles every object once.
func (s *sim) pass(m *manager) {
	for _, name := range sortedNames(s.w.live[kindAccount]) {
		m.sync()
		finish(m.accountRound(name))
	}
	for _, name := range sortedNames(s.w.live[kindKey]) {
		m.sync()
		finish(m.keyRound(name))
	}
}

func finish(r *round) outcome {
	for {
		if _, more := r.resume(); !more {
			return r.outcome
		}
	}
}
