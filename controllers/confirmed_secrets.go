// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// confirmedSecrets holds the Secrets that were read from the API server before a status was written, by the UID of their key, until
// the reconciliation ends. A later step of the same reconciliation need not read the Secret and the key again: the write of the
// status succeeded, so the key was at the version in the facts, and the write of the Secret fails if the Secret changed since it was
// read. The zero value is ready to use.
type confirmedSecrets struct {
	mu    sync.Mutex
	byKey map[types.UID]confirmedSecret
}

// confirmedSecret is a Secret, and the version of the key as it was written after the Secret was read.
type confirmedSecret struct {
	secret     *corev1.Secret
	keyVersion string
}

// put stores a Secret that was just read.
func (c *confirmedSecrets) put(uid types.UID, secret *corev1.Secret) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byKey == nil {
		c.byKey = map[types.UID]confirmedSecret{}
	}
	c.byKey[uid] = confirmedSecret{secret: secret}
}

// confirm records the version of a key whose status was just written.
func (c *confirmedSecrets) confirm(key *v1alpha1.APIKey) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if read, ok := c.byKey[key.UID]; ok {
		read.keyVersion = key.ResourceVersion
		c.byKey[key.UID] = read
	}
}

// take removes the Secret of a key. It returns the Secret if it was read before this version of the key was written, or nil.
func (c *confirmedSecrets) take(key *v1alpha1.APIKey) *corev1.Secret {
	c.mu.Lock()
	defer c.mu.Unlock()
	read := c.byKey[key.UID]
	delete(c.byKey, key.UID)
	if read.keyVersion != key.ResourceVersion {
		return nil
	}
	return read.secret
}

// drop removes the Secret of a key.
func (c *confirmedSecrets) drop(uid types.UID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.byKey, uid)
}
