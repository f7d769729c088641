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

// sentinel holds the most recently changed object of a kind, as observed by the watch. If the store of the API server
// holds an earlier version of that object, the store was rolled back. The resourceVersions of lists do not always show
// that: an API server that keeps running during the rollback serves lists and watches from memory, but reads of a
// single object come from the store.
type sentinel struct {
	mu      sync.Mutex
	name    types.NamespacedName
	version string
	// missing holds the version of the object that was not found in the store at the last check.
	missing string
}

// observe records an object that the API server reported.
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

// forget resets the sentinel if the named object was deleted.
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

// wasMissing records that the store does not hold the object, and reports whether the object was already missing at the
// previous check. A single miss may be a deletion whose event has not arrived yet.
func (s *sentinel) wasMissing(version string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.missing
	s.missing = version
	return before == version && s.version == version
}

// checkSentinel compares the sentinel with the object in the store, and reports a rollback.
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
		return "", err //nolint:wrapcheck // callers inspect the type of the error
	}
	return object.ResourceVersion, nil
}

// confirmSentinel returns an error if a list contains an object version that the store does not hold. The reflector
// then discards the list and lists again soon. An object that was deleted meanwhile is not in the next list.
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
		return fmt.Errorf("get %s: %w", k.name, err)
	}
	return nil
}

// objectKind returns the kind of a single object.
func (k *kindSyncer) objectKind() schema.GroupVersionKind {
	return k.listKind.GroupVersion().WithKind(strings.TrimSuffix(k.listKind.Kind, "List"))
}

var errStaleList = errors.New("the API server lists objects that are not in its store: restart the API server, " +
	"which kept running while the store was rolled back")
