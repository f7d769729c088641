// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package verifier_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
	"github.com/apikey-manager/apikey-manager/test/controlplane"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

// rotating is the account whose keys are rotated.
const rotating = "rotating"

// testRotations rotates keys, some of them without an overlap, while consumers send the keys in the Secrets to two verifiers,
// one of which lags. No verifier may reject a key, and each rotation must change its Secret once.
func (w *suite) testRotations(t *testing.T, replicas []*controlplane.Verifier) {
	const count, rotations = 4, 4
	all := make([]*v1alpha1.APIKey, count)
	for i := range all {
		overlap := []v1alpha1.Duration{"0s", "1h"}[i%2]
		k, material := w.issue(t, fmt.Sprint("rotating-", i), v1alpha1.APIKeySpec{Account: rotating, Rotation: &v1alpha1.Rotation{Overlap: overlap}})
		for _, v := range replicas {
			controlplanetest.AwaitVerdict(t, v, material, "VALID")
		}
		all[i] = k
	}
	use := newConsumers(t, w, replicas)
	for range rotations {
		requested := keystest.Instant(time.Now())
		for _, k := range all {
			w.Change(t, k, func(s *v1alpha1.APIKeySpec) { s.Rotation.RequestedAt = requested })
		}
		for _, k := range all {
			controlplanetest.Eventually(t, "the request is carried out", func() error {
				if err := w.admin.Get(t.Context(), client.ObjectKeyFromObject(k), k); err != nil {
					return err
				}
				return controlplanetest.Equal(string(k.Status.Rotation.ObservedRequestedAt), string(requested))
			})
		}
		controlplanetest.SleepUntil(t, keystest.Time(requested).Add(time.Second)) // timestamps have whole seconds: one request each
	}
	use.stop()
	if n := use.asked.Load(); n < count*rotations {
		t.Errorf("verifiers were asked %d times only", n)
	}
	for _, k := range all {
		if n := use.changes[k.Name]; n != rotations {
			t.Errorf("%d rotations changed Secret %s %d times", rotations, k.Name, n)
		}
	}
}

// consumers use the keys in Secrets as applications do.
type consumers struct {
	t        *testing.T
	w        *suite
	replicas []*controlplane.Verifier
	stop     func()
	asked    atomic.Int64
	// changes is the number of changes of each Secret.
	changes map[string]int
}

// newConsumers starts a consumer that uses each key as soon as its Secret changes, and one that uses all keys continuously.
func newConsumers(t *testing.T, w *suite, replicas []*controlplane.Verifier) *consumers {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	c := &consumers{t: t, w: w, replicas: replicas, changes: map[string]int{}}
	selector := client.MatchingLabels{keys.LabelManagedBy: keys.ManagedBy, keys.LabelAccount: rotating}
	var before corev1.SecretList
	controlplanetest.Must(t, w.admin.List(ctx, &before, client.InNamespace("default"), selector))
	changes, err := controlplanetest.Connect(t, w.plane.Config()).Watch(ctx, &corev1.SecretList{}, client.InNamespace("default"), selector,
		&client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: before.ResourceVersion}})
	controlplanetest.Must(t, err)
	var running sync.WaitGroup
	running.Go(func() {
		for e := range changes.ResultChan() {
			if s, ok := e.Object.(*corev1.Secret); ok {
				c.changes[s.Name]++
				c.use(ctx, s)
			}
		}
	})
	running.Go(func() { c.useAll(ctx, selector) })
	c.stop = func() { cancel(); changes.Stop(); running.Wait() }
	t.Cleanup(c.stop)
	return c
}

func (c *consumers) useAll(ctx context.Context, selector client.MatchingLabels) {
	for ctx.Err() == nil {
		var list corev1.SecretList
		if err := c.w.admin.List(ctx, &list, client.InNamespace("default"), selector); err != nil {
			continue
		}
		for i := range list.Items {
			c.use(ctx, &list.Items[i])
		}
	}
}

// use asks all verifiers about the key in a Secret. If a key is rejected and the Secret has not changed afterwards, the key
// was in the Secret when it was rejected.
func (c *consumers) use(ctx context.Context, s *corev1.Secret) {
	for _, v := range c.replicas {
		verdict, err := controlplanetest.Verdict(ctx, v, string(s.Data[keys.EntryCurrent]))
		c.asked.Add(1)
		if ctx.Err() != nil || err == nil && verdict == "VALID" {
			continue
		}
		var now corev1.Secret
		if err := c.w.admin.Get(ctx, client.ObjectKeyFromObject(s), &now); err == nil && now.ResourceVersion == s.ResourceVersion {
			c.t.Errorf("a verifier says %q, %v of the key in Secret %s", verdict, err, s.Name)
		}
	}
}
