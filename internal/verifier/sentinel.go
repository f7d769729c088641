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
func (w *sentinel) observe(o any) {
	object, ok := o.(client.Object)
	if !ok {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if version := object.GetResourceVersion(); w.version == "" || isEarlier(w.version, version) {
		w.name, w.version = client.ObjectKeyFromObject(object), version
	}
}

// forget takes note of an object that was deleted.
func (w *sentinel) forget(name types.NamespacedName) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.name == name {
		w.name, w.version, w.missing = types.NamespacedName{}, "", ""
	}
}

func (w *sentinel) reset() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.name, w.version, w.missing = types.NamespacedName{}, "", ""
}

func (w *sentinel) load() (name types.NamespacedName, version string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.name, w.version
}

// wasMissing takes note that the store does not have the object, and reports whether it had not the last time either. Once
// may be a deletion that is about to be reported.
func (w *sentinel) wasMissing(version string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	before := w.missing
	w.missing = version
	return before == version && w.version == version
}

// checkSentinel asks the store for the object that changed last.
func (s *kindSyncer) checkSentinel(ctx context.Context) {
	name, version := s.sentinel.load()
	if version == "" {
		return
	}
	now, err := s.inStore(ctx, name)
	switch {
	case apierrors.IsNotFound(err):
		if s.sentinel.wasMissing(version) {
			s.rolledBack(s, version, "absent")
		}
	case err == nil && isEarlier(now, version):
		s.rolledBack(s, version, now)
	}
}

// inStore returns the resourceVersion that an object has in the store.
func (s *kindSyncer) inStore(ctx context.Context, name types.NamespacedName) (string, error) {
	limited, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	object := &metav1.PartialObjectMetadata{}
	object.SetGroupVersionKind(s.kind())
	if err := s.source.Get(limited, name, object); err != nil {
		return "", err //nolint:wrapcheck // the caller tells errors apart
	}
	return object.ResourceVersion, nil
}

// confirmSentinel returns an error if a list has what the store has not, so that the list is not used, and asked for again
// soon. An object that was deleted since is not in the next one.
func (s *kindSyncer) confirmSentinel(ctx context.Context) error {
	name, version := s.sentinel.load()
	if version == "" {
		return nil
	}
	now, err := s.inStore(ctx, name)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case apierrors.IsNotFound(err), err == nil && isEarlier(now, version):
		s.blockVerdicts(s)
		return errListOfOtherStore
	case err != nil:
		return fmt.Errorf("ask for %s: %w", s.name, err)
	}
	return nil
}

// kind is that of one object.
func (s *kindSyncer) kind() schema.GroupVersionKind {
	return s.listKind.GroupVersion().WithKind(strings.TrimSuffix(s.listKind.Kind, "List"))
}

var errListOfOtherStore = errors.New("the API server lists what is not in its store: it was left running while the store was rolled back, and has to be started again")
