// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/credential"
)

// ObserveSecret describes the Secret with the key's Secret name. It also returns the credentials from which the Secret
// can be rendered again, if the key owns it or may adopt it.
func ObserveSecret(
	k *v1alpha1.APIKey,
	a *v1alpha1.Account,
	object metav1.Object,
	secret SecretContent,
) (ObservedSecret, SecretCredentials) {
	version, p := object.GetResourceVersion(), OwnershipOf(object, k)
	observed, credentials := ObservedSecret{Ownership: p, ResourceVersion: version}, SecretCredentials{}
	switch {
	case p == SecretOwned:
		observed, credentials = InspectSecret(k, a, secret, version)
	case mayTakeBack(k, object):
		if found, known := InspectSecret(k, a, secret, version); len(known.Current.Material) > 0 {
			observed, credentials = found, known
			observed.Ownership, observed.OfferProblem = SecretOffered, found.fixedProblem()
		}
	case mayAdopt(k, a, object):
		observed, credentials = inspectOffered(k, a, secret, version)
	}
	if observed.Ownership == SecretForeign {
		observed.Owner = ownerOf(object)
	}
	observed.Writer = lastWriter(object.GetManagedFields())
	return observed, credentials
}

// mayTakeBack reports whether a key that was issued may become the owner of a Secret again, provided that it holds the
// key's own credential: no other object owns it. This is the state after a restore from a backup, in which the owner is
// the former APIKey, or is left out. No annotation is needed: only a client that has the credential can write it to the
// Secret.
func mayTakeBack(k *v1alpha1.APIKey, secret metav1.Object) bool {
	foreign := func(owner metav1.OwnerReference) bool {
		return owner.APIVersion != v1alpha1.GroupVersion.String() || owner.Kind != "APIKey" || owner.Name != k.Name
	}
	return Issued(k) && secret.GetDeletionTimestamp() == nil && !slices.ContainsFunc(secret.GetOwnerReferences(), foreign)
}

// asksForAdoption reports whether the annotations offer a Secret to a key for adoption, under an account that allows
// it.
func asksForAdoption(k *v1alpha1.APIKey, a *v1alpha1.Account, annotations map[string]string) bool {
	return a != nil && a.Spec.ImportPolicy == v1alpha1.ImportAllow && annotations[v1alpha1.AdoptAnnotation] == k.Name &&
		k.Spec.State != v1alpha1.KeyStateRevoked
}

// mayAdopt reports whether a key that was never issued may adopt a Secret. Otherwise, any client that may write Secrets
// could choose the credential of any key. A Secret that has an owner is not adopted: if the owner no longer exists, the
// garbage collector is about to delete the Secret.
func mayAdopt(k *v1alpha1.APIKey, a *v1alpha1.Account, secret metav1.Object) bool {
	return !Issued(k) && asksForAdoption(k, a, secret.GetAnnotations()) && len(secret.GetOwnerReferences()) == 0 &&
		secret.GetDeletionTimestamp() == nil
}

// inspectOffered inspects a Secret that is offered for adoption.
func inspectOffered(k *v1alpha1.APIKey, a *v1alpha1.Account, secret SecretContent, version string) (ObservedSecret, SecretCredentials) {
	observed, credentials := InspectSecret(k, a, secret, version)
	observed.Ownership = SecretOffered
	if _, err := offeredCredential(k, a, secret.Data); err != nil {
		observed.OfferProblem = err.Error()
	}
	observed.OfferProblem = cmp.Or(observed.OfferProblem, observed.fixedProblem())
	return observed, credentials
}

// fixedProblem returns the reason for which a Secret can't become the key's that no update can remove, or "" if there
// is none.
func (h ObservedSecret) fixedProblem() string {
	switch {
	case h.WrongType != "":
		return "it has type " + h.WrongType + ", and the key declares another: create it again with that type and the same entries"
	case h.Immutable && h.EntriesDrifted:
		return "it is immutable and has other entries than the key declares: create it again with those entries, or without immutable"
	}
	return ""
}

// offeredCredential returns the credential that a Secret offers for adoption. Its error names the entry and what to
// change, and contains no value.
func offeredCredential(k *v1alpha1.APIKey, a *v1alpha1.Account, data map[string][]byte) (credential.Credential, error) {
	names, err := keyEntries(k, a)
	if err != nil {
		return credential.Credential{}, err
	}
	var key credential.Material
	from := ""
	for _, name := range names {
		value, exists := data[name]
		switch {
		case !exists:
		case from != "" && !bytes.Equal(value, key):
			return credential.Credential{}, fmt.Errorf("its entries %s and %s hold different keys: make them the same", from, name)
		default:
			key, from = credential.Material(value), name
		}
	}
	if from == "" {
		return credential.Credential{}, fmt.Errorf("it has no entry %s: put the key there", strings.Join(names, " or "))
	}
	if problem := credential.CheckImported(key); problem != "" {
		return credential.Credential{}, fmt.Errorf("its entry %s %s", from, problem)
	}
	return credential.Credential{Material: bytes.Clone(key), PublicPart: credential.PublicPartOf(key)}, nil
}

// keyEntries returns the names of the entries of a key's Secret that consist of the current credential alone, in order.
func keyEntries(k *v1alpha1.APIKey, a *v1alpha1.Account) ([]string, error) {
	t := secretTemplate(k)
	if t == nil || len(t.Data) == 0 {
		return []string{EntryCurrent}, nil
	}
	placeholder := credential.Material(strings.Repeat("Kq7", 20))
	rendered, err := Render(
		k,
		a,
		SecretCredentials{
			Current: credential.Credential{Material: placeholder, PublicPart: credential.PublicPart{ID: "Kq7Kq7Kq7Kq7", Hint: "Kq7K"}},
		},
	)
	if err != nil {
		return nil, err
	}
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(rendered.Data)), func(name string) bool {
		return !bytes.Equal(rendered.Data[name], placeholder)
	})
	if len(names) == 0 {
		return nil, fmt.Errorf("no entry of spec.secret.template.data is {{ .Key }} alone: add one, so that the key can be found")
	}
	return names, nil
}
