// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/export"
	"github.com/apikey-manager/apikey-manager/internal/keys"
)

// exportedObject is an object of a KeyExport as it was read, or why it could not be read.
type exportedObject struct {
	name string
	err  error
}

// exportFacts holds what the plugin knows about a KeyExport.
type exportFacts struct {
	export *v1alpha1.KeyExport
	// compiled is nil if the spec is invalid, and compileErr says why.
	compiled   *export.Export
	compileErr error

	// keys holds the keys whose entries are identified: all, or one.
	keys map[types.UID]*v1alpha1.APIKey
	// read lists the objects. contents holds those that could be read.
	read     []exportedObject
	contents export.Objects
}

// newExportFacts reads the objects of a KeyExport and identifies the entries of keys in them.
func newExportFacts(ctx context.Context, c client.Client, x *v1alpha1.KeyExport, list []*v1alpha1.APIKey) *exportFacts {
	f := &exportFacts{export: x, keys: make(map[types.UID]*v1alpha1.APIKey, len(list)), contents: export.Objects{}}
	credentials := make(map[types.UID][]v1alpha1.Credential, len(list))
	for _, k := range list {
		f.keys[k.UID], credentials[k.UID] = k, k.Status.Credentials
	}
	f.compiled, f.compileErr = export.Compile(x)
	for _, name := range x.Status.Objects {
		data, object, err := readExportedObject(ctx, c, x, name)
		f.read = append(f.read, exportedObject{name, err})
		if err == nil {
			f.contents[name] = export.ObjectOf(data, object)
		}
	}
	if f.compiled != nil {
		f.compiled.Identify(f.contents, credentials)
	}
	return f
}

// readExportedObject returns the data and the metadata of an object that a KeyExport owns.
func readExportedObject(
	ctx context.Context, c client.Client, x *v1alpha1.KeyExport, name string,
) (data map[string][]byte, object metav1.Object, err error) {
	key := client.ObjectKey{Namespace: x.Namespace, Name: name}
	if x.Spec.Target.Kind == v1alpha1.ExportToConfigMap {
		configMap := &corev1.ConfigMap{}
		err = c.Get(ctx, key, configMap)
		object, data = configMap, make(map[string][]byte, len(configMap.Data))
		for entry, value := range configMap.Data {
			data[entry] = []byte(value)
		}
	} else {
		secret := &corev1.Secret{}
		err = c.Get(ctx, key, secret)
		object, data = secret, secret.Data
	}
	if err == nil && !metav1.IsControlledBy(object, x) {
		err = errors.New("the KeyExport does not own it")
	}
	return data, object, err
}

// readAllKeys returns the keys of all namespaces.
func readAllKeys(ctx context.Context, c client.Client) (list []*v1alpha1.APIKey, err error) {
	err = eachKey(ctx, c, client.ListOptions{}, func(k *v1alpha1.APIKey) error {
		k.ManagedFields = nil // saves memory
		list = append(list, k)
		return nil
	})
	return list, err
}

// readCandidate returns what decides whether KeyExports hold a key, and why that of the account could not be read. A KeyExport with a
// namespaceSelector does not select a key whose namespace could not be read.
func readCandidate(ctx context.Context, c client.Client, k *v1alpha1.APIKey) (candidate export.Candidate, accountErr, namespaceErr error) {
	candidate.Key = k
	account, namespace := &v1alpha1.Account{}, &corev1.Namespace{}
	if accountErr = c.Get(ctx, client.ObjectKey{Name: k.Spec.Account}, account); accountErr == nil {
		candidate.Account = account
	}
	if namespaceErr = c.Get(ctx, client.ObjectKey{Name: k.Namespace}, namespace); namespaceErr == nil {
		candidate.NamespaceLabels = labels.Merge(namespace.Labels, nil) // is not nil
	}
	if candidate.Account == nil || candidate.Account.Spec.AllowedNamespaces == nil {
		namespaceErr = nil // only selectors of KeyExports need it
	}
	return candidate, client.IgnoreNotFound(accountErr), namespaceErr
}

// shadowedDigests returns the digests of a key that were issued to another key of a list first.
func shadowedDigests(k *v1alpha1.APIKey, all []*v1alpha1.APIKey) []string {
	return keys.FindSharedDigests(all).Shadowed(k)
}

// withheldReason returns the reason for which the status of a KeyExport lists a key as withheld, or "".
func withheldReason(x *v1alpha1.KeyExport, k *v1alpha1.APIKey) string {
	for _, w := range x.Status.Withheld {
		if w.Namespace == k.Namespace && w.Name == k.Name {
			return w.Reason
		}
	}
	return ""
}

// withheldActions says for each reason of status.withheld what to do.
var withheldActions = map[string]string{
	v1alpha1.ReasonExportNotAllowed: "the exportPolicy of its account does not allow this content: set it to Key, or spec.content of the " +
		"KeyExport to Digest",
	v1alpha1.ReasonAddressRestricted: "it may be used from some addresses only, which the gateway cannot check: remove its ipWhitelist, let " +
		"the gateway ask a verifier, or set spec.addressRestricted: Include",
	v1alpha1.ReasonKeyNotReadable: "its Secret does not hold it, as before the first rotation of an imported key: rotate it",
	v1alpha1.ReasonDuplicateKey:   "its credential was issued to another key first: rotate it",
	v1alpha1.ReasonDuplicateEntry: "an older key has an entry of the same name: use .KeyID in spec.entry.name",
	v1alpha1.ReasonInvalidEntry:   "spec.entry does not render to a valid entry for it: correct the templates",
	v1alpha1.ReasonExportFull:     "the KeyExport is full: select fewer keys, and create another KeyExport for the others",
}
