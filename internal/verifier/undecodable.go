// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"k8s.io/apimachinery/pkg/types"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// Undecodable describes an object that cannot be decoded completely. Such a key is refused, and so are all keys of such
// an account.
type Undecodable struct {
	// Kind holds APIKey or Account.
	Kind string
	// Name identifies the object.
	Name types.NamespacedName
	// ResourceVersion identifies the version of the object.
	ResourceVersion string
	// Fields lists the paths of the fields that cannot be decoded.
	Fields []string
}

// undecodableObjects holds the undecodable objects of one kind.
type undecodableObjects struct {
	// versions holds the resourceVersion of each object.
	versions map[types.NamespacedName]string
	// report is called once for each version of an object. It may be nil.
	report func(Undecodable)
}

// put adds an object, or removes it if o is nil because it was decoded completely.
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

// ReportUndecodable sets the function that is called once for each version of an undecodable object. It must be called
// before objects are added.
func (x *Index) ReportUndecodable(report func(Undecodable)) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.undecodableKeys.report, x.undecodableAccounts.report = report, report
}

// Undecodable returns the numbers of undecodable keys and accounts.
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
