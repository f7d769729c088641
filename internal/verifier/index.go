// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"slices"
	"sync"
	"unique"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// Index holds all keys by digest. Verdicts read it without a lock while one writer at a time updates it in place. The
// cost of updating one key does not depend on the number of keys, and an update of an account applies to all its keys
// at once.
type Index struct {
	table *digestTable
	completeness
	// cluster names the cluster whose keys the index holds. It is empty if there is only one, which needs no name.
	cluster string
	// clusters holds the indexes of all clusters. It is nil if there is only this index.
	clusters *Clusters

	mu          sync.Mutex // held by writers
	names       *nameTable
	accounts    map[string]*account
	externalIDs externalIDs
	settings    settingsCache
	namespaces  map[string]*namespace
	// shadowed holds the credentials whose digest was issued to another key first. This happens when objects are
	// copied together with their status.
	shadowed map[digest][]*credential
	// undecodableKeys and undecodableAccounts hold the objects that cannot be decoded completely.
	undecodableKeys, undecodableAccounts undecodableObjects

	// records holds the records of keys, staged those of lists that have not been received completely.
	records, staged arena
	// chunks counts the chunks that were ever allocated.
	chunks uint64
	// sparse holds the chunks whose records are about to be copied, so that the others release their memory.
	sparse []*chunk
}

// NewIndex returns an empty index, which refuses all requests until SetComplete is called.
func NewIndex() *Index { return NewClusterIndex("") }

// NewClusterIndex returns an empty index for the keys of a cluster. If the cluster has a name, it is part of the names of
// the accounts in verdicts, because accounts of the same name in two clusters are different accounts.
func NewClusterIndex(cluster string) *Index {
	return &Index{
		cluster: cluster,
		table:   newDigestTable(), names: newNameTable(), accounts: map[string]*account{}, externalIDs: newExternalIDs(),
		namespaces: map[string]*namespace{}, shadowed: map[digest][]*credential{}, completeness: newCompleteness(),
	}
}

// PutKey adds or updates an APIKey. It removes an APIKey that is being deleted.
func (x *Index) PutKey(k *v1alpha1.APIKey) {
	e := NewEntry(k)
	x.mu.Lock()
	defer x.mu.Unlock()
	x.put(&e)
	x.compact()
}

// put applies an entry, and returns the record of the key in the index, or nil if there is none.
func (x *Index) put(e *Entry) *key {
	x.putUndecodable(e)
	in, name := e.namespaceName, e.record.name()
	if e.deleting {
		x.dropKey(in, name)
		return nil
	}
	n := x.namespace(in)
	o := owners{account: x.account(e.accountName), profile: n.profileOf(&e.settings)}
	old := x.names.find(n, name)
	if old != nil && old.account() == o.account && old.profile().equal(&e.settings) && old.hasSameContent(e.record) {
		return old // most updates change what verdicts do not use, such as the last use
	}
	return x.replace(old, x.place(e), o)
}

// putUndecodable records whether an entry can be decoded completely.
func (x *Index) putUndecodable(e *Entry) {
	if e.undecodable != nil {
		x.undecodableKeys.put(e.undecodable.Name, e.undecodable)
		return
	}
	x.undecodableKeys.put(types.NamespacedName{Namespace: e.namespaceName, Name: e.record.name()}, nil)
}

// place returns the record of an entry in a chunk.
func (x *Index) place(e *Entry) *key {
	if e.isStaged && !e.record.isLive {
		return e.record
	}
	return x.copyRecord(e.record)
}

// copyRecord copies a record without counters to a chunk.
func (x *Index) copyRecord(record *key) *key {
	k, full := x.records.add(record, &x.chunks)
	x.queueIfSparse(full)
	return k
}

// stage moves the record of an entry of a list to a chunk, so that the list takes less memory, and applying it copies
// nothing. The record is not in the index yet.
func (x *Index) stage(e Entry) Entry {
	e.accountName, e.namespaceName = unique.Make(e.accountName).Value(), unique.Make(e.namespaceName).Value()
	x.mu.Lock()
	defer x.mu.Unlock()
	e.record, _ = x.staged.add(e.record, &x.chunks)
	e.isStaged = true
	return e
}

// replace adds the record next of a key, and removes the record old unless it is nil.
func (x *Index) replace(old, next *key, o owners) *key {
	*next.owners() = o
	o.account.keyCount++
	o.profile.namespace.keyCount++
	x.names.put(next)
	for i := range next.credentials() {
		c := &next.credentials()[i]
		if before := old.credentialByDigest(&c.digest); before != nil {
			c.takeCounters(before)
		}
		x.addCredential(c)
	}
	next.isLive, next.isListed = true, old != nil && old.isListed
	next.chunk().settings += o.profile.words
	next.chunk().live += next.size() + o.profile.words
	x.removeReplaced(old, next)
	return next
}

// DropKey removes an APIKey.
func (x *Index) DropKey(name types.NamespacedName) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.dropKey(name.Namespace, name.Name)
	x.compact()
}

func (x *Index) dropKey(in, name string) {
	x.undecodableKeys.put(types.NamespacedName{Namespace: in, Name: name}, nil)
	if old := x.find(in, name); old != nil {
		x.names.remove(old)
		x.removeReplaced(old, nil)
	}
}

// find returns the key with a name, or nil.
func (x *Index) find(in, name string) *key {
	if n := x.namespaces[in]; n != nil {
		return x.names.find(n, name)
	}
	return nil
}

// removeReplaced removes the old record of a key, and the credentials that the new record does not have.
func (x *Index) removeReplaced(old, next *key) {
	if old == nil {
		return
	}
	for i := range old.credentials() {
		if c := &old.credentials()[i]; next.credentialByDigest(&c.digest) == nil {
			x.removeCredential(c)
		}
	}
	old.isLive = false
	old.chunk().live -= old.size() + old.profile().words
	x.queueIfSparse(old.chunk())
	a, n := old.account(), old.namespace()
	a.keyCount--
	n.keyCount--
	x.deleteUnusedAccount(a)
	x.deleteUnusedNamespace(n)
}

// queueIfSparse makes compact copy the records of a chunk if few of them are in the index.
func (x *Index) queueIfSparse(c *chunk) {
	if c != nil && !c.isQueued && c.isSparse() {
		c.isQueued = true
		x.sparse = append(x.sparse, c)
	}
}

// compact copies the records of sparse chunks, so that all chunks together take at most a few times the memory of the
// records in the index and their settings. It copies less than was removed.
func (x *Index) compact() {
	for len(x.sparse) > 0 {
		c := x.sparse[len(x.sparse)-1]
		x.sparse = x.sparse[:len(x.sparse)-1]
		for _, k := range c.liveRecords() {
			x.replace(k, x.copyRecord(k.clone()), *k.owners())
		}
		c.isQueued = false // a list that is being applied may still add records of the chunk to the index
	}
	x.sparse = nil
}

// credentialByDigest returns the credential of a key with a digest, or nil.
func (k *key) credentialByDigest(d *digest) *credential {
	if k == nil {
		return nil
	}
	for i := range k.credentials() {
		if c := &k.credentials()[i]; c.digest == *d {
			return c
		}
	}
	return nil
}

// addCredential adds a credential, and replaces the one of the same key with the same digest. If two keys have the same
// digest, it belongs to the key to which it was issued first.
func (x *Index) addCredential(c *credential) {
	if len(x.shadowed[c.digest]) == 0 && x.table.putUnlessHeld(c) {
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
	return slices.DeleteFunc(all, func(other *credential) bool { return other.key().isSameKey(c.key()) })
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
	for i := range list {
		x.putListed(&list[i])
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	var missing []*key
	x.names.forEach(func(k *key) {
		if !k.isListed {
			missing = append(missing, k)
		}
		k.isListed = false
	})
	for _, k := range missing {
		x.dropKey(k.namespace().name, k.name())
	}
	for i := range list {
		if list[i].isStaged {
			x.queueIfSparse(list[i].record.chunk())
		}
	}
	x.compact()
}

func (x *Index) putListed(e *Entry) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if k := x.put(e); k != nil {
		k.isListed = true
	}
	x.compact()
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
	x.externalIDs.setPolicy(x.account(a.Name), newPolicy(a, x.settings.of(&a.Spec)))
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
		n = &namespace{name: name, index: x}
		x.namespaces[name] = n
	}
	return n
}

// deleteUnusedNamespace removes the state of a namespace that has neither keys nor labels.
func (x *Index) deleteUnusedNamespace(n *namespace) {
	if n.keyCount == 0 && n.labels.Load() == nil {
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
	return Size{Keys: x.names.live, Credentials: x.table.live, Accounts: len(x.accounts)}
}
