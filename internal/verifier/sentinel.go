// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// sentinel is the object of a kind that changed last, as far as was reported. If the store has an earlier state of it, the
// store was rolled back. That tells more than resourceVersions of lists: an API server that was left running while its
// store was put back goes on serving lists and watches from memory, but reads of one object come from the store.
type sentinel struct {
	mu      sync.Mutex
	name    types.NamespacedName
	version string
	// missing is the version at which the store did not have the object when it was asked last.
	missing string
}

// observe takes note of an object that was reported.
func (s *sentinel) observe(o any) {
	object, ok := o.(client.Object)
	if !ok {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if version := object.GetResourceVersion(); s.version == "" || isEarlier(s.version, version) {
		s.name, s.version = client.ObjectKeyFromObject(object), version
	}
}

// forget takes note of an object that was deleted.
func (s *sentinel) forget(name types.NamespacedName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.name == name {
		s.name, s.version, s.missing = types.NamespacedName{}, "", ""
	}
}

func (s *sentinel) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.name, s.version, s.missing = types.NamespacedName{}, "", ""
}

func (s *sentinel) load() (name types.NamespacedName, version string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.name, s.version
}

// wasMissing takes note that the store does not have the object, and reports whether it had not the last time either. Once
// may be a deletion that is about to be reported.
func (s *sentinel) wasMissing(version string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.missing
	s.missing = version
	return before == version && s.version == version
}

// checkSentinel asks the store for the object that changed last.
func (k *kindSyncer) checkSentinel(ctx context.Context) {
	name, version := k.sentinel.load()
	if version == "" {
		return
	}
	now, err := k.storedVersion(ctx, name)
	switch {
	case apierrors.IsNotFound(err):
		if k.sentinel.wasMissing(version) {
			k.onRollback(k, version, "absent")
		}
	case err == nil && isEarlier(now, version):
		k.onRollback(k, version, now)
	}
}

// storedVersion returns the resourceVersion that an object has in the store.
func (k *kindSyncer) storedVersion(ctx context.Context, name types.NamespacedName) (string, error) {
	limited, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	object := &metav1.PartialObjectMetadata{}
	object.SetGroupVersionKind(k.objectKind())
	if err := k.source.Get(limited, name, object); err != nil {
		return "", err //nolint:wrapcheck // the caller tells errors apart
	}
	return object.ResourceVersion, nil
}

// confirmSentinel returns an error if a list has what the store has not, so that the list is not used, and asked for again
// soon. An object that was deleted since is not in the next one.
func (k *kindSyncer) confirmSentinel(ctx context.Context) error {
	name, version := k.sentinel.load()
	if version == "" {
		return nil
	}
	now, err := k.storedVersion(ctx, name)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case apierrors.IsNotFound(err), err == nil && isEarlier(now, version):
		k.onStaleList(k)
		return errStaleList
	case err != nil:
		return fmt.Errorf("ask for %s: %w", k.name, err)
	}
	return nil
}

// objectKind is that of one object.
func (k *kindSyncer) objectKind() schema.GroupVersionKind {
	return k.listKind.GroupVersion().WithKind(strings.TrimSuffix(k.listKind.Kind, "List"))
}

var errStaleList = errors.New("the API server lists what is not in its store: it was left running while the store was rolled back, and has to be started again")
