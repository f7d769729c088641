// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/credential"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
)

// This file implements an API server in memory: objects with UIDs and resourceVersions, a log of changes per kind that
// caches follow with a delay, and writes that fail as in a real API server. Objects are never changed in place.

// secret holds the parts of a Secret that concern keys.
type secret struct {
	name    string // namespace/name
	uid     string
	version string
	owner   types.UID
	ofKey   string // the name of the owning APIKey; empty: it has another owner or none
	shape   keys.SecretContent
}

// labelled reports whether managers watch the Secret.
func (s *secret) labelled() bool { return s.shape.Labels[keys.LabelManagedBy] == keys.ManagedBy }

// copied returns a copy of the Secret that may be changed.
func (s *secret) copied() secret {
	next := *s
	next.shape.Labels, next.shape.Annotations = maps.Clone(s.shape.Labels), maps.Clone(s.shape.Annotations)
	next.shape.Data = maps.Clone(s.shape.Data)
	return next
}

// consumed returns what consumers of a Secret take for the current and the previous key, for any template that the
// simulated users have.
func (s *secret) consumed() (current, previous credential.Material) {
	data := s.shape.Data
	if text, ok := data["config.json"]; ok {
		var config struct{ Key, Previous string }
		if err := json.Unmarshal(text, &config); err != nil {
			return text, nil
		}
		return credential.Material(config.Key), credential.Material(config.Previous)
	}
	if key, ok := data["key"]; ok {
		return key, nil
	}
	return data[keys.EntryCurrent], data[keys.EntryPrevious]
}

// holds reports whether a Secret contains key material anywhere.
func (s *secret) holds(m credential.Material) bool {
	for _, value := range s.shape.Data {
		if bytes.Contains(value, m) {
			return true
		}
	}
	return false
}

// The kinds of objects. Each has its own log and caches.
const (
	kindKey = iota
	kindAccount
	kindSecret
	kinds
)

// change is an entry of a log. A nil object means that it was deleted.
type change struct {
	name   string
	object any
}

type fakeCluster struct {
	now        time.Time
	version    int
	uids       int
	live       [kinds]map[string]any
	log        [kinds][]change
	namespaces map[string]map[string]string
	random     keystest.Bytes
	minted     map[string]bool // digests of credentials that managers generated
	planted    map[string]bool // digests of credentials that users wrote to Secrets
	offered    map[string]bool // digests of credentials that users wrote to Secrets offered for adoption
	importing  map[string]bool // accounts that allowed adoption at some time
	disturbed  map[string]bool // Secrets that users deleted or edited, or whose credentials they revoked, until they are repaired
	materials  []credential.Material
	rules      rules
	broken     error    // the first rule that was broken
	told       []string // the log that explains a failure
}

var (
	errConflict = errors.New("conflict")
	errExists   = errors.New("already exists")
	errMissing  = errors.New("not found")
	errDown     = errors.New("connection refused")
)

func newWorld(r rules) *fakeCluster {
	w := &fakeCluster{
		now: keystest.Epoch, rules: r, minted: map[string]bool{}, planted: map[string]bool{}, offered: map[string]bool{}, importing: map[string]bool{}, disturbed: map[string]bool{}, random: keystest.Bytes{Seed: "world"},
		namespaces: map[string]map[string]string{"shop": {"team": "a"}, "blog": {"team": "b"}},
	}
	for i := range w.live {
		w.live[i] = map[string]any{}
	}
	return w
}

// put stores an object with the next resourceVersion and checks the rules.
func (w *fakeCluster) put(kind int, name string, object any) {
	w.live[kind][name] = object
	if object == nil {
		delete(w.live[kind], name)
	}
	w.log[kind] = append(w.log[kind], change{name, object})
	if a, ok := object.(*v1alpha1.Account); ok && a.Spec.ImportPolicy == v1alpha1.ImportAllow {
		w.importing[name] = true
	}
	w.tell("\t%s", summary(name, object))
	w.breaks(w.rules.check(w))
	w.breaks(checkCredentials(w))
}

// breaks records the first violation of a rule, if err is one.
func (w *fakeCluster) breaks(err error) {
	if w.broken == nil {
		w.broken = err
	}
}

// tell appends to the log.
func (w *fakeCluster) tell(format string, args ...any) {
	w.told = append(w.told, w.now.Format("01-02 15:04:05 ")+fmt.Sprintf(format, args...))
}

func (w *fakeCluster) story() string { return strings.Join(w.told, "\n") }

// summary returns a description of an object in one line.
func summary(name string, object any) string {
	switch o := object.(type) {
	case *v1alpha1.APIKey:
		id := ""
		if c := currentOf(o.Status); c != nil {
			id = c.ID
		}
		return fmt.Sprintf("APIKey %s uid=%s v=%s spec=%s label=%q expiration=%q rotation=%s: %q credential=%s of%s released=%q ready=%s accepted=%s ref=%v",
			name, o.UID, o.ResourceVersion, o.Spec.State, o.Spec.Label, o.Spec.Expiration, rotationText(o.Spec.Rotation), o.Status.State, id,
			credentialsText(o.Status.Credentials), o.Status.ReleasedGrant, reasonOf(o, v1alpha1.ConditionReady), reasonOf(o, v1alpha1.ConditionAccepted), o.Status.SecretRef)
	case *v1alpha1.Account:
		slots := ""
		for _, s := range o.Status.Slots {
			slots += fmt.Sprintf(" %s/%s(%s)=%s:%q", s.Namespace, s.Name, s.UID, s.Grant, s.Label)
		}
		return fmt.Sprintf("Account %s v=%s %s:%s", name, o.ResourceVersion, o.Spec.State, slots)
	case *secret:
		current, previous := o.consumed()
		return fmt.Sprintf("Secret %s v=%s owner=%s: %v current=%.6s previous=%.6s", name, o.version, o.owner,
			slices.Sorted(maps.Keys(o.shape.Data)), digestText(current), digestText(previous))
	}
	return name + " is gone"
}

func digestText(m credential.Material) string {
	if len(m) == 0 {
		return "-"
	}
	return m.SHA256()
}

func rotationText(r *v1alpha1.Rotation) string {
	if r == nil {
		return "-"
	}
	text := fmt.Sprintf("%s/%s", r.Interval, r.Overlap)
	if at := keystest.Time(r.RequestedAt); at != nil {
		text += " requested " + at.UTC().Format("01-02 15:04:05")
	}
	if before := keystest.Time(r.RevokeBefore); before != nil {
		text += " dead before " + before.UTC().Format("01-02 15:04:05")
	}
	return text
}

func credentialsText(list []v1alpha1.Credential) string {
	text := ""
	for _, c := range list {
		text += fmt.Sprintf(" %s:%.6s@%s", c.Role, c.SHA256, c.IssuedAt.UTC().Format("01-02 15:04:05"))
		if c.NotAfter != nil {
			text += " until " + c.NotAfter.UTC().Format("01-02 15:04:05")
		}
	}
	return text
}

func (w *fakeCluster) next() string {
	w.version++
	return strconv.Itoa(w.version)
}

func (w *fakeCluster) uid() string {
	w.uids++
	return fmt.Sprintf("%04d", w.uids*7919%10007) // not in the order of creation
}

func (w *fakeCluster) key(name string) *v1alpha1.APIKey {
	k, _ := w.live[kindKey][name].(*v1alpha1.APIKey)
	return k
}

func (w *fakeCluster) account(name string) *v1alpha1.Account {
	a, _ := w.live[kindAccount][name].(*v1alpha1.Account)
	return a
}

func (w *fakeCluster) secret(name string) *secret {
	s, _ := w.live[kindSecret][name].(*secret)
	return s
}

func (w *fakeCluster) keys() []*v1alpha1.APIKey {
	var list []*v1alpha1.APIKey
	for _, name := range slices.Sorted(maps.Keys(w.live[kindKey])) {
		list = append(list, w.key(name))
	}
	return list
}

func (w *fakeCluster) keysOf(account string) []*v1alpha1.APIKey {
	return slices.DeleteFunc(w.keys(), func(k *v1alpha1.APIKey) bool { return k.Spec.Account != account })
}

func (w *fakeCluster) accounts() []*v1alpha1.Account {
	var list []*v1alpha1.Account
	for _, name := range slices.Sorted(maps.Keys(w.live[kindAccount])) {
		list = append(list, w.account(name))
	}
	return list
}

func full(k *v1alpha1.APIKey) string { return k.Namespace + "/" + k.Name }

func (w *fakeCluster) createKey(k *v1alpha1.APIKey) error {
	if w.key(full(k)) != nil {
		return errExists
	}
	k = k.DeepCopy()
	k.UID, k.ResourceVersion, k.Generation = types.UID(w.uid()), w.next(), 1
	k.CreationTimestamp = metav1.NewTime(w.now.Truncate(time.Second))
	w.put(kindKey, full(k), k)
	return nil
}

func (w *fakeCluster) changeKey(name string, change func(*v1alpha1.APIKeySpec)) {
	if k := w.key(name).DeepCopy(); k != nil {
		before := k.Spec.DeepCopy()
		change(&k.Spec)
		if !reflect.DeepEqual(before.Rotation, k.Spec.Rotation) {
			w.disturbed[secretName(k)] = true // revokeBefore may have passed, or may have been removed
		}
		k.ResourceVersion = w.next()
		k.Generation++
		w.put(kindKey, name, k)
	}
}

func (w *fakeCluster) deleteKey(name string) {
	if w.key(name) != nil {
		w.next()
		w.put(kindKey, name, nil)
	}
}

// endKey deletes a key for a manager that has observed a version of its Secret, provided that the key still has the resourceVersion
// that was read.
func (w *fakeCluster) endKey(k *v1alpha1.APIKey, observed string, manager time.Time) error {
	live := w.key(full(k))
	switch {
	case live == nil:
		return errMissing
	case live.UID != k.UID || live.ResourceVersion != k.ResourceVersion:
		return errConflict
	}
	w.breaks(checkEnd(w, live, observed, manager))
	w.deleteKey(full(k))
	return nil
}

// writeKeyStatus writes the status of a key, provided that the key still has the resourceVersion that was read.
func (w *fakeCluster) writeKeyStatus(k *v1alpha1.APIKey, after v1alpha1.APIKeyStatus, writer time.Time) (*v1alpha1.APIKey, error) {
	live := w.key(full(k))
	switch {
	case live == nil:
		return nil, errMissing
	case live.ResourceVersion != k.ResourceVersion:
		return nil, errConflict
	}
	w.breaks(checkStatusWrite(w, live, after, writer))
	next := live.DeepCopy()
	next.Status, next.ResourceVersion = *after.DeepCopy(), w.next()
	w.put(kindKey, full(k), next)
	return next, nil
}

func (w *fakeCluster) createAccount(a *v1alpha1.Account) error {
	if w.account(a.Name) != nil {
		return errExists
	}
	a = a.DeepCopy()
	a.UID, a.ResourceVersion, a.Generation = types.UID(w.uid()), w.next(), 1
	w.put(kindAccount, a.Name, a)
	return nil
}

func (w *fakeCluster) changeAccount(name string, change func(*v1alpha1.AccountSpec)) {
	if a := w.account(name).DeepCopy(); a != nil {
		change(&a.Spec)
		a.ResourceVersion = w.next()
		a.Generation++
		w.put(kindAccount, name, a)
	}
}

func (w *fakeCluster) deleteAccount(name string) {
	if w.account(name) != nil {
		w.next()
		w.put(kindAccount, name, nil)
	}
}

func (w *fakeCluster) writeAccountStatus(a *v1alpha1.Account, after v1alpha1.AccountStatus) error {
	live := w.account(a.Name)
	switch {
	case live == nil:
		return errMissing
	case live.ResourceVersion != a.ResourceVersion:
		return errConflict
	}
	next := live.DeepCopy()
	next.Status, next.ResourceVersion = *after.DeepCopy(), w.next()
	w.put(kindAccount, a.Name, next)
	return nil
}

func (w *fakeCluster) createSecret(s secret) (*secret, error) {
	if w.secret(s.name) != nil {
		return nil, errExists
	}
	s.uid, s.version = w.uid(), w.next()
	w.put(kindSecret, s.name, &s)
	return &s, nil
}

// writeSecret replaces a Secret, provided that it still has the resourceVersion that was read.
func (w *fakeCluster) writeSecret(s secret) (*secret, error) {
	live := w.secret(s.name)
	switch {
	case live == nil:
		return nil, errMissing
	case live.version != s.version:
		return nil, errConflict
	}
	s.version = w.next()
	w.put(kindSecret, s.name, &s)
	return &s, nil
}

func (w *fakeCluster) deleteSecret(name string) {
	if w.secret(name) != nil {
		w.next()
		w.put(kindSecret, name, nil)
	}
}

// collect acts as the garbage collector: it deletes the Secrets of keys that no longer exist.
func (w *fakeCluster) collect() {
	exists := map[types.UID]bool{"": true}
	for _, k := range w.keys() {
		exists[k.UID] = true
	}
	for _, name := range slices.Sorted(maps.Keys(w.live[kindSecret])) {
		if !exists[w.secret(name).owner] {
			w.deleteSecret(name)
		}
	}
}

// mint generates a key and records it, so that checks can search for it.
func (w *fakeCluster) mint(format credential.Format) credential.Credential {
	issued, err := format.Generate(&w.random)
	if err != nil {
		panic(err)
	}
	w.materials = append(w.materials, issued.Material)
	w.minted[issued.Material.SHA256()] = true
	return issued
}

// forget removes the record of a key that was not used.
func (w *fakeCluster) forget(m credential.Credential) {
	w.materials = slices.DeleteFunc(w.materials, func(other credential.Material) bool { return bytes.Equal(other, m.Material) })
}

// cache follows the log of one kind with a delay.
type cache struct {
	kind, seen int
	objects    map[string]any
}

func (c *cache) follow(w *fakeCluster, n int) {
	for ; n > 0 && c.seen < len(w.log[c.kind]); n-- {
		entry := w.log[c.kind][c.seen]
		c.objects[entry.name] = entry.object
		if entry.object == nil {
			delete(c.objects, entry.name)
		}
		c.seen++
	}
}

// restart fills the cache again from an API server that may itself be behind.
func (c *cache) restart(w *fakeCluster, seen int) {
	c.seen, c.objects = 0, map[string]any{}
	c.follow(w, seen)
}
