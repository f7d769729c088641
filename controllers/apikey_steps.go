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
	"github.com/apikey-manager/apikey-manager/internal/credential"
	"github.com/apikey-manager/apikey-manager/internal/keys"
)

// perform carries out the steps in order and stops at the first that fails. Each step is idempotent, and updates the
// observed Secret.
func (r *APIKeyReconciler) perform(ctx context.Context, facts *keys.Facts, steps []keys.Step) error {
	for _, step := range steps {
		err := withoutData(r.performStep(ctx, facts, step))
		switch {
		case errors.Is(err, errImpossibleStep):
			return nil // facts.Secret holds the reason
		case isStale(err):
			return err
		case err != nil:
			return &keys.PublicError{Message: fmt.Sprintf("Could not %s: %s", step, errorKind(err)), Err: err}
		}
	}
	return nil
}

func (r *APIKeyReconciler) performStep(ctx context.Context, facts *keys.Facts, step keys.Step) error {
	switch s := step.(type) {
	case keys.CreateAccount:
		return r.createAccount(ctx, s)
	case keys.CreateSecret:
		return r.createSecret(ctx, facts, s)
	case keys.ReissueCredential:
		return r.reissueCredential(ctx, facts, s)
	case keys.FenceSecret:
		return r.fenceSecret(ctx, facts)
	case keys.StageCredential:
		return r.stageCredential(ctx, facts, s)
	case keys.PromoteStaged:
		return r.promoteStaged(ctx, facts, s)
	case keys.RetirePrevious, keys.ClearSecret, keys.RepairSecret:
		return r.updateSecret(ctx, facts, step, credential.Credential{})
	case keys.AdoptSecret:
		return r.adoptSecret(ctx, facts)
	case keys.DeleteKey:
		return r.deleteKey(ctx, *facts)
	}
	return fmt.Errorf("unknown step %T", step)
}

// createSecret creates the Secret under a fixed name, so that a second manager, or one with a stale cache, receives
// AlreadyExists and does not create a second credential. It then observes the existing Secret.
func (r *APIKeyReconciler) createSecret(ctx context.Context, facts *keys.Facts, s keys.CreateSecret) error {
	issued, err := s.Format.Generate(r.Random)
	if err != nil {
		return err
	}
	return r.createSecretWith(ctx, facts, s, issued)
}

// createSecretWith creates the key's Secret with a credential.
func (r *APIKeyReconciler) createSecretWith(ctx context.Context, facts *keys.Facts, step keys.Step, issued credential.Credential) error {
	content, err := keys.Render(facts.Key, facts.Account, keys.Apply(step, keys.SecretCredentials{}, issued))
	if err != nil {
		return err
	}
	secret := newSecret(facts.Key, content)
	err = withoutData(r.Create(ctx, secret, secretWriter), content.Data)
	if apierrors.IsAlreadyExists(err) {
		if facts.Secret, _, _, err = r.readSecret(ctx, facts.Key, facts.Account); err != nil {
			return err
		}
		facts.Duplicates, err = r.duplicates(ctx, facts) // the Secret may hold a credential that is offered for adoption
		return err
	}
	if err != nil {
		return err
	}
	facts.Secret = keys.JustIssuedSecret(secret.ResourceVersion, issued)
	facts.Repairs.Written = secret.ResourceVersion
	return nil
}

// reissueCredential replaces all credentials in the Secret.
func (r *APIKeyReconciler) reissueCredential(ctx context.Context, facts *keys.Facts, s keys.ReissueCredential) error {
	issued, err := s.Format.Generate(r.Random)
	if err != nil {
		return err
	}
	if err := r.updateSecret(ctx, facts, s, issued); err != nil {
		return err
	}
	facts.Secret = keys.JustIssuedSecret(facts.Secret.ResourceVersion, issued)
	return nil
}

// stageCredential generates a credential and keeps it in memory. If one is staged already, the cache may not contain
// the status that staged it, so the key is read from the API server first.
func (r *APIKeyReconciler) stageCredential(ctx context.Context, facts *keys.Facts, s keys.StageCredential) error {
	if _, exists := r.staged.get(facts.Key.UID); exists {
		if err := r.confirmUnchanged(ctx, facts.Key); err != nil {
			return err
		}
	}
	if err := r.checkChangeable(ctx, facts, s); err != nil {
		return err
	}
	issued, err := s.Format.Generate(r.Random)
	if err != nil {
		return err
	}
	r.staged.put(facts.Key.UID, issued)
	facts.Staged, facts.JustStaged = keys.ObserveCredential(issued), true
	return nil
}

// checkChangeable reads the Secret that a rotation is about to change. The status does not contain whether the Secret
// can be changed.
func (r *APIKeyReconciler) checkChangeable(ctx context.Context, facts *keys.Facts, step keys.Step) error {
	observed, _, secret, err := r.readSecret(ctx, facts.Key, facts.Account)
	if err != nil {
		return err
	}
	if observed.Ownership != keys.SecretOwned || observed.ResourceVersion != facts.Secret.ResourceVersion {
		return errStaleFacts
	}
	facts.Secret = observed
	if facts.IsUnchangeable(step) {
		return errImpossibleStep
	}
	r.confirmed.put(facts.Key.UID, secret)
	return nil
}

func (r *APIKeyReconciler) promoteStaged(ctx context.Context, facts *keys.Facts, s keys.PromoteStaged) error {
	issued, exists := r.staged.get(facts.Key.UID)
	if !exists || issued.Material.SHA256() != facts.Staged.SHA256 {
		return errStaleFacts
	}
	if facts.Secret.Ownership == keys.SecretMissing {
		if err := r.confirmUnchanged(ctx, facts.Key); err != nil {
			return err
		}
		return r.createSecretWith(ctx, facts, s, issued)
	}
	return r.updateSecret(ctx, facts, s, issued)
}

// fenceSecret changes the version of the Secret, so that a write that is based on the previous version fails.
func (r *APIKeyReconciler) fenceSecret(ctx context.Context, facts *keys.Facts) error {
	_, secret, err := r.rereadSecret(ctx, facts, keys.SecretOwned)
	if err != nil {
		return err
	}
	metav1.SetMetaDataAnnotation(&secret.ObjectMeta, keys.AnnotationFence, secret.ResourceVersion)
	if err := r.writeSecret(ctx, facts, secret, secret.Data); err != nil {
		return err
	}
	facts.JustFenced = true
	return nil
}

// confirmUnchanged returns errStaleFacts if the key in the API server is not the version in the facts.
func (r *APIKeyReconciler) confirmUnchanged(ctx context.Context, key *v1alpha1.APIKey) error {
	var live v1alpha1.APIKey
	if err := r.APIReader.Get(ctx, client.ObjectKeyFromObject(key), &live); err != nil {
		return err
	}
	if live.ResourceVersion != key.ResourceVersion {
		return errStaleFacts
	}
	return nil
}

// updateSecret applies a step to the credentials in the key's Secret and renders it again. The key is read from the
// API server first: a credential that seems superfluous may belong to a status that the cache does not contain yet.
func (r *APIKeyReconciler) updateSecret(ctx context.Context, facts *keys.Facts, step keys.Step, issued credential.Credential) error {
	credentials, secret, err := r.rereadSecret(ctx, facts, keys.SecretOwned)
	if err != nil {
		return err
	}
	content, err := keys.Render(facts.Key, facts.Account, keys.Apply(step, credentials, issued))
	if err != nil {
		return err
	}
	switch is := contentOf(secret); {
	case content.Matches(is):
	case !content.CanReplace(is):
		facts.Secret, _ = keys.ObserveSecret(facts.Key, facts.Account, secret, is)
		return errImpossibleStep
	default:
		r.applyContent(secret, content)
		return r.writeSecret(ctx, facts, secret, is.Data)
	}
	facts.Secret, _ = keys.ObserveSecret(facts.Key, facts.Account, secret, contentOf(secret))
	return nil
}

// adoptSecret makes the key the owner of a Secret that is to be adopted, and renders the Secret with the credential
// that it holds.
func (r *APIKeyReconciler) adoptSecret(ctx context.Context, facts *keys.Facts) error {
	credentials, secret, err := r.rereadSecret(ctx, facts, keys.SecretOffered)
	if err != nil {
		return err
	}
	content, err := keys.Render(facts.Key, facts.Account, credentials)
	if err != nil {
		return err
	}
	was := secret.Data
	r.applyContent(secret, content)
	secret.OwnerReferences = []metav1.OwnerReference{controllerReference(facts.Key)}
	return r.writeSecret(ctx, facts, secret, was)
}

// writeSecret writes the key's Secret and updates the facts. was is the data before the change.
func (r *APIKeyReconciler) writeSecret(ctx context.Context, facts *keys.Facts, secret *corev1.Secret, was map[string][]byte) error {
	data := secret.Data
	if err := r.Update(ctx, secret, secretWriter); err != nil {
		return withoutData(err, was, data)
	}
	facts.Secret, _ = keys.ObserveSecret(facts.Key, facts.Account, secret, contentOf(secret))
	facts.Repairs.Written = secret.ResourceVersion
	return nil
}

// rereadSecret reads the key and its Secret from the API server, unless this reconciliation has confirmed them. It returns
// errStaleFacts if either differs from the facts.
func (r *APIKeyReconciler) rereadSecret(
	ctx context.Context,
	facts *keys.Facts,
	want keys.Ownership,
) (keys.SecretCredentials, *corev1.Secret, error) {
	if secret := r.confirmed.take(facts.Key); secret != nil && want == keys.SecretOwned {
		_, credentials := keys.ObserveSecret(facts.Key, facts.Account, secret, contentOf(secret))
		return credentials, secret, nil
	}
	observed, credentials, secret, err := r.readSecret(ctx, facts.Key, facts.Account)
	if err != nil {
		return keys.SecretCredentials{}, nil, err
	}
	if observed.Ownership != want || observed.ResourceVersion != facts.Secret.ResourceVersion {
		return keys.SecretCredentials{}, nil, errStaleFacts
	}
	return credentials, secret, r.confirmUnchanged(ctx, facts.Key)
}

// readSecret reads the key's Secret from the API server and parses it.
func (r *APIKeyReconciler) readSecret(
	ctx context.Context,
	key *v1alpha1.APIKey,
	account *v1alpha1.Account,
) (keys.ObservedSecret, keys.SecretCredentials, *corev1.Secret, error) {
	var secret corev1.Secret
	err := r.APIReader.Get(ctx, client.ObjectKey{Namespace: key.Namespace, Name: keys.SecretName(key)}, &secret)
	if apierrors.IsNotFound(err) {
		return keys.ObservedSecret{Ownership: keys.SecretMissing}, keys.SecretCredentials{}, nil, nil
	}
	if err != nil {
		return keys.ObservedSecret{}, keys.SecretCredentials{}, nil, &keys.PublicError{
			Message: "Could not read Secret " + keys.SecretName(key),
			Err:     err,
		}
	}
	observed, credentials := keys.ObserveSecret(key, account, &secret, contentOf(&secret))
	return observed, credentials, &secret, nil
}
