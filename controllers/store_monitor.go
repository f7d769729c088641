// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	waitutil "k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
)

const (
	// storeProbeInterval and storeProbeJitter result in a request for the resourceVersion every 10 to 15 seconds.
	storeProbeInterval = 10 * time.Second
	storeProbeJitter   = 0.5
	// storeProbeRetry is the interval of probes while they fail, and the interval at which informers are checked.
	storeProbeRetry   = time.Second
	storeProbeTimeout = 5 * time.Second
)

// errStoreRolledBack stops the manager: its caches cannot be emptied in place, and may hold objects that never existed
// in the current store.
var errStoreRolledBack = errors.New(
	"the API server's store was rolled back, for example by restoring a backup of etcd: the manager stops, so that it " +
		"starts again with empty caches",
)

// storeMonitor stops the manager after the API server's store was reset to an earlier state. The watches of informers
// hang then, because they wait for resourceVersions that the store has not reached again, and that may belong to other
// changes when it does.
type storeMonitor struct {
	reader client.Reader
	clock  clock.PassiveClock
	kinds  []*monitoredKind
}

// monitoredKind describes a kind of objects in the manager's caches. Each kind may have its own store
// (--etcd-servers-overrides).
type monitoredKind struct {
	list schema.GroupVersionKind
	// informer returns the resourceVersion of the cache.
	informer syncedInformer
	// informed is the last resourceVersion of the informer. newest is the newest resourceVersion of the informer or
	// the API server.
	informed, newest string
}

// syncedInformer is implemented by the informers of client-go, which controller-runtime returns.
type syncedInformer interface{ LastSyncResourceVersion() string }

// AddStoreMonitor adds a monitor of the store to a manager. It runs in every replica, whether it leads or not. A manager that may
// read the Secrets of some namespaces only does not monitor Secrets: the API server reports a resourceVersion for all of them, and
// Namespaces are almost always in the same store.
func AddStoreMonitor(ctx context.Context, mgr ctrl.Manager, now clock.PassiveClock, settings keys.Settings) error {
	m := &storeMonitor{reader: mgr.GetAPIReader(), clock: now}
	core := func(kind string) client.Object {
		return &metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{APIVersion: corev1.SchemeGroupVersion.String(), Kind: kind}}
	}
	kinds := map[schema.GroupVersionKind]client.Object{
		v1alpha1.GroupVersion.WithKind("APIKeyList"):        &v1alpha1.APIKey{},
		v1alpha1.GroupVersion.WithKind("AccountList"):       &v1alpha1.Account{},
		v1alpha1.GroupVersion.WithKind("KeyExportList"):     &v1alpha1.KeyExport{},
		corev1.SchemeGroupVersion.WithKind("NamespaceList"): core("Namespace"),
	}
	if len(settings.Namespaces) == 0 {
		kinds[corev1.SchemeGroupVersion.WithKind("SecretList")] = core("Secret")
	}
	for list, object := range kinds {
		informer, err := mgr.GetCache().GetInformer(ctx, object, cache.BlockUntilSynced(false))
		if err != nil {
			return fmt.Errorf("watch %s: %w", list.Kind, err)
		}
		synced, ok := informer.(syncedInformer)
		if !ok {
			return fmt.Errorf("the informer of %s does not report its resourceVersion", list.Kind)
		}
		m.kinds = append(m.kinds, &monitoredKind{list: list, informer: synced})
	}
	return mgr.Add(m)
}

// NeedLeaderElection implements manager.LeaderElectionRunnable.
func (m *storeMonitor) NeedLeaderElection() bool { return false }

// Start implements manager.Runnable. It returns an error once the store was rolled back.
func (m *storeMonitor) Start(ctx context.Context) error {
	ticker := time.NewTicker(storeProbeRetry)
	defer ticker.Stop()
	for next := m.clock.Now(); ; {
		for _, k := range m.kinds {
			if err := k.observeInformer(); err != nil {
				return err
			}
		}
		if !m.clock.Now().Before(next) {
			failed, err := m.probe(ctx)
			if err != nil {
				return err
			}
			next = m.clock.Now().Add(pauseAfter(failed))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// pauseAfter returns the time until the next probe. It is short while the API server is unavailable, so that the next
// probe comes before a restored store reaches the last known resourceVersion again.
func pauseAfter(failed bool) time.Duration {
	if failed {
		return storeProbeRetry
	}
	return waitutil.Jitter(storeProbeInterval, storeProbeJitter)
}

// probe requests the current resourceVersion of each kind from the store, past the caches of the API server.
func (m *storeMonitor) probe(ctx context.Context) (failed bool, err error) {
	for _, k := range m.kinds {
		list := &metav1.PartialObjectMetadataList{}
		list.SetGroupVersionKind(k.list)
		limited, cancel := context.WithTimeout(ctx, storeProbeTimeout)
		err := m.reader.List(limited, list, client.Limit(1))
		cancel()
		if err != nil {
			log.FromContext(ctx).V(1).Info("Could not request the resourceVersion", "list", k.list.Kind, "cause", err.Error())
			return true, nil
		}
		if err := k.observe(list.ResourceVersion); err != nil {
			return false, err
		}
	}
	return false, nil
}

// observeInformer records the resourceVersion of the cache. It may be older than that of the API server, but not older
// than its own previous one.
func (k *monitoredKind) observeInformer() error {
	version := k.informer.LastSyncResourceVersion()
	before := k.informed
	k.informed = version
	if earlier(version, before) {
		return k.rolledBack(before, version)
	}
	if k.newest == "" || earlier(k.newest, version) {
		k.newest = version
	}
	return nil
}

// observe records the resourceVersion of the store.
func (k *monitoredKind) observe(version string) error {
	if earlier(version, k.newest) {
		return k.rolledBack(k.newest, version)
	}
	k.newest = version
	return nil
}

func (k *monitoredKind) rolledBack(newest, now string) error {
	return fmt.Errorf("%w (%s: resourceVersion %s, after %s)", errStoreRolledBack, k.list.Kind, now, newest)
}

// earlier reports whether one resourceVersion is lower than another one. It returns false if they are not numbers.
func earlier(version, than string) bool {
	order, err := resourceversion.CompareResourceVersion(version, than)
	return err == nil && order < 0
}
