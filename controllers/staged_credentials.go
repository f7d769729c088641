// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/credential"
	"github.com/apikey-manager/apikey-manager/internal/keys"
)

// maxStagedCredentials limits the number of staged credentials in memory. A key whose credential is dropped gets
// another one.
const maxStagedCredentials = 10_000

// stagedCredentials holds credentials that were generated and not written to a Secret yet, by the UID of their key.
// They are stored nowhere else, except in the objects of KeyExports. The zero value is ready to use.
type stagedCredentials struct {
	mu    sync.Mutex
	byKey map[types.UID]credential.Credential
}

func (s *stagedCredentials) get(uid types.UID) (credential.Credential, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	issued, ok := s.byKey[uid]
	return issued, ok
}

// put stores a credential, and replaces the previous one.
func (s *stagedCredentials) put(uid types.UID, issued credential.Credential) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byKey == nil {
		s.byKey = map[types.UID]credential.Credential{}
	}
	for other := range s.byKey {
		if len(s.byKey) < maxStagedCredentials {
			break
		}
		delete(s.byKey, other)
	}
	s.byKey[uid] = issued
}

// prune drops the credential of a key if the status that was just written does not stage it.
func (s *stagedCredentials) prune(key *v1alpha1.APIKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := keys.LastStaged(&key.Status)
	if issued, ok := s.byKey[key.UID]; ok && (next == nil || next.SHA256 != issued.Material.SHA256()) {
		delete(s.byKey, key.UID)
	}
}

// drop drops the credential of a key that no longer exists.
func (s *stagedCredentials) drop(uid types.UID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.byKey, uid)
}
