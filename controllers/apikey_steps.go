// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
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
		if err := r.do(ctx, facts, step); err != nil {
			if stale(err) {
				return err
			}
			return &keys.PublicError{Sentence: fmt.Sprintf("Could not %s: %s", step, reason(err)), Err: err}
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
	case keys.ReplaceMaterial:
		return r.replaceMaterial(ctx, facts, s)
	case keys.StageMaterial:
		return r.stageMaterial(ctx, facts, s)
	case keys.Promote:
		return r.rewrite(ctx, facts, func(c *keys.Contents) { c.Promote(s.WithOverlap) })
	case keys.Retire:
		return r.rewrite(ctx, facts, func(c *keys.Contents) { c.Previous = keys.Credential{} })
	case keys.EmptySecret:
		return r.rewrite(ctx, facts, func(c *keys.Contents) { *c = keys.Contents{Revoked: true} })
	case keys.MendSecret:
		return r.rewrite(ctx, facts, func(*keys.Contents) {})
	}
	return fmt.Errorf("unknown step %T", step)
}

// reason names the kind of an API error without its text, which may vary from one try to the next.
func reason(err error) string {
	if r := apierrors.ReasonForError(err); r != metav1.StatusReasonUnknown {
		return string(r)
	}
	return "the API server did not answer"
}

// createSecret creates under a fixed name, so that a second manager, or a stale cache, meets AlreadyExists instead of
// making a second credential. What is there then is looked at.
func (r *APIKeyReconciler) createSecret(ctx context.Context, facts *keys.Facts, s keys.CreateSecret) error {
	minted, err := s.Format.Mint(r.Random)
	if err != nil {
		return err
	}
	shape, err := keys.Render(facts.Key, facts.Account, keys.Contents{Current: keys.Credential(minted)})
	if err != nil {
		return err
	}
	secret := newSecret(facts.Key, shape)
	err = r.Create(ctx, secret)
	if apierrors.IsAlreadyExists(err) {
		facts.Held, _, _, err = r.look(ctx, facts.Key, facts.Account)
		return err
	}
	if err != nil {
		return err
	}
	facts.Held = keys.MintedHeld(secret.ResourceVersion, minted)
	return nil
}

// replaceMaterial overwrites all that the Secret holds.
func (r *APIKeyReconciler) replaceMaterial(ctx context.Context, facts *keys.Facts, s keys.ReplaceMaterial) error {
	minted, err := s.Format.Mint(r.Random)
	if err != nil {
		return err
	}
	if err := r.rewrite(ctx, facts, func(c *keys.Contents) { *c = keys.Contents{Current: keys.Credential(minted)} }); err != nil {
		return err
	}
	facts.Held = keys.MintedHeld(facts.Held.ResourceVersion, minted)
	return nil
}

func (r *APIKeyReconciler) stageMaterial(ctx context.Context, facts *keys.Facts, s keys.StageMaterial) error {
	minted, err := s.Format.Mint(r.Random)
	if err != nil {
		return err
	}
	if err := r.rewrite(ctx, facts, func(c *keys.Contents) { c.Staged = keys.Credential(minted) }); err != nil {
		return err
	}
	facts.Held = facts.Held.WithStaged(minted)
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
func (r *APIKeyReconciler) rewrite(ctx context.Context, facts *keys.Facts, change func(*keys.Contents)) error {
	held, contents, secret, err := r.look(ctx, facts.Key, facts.Account)
	if err != nil {
		return err
	}
	if held.Possession != keys.HeldOwned || held.ResourceVersion != facts.Held.ResourceVersion {
		return errStale
	}
	if err := r.confirm(ctx, facts.Key); err != nil {
		return err
	}
	change(&contents)
	shape, err := keys.Render(facts.Key, facts.Account, contents)
	if err != nil {
		return err
	}
	if !shape.Fits(shapeOf(secret)) {
		apply(secret, shape)
		if err := r.Update(ctx, secret); err != nil {
			return err
		}
	}
	facts.Held, _ = keys.Inspect(facts.Key, facts.Account, shapeOf(secret), secret.ResourceVersion)
	return nil
}

// look reads the key's Secret from the API server and takes it apart.
func (r *APIKeyReconciler) look(ctx context.Context, key *v1alpha1.APIKey, account *v1alpha1.Account) (keys.Held, keys.Contents, *corev1.Secret, error) {
	var secret corev1.Secret
	err := r.Live.Get(ctx, client.ObjectKey{Namespace: key.Namespace, Name: keys.SecretName(key)}, &secret)
	if apierrors.IsNotFound(err) {
		return keys.Held{Possession: keys.HeldNothing}, keys.Contents{}, nil, nil
	}
	if err != nil {
		return keys.Held{}, keys.Contents{}, nil, &keys.PublicError{Sentence: "Could not read Secret " + keys.SecretName(key), Err: err}
	}
	if p := keys.PossessionOf(&secret, key); p != keys.HeldOwned {
		return keys.Held{Possession: p, ResourceVersion: secret.ResourceVersion}, keys.Contents{}, &secret, nil
	}
	held, contents := keys.Inspect(key, account, shapeOf(&secret), secret.ResourceVersion)
	return held, contents, &secret, nil
}
