// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"regexp"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/credential"
	"github.com/apikey-manager/apikey-manager/internal/keys"
)

// importSpec describes a key of another system that becomes an APIKey.
type importSpec struct {
	Namespace, Name, Account, Label, Hint string
	// WithSecret writes the key to a Secret that the APIKey adopts. Otherwise the cluster gets only its digest.
	WithSecret bool
	DryRun     bool
}

// shortHint matches a hint that the schema of the CRD accepts for a key that is not a Token.
var shortHint = regexp.MustCompile(`^[A-Za-z0-9._-]{1,8}$`)

// importKey creates an APIKey for a key that exists already.
func importKey(ctx context.Context, c client.Client, spec importSpec, key credential.Material) (*v1alpha1.APIKey, error) {
	if problem := credential.CheckImported(key); problem != "" {
		return nil, errors.New("the key " + problem)
	}
	if spec.WithSecret {
		if err := checkImportPolicy(ctx, c, spec.Account); err != nil {
			return nil, err
		}
		k := spec.newKey()
		return k, createWithSecret(ctx, c, k, key, spec.createOptions())
	}
	hint := spec.Hint
	if hint == "" {
		hint = credential.PublicPartOf(key).Hint
	}
	return importDigest(ctx, c, spec, v1alpha1.Import{SHA256: key.SHA256(), Hint: hint})
}

// importDigest creates an APIKey for a key of which only the digest and the hint are known.
func importDigest(ctx context.Context, c client.Client, spec importSpec, digest v1alpha1.Import) (*v1alpha1.APIKey, error) {
	if !tokenHint.MatchString(digest.Hint) && !shortHint.MatchString(digest.Hint) {
		return nil, errors.New("the hint must be at most 8 letters, digits and . _ - that are public, such as the first characters of the key: " +
			"give one with --hint, or in column hint")
	}
	if err := checkImportPolicy(ctx, c, spec.Account); err != nil {
		return nil, err
	}
	k := spec.newKey()
	k.Spec.Import = &digest
	return k, c.Create(ctx, k, spec.createOptions()...)
}

func (s importSpec) newKey() *v1alpha1.APIKey {
	return &v1alpha1.APIKey{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: s.Name},
		Spec:       v1alpha1.APIKeySpec{Account: s.Account, Label: s.Label},
	}
}

func (s importSpec) createOptions() []client.CreateOption {
	if s.DryRun {
		return []client.CreateOption{client.DryRunAll}
	}
	return nil
}

// checkImportPolicy returns an error if the account does not allow imports. If the user may not read the account, the webhook and
// the manager check it.
func checkImportPolicy(ctx context.Context, c client.Client, name string) error {
	var account v1alpha1.Account
	switch err := c.Get(ctx, client.ObjectKey{Name: name}, &account); {
	case apierrors.IsForbidden(err):
		return nil
	case err != nil:
		return err
	case account.Spec.ImportPolicy == v1alpha1.ImportAllow:
		return nil
	}
	return fmt.Errorf("account %s does not allow imports. While it does, users who create keys can choose their value, so allow them for "+
		"the time of the import:\n  kubectl patch account.apikey-manager.io %s --type=merge -p '{\"spec\":{\"importPolicy\":\"Allow\"}}'",
		name, name)
}

// createWithSecret creates a Secret with the key, and the APIKey that adopts it. If the APIKey is rejected, it deletes the Secret.
func createWithSecret(
	ctx context.Context, c client.Client, k *v1alpha1.APIKey, key credential.Material, options []client.CreateOption,
) error {
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: k.Namespace, Name: k.Name, Annotations: map[string]string{v1alpha1.AdoptAnnotation: k.Name}},
		Data:       map[string][]byte{keys.EntryCurrent: key},
	}
	if err := c.Create(ctx, secret, options...); err != nil {
		return err
	}
	err := c.Create(ctx, k, options...)
	if err != nil && secret.UID != "" && len(options) == 0 {
		return errors.Join(err, c.Delete(context.WithoutCancel(ctx), secret, client.Preconditions{UID: &secret.UID}))
	}
	return err
}
