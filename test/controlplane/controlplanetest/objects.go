// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/credential"
	"github.com/apikey-manager/apikey-manager/internal/keys"
)

var names atomic.Int64

// UniqueName returns a name with the prefix that no other call in this process returned.
func UniqueName(prefix string) string { return fmt.Sprintf("%s-%d", prefix, names.Add(1)) }

// NewKey returns an APIKey of an account, with changes applied to its spec.
func NewKey(namespace, name, account string, changes ...func(*v1alpha1.APIKeySpec)) *v1alpha1.APIKey {
	k := &v1alpha1.APIKey{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: v1alpha1.APIKeySpec{Account: account}}
	for _, change := range changes {
		change(&k.Spec)
	}
	return k
}

// NewAccount returns an Account, with changes applied to its spec.
func NewAccount(name string, changes ...func(*v1alpha1.AccountSpec)) *v1alpha1.Account {
	a := &v1alpha1.Account{ObjectMeta: metav1.ObjectMeta{Name: name}}
	for _, change := range changes {
		change(&a.Spec)
	}
	return a
}

// Create creates objects, and stops at the first error.
func Create(ctx context.Context, c client.Client, objects ...client.Object) error {
	for _, o := range objects {
		if err := c.Create(ctx, o); err != nil {
			return fmt.Errorf("create %s: %w", o.GetName(), err)
		}
	}
	return nil
}

// Change reads a key, changes its spec and patches it, as `kubectl patch` does. The key is updated if the API server accepts
// the change.
func Change(ctx context.Context, c client.Client, k *v1alpha1.APIKey, changes ...func(*v1alpha1.APIKeySpec)) error {
	before := &v1alpha1.APIKey{}
	if err := c.Get(ctx, client.ObjectKeyFromObject(k), before); err != nil {
		return err
	}
	after := before.DeepCopy()
	for _, change := range changes {
		change(&after.Spec)
	}
	if err := c.Patch(ctx, after, client.MergeFrom(before)); err != nil {
		return err
	}
	*k = *after
	return nil
}

// AwaitStatus waits until the status of a key describes the current spec and a check of the key passes.
func AwaitStatus(ctx context.Context, c client.Client, k *v1alpha1.APIKey, check func() error) error {
	return Await(ctx, func() error {
		if err := c.Get(ctx, client.ObjectKeyFromObject(k), k); err != nil {
			return err
		}
		if k.Status.ObservedGeneration != k.Generation {
			return fmt.Errorf("observedGeneration of APIKey %s is %d, not %d", k.Name, k.Status.ObservedGeneration, k.Generation)
		}
		return check()
	})
}

// Become waits until keys are in a state and Ready.
func Become(ctx context.Context, c client.Client, want v1alpha1.ObservedState, list ...*v1alpha1.APIKey) error {
	for _, k := range list {
		if err := AwaitStatus(ctx, c, k, func() error { return isIn(k, want) }); err != nil {
			return err
		}
	}
	return nil
}

func isIn(k *v1alpha1.APIKey, want v1alpha1.ObservedState) error {
	ready := meta.FindStatusCondition(k.Status.Conditions, v1alpha1.ConditionReady)
	if k.Status.State != want || ready == nil || ready.Status != metav1.ConditionTrue || ready.Reason != string(want) {
		return fmt.Errorf("APIKey %s is %s, not %s: conditions %v", k.Name, k.Status.State, want, k.Status.Conditions)
	}
	return nil
}

// AwaitDeleted waits until an object does not exist.
func AwaitDeleted(ctx context.Context, c client.Client, o client.Object) error {
	name := client.ObjectKeyFromObject(o)
	return Await(ctx, func() error {
		err := c.Get(ctx, name, o)
		if err == nil {
			return fmt.Errorf("%s still exists", name)
		}
		return client.IgnoreNotFound(err)
	})
}

// SecretOf reads the Secret of a key.
func SecretOf(ctx context.Context, c client.Client, k *v1alpha1.APIKey) (*corev1.Secret, error) {
	secret := &corev1.Secret{}
	return secret, c.Get(ctx, client.ObjectKey{Namespace: k.Namespace, Name: keys.SecretName(k)}, secret)
}

// Exists reports whether an object exists, and reads it.
func Exists(ctx context.Context, c client.Client, o client.Object) (bool, error) {
	err := c.Get(ctx, client.ObjectKeyFromObject(o), o)
	return err == nil, client.IgnoreNotFound(err)
}

// CredentialOf returns the credential of a role in the status of a key, or nil.
func CredentialOf(k *v1alpha1.APIKey, role v1alpha1.CredentialRole) *v1alpha1.Credential {
	for i := range k.Status.Credentials {
		if k.Status.Credentials[i].Role == role {
			return &k.Status.Credentials[i]
		}
	}
	return nil
}

// Digest returns the digest of key material, as status.credentials[].sha256 has it.
func Digest(material string) string { return credential.Material(material).SHA256() }

// HistoryReasons returns the reasons of a key's history, oldest first.
func HistoryReasons(k *v1alpha1.APIKey) []string {
	var list []string
	for _, transition := range k.Status.History {
		list = append(list, transition.Reason)
	}
	return list
}

// AwaitWebhooks waits until the API server calls the validating webhooks, or no longer calls them. It creates, as a dry run, an
// Account with a selector that only the webhook rejects.
func AwaitWebhooks(ctx context.Context, c client.Client, called bool) error {
	probe := NewAccount("probe", func(a *v1alpha1.AccountSpec) {
		a.AllowedNamespaces = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Bogus"}}}
	})
	return Await(ctx, func() error {
		if err := c.Create(ctx, probe.DeepCopy(), client.DryRunAll); (err != nil) != called {
			return errors.Join(fmt.Errorf("the API server calls the webhook: want %t", called), err)
		}
		return nil
	})
}

// Objects creates, changes and reads objects as an administrator. Its methods end the test on errors.
type Objects struct{ admin client.Client }

// NewObjects returns Objects that use an administrator's client.
func NewObjects(admin client.Client) Objects { return Objects{admin: admin} }

// Create creates objects.
func (o Objects) Create(t *testing.T, objects ...client.Object) {
	t.Helper()
	Must(t, Create(t.Context(), o.admin, objects...))
}

// Read reads an object.
func (o Objects) Read(t *testing.T, object client.Object) {
	t.Helper()
	Must(t, o.admin.Get(t.Context(), client.ObjectKeyFromObject(object), object))
}

// Issue creates keys and waits until they are Active.
func (o Objects) Issue(t *testing.T, list ...*v1alpha1.APIKey) {
	t.Helper()
	for _, k := range list {
		o.Create(t, k)
	}
	o.Become(t, v1alpha1.StateActive, list...)
}

// Change changes the spec of a key, as `kubectl patch` does.
func (o Objects) Change(t *testing.T, k *v1alpha1.APIKey, changes ...func(*v1alpha1.APIKeySpec)) {
	t.Helper()
	Must(t, Change(t.Context(), o.admin, k, changes...))
}

// AwaitStatus waits until the status of a key describes the current spec and a check of the key passes.
func (o Objects) AwaitStatus(t *testing.T, k *v1alpha1.APIKey, what string, check func() error) {
	t.Helper()
	if err := AwaitStatus(t.Context(), o.admin, k, check); err != nil {
		t.Fatalf("expected that %s: %v", what, err)
	}
}

// Become waits until keys are in a state and Ready.
func (o Objects) Become(t *testing.T, want v1alpha1.ObservedState, list ...*v1alpha1.APIKey) {
	t.Helper()
	Must(t, Become(t.Context(), o.admin, want, list...))
}

// AwaitDeleted waits until an object does not exist.
func (o Objects) AwaitDeleted(t *testing.T, object client.Object) {
	t.Helper()
	Must(t, AwaitDeleted(t.Context(), o.admin, object))
}

// Secret returns the Secret of a key.
func (o Objects) Secret(t *testing.T, k *v1alpha1.APIKey) *corev1.Secret {
	t.Helper()
	secret, err := SecretOf(t.Context(), o.admin, k)
	Must(t, err)
	return secret
}

// Material returns the current key in the Secret of an APIKey that has no template.
func (o Objects) Material(t *testing.T, k *v1alpha1.APIKey) string {
	t.Helper()
	return string(o.Secret(t, k).Data[keys.EntryCurrent])
}
