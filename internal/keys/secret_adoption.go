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

// ObserveSecret describes the Secret of a key's name, and returns the credentials to render it from again if it is the key's own
// or may be adopted.
func ObserveSecret(k *v1alpha1.APIKey, a *v1alpha1.Account, object metav1.Object, secret SecretContent) (ObservedSecret, SecretCredentials) {
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

// mayTakeBack reports whether a key that was issued may take a Secret back, should it hold the key's own credential: no other
// object owns it. So it is after a restore from a backup, in which the owner is the APIKey as it was then, or is left out.
// Nobody has to ask for it: only a client that has the credential can put it there.
func mayTakeBack(k *v1alpha1.APIKey, secret metav1.Object) bool {
	foreign := func(owner metav1.OwnerReference) bool {
		return owner.APIVersion != v1alpha1.GroupVersion.String() || owner.Kind != "APIKey" || owner.Name != k.Name
	}
	return Issued(k) && secret.GetDeletionTimestamp() == nil && !slices.ContainsFunc(secret.GetOwnerReferences(), foreign)
}

// asksForAdoption reports whether a Secret's annotations ask that a key adopt it, under an account that allows it.
func asksForAdoption(k *v1alpha1.APIKey, a *v1alpha1.Account, annotations map[string]string) bool {
	return a != nil && a.Spec.ImportPolicy == v1alpha1.ImportAllow && annotations[v1alpha1.AdoptAnnotation] == k.Name &&
		k.Spec.State != v1alpha1.KeyStateRevoked
}

// mayAdopt reports whether a key that was never issued may take a Secret over that is not its own: otherwise, whoever may write
// Secrets could choose the credential of any key. A Secret with an owner is left to that owner:
// if it no longer exists, the garbage collector is about to remove the Secret.
func mayAdopt(k *v1alpha1.APIKey, a *v1alpha1.Account, secret metav1.Object) bool {
	return !Issued(k) && asksForAdoption(k, a, secret.GetAnnotations()) && len(secret.GetOwnerReferences()) == 0 && secret.GetDeletionTimestamp() == nil
}

// inspectOffered takes a Secret apart that asks to be adopted.
func inspectOffered(k *v1alpha1.APIKey, a *v1alpha1.Account, secret SecretContent, version string) (ObservedSecret, SecretCredentials) {
	observed, credentials := InspectSecret(k, a, secret, version)
	observed.Ownership = SecretOffered
	if _, err := offeredCredential(k, a, secret.Data); err != nil {
		observed.OfferProblem = err.Error()
	}
	observed.OfferProblem = cmp.Or(observed.OfferProblem, observed.fixedProblem())
	return observed, credentials
}

// fixedProblem returns what makes a Secret unfit to become the key's that the API server never lets change; empty: nothing.
func (h ObservedSecret) fixedProblem() string {
	switch {
	case h.WrongType != "":
		return "it has type " + h.WrongType + ", and the key declares another: create it again with that type and the same entries"
	case h.Immutable && h.EntriesDrifted:
		return "it is immutable and has other entries than the key declares: create it again with those entries, or without immutable"
	}
	return ""
}

// offeredCredential returns the credential that a Secret offers for adoption. Its error is a sentence that names the entry
// and the way out, and holds no value.
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

// keyEntries names the entries of a key's Secret that hold the current credential and nothing else, in order.
func keyEntries(k *v1alpha1.APIKey, a *v1alpha1.Account) ([]string, error) {
	t := secretTemplate(k)
	if t == nil || len(t.Data) == 0 {
		return []string{EntryCurrent}, nil
	}
	placeholder := credential.Material(strings.Repeat("Kq7", 20))
	rendered, err := Render(k, a, SecretCredentials{Current: credential.Credential{Material: placeholder, PublicPart: credential.PublicPart{ID: "Kq7Kq7Kq7Kq7", Hint: "Kq7K"}}})
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
