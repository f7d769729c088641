// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"io"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/lookup"
)

// Options holds what the reconcilers need besides a manager.
type Options struct {
	// Clock returns the current time.
	Clock clock.PassiveClock
	// Random is the source of key material. It is crypto/rand.Reader outside tests.
	Random io.Reader
	// Settings holds the defaults from the manager's flags for fields that an Account does not set.
	Settings keys.Settings
	// MaxConcurrentReconciles is the number of keys, and of accounts, that are reconciled at the same time.
	MaxConcurrentReconciles int
	// Mailer sends mail before keys expire. It is nil without a mail server.
	Mailer Mailer
	// Verifiers locates the replicas of the verifier. It is nil without verifiers.
	Verifiers *Verifiers
	// Count counts events about keys for metrics. It may be nil.
	Count func([]keys.Event)
	// ExportConfigMapNamespaces lists the namespaces in which KeyExports may write ConfigMaps.
	ExportConfigMapNamespaces []string
	// ExportRecorder records withdrawals from the objects of KeyExports. It may be nil.
	ExportRecorder ExportRecorder
	// Recorder receives the events. It defaults to the recorder of the manager.
	Recorder events.EventRecorder
	// SkipNameValidation allows several managers in one process, for tests.
	SkipNameValidation bool
}

// Setup adds the reconcilers to a manager.
func Setup(ctx context.Context, mgr ctrl.Manager, o Options) error {
	if o.Recorder == nil {
		o.Recorder = mgr.GetEventRecorder("apikey-manager")
	}
	if err := lookup.AddIndexes(ctx, mgr.GetFieldIndexer()); err != nil {
		return err
	}
	teller := EventEmitter{Recorder: o.Recorder, Count: o.Count}
	o.Settings.Verifiers = o.Verifiers != nil
	k := &APIKeyReconciler{
		Client: mgr.GetClient(), APIReader: mgr.GetAPIReader(), Clock: o.Clock, Random: o.Random, Settings: o.Settings, Events: teller,
	}
	if o.Verifiers != nil {
		k.propagation = newCredentialPropagation(mgr.GetClient(), o.Clock, *o.Verifiers)
		if err := mgr.Add(manager.RunnableFunc(k.propagation.run)); err != nil {
			return fmt.Errorf("set up the poller for staged credentials: %w", err)
		}
	}
	k.exports = &exportLookup{Reader: mgr.GetClient(), settings: o.Settings}
	if err := k.SetupWithManager(mgr, o); err != nil {
		return fmt.Errorf("set up the APIKey controller: %w", err)
	}
	objects, err := newMetadataUpdater(mgr.GetConfig(), mgr.GetHTTPClient())
	if err != nil {
		return err
	}
	all, err := newAllObjects(ctx, mgr.GetCache())
	if err != nil {
		return err
	}
	e := &KeyExportReconciler{
		Client: mgr.GetClient(), APIReader: mgr.GetAPIReader(), AllObjects: all, Objects: objects, Clock: o.Clock, Settings: o.Settings,
		Events: teller, ConfigMapNamespaces: o.ExportConfigMapNamespaces, Recorder: o.ExportRecorder, staged: &k.staged,
	}
	if err := e.SetupWithManager(mgr, o); err != nil {
		return fmt.Errorf("set up the KeyExport controller: %w", err)
	}
	a := &AccountReconciler{Client: mgr.GetClient(), APIReader: mgr.GetAPIReader(), Clock: o.Clock, Settings: o.Settings}
	if err := a.SetupWithManager(mgr, o); err != nil {
		return fmt.Errorf("set up the Account controller: %w", err)
	}
	m := &MailReconciler{
		Client:    mgr.GetClient(),
		APIReader: mgr.GetAPIReader(),
		Clock:     o.Clock,
		Settings:  o.Settings,
		Mailer:    o.Mailer,
		Events:    teller,
	}
	if err := m.SetupWithManager(mgr, o); err != nil {
		return fmt.Errorf("set up the mail controller: %w", err)
	}
	if o.Verifiers == nil {
		return nil
	}
	if err := newUsageReconciler(mgr.GetClient(), o.Clock, *o.Verifiers).SetupWithManager(mgr, o); err != nil {
		return fmt.Errorf("set up the usage controller: %w", err)
	}
	return nil
}

// NewScheme returns a scheme with the types that this package reads and writes.
func NewScheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, discoveryv1.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, fmt.Errorf("build the scheme: %w", err)
		}
	}
	return scheme, nil
}

func controllerOptions(o Options) controller.Options {
	return controller.Options{
		MaxConcurrentReconciles: o.MaxConcurrentReconciles, SkipNameValidation: &o.SkipNameValidation, NewQueue: newFairQueue,
	}
}

// specChanged passes updates that change a spec, or whether an object can be decoded.
var specChanged = predicate.Or[client.Object](predicate.GenerationChangedPredicate{}, undecodableChanged)

// exceptCreation drops create events. The manager itself creates the Secrets, and all keys are enqueued at start
// anyway.
var exceptCreation = predicate.Funcs{CreateFunc: func(event.CreateEvent) bool { return false }}

type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]
