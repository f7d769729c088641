// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/prometheus/procfs"
	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/credential"
)

const (
	namespace  = "default"
	perAccount = 5
	writers    = 16
)

// material returns the key with a number, in the format Token.
func material(i int) string { return fmt.Sprintf("ak_%012d_%043d%06d", i, i, i) }

// grow creates keys with the status that the manager would write, until there are size of them and the verifier knows them.
func (b *bench) grow(ctx context.Context, size int) error {
	create := b.create
	if size-b.keys > seedAbove {
		create = b.seed
	}
	if b.keys < size {
		b.printf("Writing keys, up to %d", size)
		if err := create(ctx, b.keys, size); err != nil {
			return err
		}
		b.keys = size
	}
	if err := b.await(ctx, "apikey_verifier_credentials", float64(size)); err != nil {
		return err
	}
	return b.awaitIdleMachine(ctx)
}

// create writes keys to the API server.
func (b *bench) create(ctx context.Context, from, to int) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(writers)
	for i := from; i < to && ctx.Err() == nil; i++ {
		group.Go(func() error { return b.write(ctx, i) })
	}
	return group.Wait()
}

// seed writes the first key to the API server, and the others to etcd while no API server runs: its watch cache would take many times
// as long to follow.
func (b *bench) seed(ctx context.Context, from, to int) error {
	if from == 0 {
		if err := b.write(ctx, 0); err != nil {
			return err
		}
		from = 1
	}
	store, err := newEtcd(ctx, b.plane.EtcdURL())
	if err != nil {
		return err
	}
	if err := b.plane.StopAPIServer(); err != nil {
		return err
	}
	if err := store.seed(ctx, from, to); err != nil {
		return err
	}
	return b.plane.StartAPIServer(ctx)
}

// awaitIdleMachine waits until the machine is nearly idle, at most a minute: the API server is busy for a while after many
// writes.
func (b *bench) awaitIdleMachine(ctx context.Context) error {
	const little, longest = 0.15, time.Minute
	machine, err := procfs.NewDefaultFS()
	if err != nil {
		return err
	}
	before, err := machine.Stat()
	for end := time.Now().Add(longest); err == nil && time.Now().Before(end); {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(time.Second):
		}
		now, more := machine.Stat()
		idle, all := now.CPUTotal.Idle-before.CPUTotal.Idle, total(now.CPUTotal)-total(before.CPUTotal)
		if more == nil && idle >= (1-little)*all {
			return nil
		}
		before, err = now, more
	}
	return err
}

func total(s procfs.CPUStat) float64 {
	return s.User + s.Nice + s.System + s.Idle + s.Iowait + s.IRQ + s.SoftIRQ + s.Steal
}

// write creates a key, and its account if it is the first of it.
func (b *bench) write(ctx context.Context, i int) error {
	if i%perAccount == 0 {
		account := &v1alpha1.Account{ObjectMeta: metav1.ObjectMeta{Name: accountName(i)}}
		if err := b.admin.Create(ctx, account); err != nil && !apierrors.IsAlreadyExists(err) {
			return err
		}
	}
	k := &v1alpha1.APIKey{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name(i)}, Spec: specOf(i)}
	if err := b.admin.Create(ctx, k); err != nil {
		return err
	}
	k.Status = statusOf(i)
	return b.admin.Status().Update(ctx, k)
}

func specOf(i int) v1alpha1.APIKeySpec {
	return v1alpha1.APIKeySpec{
		Account: accountName(i), Label: fmt.Sprintf("Clave para la tienda %d", i), Scopes: []string{"conversions:write"},
	}
}

func statusOf(i int) v1alpha1.APIKeyStatus {
	id := fmt.Sprintf("%012d", i)
	return v1alpha1.APIKeyStatus{
		ObservedGeneration: 1, State: v1alpha1.StateActive, KeyID: id, IPRestriction: v1alpha1.IPUnrestricted,
		Credentials: []v1alpha1.Credential{{
			ID: id, Hint: "ak_" + id, SHA256: credential.Material(material(i)).SHA256(),
			IssuedAt: metav1.NewTime(time.Now().Truncate(time.Second)), Role: v1alpha1.RoleCurrent,
		}},
	}
}

func accountName(i int) string { return fmt.Sprintf("account-%d", i/perAccount) }
func name(i int) string        { return fmt.Sprintf("key-%d", i) }

// await waits until one of the verifier's gauges has a value.
func (b *bench) await(ctx context.Context, gauge string, want float64) error {
	for {
		got, err := b.gauge(ctx, gauge)
		if err != nil || got == want {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s is %g, not %g: %w", gauge, got, want, context.Cause(ctx))
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// heap returns the memory that the verifier's last garbage collection found in use. There were many collections during the
// load before.
func (b *bench) heap(ctx context.Context) (float64, error) {
	return b.gauge(ctx, "go_gc_heap_live_bytes")
}

// gauge returns the value of one of the verifier's metrics without labels.
func (b *bench) gauge(ctx context.Context, name string) (float64, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+b.verifier.Metrics+"/metrics", http.NoBody)
	if err != nil {
		return 0, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err
	}
	defer func() { _ = response.Body.Close() }()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(response.Body)
	if err != nil {
		return 0, err
	}
	family := families[name]
	if family == nil || len(family.GetMetric()) != 1 {
		return 0, fmt.Errorf("the verifier has no metric %s, among %s", name, strings.Join(names(families), ", "))
	}
	metric := family.GetMetric()[0]
	return metric.GetGauge().GetValue() + metric.GetUntyped().GetValue(), nil
}

func names[T any](families map[string]T) []string {
	var all []string
	for name := range families {
		all = append(all, name)
	}
	return all
}
