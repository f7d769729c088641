// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"k8s.io/apimachinery/pkg/types"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// Undecodable names an object that is set aside because not all of it could be decoded: a key is refused, and so are all keys
// of an account.
type Undecodable struct {
	// Kind is APIKey or Account.
	Kind string
	// Name is the object's.
	Name types.NamespacedName
	// ResourceVersion is the object's.
	ResourceVersion string
	// Fields are the paths of those that could not be decoded.
	Fields []string
}

// undecodableObjects are those that are set aside, of one kind.
type undecodableObjects struct {
	// versions are their resourceVersions.
	versions map[types.NamespacedName]string
	// report is called once for each version; nil: no report is wanted.
	report func(Undecodable)
}

// put enters an object, or takes it out: o is nil for one that was decoded whole.
func (u *undecodableObjects) put(name types.NamespacedName, o *Undecodable) {
	if o == nil {
		delete(u.versions, name)
		return
	}
	known := u.versions[name] == o.ResourceVersion
	if u.versions == nil {
		u.versions = map[types.NamespacedName]string{}
	}
	u.versions[name] = o.ResourceVersion
	if !known && u.report != nil {
		u.report(*o)
	}
}

// ReportUndecodable has a function called once for each version of an object that can't be decoded. It is called before the
// index is fed.
func (x *Index) ReportUndecodable(report func(Undecodable)) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.undecodableKeys.report, x.undecodableAccounts.report = report, report
}

// Undecodable returns how many keys and accounts are set aside.
func (x *Index) Undecodable() (keys, accounts int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return len(x.undecodableKeys.versions), len(x.undecodableAccounts.versions)
}

func undecodableKey(k *v1alpha1.APIKey) *Undecodable {
	if len(k.Undecodable) == 0 {
		return nil
	}
	name := types.NamespacedName{Namespace: k.Namespace, Name: k.Name}
	return &Undecodable{Kind: "APIKey", Name: name, ResourceVersion: k.ResourceVersion, Fields: k.Undecodable}
}

func undecodableAccount(a *v1alpha1.Account) *Undecodable {
	if len(a.Undecodable) == 0 {
		return nil
	}
	return &Undecodable{Kind: "Account", Name: types.NamespacedName{Name: a.Name}, ResourceVersion: a.ResourceVersion, Fields: a.Undecodable}
}
