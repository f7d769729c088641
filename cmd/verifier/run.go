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
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/apikey-manager/apikey-manager/internal/metrics"
	"github.com/apikey-manager/apikey-manager/internal/verifier"
	"github.com/apikey-manager/apikey-manager/internal/verifier/server"
	"github.com/apikey-manager/apikey-manager/internal/version"
)

// run serves until ctx is done. It keeps the keys of all clusters in sync until the last request has been answered.
func run(ctx context.Context, o options) error {
	list, err := newClusters(o)
	if err != nil {
		return err
	}
	recorder, err := newVerdictRecorder(o, list)
	if err != nil {
		return err
	}
	audit, flush := newAuditLogger(o)
	defer flush()
	verdicts := newVerdicts(list)
	authorizer, err := newAuthorizer(o, verdicts, recorder, audit)
	if err != nil {
		return err
	}
	if o.server.Usage, err = newUsageHandler(o, list); err != nil {
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
	for i := range list {
		go list[i].syncer.Run(syncCtx)
	}
	awaitSync(ctx, verdicts)
	return srv.Run(ctx)
}

func newAuthorizer(
	o options, clusters *verifier.Clusters, recorder *metrics.VerdictRecorder, audit logr.Logger,
) (*server.Authorizer, error) {
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
		Extractor: extractor, ClientIP: resolver, AddressHeader: addressHeader, Clusters: clusters, Clock: clock.RealClock{},
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

func newVerdictRecorder(o options, list []cluster) (*metrics.VerdictRecorder, error) {
	recorderOptions := metrics.VerdictRecorderOptions{Protocols: namesOf(server.Protocols()), Codes: namesOf(verifier.Codes())}
	for _, c := range list {
		recorderOptions.Clusters = append(recorderOptions.Clusters, metrics.VerifierCluster{
			Name: c.name, Synced: c.index.Complete, Rollbacks: c.syncer.Rollbacks, Undecodable: c.index.Undecodable,
			CacheAge: func() time.Duration { return c.syncer.Age(clock.RealClock{}.Now()) },
			Size: func() (int, int, int) {
				size := c.index.Size()
				return size.Keys, size.Credentials, size.Accounts
			},
		})
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

// newUsageHandler returns the handler that reports the usage of keys to the managers. The name of the replica changes with each
// start, because counters start at zero.
func newUsageHandler(o options, list []cluster) (http.Handler, error) {
	const suffixLength = 6
	usageOptions := server.UsageOptions{
		Replica: o.replica + "-" + strings.ToLower(rand.Text()[:suffixLength]), Clock: clock.RealClock{}, Logger: ctrl.Log.WithName("usage"),
	}
	for _, c := range list {
		usageOptions.Clusters = append(usageOptions.Clusters, server.UsageCluster{
			Name: c.name, API: c.config, Index: c.index, KeysVersion: c.syncer.KeysVersion,
		})
	}
	return server.Usage(usageOptions)
}

func newMetricsHandler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(ctrlmetrics.Registry, promhttp.HandlerOpts{ErrorHandling: promhttp.HTTPErrorOnError}))
	return mux
}
