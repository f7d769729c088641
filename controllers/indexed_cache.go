// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"

	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// NewCache returns a cache whose indexes of APIKeys span all namespaces. The indexes of controller-runtime hold each value twice,
// within the namespace of the object and across all of them, in strings of their own: about 0.8 KiB for a key.
//
// It implements cache.NewCacheFunc.
func NewCache(config *rest.Config, options cache.Options) (cache.Cache, error) {
	c, err := cache.New(config, options)
	if err != nil {
		return nil, fmt.Errorf("create the cache: %w", err)
	}
	return &indexedCache{Cache: c}, nil
}

type indexedCache struct {
	cache.Cache
}

// IndexField adds an index. Lists of APIKeys by an index must not be restricted in another way.
func (c *indexedCache) IndexField(ctx context.Context, object client.Object, field string, values client.IndexerFunc) error {
	if _, ok := object.(*v1alpha1.APIKey); !ok {
		return c.Cache.IndexField(ctx, object, field, values) //nolint:wrapcheck // forwarded
	}
	informer, err := c.GetInformer(ctx, object, cache.BlockUntilSynced(false))
	if err != nil {
		return fmt.Errorf("watch APIKeys: %w", err)
	}
	//nolint:wrapcheck // forwarded
	return informer.AddIndexers(toolscache.Indexers{field: func(o any) ([]string, error) {
		key, ok := o.(*v1alpha1.APIKey)
		if !ok {
			return nil, fmt.Errorf("index %s holds APIKeys, not %T", field, o)
		}
		return values(key), nil
	}})
}

// List lists APIKeys by an index, and everything else as controller-runtime does.
func (c *indexedCache) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	var o client.ListOptions
	o.ApplyOptions(opts)
	keyList, ok := list.(*v1alpha1.APIKeyList)
	if !ok || o.FieldSelector == nil {
		return c.Cache.List(ctx, list, opts...) //nolint:wrapcheck // forwarded
	}
	found, err := c.keysByIndex(ctx, o)
	if err != nil {
		return err
	}
	keyList.Items = make([]v1alpha1.APIKey, len(found))
	for i, item := range found {
		key := item.(*v1alpha1.APIKey) //nolint:forcetypeassert // the index holds nothing else
		if o.UnsafeDisableDeepCopy == nil || !*o.UnsafeDisableDeepCopy {
			key = key.DeepCopy()
		}
		keyList.Items[i] = *key
	}
	return nil
}

// keysByIndex returns the APIKeys that have the value of an index that the field selector of a list names.
func (c *indexedCache) keysByIndex(ctx context.Context, o client.ListOptions) ([]any, error) {
	requirements := o.FieldSelector.Requirements()
	if len(requirements) != 1 || o.Namespace != "" || o.LabelSelector != nil || o.Limit != 0 || o.Continue != "" {
		return nil, fmt.Errorf("list APIKeys by %s: the cache supports one index without other restrictions", o.FieldSelector)
	}
	value, exact := o.FieldSelector.RequiresExactMatch(requirements[0].Field)
	if !exact {
		return nil, fmt.Errorf("list APIKeys by %s: an index has exact values", o.FieldSelector)
	}
	informer, err := c.GetInformer(ctx, &v1alpha1.APIKey{}) // waits until it is synced, if the cache has been started
	if err != nil {
		return nil, fmt.Errorf("watch APIKeys: %w", err)
	}
	if !informer.HasSynced() {
		return nil, &cache.ErrCacheNotStarted{}
	}
	indexed, ok := informer.(toolscache.SharedIndexInformer)
	if !ok {
		return nil, fmt.Errorf("list APIKeys by %s: the cache is restricted to some namespaces", o.FieldSelector)
	}
	return indexed.GetIndexer().ByIndex(requirements[0].Field, value) //nolint:wrapcheck // names the index
}
