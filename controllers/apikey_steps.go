// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
)

// perform carries out the steps in order, each idempotent, and stops at the first that fails. After each it refreshes
// what the Secret holds.
func (r *APIKeyReconciler) perform(ctx context.Context, facts *keys.Facts, steps []keys.Step) error {
	for _, step := range steps {
		err := withoutData(r.do(ctx, facts, step))
		switch {
		case errors.Is(err, errUnchangeable):
			return nil // facts.Held says why
		case stale(err):
			return err
		case err != nil:
			return &keys.PublicError{Message: fmt.Sprintf("Could not %s: %s", step, reason(err)), Err: err}
		}
	}
	return nil
}

func (r *APIKeyReconciler) do(ctx context.Context, facts *keys.Facts, step keys.Step) error {
	switch s := step.(type) {
	case keys.CreateAccount:
		return r.createAccount(ctx, s)
	case keys.CreateSecret:
		return r.createSecret(ctx, facts, s)
	case keys.ReissueCredential:
		return r.replaceMaterial(ctx, facts, s)
	case keys.FenceSecret:
		return r.fence(ctx, facts)
	case keys.StageCredential:
		return r.stageCredential(ctx, facts, s)
	case keys.PromoteStaged:
		return r.promoteStaged(ctx, facts, s)
	case keys.RetirePrevious:
		return r.rewrite(ctx, facts, func(c *keys.SecretCredentials) { c.Previous = keys.Credential{} })
	case keys.ClearSecret:
		return r.rewrite(ctx, facts, func(c *keys.SecretCredentials) { *c = keys.SecretCredentials{Revoked: true} })
	case keys.AdoptSecret:
		return r.adopt(ctx, facts)
	case keys.RepairSecret:
		return r.rewrite(ctx, facts, func(*keys.SecretCredentials) {})
	case keys.DeleteKey:
		return r.deleteKey(ctx, *facts)
	}
	return fmt.Errorf("unknown step %T", step)
}

// createSecret creates under a fixed name, so that a second manager, or a stale cache, meets AlreadyExists instead of
// making a second credential. What is there then is looked at.
func (r *APIKeyReconciler) createSecret(ctx context.Context, facts *keys.Facts, s keys.CreateSecret) error {
	minted, err := s.Format.Generate(r.Random)
	if err != nil {
		return err
	}
	return r.createWith(ctx, facts, minted)
}

// createWith creates the key's Secret with a credential.
func (r *APIKeyReconciler) createWith(ctx context.Context, facts *keys.Facts, minted keys.NewCredential) error {
	shape, err := keys.Render(facts.Key, facts.Account, keys.SecretCredentials{Current: keys.Credential(minted)})
	if err != nil {
		return err
	}
	secret := newSecret(facts.Key, shape)
	err = withoutData(r.Create(ctx, secret, secretWriter), shape.Data)
	if apierrors.IsAlreadyExists(err) {
		if facts.Secret, _, _, err = r.look(ctx, facts.Key, facts.Account); err != nil {
			return err
		}
		facts.Duplicates, err = r.duplicates(ctx, facts) // it may hold a key that is offered
		return err
	}
	if err != nil {
		return err
	}
	facts.Secret = keys.JustIssuedSecret(secret.ResourceVersion, minted)
	facts.Repairs.Written = secret.ResourceVersion
	return nil
}

// replaceMaterial overwrites all that the Secret holds.
func (r *APIKeyReconciler) replaceMaterial(ctx context.Context, facts *keys.Facts, s keys.ReissueCredential) error {
	minted, err := s.Format.Generate(r.Random)
	if err != nil {
		return err
	}
	if err := r.rewrite(ctx, facts, func(c *keys.SecretCredentials) { *c = keys.SecretCredentials{Current: keys.Credential(minted)} }); err != nil {
		return err
	}
	facts.Secret = keys.JustIssuedSecret(facts.Secret.ResourceVersion, minted)
	return nil
}

// stageCredential keeps a new credential in memory. If there is one already, the key may be one that a stale cache has not
// heard of, so the key is read again first.
func (r *APIKeyReconciler) stageCredential(ctx context.Context, facts *keys.Facts, s keys.StageCredential) error {
	if _, exists := r.staged.get(facts.Key.UID); exists {
		if err := r.confirm(ctx, facts.Key); err != nil {
			return err
		}
	}
	if err := r.checkChangeable(ctx, facts, s); err != nil {
		return err
	}
	minted, err := s.Format.Generate(r.Random)
	if err != nil {
		return err
	}
	r.staged.put(facts.Key.UID, minted)
	facts.Staged, facts.JustStaged = minted.Observed(), true
	return nil
}

// checkChangeable reads the Secret that a rotation is about to change. What the status remembers of it does not say whether it
// can be changed.
func (r *APIKeyReconciler) checkChangeable(ctx context.Context, facts *keys.Facts, step keys.Step) error {
	held, _, _, err := r.look(ctx, facts.Key, facts.Account)
	if err != nil {
		return err
	}
	if held.Ownership != keys.SecretOwned || held.ResourceVersion != facts.Secret.ResourceVersion {
		return errStale
	}
	facts.Secret = held
	if facts.IsUnchangeable(step) {
		return errUnchangeable
	}
	return nil
}

func (r *APIKeyReconciler) promoteStaged(ctx context.Context, facts *keys.Facts, s keys.PromoteStaged) error {
	minted, exists := r.staged.get(facts.Key.UID)
	if !exists || minted.Material.SHA256() != facts.Staged.SHA256 {
		return errStale
	}
	if facts.Secret.Ownership == keys.SecretMissing {
		if err := r.confirm(ctx, facts.Key); err != nil {
			return err
		}
		return r.createWith(ctx, facts, minted)
	}
	return r.rewrite(ctx, facts, func(c *keys.SecretCredentials) { c.Promote(keys.Credential(minted), s.WithOverlap) })
}

// fence changes the Secret's version, so that a write that rests on the one before fails.
func (r *APIKeyReconciler) fence(ctx context.Context, facts *keys.Facts) error {
	_, secret, err := r.lookAgain(ctx, facts, keys.SecretOwned)
	if err != nil {
		return err
	}
	metav1.SetMetaDataAnnotation(&secret.ObjectMeta, keys.AnnotationFence, secret.ResourceVersion)
	if err := r.update(ctx, facts, secret, secret.Data); err != nil {
		return err
	}
	facts.JustFenced = true
	return nil
}

// confirm asks the API server whether a key is still what the facts say.
func (r *APIKeyReconciler) confirm(ctx context.Context, key *v1alpha1.APIKey) error {
	var live v1alpha1.APIKey
	if err := r.Live.Get(ctx, client.ObjectKeyFromObject(key), &live); err != nil {
		return err
	}
	if live.ResourceVersion != key.ResourceVersion {
		return errStale
	}
	return nil
}

// rewrite changes what the key's own Secret, as it was observed, is rendered from, and renders it again. What looks like
// a credential too many may be one that a stale cache has not heard of, so the key is read again first.
func (r *APIKeyReconciler) rewrite(ctx context.Context, facts *keys.Facts, change func(*keys.SecretCredentials)) error {
	contents, secret, err := r.lookAgain(ctx, facts, keys.SecretOwned)
	if err != nil {
		return err
	}
	change(&contents)
	shape, err := keys.Render(facts.Key, facts.Account, contents)
	if err != nil {
		return err
	}
	switch is := shapeOf(secret); {
	case shape.Matches(is):
	case !shape.CanReplace(is):
		facts.Secret, _ = keys.ObserveSecret(facts.Key, facts.Account, secret, is)
		return errUnchangeable
	default:
		r.apply(secret, shape)
		return r.update(ctx, facts, secret, is.Data)
	}
	facts.Secret, _ = keys.ObserveSecret(facts.Key, facts.Account, secret, shapeOf(secret))
	return nil
}

// adopt makes the key the owner of a Secret that is to be adopted, and renders it with the credential that it holds.
func (r *APIKeyReconciler) adopt(ctx context.Context, facts *keys.Facts) error {
	contents, secret, err := r.lookAgain(ctx, facts, keys.SecretOffered)
	if err != nil {
		return err
	}
	shape, err := keys.Render(facts.Key, facts.Account, contents)
	if err != nil {
		return err
	}
	was := secret.Data
	r.apply(secret, shape)
	secret.OwnerReferences = []metav1.OwnerReference{controllerReference(facts.Key)}
	return r.update(ctx, facts, secret, was)
}

// update writes the key's Secret, which had some data before, and notes what it holds then.
func (r *APIKeyReconciler) update(ctx context.Context, facts *keys.Facts, secret *corev1.Secret, was map[string][]byte) error {
	data := secret.Data
	if err := r.Update(ctx, secret, secretWriter); err != nil {
		return withoutData(err, was, data)
	}
	facts.Secret, _ = keys.ObserveSecret(facts.Key, facts.Account, secret, shapeOf(secret))
	facts.Repairs.Written = secret.ResourceVersion
	return nil
}

// lookAgain reads the key's Secret and the key itself from the API server, and fails if either is not what was observed.
func (r *APIKeyReconciler) lookAgain(ctx context.Context, facts *keys.Facts, want keys.Ownership) (keys.SecretCredentials, *corev1.Secret, error) {
	held, contents, secret, err := r.look(ctx, facts.Key, facts.Account)
	if err != nil {
		return keys.SecretCredentials{}, nil, err
	}
	if held.Ownership != want || held.ResourceVersion != facts.Secret.ResourceVersion {
		return keys.SecretCredentials{}, nil, errStale
	}
	return contents, secret, r.confirm(ctx, facts.Key)
}

// look reads the key's Secret from the API server and takes it apart.
func (r *APIKeyReconciler) look(ctx context.Context, key *v1alpha1.APIKey, account *v1alpha1.Account) (keys.ObservedSecret, keys.SecretCredentials, *corev1.Secret, error) {
	var secret corev1.Secret
	err := r.Live.Get(ctx, client.ObjectKey{Namespace: key.Namespace, Name: keys.SecretName(key)}, &secret)
	if apierrors.IsNotFound(err) {
		return keys.ObservedSecret{Ownership: keys.SecretMissing}, keys.SecretCredentials{}, nil, nil
	}
	if err != nil {
		return keys.ObservedSecret{}, keys.SecretCredentials{}, nil, &keys.PublicError{Message: "Could not read Secret " + keys.SecretName(key), Err: err}
	}
	held, contents := keys.ObserveSecret(key, account, &secret, shapeOf(&secret))
	return held, contents, &secret, nil
}
