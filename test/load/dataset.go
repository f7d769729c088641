// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// dataset is a namespace and the keys to create in it during one phase. Names have the same length in each phase, so that
// objects have the same size.
type dataset struct {
	namespace *corev1.Namespace
	keys      []*v1alpha1.APIKey // in the order of their creation
	accounts  int
	limit     int32 // of accounts that must exist before the keys; 0: the default limit
	// exportPolicy is that of the accounts, which must exist before the keys if it is set.
	exportPolicy v1alpha1.ExportPolicy
}

// newDataset returns the n-th dataset. If spread is set, consecutive keys have different accounts; otherwise the keys of an
// account follow each other.
func newDataset(n, keys, accounts int, spread bool) dataset {
	s := dataset{accounts: accounts}
	s.namespace = &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("load-%03d", n)}}
	for i := range keys {
		account := i * accounts / keys
		if spread {
			account = i % accounts
		}
		s.keys = append(s.keys, &v1alpha1.APIKey{
			ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace.Name, Name: fmt.Sprintf("key-%05d", i)},
			Spec: v1alpha1.APIKeySpec{
				Account: fmt.Sprintf("account-%03d-%05d", n, account),
				Label:   fmt.Sprintf("Integration %05d", i),
			},
		})
	}
	if most := (keys + accounts - 1) / accounts; most > defaultLimit {
		s.limit = int32(most)
	}
	return s
}

// accountsExist reports whether the accounts exist before the keys. If not, the issuer of a key creates its account.
func (s dataset) accountsExist() bool { return s.limit > 0 || s.exportPolicy != "" }

// prepared returns the accounts that must exist before the keys.
func (s dataset) prepared() []*v1alpha1.Account {
	if !s.accountsExist() {
		return nil
	}
	var list []*v1alpha1.Account
	for name := range s.sizes() {
		account := &v1alpha1.Account{ObjectMeta: metav1.ObjectMeta{Name: name}}
		account.Spec.ExportPolicy = s.exportPolicy
		if s.limit > 0 {
			account.Spec.Limits = &v1alpha1.Limits{MaxKeys: &s.limit}
		}
		list = append(list, account)
	}
	return list
}

// sizes returns the number of keys of each account.
func (s dataset) sizes() map[string]int {
	sizes := map[string]int{}
	for _, k := range s.keys {
		sizes[k.Spec.Account]++
	}
	return sizes
}
