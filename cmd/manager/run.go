// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/metrics/filters"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/webhook"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/controllers"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/metrics"
	"github.com/apikey-manager/apikey-manager/internal/version"
	admission "github.com/apikey-manager/apikey-manager/internal/webhook"
	"github.com/apikey-manager/apikey-manager/internal/webhook/certs"
)

// run runs the manager until ctx is done.
func run(ctx context.Context, cfg *rest.Config, o options) error {
	rotator, err := newRotator(cfg, o)
	if err != nil {
		return err
	}
	mgr, err := newManager(cfg, o, rotator)
	if err != nil {
		return err
	}
	mailer, err := o.mailer()
	if err != nil {
		return err
	}
	events, err := metrics.NewEventCounter(ctrlmetrics.Registry)
	if err != nil {
		return fmt.Errorf("register metrics: %w", err)
	}
	recorder, err := metrics.NewVerifierRecorder(ctrlmetrics.Registry)
	if err != nil {
		return fmt.Errorf("register metrics: %w", err)
	}
	exports, err := metrics.NewExportRecorder(ctrlmetrics.Registry, clock.RealClock{})
	if err != nil {
		return fmt.Errorf("register metrics: %w", err)
	}
	err = controllers.Setup(ctx, mgr, controllers.Options{
		Clock: clock.RealClock{}, Random: rand.Reader, Settings: o.settings(), MaxConcurrentReconciles: o.concurrency,
		Mailer: mailer, Verifiers: o.verifiers(recorder), Count: events.Count,
		ExportConfigMapNamespaces: o.configMapNamespaces, ExportRecorder: exports,
	})
	if err != nil {
		return err
	}
	if err := addWebhooks(mgr, o, rotator); err != nil {
		return err
	}
	if err := addProbes(ctx, mgr); err != nil {
		return err
	}
	if err := controllers.AddStoreMonitor(ctx, mgr, clock.RealClock{}, o.settings()); err != nil {
		return err
	}
	collector := metrics.NewObjectCollector(ctx, mgr.GetCache(), mgr.GetLogger().WithName("metrics"))
	err = errors.Join(ctrlmetrics.Registry.Register(collector), metrics.RegisterManagerBuildInfo(ctrlmetrics.Registry, version.Get()))
	if err != nil {
		return fmt.Errorf("register metrics: %w", err)
	}
	return mgr.Start(ctx)
}

func newManager(cfg *rest.Config, o options, rotator *certs.Rotator) (ctrl.Manager, error) {
	scheme, err := controllers.NewScheme()
	if err != nil {
		return nil, err
	}
	enableWarmup := true
	mgr, err := ctrl.NewManager(cfg, ctrl.Options{
		Scheme:   scheme,
		NewCache: controllers.NewCache,
		Cache: cache.Options{
			DefaultTransform: cache.TransformStripManagedFields(),
			ByObject:         cacheOptions(o),
		},
		Controller:                    config.Controller{EnableWarmup: &enableWarmup},
		Metrics:                       metricsOptions(o),
		HealthProbeBindAddress:        o.probeAddress,
		WebhookServer:                 webhook.NewServer(webhookOptions(o, rotator)),
		LeaderElection:                o.leaderElect,
		LeaderElectionID:              "apikey-manager",
		LeaderElectionNamespace:       o.namespace,
		LeaderElectionReleaseOnCancel: true,
	})
	if err != nil {
		return nil, fmt.Errorf("create the manager: %w", err)
	}
	return mgr, nil
}

// cacheOptions restricts the cache to the Secrets of the manager in the watched namespaces, the ConfigMaps of KeyExports in theirs,
// and the EndpointSlices of the verifier.
// APIKeys are watched in all namespaces, so that the limits of accounts and the protection against deletion hold for all keys.
func cacheOptions(o options) map[client.Object]cache.ByObject {
	secrets := managedIn(o.namespaces)
	secrets.Transform = trimSecret
	byObject := map[client.Object]cache.ByObject{&corev1.Secret{}: secrets}
	if len(o.configMapNamespaces) > 0 {
		byObject[&corev1.ConfigMap{}] = managedIn(o.configMapNamespaces)
	}
	if o.verifierService != "" {
		byObject[&discoveryv1.EndpointSlice{}] = cache.ByObject{Namespaces: map[string]cache.Config{
			o.verifier.Namespace: {LabelSelector: labels.SelectorFromSet(labels.Set{discoveryv1.LabelServiceName: o.verifier.Name})},
		}}
	}
	return byObject
}

// managedIn restricts the cache to the objects of the manager in some namespaces, or in all namespaces if there are none.
func managedIn(namespaces []string) cache.ByObject {
	by := cache.ByObject{Label: labels.SelectorFromSet(labels.Set{keys.LabelManagedBy: keys.ManagedBy})}
	for _, namespace := range namespaces {
		if by.Namespaces == nil {
			by.Namespaces = map[string]cache.Config{}
		}
		by.Namespaces[namespace] = cache.Config{}
	}
	return by
}

// trimSecret removes from the metadata of a key's Secret what the manager does not read from its cache, to save memory: the
// managedFields and the labels. Objects of KeyExports keep their labels.
func trimSecret(o any) (any, error) {
	secret, ok := o.(*metav1.PartialObjectMetadata)
	if !ok {
		return o, nil
	}
	secret.ManagedFields = nil
	owner := metav1.GetControllerOfNoCopy(secret)
	if owner != nil && owner.APIVersion == v1alpha1.GroupVersion.String() && owner.Kind == "APIKey" {
		secret.Labels = nil
	}
	return secret, nil
}

func metricsOptions(o options) metricsserver.Options {
	m := metricsserver.Options{BindAddress: o.metricsAddress, SecureServing: o.metricsSecure}
	if o.metricsSecure {
		m.FilterProvider = filters.WithAuthenticationAndAuthorization
	}
	return m
}

func webhookOptions(o options, rotator *certs.Rotator) webhook.Options {
	options := webhook.Options{
		Port: o.webhookPort,
		TLSOpts: []func(*tls.Config){func(t *tls.Config) {
			t.MinVersion = tls.VersionTLS12
			t.GetCertificate = rotator.GetCertificate
		}},
	}
	if o.webhookClientCAFile != "" {
		options.TLSOpts = append(options.TLSOpts, certs.RequireClient(o.webhookClientCAFile, o.webhookClientName))
	}
	return options
}

func newRotator(cfg *rest.Config, o options) (*certs.Rotator, error) {
	webhookClient, err := client.NewWithWatch(cfg, client.Options{})
	if err != nil {
		return nil, fmt.Errorf("create the client for the webhook certificate: %w", err)
	}
	return certs.New(certs.Options{
		Client: webhookClient, Clock: clock.RealClock{}, Rand: rand.Reader,
		Secret:        client.ObjectKey{Namespace: o.namespace, Name: o.webhookSecret},
		Configuration: o.webhookConfig,
		Hosts:         append([]string{o.webhookService + "." + o.namespace + ".svc"}, o.webhookHosts...),
	})
}

// addWebhooks serves the validating webhooks, and makes readiness depend on them.
func addWebhooks(mgr ctrl.Manager, o options, rotator *certs.Rotator) error {
	if !o.webhooks {
		return nil
	}
	if err := admission.Setup(mgr, clock.RealClock{}, o.settings()); err != nil {
		return err
	}
	if err := mgr.Add(rotator); err != nil {
		return fmt.Errorf("add the webhook certificate: %w", err)
	}
	return errors.Join(
		ctrlmetrics.Registry.Register(metrics.WebhookCertificateCollector{Expiration: rotator.Expiration}),
		mgr.AddReadyzCheck("webhook", mgr.GetWebhookServer().StartedChecker()),
		mgr.AddReadyzCheck("webhook-certificate", rotator.Check),
	)
}

func addProbes(ctx context.Context, mgr ctrl.Manager) error {
	watched := []client.Object{
		&v1alpha1.APIKey{}, &v1alpha1.Account{}, &v1alpha1.KeyExport{}, partialMetadata("Secret"), partialMetadata("Namespace"),
	}
	for _, o := range watched {
		if _, err := mgr.GetCache().GetInformer(ctx, o, cache.BlockUntilSynced(false)); err != nil {
			return fmt.Errorf("watch %T: %w", o, err)
		}
	}
	synced := func(r *http.Request) error {
		const timeout = 100 * time.Millisecond
		ctx, cancel := context.WithTimeout(r.Context(), timeout)
		defer cancel()
		if !mgr.GetCache().WaitForCacheSync(ctx) {
			return errors.New("the caches are not synced")
		}
		return nil
	}
	return errors.Join(mgr.AddHealthzCheck("ping", healthz.Ping), mgr.AddReadyzCheck("caches", synced))
}

func partialMetadata(kind string) client.Object {
	return &metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: kind}}
}
