// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package fault_test

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
)

// snapshot holds all keys and Secrets while the load is paused.
type snapshot struct {
	keys     map[string]*v1alpha1.APIKey
	secrets  map[string]*corev1.Secret
	now      time.Time
	problems []string
}

// findProblems returns what is not in the state that the manager should have established.
func (l *load) findProblems(ctx context.Context) []string {
	var list v1alpha1.APIKeyList
	var secrets corev1.SecretList
	if err := l.client.List(ctx, &secrets, client.InNamespace(home)); err != nil {
		return []string{err.Error()}
	}
	if err := l.client.List(ctx, &list, client.InNamespace(home)); err != nil {
		return []string{err.Error()}
	}
	s := &snapshot{keys: map[string]*v1alpha1.APIKey{}, secrets: map[string]*corev1.Secret{}, now: time.Now()}
	for i := range secrets.Items {
		s.secrets[secrets.Items[i].Name] = &secrets.Items[i]
	}
	for i := range list.Items {
		s.keys[list.Items[i].Name] = &list.Items[i]
		s.checkKey(&list.Items[i])
	}
	s.checkExports(ctx, l.client)
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, uid := range l.existing {
		if k := s.keys[name]; k == nil || k.UID != uid {
			s.problem(name, "is lost")
		}
	}
	s.checkSlots()
	return s.problems
}

func (s *snapshot) problem(name, format string, args ...any) {
	s.problems = append(s.problems, name+" "+fmt.Sprintf(format, args...))
}

// checkKey checks one key and its Secret.
func (s *snapshot) checkKey(k *v1alpha1.APIKey) {
	accepted := meta.FindStatusCondition(k.Status.Conditions, v1alpha1.ConditionAccepted)
	switch {
	case k.Status.ObservedGeneration != k.Generation:
		s.problem(k.Name, "is of generation %d, its status of %d", k.Generation, k.Status.ObservedGeneration)
	case k.Status.State != s.wantedState(k) && (accepted == nil || accepted.Reason != v1alpha1.ReasonLimitReached):
		s.problem(k.Name, "is %s and should be %s", k.Status.State, s.wantedState(k))
	case k.Status.State == v1alpha1.StateActive:
		s.checkActive(k)
	case k.Status.State == v1alpha1.StateRevoked:
		if secret := s.secrets[k.Name]; secret != nil && len(secret.Data["api-key"])+len(secret.Data["previous-api-key"]) > 0 {
			s.problem(k.Name, "is revoked, and its Secret holds key material")
		}
	}
}

func (s *snapshot) wantedState(k *v1alpha1.APIKey) v1alpha1.ObservedState {
	end, err := time.Parse(time.RFC3339, k.Spec.Expiration)
	switch {
	case k.Spec.State == v1alpha1.KeyStateRevoked:
		return v1alpha1.StateRevoked
	case k.Spec.State == v1alpha1.KeyStateInactive:
		return v1alpha1.StateInactive
	case err == nil && !s.now.Before(end):
		return v1alpha1.StateExpired
	}
	return v1alpha1.StateActive
}

// checkActive checks an active key: its Secret holds a current key that verifiers accept, no rotation is in progress, and
// requested rotations have been carried out.
func (s *snapshot) checkActive(k *v1alpha1.APIKey) {
	secret := s.secrets[k.Name]
	if secret == nil || len(secret.OwnerReferences) != 1 || secret.OwnerReferences[0].UID != k.UID {
		s.problem(k.Name, "is Active, and has no Secret of its own")
		return
	}
	if !s.accepts(k, digest(secret.Data["api-key"]), v1alpha1.RoleCurrent) {
		s.problem(k.Name, "is Active, and verifiers refuse the current key in its Secret")
	}
	if previous := secret.Data["previous-api-key"]; len(previous) > 0 && !s.accepts(k, digest(previous), v1alpha1.RolePrevious) {
		s.problem(k.Name, "has a previous key in its Secret that verifiers refuse")
	}
	if keys.LastStaged(&k.Status) != nil || len(k.Status.Credentials) > 2 {
		s.problem(k.Name, "is in the middle of a rotation")
	}
	if !meta.IsStatusConditionTrue(k.Status.Conditions, v1alpha1.ConditionReady) {
		s.problem(k.Name, "is Active and not Ready")
	}
	s.checkHistory(k)
	rotation := k.Spec.Rotation
	if rotation == nil {
		return
	}
	for _, c := range k.Status.Credentials {
		if r := keystest.Time(rotation.RequestedAt); r != nil && c.Role == v1alpha1.RoleCurrent && c.IssuedAt.Before(r) {
			s.problem(k.Name, "was not rotated as requested")
		}
		if r := keystest.Time(rotation.RevokeBefore); r != nil && c.IssuedAt.Before(r) {
			s.problem(k.Name, "has a credential that was killed")
		}
	}
}

// checkHistory checks that the history of a key that is only rotated is in order and has no other transitions.
func (s *snapshot) checkHistory(k *v1alpha1.APIKey) {
	if !strings.HasPrefix(k.Name, steady) {
		return
	}
	for i, h := range k.Status.History {
		if i > 0 && h.Time.Before(&k.Status.History[i-1].Time) {
			s.problem(k.Name, "has a history that goes back in time at %s", h.Reason)
		}
		if i > 0 && h.Reason != v1alpha1.ReasonRotated {
			s.problem(k.Name, "was only ever rotated, and its history tells of %s", h.Reason)
		}
	}
}

// accepts reports whether a verifier accepts a key with a digest.
func (s *snapshot) accepts(k *v1alpha1.APIKey, digest string, role v1alpha1.CredentialRole) bool {
	for _, c := range k.Status.Credentials {
		if c.SHA256 == digest && c.Role == role && (c.NotAfter == nil || s.now.Before(c.NotAfter.Time)) {
			return true
		}
	}
	return false
}

// checkSlots checks the accounts that have more keys than slots: the limit is kept, and no slot is unused.
func (s *snapshot) checkSlots() {
	for account, limit := range limits {
		holders, wanting := 0, 0
		for _, k := range s.keys {
			if k.Spec.Account != account {
				continue
			}
			if limit.counts(k) {
				holders++
			}
			if !limit.usable || s.wantedState(k) == v1alpha1.StateActive {
				wanting++
			}
		}
		if most := min(limit.maxKeys, wanting); account != "large" && holders != most {
			s.problem("account "+account, "has %d keys with a credential and should have %d", holders, most)
		}
	}
}
