// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"bytes"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// Observe describes the Secret of a key's name, and returns the credentials to render it from again if it is the key's own
// or may be adopted.
func Observe(k *v1alpha1.APIKey, a *v1alpha1.Account, object metav1.Object, secret Shape) (Held, Contents) {
	version, p := object.GetResourceVersion(), PossessionOf(object, k)
	held, contents := Held{Possession: p, ResourceVersion: version}, Contents{}
	switch {
	case p == HeldOwned:
		held, contents = Inspect(k, a, secret, version)
	case mayAdopt(k, a, object):
		held, contents = inspectOffer(k, a, secret, version)
	}
	if held.Possession == HeldForeign {
		held.Owner = ownerOf(object)
	}
	held.Writer = lastWriter(object.GetManagedFields())
	return held, contents
}

// asksForAdoption reports whether a Secret's annotations ask that a key adopt it, under an account that allows it.
func asksForAdoption(k *v1alpha1.APIKey, a *v1alpha1.Account, annotations map[string]string) bool {
	return a != nil && a.Spec.ImportPolicy == v1alpha1.ImportAllow && annotations[v1alpha1.AdoptAnnotation] == k.Name &&
		k.Spec.State != v1alpha1.KeyStateRevoked
}

// mayAdopt reports whether a key may take a Secret over that is not its own. A Secret with an owner is left to that owner: if
// it no longer exists, the garbage collector is about to remove the Secret.
func mayAdopt(k *v1alpha1.APIKey, a *v1alpha1.Account, secret metav1.Object) bool {
	return asksForAdoption(k, a, secret.GetAnnotations()) && len(secret.GetOwnerReferences()) == 0 && secret.GetDeletionTimestamp() == nil
}

// inspectOffer takes a Secret apart that asks to be adopted. A key that was issued before takes back its own credential
// alone: otherwise, whoever may write Secrets could choose the credential of any key.
func inspectOffer(k *v1alpha1.APIKey, a *v1alpha1.Account, secret Shape, version string) (Held, Contents) {
	held, contents := Inspect(k, a, secret, version)
	held.Possession = HeldOffered
	switch {
	case !Issued(k):
		if _, err := offeredCredential(k, a, secret.Data); err != nil {
			held.OfferProblem = err.Error()
		}
	case held.Current.SHA256 != current(&k.Status).SHA256:
		return Held{Possession: HeldForeign, ResourceVersion: version}, Contents{}
	}
	switch {
	case held.OfferProblem != "":
	case held.WrongType != "":
		held.OfferProblem = "it has type " + held.WrongType + ", and the key declares another: create it again with that type and the same entries"
	case held.Immutable && held.EntriesDrifted:
		held.OfferProblem = "it is immutable and has other entries than the key declares: create it again with those entries, or without immutable"
	}
	return held, contents
}

// offeredCredential returns the credential that a Secret offers for adoption. Its error is a sentence that names the entry
// and the way out, and holds no value.
func offeredCredential(k *v1alpha1.APIKey, a *v1alpha1.Account, data map[string][]byte) (Credential, error) {
	names, err := keyEntries(k, a)
	if err != nil {
		return Credential{}, err
	}
	var key Material
	from := ""
	for _, name := range names {
		value, exists := data[name]
		switch {
		case !exists:
		case from != "" && !bytes.Equal(value, key):
			return Credential{}, offerError("its entries %s and %s hold different keys: make them the same", from, name)
		default:
			key, from = Material(value), name
		}
	}
	if from == "" {
		return Credential{}, offerError("it has no entry %s: put the key there", strings.Join(names, " or "))
	}
	if problem := importProblem(key); problem != "" {
		return Credential{}, offerError("its entry %s %s", from, problem)
	}
	identity, err := parseToken(key)
	if err != nil {
		identity, err = opaque(key, true)
	}
	return Credential{Material: bytes.Clone(key), Identity: identity}, err
}

// keyEntries names the entries of a key's Secret that hold the current credential and nothing else, in order.
func keyEntries(k *v1alpha1.APIKey, a *v1alpha1.Account) ([]string, error) {
	t := secretTemplate(k)
	if t == nil || len(t.Data) == 0 {
		return []string{EntryCurrent}, nil
	}
	placeholder := Material(strings.Repeat("Kq7", 20))
	rendered, err := Render(k, a, Contents{Current: Credential{Material: placeholder, Identity: Identity{ID: "Kq7Kq7Kq7Kq7", Hint: "Kq7K"}}})
	if err != nil {
		return nil, err
	}
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(rendered.Data)), func(name string) bool {
		return !bytes.Equal(rendered.Data[name], placeholder)
	})
	if len(names) == 0 {
		return nil, offerError("no entry of spec.secret.template.data is {{ .Key }} alone: add one, so that the key can be found")
	}
	return names, nil
}
