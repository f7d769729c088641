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
	case keys.EmptySecret:
		return r.rewrite(ctx, facts, emptySecret)
	case keys.MendSecret:
		return r.rewrite(ctx, facts, func(*corev1.Secret) {})
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

// createAccount creates an account. The keys of a new one mostly come together: the first asks for it, and once it exists
// it wakes them all.
func (r *APIKeyReconciler) createAccount(ctx context.Context, s keys.CreateAccount) error {
	if _, busy := r.creating.LoadOrStore(s.Name, true); busy {
		return nil
	}
	defer r.creating.Delete(s.Name)
	account := &v1alpha1.Account{ObjectMeta: metav1.ObjectMeta{Name: s.Name}}
	return client.IgnoreAlreadyExists(r.Create(ctx, account))
}

// createSecret creates under a fixed name, so that a second manager, or a stale cache, meets AlreadyExists instead of
// making a second credential. What is there then is looked at.
func (r *APIKeyReconciler) createSecret(ctx context.Context, facts *keys.Facts, s keys.CreateSecret) error {
	minted, err := keys.MintToken(r.Random, s.Prefix)
	if err != nil {
		return err
	}
	secret := newSecret(facts.Key, minted.Material)
	err = r.Create(ctx, secret)
	if apierrors.IsAlreadyExists(err) {
		facts.Held, _, err = r.look(ctx, facts.Key)
		return err
	}
	if err != nil {
		return err
	}
	facts.Held = keys.MintedHeld(secret.ResourceVersion, minted)
	return nil
}

// replaceMaterial overwrites what the Secret holds. Nothing is lost by that only if it really is not the credential
// that verifiers know, so the key is read again from the API server first.
func (r *APIKeyReconciler) replaceMaterial(ctx context.Context, facts *keys.Facts, s keys.ReplaceMaterial) error {
	var live v1alpha1.APIKey
	if err := r.Live.Get(ctx, client.ObjectKeyFromObject(facts.Key), &live); err != nil {
		return err
	}
	if live.ResourceVersion != facts.Key.ResourceVersion {
		return errStale
	}
	minted, err := keys.MintToken(r.Random, s.Prefix)
	if err != nil {
		return err
	}
	if err := r.rewrite(ctx, facts, func(secret *corev1.Secret) { fill(secret, minted.Material) }); err != nil {
		return err
	}
	facts.Held = keys.MintedHeld(facts.Held.ResourceVersion, minted)
	return nil
}

// rewrite changes the key's own Secret as it was observed, and puts right what drifted.
func (r *APIKeyReconciler) rewrite(ctx context.Context, facts *keys.Facts, change func(*corev1.Secret)) error {
	held, secret, err := r.look(ctx, facts.Key)
	if err != nil {
		return err
	}
	if held.Possession != keys.HeldOwned || held.ResourceVersion != facts.Held.ResourceVersion {
		return errStale
	}
	change(secret)
	dress(secret, facts.Key)
	if err := r.Update(ctx, secret); err != nil {
		return err
	}
	facts.Held = inspect(secret, facts.Key)
	return nil
}
