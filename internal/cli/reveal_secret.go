// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/credential"
	"github.com/apikey-manager/apikey-manager/internal/keys"
)

// revealed is a credential in a Secret.
type revealed struct {
	Key    *v1alpha1.APIKey
	Secret *corev1.Secret
	credential.Credential
}

// readCredential reads the current or the previous credential of an APIKey from its Secret. It returns only a credential whose
// digest is in the status of the APIKey: a user who may write Secrets could otherwise pass off another key as this one.
func readCredential(ctx context.Context, c client.Client, name client.ObjectKey, previous bool) (*revealed, error) {
	r := &revealed{Key: &v1alpha1.APIKey{}}
	if err := c.Get(ctx, name, r.Key); err != nil {
		return nil, err
	}
	var err error
	if r.Secret, err = readSecret(ctx, c, r.Key); err != nil {
		return nil, err
	}
	if r.find(previous) {
		return r, nil
	}
	// The key may have been rotated between the two reads. The status has a new digest before the Secret has the credential.
	if err := c.Get(ctx, name, r.Key); err != nil {
		return nil, err
	}
	if r.find(previous) {
		return r, nil
	}
	return nil, r.explainMissing(previous)
}

// readSecret reads the Secret of a key.
func readSecret(ctx context.Context, c client.Client, k *v1alpha1.APIKey) (*corev1.Secret, error) {
	name := client.ObjectKey{Namespace: k.Namespace, Name: keys.SecretName(k)}
	secret := &corev1.Secret{}
	err := c.Get(ctx, name, secret)
	switch {
	case apierrors.IsForbidden(err):
		return nil, fmt.Errorf("no right to read Secret %s in namespace %s, which holds the key: ask for the verb get on it, and check "+
			"with: kubectl auth can-i get secret/%s -n %s", name.Name, name.Namespace, name.Name, name.Namespace)
	case apierrors.IsNotFound(err) && k.Spec.Import != nil:
		return nil, fmt.Errorf("APIKey %s was imported by its digest: it has no Secret before its first rotation, and its key is stored "+
			"nowhere", k.Name)
	case apierrors.IsNotFound(err):
		return nil, fmt.Errorf("APIKey %s has no Secret %s: kubectl apikey describe %s -n %s shows why", k.Name, name.Name, k.Name, k.Namespace)
	}
	return secret, err
}

// find looks for the credential in the Secret by the digests of the status.
func (r *revealed) find(previous bool) bool {
	found := keys.FindCredentials(r.Key, r.Secret.Data)
	r.Credential = found.Current
	if previous {
		r.Credential = found.Previous
	}
	return len(r.Material) > 0
}

// explainMissing says why the Secret does not hold the credential.
func (r *revealed) explainMissing(previous bool) error {
	k := r.Key
	switch {
	case k.Spec.State == v1alpha1.KeyStateRevoked:
		return fmt.Errorf("APIKey %s is revoked: its Secret holds no key", k.Name)
	case previous && !hasRole(k, v1alpha1.RolePrevious):
		return fmt.Errorf("APIKey %s has no previous key: no overlap of a rotation is in progress", k.Name)
	case previous:
		return fmt.Errorf("secret %s does not hold the previous key: set spec.secret.previousKey of APIKey %s to Include before "+
			"the next rotation", r.Secret.Name, k.Name)
	case !keys.Issued(k):
		return fmt.Errorf("APIKey %s has no credential yet: kubectl apikey describe %s -n %s shows why", k.Name, k.Name, k.Namespace)
	}
	return fmt.Errorf("secret %s does not hold the key of APIKey %s: none of its entries has a digest that the status lists. The Secret was "+
		"changed by another client, and what it holds is not shown, because it may be a key of that client. "+
		"The manager issues a new key: try again, and find out who may write the Secret", r.Secret.Name, k.Name)
}

func hasRole(k *v1alpha1.APIKey, role v1alpha1.CredentialRole) bool {
	for _, c := range k.Status.Credentials {
		if c.Role == role {
			return true
		}
	}
	return false
}

// isPrintable reports whether a key is printable ASCII without white space. Other bytes could control a terminal.
func isPrintable(key credential.Material) bool {
	return !strings.ContainsFunc(string(key), func(c rune) bool { return c <= ' ' || c > '~' })
}

// warnings returns what users should know before they use the key.
func (r *revealed) warnings() []string {
	var list []string
	if keys.OwnershipOf(r.Secret, r.Key) != keys.SecretOwned {
		list = append(list, fmt.Sprintf("Secret %s is not owned by APIKey %s, although it holds its key: kubectl apikey describe %s -n %s",
			r.Secret.Name, r.Key.Name, r.Key.Name, r.Key.Namespace))
	}
	if valid := conditionOf(r.Key, v1alpha1.ConditionValid); valid.Status != metav1.ConditionTrue {
		list = append(list, fmt.Sprintf("verifiers do not accept this key: it is %s (%s)", r.Key.Status.State, valid.Message))
	}
	return list
}
