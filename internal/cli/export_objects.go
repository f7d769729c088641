// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
)

// consistentReads limits how often a key and its Secret are read until they fit, while the key is being rotated.
const consistentReads = 3

// exporter writes accounts, Secrets, keys and KeyExports as a stream of YAML documents, in the order in which they must be restored.
type exporter struct {
	reader client.Client
	out    io.Writer
	// Namespace limits the keys. It is empty for all namespaces.
	Namespace string
	// Names limits the keys to some of the namespace, and leaves out KeyExports. It is empty for all.
	Names []string
	// Secrets determines whether the Secrets of the keys are written too.
	Secrets bool

	// onKey is called after each key with the number of keys.
	onKey func(keys int)

	counts   exportCounts
	problems []error
}

// exportCounts counts the objects that were written.
type exportCounts struct{ Accounts, Keys, Secrets, KeyExports int }

// run writes all objects. Objects that cannot be exported are reported at the end, and do not stop the others.
func (e *exporter) run(ctx context.Context) error {
	accounts := map[string]bool{}
	remember := func(object *unstructured.Unstructured) error {
		name, _, _ := unstructured.NestedString(object.Object, "spec", "account")
		accounts[name] = true
		return nil
	}
	if err := e.eachKey(ctx, remember); err != nil {
		return err
	}
	if e.Namespace == "" {
		all := func(object *unstructured.Unstructured) error { accounts[object.GetName()] = true; return nil }
		if err := eachObject(ctx, e.reader, accountKind, all); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(accounts)) {
		if err := e.writeAccount(ctx, name); err != nil {
			return err
		}
	}
	if err := e.eachKey(ctx, func(object *unstructured.Unstructured) error { return e.writeKey(ctx, object) }); err != nil {
		return err
	}
	if len(e.Names) == 0 {
		if err := e.writeKeyExports(ctx); err != nil {
			return err
		}
	}
	return errors.Join(e.problems...)
}

// eachKey calls use with each key that is exported.
func (e *exporter) eachKey(ctx context.Context, use func(*unstructured.Unstructured) error) error {
	if len(e.Names) == 0 {
		return eachObject(ctx, e.reader, keyKind, use, client.InNamespace(e.Namespace))
	}
	for _, name := range e.Names {
		object := newObject(keyKind)
		if err := e.reader.Get(ctx, client.ObjectKey{Namespace: e.Namespace, Name: name}, object); err != nil {
			return err
		}
		if err := use(object); err != nil {
			return err
		}
	}
	return nil
}

// eachObject calls use with each object of a kind. It reads them in pages, so that it needs little memory.
func eachObject(
	ctx context.Context,
	c client.Client,
	kind schema.GroupVersionKind,
	use func(*unstructured.Unstructured) error,
	options ...client.ListOption,
) error {
	for next := ""; ; {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
		if err := c.List(ctx, list, slices.Concat(options, []client.ListOption{client.Limit(pageSize), client.Continue(next)})...); err != nil {
			return err
		}
		for i := range list.Items {
			if err := use(&list.Items[i]); err != nil {
				return err
			}
		}
		if next = list.GetContinue(); next == "" {
			return nil
		}
	}
}

// writeAccount writes an account without its status, which the manager computes. An account that the user may not read is
// reported, and left out.
func (e *exporter) writeAccount(ctx context.Context, name string) error {
	account := newObject(accountKind)
	switch err := e.reader.Get(ctx, client.ObjectKey{Name: name}, account); {
	case apierrors.IsForbidden(err):
		e.problems = append(e.problems, fmt.Errorf("account %s is not in the backup: you have no right to get accounts.apikey-manager.io", name))
		return nil
	case apierrors.IsNotFound(err): // no key of it was ever accepted
		return nil
	case err != nil:
		return err
	}
	e.counts.Accounts++
	return writeDocument(e.out, withoutServerFields(account, "status"))
}

// writeKey writes the Secret of a key, if Secrets are exported, and then the key with its status.
func (e *exporter) writeKey(ctx context.Context, object *unstructured.Unstructured) error {
	k, err := toKey(object)
	if err != nil {
		return err
	}
	if e.Secrets && needsSecret(k) {
		secret, err := e.secretOf(ctx, object)
		if err != nil {
			e.problems = append(e.problems, fmt.Errorf("key %s/%s is not in the backup: %w", k.Namespace, k.Name, err))
			return nil
		}
		if err := writeDocument(e.out, withoutServerFields(secret)); err != nil {
			return err
		}
		e.counts.Secrets++
	}
	e.counts.Keys++
	e.onKey(e.counts.Keys)
	return writeDocument(e.out, withoutServerFields(object))
}

// writeKeyExports writes the KeyExports without their status, which the manager computes, and without their objects, which the
// manager writes again. If the user may not read them, that is reported.
func (e *exporter) writeKeyExports(ctx context.Context) error {
	err := eachObject(ctx, e.reader, exportKind, func(object *unstructured.Unstructured) error {
		e.counts.KeyExports++
		return writeDocument(e.out, withoutServerFields(object, "status"))
	}, client.InNamespace(e.Namespace))
	switch {
	case apierrors.IsForbidden(err):
		e.problems = append(e.problems, errors.New("KeyExports are not in the backup: you have no right to list keyexports.apikey-manager.io"))
		return nil
	case meta.IsNoMatchError(err): // an installation of an earlier version
		return nil
	}
	return err
}

// needsSecret reports whether a key has a credential that its Secret holds. The Secret of a revoked key is empty, and a key that
// was imported by its digest has none before its first rotation.
func needsSecret(k *v1alpha1.APIKey) bool {
	if !keys.Issued(k) || k.Spec.State == v1alpha1.KeyStateRevoked {
		return false
	}
	isImported := func(c v1alpha1.Credential) bool {
		return c.Role == v1alpha1.RoleCurrent && c.SHA256 == k.Spec.Import.SHA256
	}
	return k.Spec.Import == nil || !slices.ContainsFunc(k.Status.Credentials, isImported)
}

// secretOf returns the Secret of a key, once it holds the credential that the status describes. It updates the key.
func (e *exporter) secretOf(ctx context.Context, object *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	for range consistentReads {
		k, err := toKey(object)
		if err != nil {
			return nil, err
		}
		secret, err := readSecret(ctx, e.reader, k)
		if err != nil {
			return nil, err
		}
		if len(keys.FindCredentials(k, secret.Data).Current.Material) > 0 {
			secret.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}
			return toUnstructured(secret)
		}
		if err := e.reader.Get(ctx, client.ObjectKeyFromObject(object), object); err != nil {
			return nil, err
		}
	}
	return nil, errors.New("its Secret does not hold its key: kubectl apikey describe shows why")
}
