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

// Index holds all keys by digest. Verdicts read it without a lock while one writer at a time updates it in place. The
// cost of updating one key does not depend on the number of keys, and an update of an account applies to all its keys
// at once.
type Index struct {
	table *table
	completeness
	// cluster names the cluster whose keys the index holds. It is empty if there is only one, which needs no name.
	cluster string
	// clusters holds the indexes of all clusters. It is nil if there is only this index.
	clusters *Clusters

	mu          sync.Mutex // held by writers
	accounts    map[string]*account
	externalIDs externalIDs
	namespaces  map[string]*namespace
	// shadowed holds the credentials whose digest was issued to another key first. This happens when objects are
	// copied together with their status.
	shadowed map[digest][]*credential
	// undecodableKeys and undecodableAccounts hold the objects that cannot be decoded completely.
	undecodableKeys, undecodableAccounts undecodableObjects
}

// NewIndex returns an empty index, which refuses all requests until SetComplete is called.
func NewIndex() *Index { return NewClusterIndex("") }

// NewClusterIndex returns an empty index for the keys of a cluster. If the cluster has a name, it is part of the names of
// the accounts in verdicts, because accounts of the same name in two clusters are different accounts.
func NewClusterIndex(cluster string) *Index {
	return &Index{
		cluster: cluster,
		table:   newTable(), accounts: map[string]*account{}, externalIDs: newExternalIDs(),
		namespaces: map[string]*namespace{}, shadowed: map[digest][]*credential{}, completeness: newCompleteness(),
	}
}

// PutKey adds or updates an APIKey. It removes an APIKey that is being deleted.
func (x *Index) PutKey(k *v1alpha1.APIKey) { x.put(NewEntry(k)) }

func (x *Index) put(e Entry) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.undecodableKeys.put(types.NamespacedName{Namespace: e.namespaceName, Name: e.name}, e.undecodable)
	if e.deleting {
		x.dropKey(e.namespaceName, e.name)
		return
	}
	k := e.key
	k.account, k.namespace = x.account(e.accountName), x.namespace(e.namespaceName)
	old := k.namespace.keys[e.name]
	delete(k.namespace.keys, e.name) // release the name string of the old record
	k.namespace.keys[e.name] = k
	k.account.keyCount++
	for i := range k.credentials {
		c := &k.credentials[i]
		c.usage = previousUsage(old, &c.digest)
		x.addCredential(c)
	}
	x.removeReplaced(old, k)
}

// DropKey removes an APIKey.
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
		x.removeReplaced(old, nil)
	}
}

// removeReplaced removes the credentials of the old record of a key that the new record does not have.
func (x *Index) removeReplaced(old, next *key) {
	if old == nil {
		return
	}
	for i := range old.credentials {
		if c := &old.credentials[i]; next == nil || next.credentialByDigest(&c.digest) == nil {
			x.removeCredential(c)
		}
	}
	old.account.keyCount--
	x.deleteUnusedAccount(old.account)
	x.deleteUnusedNamespace(old.namespace)
}

func (k *key) credentialByDigest(d *digest) *credential {
	for i := range k.credentials {
		if c := &k.credentials[i]; c.digest == *d {
			return c
		}
	}
	return nil
}

// previousUsage returns the usage of the same credential in the previous record of its key, or an empty one.
func previousUsage(old *key, d *digest) *usageCounters {
	if old != nil {
		if c := old.credentialByDigest(d); c != nil {
			return c.usage
		}
	}
	return &usageCounters{}
}

// addCredential adds a credential, and replaces the one of the same key with the same digest. If two keys have the same
// digest, it belongs to the key to which it was issued first.
func (x *Index) addCredential(c *credential) {
	holder := x.table.find(&c.digest)
	if alone := len(x.shadowed[c.digest]) == 0; alone && (holder == nil || holder.key.isSameKey(c.key)) {
		x.table.put(c)
		return
	}
	x.resolveShared(append(x.othersWithDigest(c), c))
}

// removeCredential removes a credential. If another key has the same digest, its credential takes the place.
func (x *Index) removeCredential(c *credential) {
	others := x.othersWithDigest(c)
	if len(others) == 0 {
		x.table.remove(&c.digest)
		return
	}
	x.resolveShared(others)
}

// othersWithDigest returns the credentials of other keys with the same digest.
func (x *Index) othersWithDigest(c *credential) []*credential {
	all := slices.Clone(x.shadowed[c.digest])
	if holder := x.table.find(&c.digest); holder != nil {
		all = append(all, holder)
	}
	return slices.DeleteFunc(all, func(other *credential) bool { return other.key.isSameKey(c.key) })
}

// resolveShared puts the credential that was issued first into the table, and the others into shadowed.
func (x *Index) resolveShared(all []*credential) {
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

// ReplaceKeys makes the index hold exactly the APIKeys in list.
func (x *Index) ReplaceKeys(list []Entry) {
	exist := make(map[types.NamespacedName]bool, len(list))
	for _, e := range list {
		exist[types.NamespacedName{Namespace: e.namespaceName, Name: e.name}] = true
		x.put(e)
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

// PutAccount adds or updates an Account.
func (x *Index) PutAccount(a *v1alpha1.Account) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.undecodableAccounts.put(types.NamespacedName{Name: a.Name}, undecodableAccount(a))
	if len(a.Undecodable) > 0 { // the fields that were not decoded may restrict the keys
		x.removePolicy(a.Name)
		return
	}
	x.externalIDs.setPolicy(x.account(a.Name), newPolicy(a))
}

// DropAccount removes an Account. Its keys are refused until the Account exists again.
func (x *Index) DropAccount(name string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.dropAccount(name)
}

func (x *Index) dropAccount(name string) {
	x.undecodableAccounts.put(types.NamespacedName{Name: name}, nil)
	x.removePolicy(name)
}

// removePolicy removes the policy of an account, so that all its keys are refused.
func (x *Index) removePolicy(name string) {
	if a := x.accounts[name]; a != nil {
		x.externalIDs.setPolicy(a, nil)
		x.deleteUnusedAccount(a)
	}
}

// ReplaceAccounts makes the index hold exactly the Accounts in list.
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

// account returns the state that the keys of an account share. It creates the state if the Account is not known yet.
func (x *Index) account(name string) *account {
	a := x.accounts[name]
	if a == nil {
		a = &account{name: x.qualify(name)}
		x.accounts[name] = a
	}
	return a
}

// deleteUnusedAccount removes the state of an account that has neither keys nor a policy.
func (x *Index) deleteUnusedAccount(a *account) {
	if a.keyCount == 0 && a.policy.Load() == nil {
		delete(x.accounts, x.unqualify(a.name))
	}
}

// PutNamespace sets the labels of a namespace, which the selectors of accounts match.
func (x *Index) PutNamespace(name string, set labels.Set) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.namespace(name).labels.Store(&set)
}

// DropNamespace removes a namespace. No selector matches it until it exists again.
func (x *Index) DropNamespace(name string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.dropNamespace(name)
}

func (x *Index) dropNamespace(name string) {
	if n := x.namespaces[name]; n != nil {
		n.labels.Store(nil)
		x.deleteUnusedNamespace(n)
	}
}

// ReplaceNamespaces makes the index hold exactly the given namespaces.
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

// namespace returns the state that the keys of a namespace share. It creates the state if the Namespace is not known
// yet.
func (x *Index) namespace(name string) *namespace {
	n := x.namespaces[name]
	if n == nil {
		n = &namespace{name: name, keys: map[string]*key{}}
		x.namespaces[name] = n
	}
	return n
}

// deleteUnusedNamespace removes the state of a namespace that has neither keys nor labels.
func (x *Index) deleteUnusedNamespace(n *namespace) {
	if len(n.keys) == 0 && n.labels.Load() == nil {
		delete(x.namespaces, n.name)
	}
}

// Size holds the numbers of keys, credentials and accounts in an Index.
type Size struct {
	Keys, Credentials, Accounts int
}

// Size returns the numbers of keys, credentials and accounts in the index.
func (x *Index) Size() Size {
	x.mu.Lock()
	defer x.mu.Unlock()
	size := Size{Credentials: x.table.live, Accounts: len(x.accounts)}
	for _, n := range x.namespaces {
		size.Keys += len(n.keys)
	}
	return size
}
