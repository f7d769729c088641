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
)

const (
	// storeProbeInterval and storeProbeJitter have the API server asked for its resourceVersion every 10 to 15 seconds.
	storeProbeInterval = 10 * time.Second
	storeProbeJitter   = 0.5
	// storeProbeRetry is the interval while probes fail, and that at which informers are looked at.
	storeProbeRetry   = time.Second
	storeProbeTimeout = 5 * time.Second
)

// errStoreRolledBack ends the manager: its caches can't be emptied in place, and what they have may never have been.
var errStoreRolledBack = errors.New("the API server's store was rolled back, as by restoring a backup of etcd: the manager ends, to start again with what is there now")

// storeMonitor ends the manager when the API server's store was put back to an earlier state. After that the watches of
// informers hang, since they wait for resourceVersions of a future that may come to be another one.
type storeMonitor struct {
	reader client.Reader
	clock  clock.PassiveClock
	kinds  []*monitoredKind
}

// monitoredKind is a kind that the manager has in its caches. Each may have a store of its own (--etcd-servers-overrides).
type monitoredKind struct {
	list schema.GroupVersionKind
	// informer says how far the cache is.
	informer syncedInformer
	// informed is what the informer said last, and newest the newest resourceVersion that it or the API server named.
	informed, newest string
}

// syncedInformer is what the informers of controller-runtime are underneath.
type syncedInformer interface{ LastSyncResourceVersion() string }

// AddStoreMonitor has every replica of the manager watch the store, whether it leads or not.
func AddStoreMonitor(ctx context.Context, mgr ctrl.Manager, now clock.PassiveClock) error {
	m := &storeMonitor{reader: mgr.GetAPIReader(), clock: now}
	core := func(kind string) client.Object {
		return &metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{APIVersion: corev1.SchemeGroupVersion.String(), Kind: kind}}
	}
	for list, object := range map[schema.GroupVersionKind]client.Object{
		v1alpha1.GroupVersion.WithKind("APIKeyList"):        &v1alpha1.APIKey{},
		v1alpha1.GroupVersion.WithKind("AccountList"):       &v1alpha1.Account{},
		corev1.SchemeGroupVersion.WithKind("SecretList"):    core("Secret"),
		corev1.SchemeGroupVersion.WithKind("NamespaceList"): core("Namespace"),
	} {
		informer, err := mgr.GetCache().GetInformer(ctx, object, cache.BlockUntilSynced(false))
		if err != nil {
			return fmt.Errorf("watch %s: %w", list.Kind, err)
		}
		synced, ok := informer.(syncedInformer)
		if !ok {
			return fmt.Errorf("the informer of %s does not say how far it is", list.Kind)
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

// pauseAfter returns how long to wait after a probe. While the API server is away it is asked again soon, before its store
// comes past the resourceVersion at which it was put back.
func pauseAfter(failed bool) time.Duration {
	if failed {
		return storeProbeRetry
	}
	return waitutil.Jitter(storeProbeInterval, storeProbeJitter)
}

// probe asks the API server how far the store of each kind is, by a read that the store itself answers.
func (m *storeMonitor) probe(ctx context.Context) (failed bool, err error) {
	for _, k := range m.kinds {
		list := &metav1.PartialObjectMetadataList{}
		list.SetGroupVersionKind(k.list)
		limited, cancel := context.WithTimeout(ctx, storeProbeTimeout)
		err := m.reader.List(limited, list, client.Limit(1))
		cancel()
		if err != nil {
			log.FromContext(ctx).V(1).Info("Could not ask for the resourceVersion", "list", k.list.Kind, "cause", err.Error())
			return true, nil
		}
		if err := k.observe(list.ResourceVersion); err != nil {
			return false, err
		}
	}
	return false, nil
}

// observeInformer takes note of how far the cache is. It may be behind what the API server said, but not behind itself.
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

// observe takes note of the resourceVersion of the store.
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

// earlier reports whether one resourceVersion is below another one. Those that are not numbers can't be compared.
func earlier(version, than string) bool {
	order, err := resourceversion.CompareResourceVersion(version, than)
	return err == nil && order < 0
}
