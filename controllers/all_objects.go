// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"

	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/lookup"
)

// AllObjectsReader reads all objects of a kind. The objects must not be changed.
type AllObjectsReader interface {
	Keys(ctx context.Context) ([]*v1alpha1.APIKey, error)
	Accounts(ctx context.Context) ([]*v1alpha1.Account, error)
}

// allObjects is an AllObjectsReader that reads from the stores of a cache. A list of a client contains a copy of each object.
type allObjects struct {
	reader client.Reader
	// keys and accounts are nil if the cache has no store for all namespaces. Then they are read with the client.
	keys, accounts toolscache.Store
}

func newAllObjects(ctx context.Context, c cache.Cache) (*allObjects, error) {
	all := &allObjects{reader: c}
	for object, store := range map[client.Object]*toolscache.Store{&v1alpha1.APIKey{}: &all.keys, &v1alpha1.Account{}: &all.accounts} {
		informer, err := c.GetInformer(ctx, object, cache.BlockUntilSynced(false))
		if err != nil {
			return nil, fmt.Errorf("find the cached objects: %w", err)
		}
		if shared, ok := informer.(toolscache.SharedInformer); ok {
			*store = shared.GetStore()
		}
	}
	return all, nil
}

// Keys returns all APIKeys.
func (a *allObjects) Keys(ctx context.Context) ([]*v1alpha1.APIKey, error) {
	if a.keys == nil {
		return lookup.AllKeys(ctx, a.reader) //nolint:wrapcheck // it says what failed
	}
	return stored[v1alpha1.APIKey](a.keys), nil
}

// Accounts returns all Accounts.
func (a *allObjects) Accounts(ctx context.Context) ([]*v1alpha1.Account, error) {
	if a.accounts == nil {
		return lookup.AllAccounts(ctx, a.reader) //nolint:wrapcheck // it says what failed
	}
	return stored[v1alpha1.Account](a.accounts), nil
}

func stored[T any](store toolscache.Store) []*T {
	items := store.List()
	list := make([]*T, 0, len(items))
	for _, item := range items {
		if object, ok := item.(*T); ok {
			list = append(list, object)
		}
	}
	return list
}
