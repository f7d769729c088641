// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Package lookup reads the objects that the rules of internal/keys need: an Account, the labels of a namespace, and other keys
// by index. Controllers and webhook share it.
//
// The objects that it returns may be shared with the cache: callers must not change them.
package lookup

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
)

// AddIndexes registers the indexes that this package reads by.
func AddIndexes(ctx context.Context, indexer client.FieldIndexer) error {
	for name, values := range keys.AccountIndexes {
		err := indexer.IndexField(ctx, &v1alpha1.Account{}, name, func(o client.Object) []string {
			return values(o.(*v1alpha1.Account)) //nolint:forcetypeassert // indexed as Account one line above
		})
		if err != nil {
			return fmt.Errorf("index Accounts by %s: %w", name, err)
		}
	}
	for name, values := range keys.Indexes {
		err := indexer.IndexField(ctx, &v1alpha1.APIKey{}, name, func(o client.Object) []string {
			return values(o.(*v1alpha1.APIKey)) //nolint:forcetypeassert // indexed as APIKey one line above
		})
		if err != nil {
			return fmt.Errorf("index APIKeys by %s: %w", name, err)
		}
	}
	return nil
}

// Facts returns the facts that the policy of a key's account is checked against: the Account, the labels of the namespace if
// the policy selects namespaces, and the other keys of the account with the same label unless keys may share it.
func Facts(ctx context.Context, reader client.Reader, key *v1alpha1.APIKey, settings keys.Settings, now time.Time) (keys.Facts, error) {
	facts := keys.Facts{Key: key, Settings: settings, Now: now.UTC().Truncate(time.Second)}
	var err error
	if facts.Account, err = Account(ctx, reader, key.Spec.Account); err != nil {
		return facts, err
	}
	if facts.NamespaceLabels, err = NamespaceLabels(ctx, reader, facts.Account, key.Namespace); err != nil {
		return facts, err
	}
	if keys.HasUniqueLabel(key, facts.Account) {
		if facts.Siblings, err = Keys(ctx, reader, keys.IndexLabel, keys.AccountLabel(key)); err != nil {
			return facts, err
		}
		facts.Siblings = settings.Watched(facts.Siblings)
	}
	return facts, nil
}

// Account returns the Account of a name, or nil if it does not exist.
func Account(ctx context.Context, reader client.Reader, name string) (*v1alpha1.Account, error) {
	var account v1alpha1.Account
	err := reader.Get(ctx, client.ObjectKey{Name: name}, &account, client.UnsafeDisableDeepCopy)
	if apierrors.IsNotFound(err) {
		return nil, nil //nolint:nilnil // nil is the account that does not exist
	}
	if err != nil {
		return nil, fmt.Errorf("read account %s: %w", name, err)
	}
	return &account, nil
}

// Accounts returns the Accounts that declare an external ID.
func Accounts(ctx context.Context, reader client.Reader, externalID string) ([]*v1alpha1.Account, error) {
	if externalID == "" {
		return nil, nil
	}
	var list v1alpha1.AccountList
	if err := reader.List(ctx, &list, client.MatchingFields{keys.IndexExternalID: externalID}, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list the accounts with externalID %s: %w", externalID, err)
	}
	return pointers(list.Items), nil
}

// Keys returns the APIKeys that have a value in an index.
func Keys(ctx context.Context, reader client.Reader, index, value string) ([]*v1alpha1.APIKey, error) {
	var list v1alpha1.APIKeyList
	if err := reader.List(ctx, &list, client.MatchingFields{index: value}, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list the keys with %s %s: %w", index, value, err)
	}
	return pointers(list.Items), nil
}

// NamespaceLabels returns the labels of a namespace if the policy of an account selects namespaces, and nil otherwise.
func NamespaceLabels(ctx context.Context, reader client.Reader, account *v1alpha1.Account, name string) (map[string]string, error) {
	if account == nil || account.Spec.AllowedNamespaces == nil {
		return nil, nil
	}
	namespace, err := Namespace(ctx, reader, name)
	if err != nil {
		return nil, err
	}
	return namespace.Labels, nil
}

// Namespace returns the metadata of a namespace. It is empty if the namespace does not exist.
func Namespace(ctx context.Context, reader client.Reader, name string) (*metav1.PartialObjectMetadata, error) {
	namespace := &metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"}}
	if err := reader.Get(ctx, client.ObjectKey{Name: name}, namespace); client.IgnoreNotFound(err) != nil {
		return nil, fmt.Errorf("read namespace %s: %w", name, err)
	}
	return namespace, nil
}

// AllKeys returns all APIKeys.
func AllKeys(ctx context.Context, reader client.Reader) ([]*v1alpha1.APIKey, error) {
	var list v1alpha1.APIKeyList
	if err := reader.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list the keys: %w", err)
	}
	return pointers(list.Items), nil
}

// AllAccounts returns all Accounts.
func AllAccounts(ctx context.Context, reader client.Reader) ([]*v1alpha1.Account, error) {
	var list v1alpha1.AccountList
	if err := reader.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list the accounts: %w", err)
	}
	return pointers(list.Items), nil
}

// ByName returns all Accounts by name, as their keys use them.
func ByName(all []*v1alpha1.Account) map[string]*v1alpha1.Account {
	declaring := map[string][]*v1alpha1.Account{}
	for _, a := range all {
		if a.Spec.ExternalID != "" {
			declaring[a.Spec.ExternalID] = append(declaring[a.Spec.ExternalID], a)
		}
	}
	byName := make(map[string]*v1alpha1.Account, len(all))
	for _, a := range all {
		byName[a.Name] = keys.WithHeldExternalID(a, declaring[a.Spec.ExternalID])
	}
	return byName
}

// AllNamespaceLabels returns the labels of all namespaces by name.
func AllNamespaceLabels(ctx context.Context, reader client.Reader) (map[string]map[string]string, error) {
	list := metav1.PartialObjectMetadataList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "NamespaceList"}}
	if err := reader.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list the namespaces: %w", err)
	}
	byName := make(map[string]map[string]string, len(list.Items))
	for i := range list.Items {
		byName[list.Items[i].Name] = list.Items[i].Labels
		if list.Items[i].Labels == nil {
			byName[list.Items[i].Name] = map[string]string{} // nil would mean that the namespace is not known
		}
	}
	return byName, nil
}

// Exports returns the KeyExports of a namespace, or of all namespaces if it is empty.
func Exports(ctx context.Context, reader client.Reader, namespace string) ([]*v1alpha1.KeyExport, error) {
	var list v1alpha1.KeyExportList
	if err := reader.List(ctx, &list, client.InNamespace(namespace), client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list the KeyExports: %w", err)
	}
	return pointers(list.Items), nil
}

func pointers[T any](items []T) []*T {
	list := make([]*T, len(items))
	for i := range items {
		list[i] = &items[i]
	}
	return list
}
