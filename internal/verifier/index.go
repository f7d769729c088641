// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// Index knows all keys by digest. Verdicts read it without a lock, while one writer at a time changes it in place: a
// change of one key costs the same however many there are, and a change of an account reaches all of its keys at once.
type Index struct {
	table *table
	completeness

	mu         sync.Mutex // held by writers
	accounts   map[string]*account
	external   externalIDs
	namespaces map[string]*namespace
	// shadowed are credentials whose digest was issued to another key first, as happens when objects are copied with their
	// status.
	shadowed map[digest][]*credential
	// undecodableKeys and undecodableAccounts are the objects that are set aside.
	undecodableKeys, undecodableAccounts undecodableObjects
}

// NewIndex returns an index that knows nobody and lets nobody in.
func NewIndex() *Index {
	return &Index{
		table: newTable(), accounts: map[string]*account{}, external: newExternalIDs(),
		namespaces: map[string]*namespace{}, shadowed: map[digest][]*credential{}, completeness: newCompleteness(),
	}
}

// PutKey enters an APIKey, or what became of it. One that is being deleted is no more.
func (x *Index) PutKey(k *v1alpha1.APIKey) { x.put(NewEntry(k)) }

func (x *Index) put(r Entry) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.undecodableKeys.put(types.NamespacedName{Namespace: r.inNamespace, Name: r.name}, r.undecodable)
	if r.gone {
		x.dropKey(r.inNamespace, r.name)
		return
	}
	entry := r.key
	entry.account, entry.namespace = x.account(r.ofAccount), x.namespace(r.inNamespace)
	old := entry.namespace.keys[r.name]
	delete(entry.namespace.keys, r.name) // its name, too, is the old record's
	entry.namespace.keys[r.name] = entry
	entry.account.keys++
	for i := range entry.credentials {
		c := &entry.credentials[i]
		c.usage = usageOf(old, &c.digest)
		x.enter(c)
	}
	x.leave(old, entry)
}

// DropKey takes out an APIKey.
func (x *Index) DropKey(name types.NamespacedName) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.dropKey(name.Namespace, name.Name)
}

func (x *Index) dropKey(in, name string) {
	x.undecodableKeys.put(types.NamespacedName{Namespace: in, Name: name}, nil)
	if n := x.namespaces[in]; n != nil {
		old := n.keys[name]
		delete(n.keys, name)
		x.leave(old, nil)
	}
}

// leave takes out what an old record of a key had and the new one has not.
func (x *Index) leave(old, next *key) {
	if old == nil {
		return
	}
	for i := range old.credentials {
		if c := &old.credentials[i]; next == nil || next.credential(&c.digest) == nil {
			x.exit(c)
		}
	}
	old.account.keys--
	x.forgetAccount(old.account)
	x.forgetNamespace(old.namespace)
}

func (k *key) credential(d *digest) *credential {
	for i := range k.credentials {
		if c := &k.credentials[i]; c.digest == *d {
			return c
		}
	}
	return nil
}

// usageOf is the usage that an earlier record of the same credential began.
func usageOf(old *key, d *digest) *usageCounters {
	if old != nil {
		if c := old.credential(d); c != nil {
			return c.usage
		}
	}
	return &usageCounters{}
}

// enter makes a credential known, in place of what its key had with the same digest. Of two keys with the same digest the
// one has it to which it was issued first.
func (x *Index) enter(c *credential) {
	holder := x.table.find(&c.digest)
	if alone := len(x.shadowed[c.digest]) == 0; alone && (holder == nil || holder.key.is(c.key)) {
		x.table.put(c)
		return
	}
	x.share(append(x.others(c), c))
}

// exit makes a credential unknown. Another key with the same digest has it then.
func (x *Index) exit(c *credential) {
	others := x.others(c)
	if len(others) == 0 {
		x.table.remove(&c.digest)
		return
	}
	x.share(others)
}

// others returns the credentials of other keys with the digest of this one.
func (x *Index) others(c *credential) []*credential {
	all := slices.Clone(x.shadowed[c.digest])
	if holder := x.table.find(&c.digest); holder != nil {
		all = append(all, holder)
	}
	return slices.DeleteFunc(all, func(other *credential) bool { return other.key.is(c.key) })
}

// share puts the first of all credentials with the same digest into the table, and the others into its shadow.
func (x *Index) share(all []*credential) {
	slices.SortFunc(all, func(a, b *credential) int {
		if a.precedes(b) {
			return -1
		}
		return 1
	})
	x.table.put(all[0])
	if len(all) == 1 {
		delete(x.shadowed, all[0].digest)
		return
	}
	x.shadowed[all[0].digest] = all[1:]
}

// ReplaceKeys makes the index know exactly these APIKeys.
func (x *Index) ReplaceKeys(list []Entry) {
	exist := make(map[types.NamespacedName]bool, len(list))
	for _, r := range list {
		exist[types.NamespacedName{Namespace: r.inNamespace, Name: r.name}] = true
		x.put(r)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	for in, n := range x.namespaces {
		for name := range n.keys {
			if !exist[types.NamespacedName{Namespace: in, Name: name}] {
				x.dropKey(in, name)
			}
		}
	}
}

// PutAccount enters an Account, or what became of it.
func (x *Index) PutAccount(a *v1alpha1.Account) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.undecodableAccounts.put(types.NamespacedName{Name: a.Name}, undecodableAccount(a))
	if len(a.Undecodable) > 0 { // what is left out may be what its keys must not be used for
		x.withdrawPolicy(a.Name)
		return
	}
	x.external.replace(x.account(a.Name), newPolicy(a))
}

// DropAccount takes out an Account: no key of it is accepted until it is back.
func (x *Index) DropAccount(name string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.dropAccount(name)
}

func (x *Index) dropAccount(name string) {
	x.undecodableAccounts.put(types.NamespacedName{Name: name}, nil)
	x.withdrawPolicy(name)
}

// withdrawPolicy has every key of an account refused.
func (x *Index) withdrawPolicy(name string) {
	if a := x.accounts[name]; a != nil {
		x.external.replace(a, nil)
		x.forgetAccount(a)
	}
}

// ReplaceAccounts makes the index know exactly these Accounts.
func (x *Index) ReplaceAccounts(list []*v1alpha1.Account) {
	exist := make(map[string]bool, len(list))
	for _, a := range list {
		exist[a.Name] = true
		x.PutAccount(a)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	for name := range x.accounts {
		if !exist[name] {
			x.dropAccount(name)
		}
	}
	for name := range x.undecodableAccounts.versions {
		if !exist[name.Name] {
			x.dropAccount(name.Name)
		}
	}
}

// account is what the keys of an account share, also while the account itself is not known.
func (x *Index) account(name string) *account {
	a := x.accounts[name]
	if a == nil {
		a = &account{name: name}
		x.accounts[name] = a
	}
	return a
}

func (x *Index) forgetAccount(a *account) {
	if a.keys == 0 && a.policy.Load() == nil {
		delete(x.accounts, a.name)
	}
}

// PutNamespace enters a namespace's labels, by which accounts pick namespaces.
func (x *Index) PutNamespace(name string, set labels.Set) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.namespace(name).labels.Store(&set)
}

// DropNamespace takes out a namespace: no account picks it until it is back.
func (x *Index) DropNamespace(name string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.dropNamespace(name)
}

func (x *Index) dropNamespace(name string) {
	if n := x.namespaces[name]; n != nil {
		n.labels.Store(nil)
		x.forgetNamespace(n)
	}
}

// ReplaceNamespaces makes the index know exactly these namespaces.
func (x *Index) ReplaceNamespaces(sets map[string]labels.Set) {
	for name, set := range sets {
		x.PutNamespace(name, set)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	for name := range x.namespaces {
		if _, exists := sets[name]; !exists {
			x.dropNamespace(name)
		}
	}
}

// namespace is what the keys of a namespace share, also while the namespace itself is not known.
func (x *Index) namespace(name string) *namespace {
	n := x.namespaces[name]
	if n == nil {
		n = &namespace{name: name, keys: map[string]*key{}}
		x.namespaces[name] = n
	}
	return n
}

func (x *Index) forgetNamespace(n *namespace) {
	if len(n.keys) == 0 && n.labels.Load() == nil {
		delete(x.namespaces, n.name)
	}
}

// Size is how many keys, credentials and accounts the index knows.
type Size struct {
	Keys, Credentials, Accounts int
}

// Size counts what the index knows.
func (x *Index) Size() Size {
	x.mu.Lock()
	defer x.mu.Unlock()
	size := Size{Credentials: x.table.live, Accounts: len(x.accounts)}
	for _, n := range x.namespaces {
		size.Keys += len(n.keys)
	}
	return size
}
