// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/metrics"
	"github.com/apikey-manager/apikey-manager/internal/verifier"
	"github.com/apikey-manager/apikey-manager/internal/verifier/server"
	"github.com/apikey-manager/apikey-manager/internal/version"
)

// run serves until ctx is done. It keeps the index in sync until the last request has been answered.
func run(ctx context.Context, config *rest.Config, o options) error {
	index := verifier.NewIndex()
	index.ReportUndecodable(logUndecodable)
	syncer, err := newSyncer(config, o, index)
	if err != nil {
		return err
	}
	recorder, err := newVerdictRecorder(o, index, syncer)
	if err != nil {
		return err
	}
	audit, flush := newAuditLogger(o)
	defer flush()
	authorizer, err := newAuthorizer(o, index, recorder, audit)
	if err != nil {
		return err
	}
	if o.server.Usage, err = newUsageHandler(config, o, index, syncer); err != nil {
		return err
	}
	o.server.Metrics = newMetricsHandler()
	o.server.ErrorLog = slog.NewLogLogger(logr.ToSlogHandler(ctrl.Log.WithName("http")), slog.LevelDebug)
	syncCtx, stopSync := context.WithCancel(context.WithoutCancel(ctx))
	defer stopSync()
	if o.traces {
		traces, err := newTraces(syncCtx)
		if err != nil {
			return err
		}
		defer shutDownTraces(syncCtx, traces)
		addTraces(&o.server, traces)
	}
	srv, err := server.New(ctx, authorizer, o.server)
	if err != nil {
		return err
	}
	go syncer.Run(syncCtx)
	return srv.Run(ctx)
}

// logUndecodable logs an object that cannot be decoded completely.
func logUndecodable(o verifier.Undecodable) {
	ctrl.Log.WithName("index").Info(
		"Ignored an object that cannot be decoded completely: correct the fields so that they match the schema of this version",
		"kind", o.Kind, "namespace", o.Name.Namespace, "name", o.Name.Name, "fields", o.Fields, "resourceVersion", o.ResourceVersion)
}

func newSyncer(config *rest.Config, o options, index *verifier.Index) (*verifier.Syncer, error) {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return nil, fmt.Errorf("register the API types: %w", err)
	}
	metav1.AddToGroupVersion(scheme, metav1.SchemeGroupVersion)
	source, err := client.NewWithWatch(config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("create the client: %w", err)
	}
	return verifier.NewSyncer(verifier.SyncerOptions{
		Source: source, Clock: clock.RealClock{}, Index: index, MaxStaleness: o.maxStaleness, Logger: ctrl.Log.WithName("syncer"),
	}), nil
}

func newAuthorizer(o options, index *verifier.Index, recorder *metrics.VerdictRecorder, audit logr.Logger) (*server.Authorizer, error) {
	extractor, err := verifier.NewKeyExtractor(o.sources)
	if err != nil {
		return nil, fmt.Errorf("--key-source: %w", err)
	}
	resolver, err := verifier.NewClientIPResolver(o.trusted)
	if err != nil {
		return nil, fmt.Errorf("--trusted-proxy: %w", err)
	}
	addressHeader, err := verifier.ParseAddressHeader(o.addressHeader)
	if err != nil {
		return nil, fmt.Errorf("--client-address-header: %w", err)
	}
	accountHeader, err := server.ParseAccountHeader(o.accountHeader)
	if err != nil {
		return nil, fmt.Errorf("--account-header: %w", err)
	}
	failureRate, err := verifier.ParseFailureRate(o.maxFailures)
	if err != nil {
		return nil, fmt.Errorf("--max-failures-per-client: %w", err)
	}
	metadataHeaders, err := server.ParseMetadataHeaders(o.metadataHeaders)
	if err != nil {
		return nil, fmt.Errorf("--metadata-header: %w", err)
	}
	authorizer, err := server.NewAuthorizer(server.AuthorizerOptions{
		Extractor: extractor, ClientIP: resolver, AddressHeader: addressHeader, Index: index, Clock: clock.RealClock{},
		AccountHeader: accountHeader, MetadataHeaders: metadataHeaders, Realm: o.realm,
		IgnoreExtensions: o.ignoreExtensions, Logger: ctrl.Log.WithName("gateways"),
		DenyStatusOnly: o.denyStatusOnly, Failures: verifier.NewFailureLimiter(failureRate), Audit: server.NewAudit(audit, o.auditSample),
		Observers: []server.Observer{func(protocol server.Protocol, v verifier.Verdict, took time.Duration) {
			recorder.Observe(int(protocol), int(v.Code), v.Account(), took)
		}},
	})
	if err != nil {
		return nil, fmt.Errorf("--key-source: %w", err)
	}
	return authorizer, nil
}

func newVerdictRecorder(o options, index *verifier.Index, syncer *verifier.Syncer) (*metrics.VerdictRecorder, error) {
	recorderOptions := metrics.VerdictRecorderOptions{
		Protocols: namesOf(server.Protocols()), Codes: namesOf(verifier.Codes()), Synced: index.Complete,
		CacheAge: func() time.Duration { return syncer.Age(clock.RealClock{}.Now()) }, Rollbacks: syncer.Rollbacks,
		Size: func() (int, int, int) {
			size := index.Size()
			return size.Keys, size.Credentials, size.Accounts
		},
		Undecodable: index.Undecodable,
	}
	if o.accountMetrics {
		recorderOptions.AccountLimit = o.accountLimit
	}
	recorder, err := metrics.NewVerdictRecorder(ctrlmetrics.Registry, recorderOptions)
	if err := errors.Join(err, metrics.RegisterVerifierBuildInfo(ctrlmetrics.Registry, version.Get())); err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	return recorder, nil
}

func namesOf[T fmt.Stringer](list []T) []string {
	var texts []string
	for _, one := range list {
		texts = append(texts, one.String())
	}
	return texts
}

// newUsageHandler returns the handler that reports the usage of keys to the manager. The name of the replica changes with each
// start, because counters start at zero.
func newUsageHandler(config *rest.Config, o options, index *verifier.Index, syncer *verifier.Syncer) (http.Handler, error) {
	const suffixLength = 6
	return server.Usage(server.UsageOptions{
		API: config, Replica: o.replica + "-" + strings.ToLower(rand.Text()[:suffixLength]), Index: index,
		KeysVersion: syncer.KeysVersion, Clock: clock.RealClock{}, Logger: ctrl.Log.WithName("usage"),
	})
}

func newMetricsHandler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(ctrlmetrics.Registry, promhttp.HandlerOpts{ErrorHandling: promhttp.HTTPErrorOnError}))
	return mux
}
