// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	cachetesting "k8s.io/client-go/tools/cache/testing"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
	"github.com/apikey-manager/apikey-manager/internal/lookup"
)

// newIndexedCache returns a cache that watches the APIKeys in source. The test starts it.
func newIndexedCache(t *testing.T, source *cachetesting.FakeControllerSource) cache.Cache {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	mapper := meta.NewDefaultRESTMapper(nil)
	mapper.Add(v1alpha1.GroupVersion.WithKind("APIKey"), meta.RESTScopeNamespace)
	mapper.Add(v1alpha1.GroupVersion.WithKind("Account"), meta.RESTScopeRoot)
	c, err := NewCache(&rest.Config{}, cache.Options{
		Scheme: scheme, Mapper: mapper,
		NewInformer: func(_ toolscache.ListerWatcher, o runtime.Object, resync time.Duration, i toolscache.Indexers) toolscache.SharedIndexInformer {
			if _, ok := o.(*v1alpha1.APIKey); ok {
				return toolscache.NewSharedIndexInformer(source, o, resync, i)
			}
			return toolscache.NewSharedIndexInformer(cachetesting.NewFakeControllerSource(), o, resync, i)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := lookup.AddIndexes(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	return c
}

func startCache(t *testing.T, c cache.Cache) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan error)
	go func() { stopped <- c.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-stopped; err != nil {
			t.Error(err)
		}
	})
	if !c.WaitForCacheSync(ctx) {
		t.Fatal("the cache does not sync")
	}
}

func fullNames(list []*v1alpha1.APIKey) []string {
	found := make([]string, len(list))
	for i, k := range list {
		found[i] = k.Namespace + "/" + k.Name
	}
	slices.Sort(found)
	return found
}

// TestIndexedCache_ListsByIndex checks that an index has the keys of all namespaces, and follows changes.
func TestIndexedCache_ListsByIndex(t *testing.T) {
	t.Parallel()
	source := cachetesting.NewFakeControllerSource()
	source.Add(keystest.Key("a", keystest.Namespace("one"), keystest.Account("acme")))
	source.Add(keystest.Key("b", keystest.Namespace("two"), keystest.Account("acme")))
	source.Add(keystest.Key("c", keystest.Namespace("two"), keystest.Account("zeta")))
	c := newIndexedCache(t, source)

	if _, err := lookup.Keys(t.Context(), c, keys.IndexAccount, "acme"); !errors.As(err, new(*cache.ErrCacheNotStarted)) {
		t.Fatalf("list before the start: got %v, want ErrCacheNotStarted", err)
	}
	startCache(t, c)
	list := func() []string {
		found, err := lookup.Keys(t.Context(), c, keys.IndexAccount, "acme")
		if err != nil {
			t.Fatal(err)
		}
		return fullNames(found)
	}
	if got, want := list(), []string{"one/a", "two/b"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}

	deleted := make(chan struct{}) // the last change; the cache holds an object before its handlers are called
	informer, err := c.GetInformer(t.Context(), &v1alpha1.APIKey{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{DeleteFunc: func(any) { close(deleted) }}); err != nil {
		t.Fatal(err)
	}
	source.Modify(keystest.Key("c", keystest.Namespace("two"), keystest.Account("acme")))
	source.Delete(keystest.Key("a", keystest.Namespace("one"), keystest.Account("acme")))
	select {
	case <-deleted:
	case <-time.After(time.Minute):
		t.Fatal("the deletion does not arrive")
	}
	if got, want := list(), []string{"two/b", "two/c"}; !slices.Equal(got, want) {
		t.Errorf("after the changes: got %v, want %v", got, want)
	}
}

// TestIndexedCache_RefusesRestrictions checks that a list returns an error for what an index cannot do, instead of too many keys.
func TestIndexedCache_RefusesRestrictions(t *testing.T) {
	t.Parallel()
	source := cachetesting.NewFakeControllerSource()
	source.Add(keystest.Key("a", keystest.Namespace("one"), keystest.Account("acme")))
	c := newIndexedCache(t, source)
	startCache(t, c)
	account := client.MatchingFields{keys.IndexAccount: "acme"}
	for name, options := range map[string][]client.ListOption{
		"namespace":     {account, client.InNamespace("two")},
		"labels":        {account, client.MatchingLabels{"a": "b"}},
		"limit":         {account, client.Limit(1)},
		"two indexes":   {client.MatchingFields{keys.IndexAccount: "acme", keys.IndexLabel: "acme/a"}},
		"unknown index": {client.MatchingFields{"spec.state": "Active"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var list v1alpha1.APIKeyList
			if err := c.List(t.Context(), &list, options...); err == nil {
				t.Errorf("got %d keys, want an error", len(list.Items))
			}
		})
	}
}

// TestIndexedCache_ListCopies checks that the keys of a list may be changed, unless the caller asks for those of the cache.
func TestIndexedCache_ListCopies(t *testing.T) {
	t.Parallel()
	source := cachetesting.NewFakeControllerSource()
	labeled := keystest.Key("a", keystest.Namespace("one"), keystest.Account("acme"))
	labeled.Labels = map[string]string{"team": "red"}
	source.Add(labeled)
	c := newIndexedCache(t, source)
	startCache(t, c)
	account := client.MatchingFields{keys.IndexAccount: "acme"}

	var changed, shared v1alpha1.APIKeyList
	if err := errors.Join(c.List(t.Context(), &changed, account), c.List(t.Context(), &shared, account, client.UnsafeDisableDeepCopy)); err != nil {
		t.Fatal(err)
	}
	changed.Items[0].Labels["team"] = "blue"
	if got := shared.Items[0].Labels["team"]; got != "red" {
		t.Errorf("a change of a listed key changed the cache: got %q, want red", got)
	}
}
