// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
)

// restorer restores the objects of a backup. It changes no object that exists, except for the status of a key without a
// credential, so that an import can be repeated.
type restorer struct {
	client client.Client
	// AllowReissue restores keys whose Secret is missing. The manager issues new credentials for them.
	AllowReissue bool
	// DryRun sends all creations as a dry run of the API server.
	DryRun bool

	// onKey is called after each key with the number of keys.
	onKey func(keys int)
	keys  int

	counts   restoreCounts
	problems []error
}

// restoreCounts counts the objects that were created, the keys whose status was restored, and the objects that exist already.
type restoreCounts struct{ Accounts, Secrets, Keys, KeyExports, Statuses, Unchanged int }

// run restores all objects of a backup. Objects that cannot be restored are reported at the end, and do not stop the others.
func (r *restorer) run(ctx context.Context, in io.Reader) error {
	err := eachDocument(in, func(object *unstructured.Unstructured) error {
		if err := r.restore(ctx, object); err != nil {
			if ctx.Err() != nil || apierrors.IsUnauthorized(err) {
				return err
			}
			r.problems = append(r.problems, fmt.Errorf("%s %s: %w", object.GetKind(), nameOf(object), err))
		}
		return nil
	})
	return errors.Join(append(r.problems, err)...)
}

func nameOf(object client.Object) string {
	if object.GetNamespace() == "" {
		return object.GetName()
	}
	return object.GetNamespace() + "/" + object.GetName()
}

func (r *restorer) restore(ctx context.Context, object *unstructured.Unstructured) error {
	switch object.GroupVersionKind() {
	case accountKind:
		return r.create(ctx, object, &r.counts.Accounts)
	case secretKind:
		return r.create(ctx, object, &r.counts.Secrets)
	case exportKind:
		return r.create(ctx, object, &r.counts.KeyExports)
	}
	r.keys++
	r.onKey(r.keys)
	return r.restoreKey(ctx, object)
}

// create creates an object without its status, unless it exists.
func (r *restorer) create(ctx context.Context, object *unstructured.Unstructured, count *int) error {
	options := []client.CreateOption{client.FieldValidation("Strict")}
	if r.DryRun {
		options = append(options, client.DryRunAll)
	}
	err := r.client.Create(ctx, withoutServerFields(object, "status"), options...)
	if apierrors.IsAlreadyExists(err) {
		r.counts.Unchanged++
		return nil
	}
	if err == nil {
		*count++
	}
	return err
}

// restoreKey creates a key and restores its status. Only then does a running manager know the credential in its Secret, which it
// does not touch before.
func (r *restorer) restoreKey(ctx context.Context, object *unstructured.Unstructured) error {
	saved, err := toKey(object)
	if err != nil {
		return err
	}
	if len(saved.Undecodable) > 0 {
		return fmt.Errorf("this version cannot read the fields %v", saved.Undecodable)
	}
	if err := r.checkSecret(ctx, saved); err != nil {
		return err
	}
	existing, keysBefore := newObject(keyKind), r.counts.Keys
	switch err := r.client.Get(ctx, client.ObjectKeyFromObject(object), existing); {
	case apierrors.IsNotFound(err):
		if err := r.create(ctx, object, &r.counts.Keys); err != nil || r.DryRun {
			return err
		}
	case err != nil:
		return err
	}
	if !hasCredentials(saved) || r.DryRun {
		return nil
	}
	err = r.restoreStatus(ctx, object, saved)
	if errors.Is(err, errOtherCredential) && r.AllowReissue && r.counts.Keys > keysBefore {
		return nil // the manager has issued a new key before the status could be restored, as it would have afterwards
	}
	if err != nil || !needsSecret(saved) {
		return err
	}
	return r.giveSecret(ctx, saved)
}

// errOtherCredential reports that a key exists whose credentials are not those of the backup.
var errOtherCredential = errors.New("it exists with another credential: delete it, or rename it in the backup")

// giveSecret makes a key the owner of its Secret, if nothing owns it. The manager does so too, but a minute later, because it has seen
// the Secret before it could know the credential in it.
func (r *restorer) giveSecret(ctx context.Context, saved *v1alpha1.APIKey) error {
	k := &v1alpha1.APIKey{}
	if err := r.client.Get(ctx, client.ObjectKeyFromObject(saved), k); err != nil {
		return err
	}
	secret := &corev1.Secret{}
	if err := r.client.Get(ctx, client.ObjectKey{Namespace: k.Namespace, Name: keys.SecretName(k)}, secret); err != nil {
		return client.IgnoreNotFound(err) // with AllowReissue
	}
	if len(secret.OwnerReferences) > 0 || len(keys.FindCredentials(k, secret.Data).Current.Material) == 0 {
		return nil
	}
	owned := secret.DeepCopy()
	owned.OwnerReferences = []metav1.OwnerReference{{
		APIVersion: keyKind.GroupVersion().String(), Kind: keyKind.Kind, Name: k.Name, UID: k.UID, Controller: new(true),
	}}
	err := r.client.Patch(ctx, owned, client.MergeFromWithOptions(secret, client.MergeFromWithOptimisticLock{}))
	if apierrors.IsConflict(err) { // the manager was faster
		return nil
	}
	return err
}

func hasCredentials(k *v1alpha1.APIKey) bool {
	return len(k.Status.Credentials) > 0 || len(k.Status.RevokedCredentials) > 0
}

// checkSecret returns an error unless the Secret of a key holds its credential. Without it, the manager would issue a new one.
func (r *restorer) checkSecret(ctx context.Context, saved *v1alpha1.APIKey) error {
	if !needsSecret(saved) || r.AllowReissue || r.DryRun {
		return nil
	}
	secret, err := readSecret(ctx, r.client, saved)
	if err == nil && len(keys.FindCredentials(saved, secret.Data).Current.Material) == 0 {
		err = fmt.Errorf("secret %s holds another key", secret.Name)
	}
	if err != nil {
		return fmt.Errorf("not restored, because the manager would issue a new key: %w. Restore its Secret first, or use --allow-reissue", err)
	}
	return nil
}

// restoreStatus writes the saved status of a key that has no credential.
func (r *restorer) restoreStatus(ctx context.Context, object *unstructured.Unstructured, saved *v1alpha1.APIKey) error {
	return retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		current := newObject(keyKind)
		if err := r.client.Get(ctx, client.ObjectKeyFromObject(object), current); err != nil {
			return err
		}
		k, err := toKey(current)
		switch {
		case err != nil:
			return err
		case hasCredentials(k) && !holdsAll(k, saved):
			return errOtherCredential
		case hasCredentials(k):
			r.counts.Unchanged++
			return nil
		}
		current.Object["status"] = object.Object["status"]
		if err := r.client.SubResource("status").Update(ctx, current); err != nil {
			return err
		}
		r.counts.Statuses++
		return nil
	})
}

// holdsAll reports whether a key has all credentials of a saved one, in whatever role.
func holdsAll(k, saved *v1alpha1.APIKey) bool {
	digests := digestsOf(k)
	return !slices.ContainsFunc(digestsOf(saved), func(digest string) bool { return !slices.Contains(digests, digest) })
}

func digestsOf(k *v1alpha1.APIKey) []string {
	var list []string
	for _, c := range k.Status.Credentials {
		list = append(list, c.SHA256)
	}
	for _, c := range k.Status.RevokedCredentials {
		list = append(list, c.SHA256)
	}
	return list
}
