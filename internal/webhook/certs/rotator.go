// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package certs

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/manager"
)

const (
	// checkInterval bounds how long a replica serves an old certificate after another one renewed it, and how long a
	// damaged Secret stays unnoticed. It is short next to retirePeriod, while the old certificate stays trusted. A changed
	// webhook configuration is noticed at once, by a watch, and checked again when it has settled.
	checkInterval = 10 * time.Minute
	// retryInterval follows a failure, and is how often the objects are read while there is no watch.
	retryInterval = 5 * time.Second
	// conflictInterval follows a write that lost against another replica's.
	conflictInterval = 200 * time.Millisecond

	fieldOwner = client.FieldOwner("apikey-manager-webhook-certs")
)

// errNotConfigured marks what only a person can change: unlike a failed call, it makes a ready webhook unready.
var errNotConfigured = errors.New("the API server does not call this webhook")

// Options is what a Rotator works with. Every field is required.
type Options struct {
	// Client reads and writes the two objects. It must not cache: a pass depends on the order of its reads.
	Client client.WithWatch
	Clock  clock.Clock
	Rand   io.Reader
	// Secret holds the authority and the serving certificate. It is created when it does not exist.
	Secret client.ObjectKey
	// Configuration names the ValidatingWebhookConfiguration that receives the caBundle. It is not created.
	Configuration string
	// Hosts are the DNS names and IP addresses under which the API server calls the webhook.
	Hosts []string
}

// +kubebuilder:rbac:groups="",resources=secrets,verbs=get;create;update,namespace=system
// +kubebuilder:rbac:groups=admissionregistration.k8s.io,resources=validatingwebhookconfigurations,verbs=get;watch;patch,resourceNames=apikey-manager

// Rotator keeps the webhook's serving certificate. Add it to the manager, hand GetCertificate to the webhook server and
// Check to the readiness probe.
type Rotator struct {
	Options

	wake chan struct{}
	// configSince is when a pass first saw the webhook configuration as it is, in configVersion. Only passes use them.
	configVersion string
	configSince   time.Time

	mu      sync.RWMutex
	serving *tls.Certificate // nil: none yet
	problem error            // why the webhook is not ready; nil: it is
}

var (
	_ manager.Runnable               = &Rotator{}
	_ manager.LeaderElectionRunnable = &Rotator{}
	_ healthz.Checker                = (&Rotator{}).Check
)

// New returns a Rotator. It does nothing before it is started.
func New(o Options) (*Rotator, error) {
	switch {
	case o.Client == nil || o.Clock == nil || o.Rand == nil:
		return nil, errors.New("certs: a client, a clock and a source of randomness are required")
	case o.Secret.Name == "" || o.Secret.Namespace == "" || o.Configuration == "":
		return nil, errors.New("certs: the names of the Secret, its namespace and the webhook configuration are required")
	case len(o.Hosts) == 0:
		return nil, errors.New("certs: the names under which the API server calls the webhook are required")
	}
	for _, host := range o.Hosts {
		if net.ParseIP(host) == nil && len(validation.IsDNS1123Subdomain(host)) > 0 {
			return nil, fmt.Errorf("certs: %q is neither a DNS name nor an IP address", host)
		}
	}
	return &Rotator{Options: o, wake: make(chan struct{}, 1), problem: errors.New("the Secret has not been read yet")}, nil
}

// NeedLeaderElection says that every replica keeps a certificate, because every replica serves.
func (*Rotator) NeedLeaderElection() bool { return false }

// GetCertificate is for the tls.Config of the webhook server.
func (r *Rotator) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.serving == nil {
		return nil, errors.New("the webhook has no serving certificate yet")
	}
	return r.serving, nil
}

// Expiration returns when the serving certificate expires, or the zero time if there is none yet.
func (r *Rotator) Expiration() time.Time {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.serving == nil {
		return time.Time{}
	}
	return r.serving.Leaf.NotAfter
}

// Check is healthy while a valid certificate is held whose authority is in the webhook configuration.
func (r *Rotator) Check(*http.Request) error {
	r.mu.RLock()
	defer r.mu.RUnlock()
	switch {
	case r.problem != nil:
		return fmt.Errorf("webhook certificate: %w", r.problem)
	case r.Clock.Now().After(r.serving.Leaf.NotAfter):
		return errors.New("webhook certificate: it has expired and could not be renewed")
	}
	return nil
}

// Start makes passes until the context ends.
func (r *Rotator) Start(ctx context.Context) error {
	ctx = log.IntoContext(ctx, log.FromContext(ctx).WithName("webhook-certs"))
	var watching sync.WaitGroup
	watching.Go(func() { r.watch(ctx) })
	defer watching.Wait()
	for ctx.Err() == nil {
		r.sleep(ctx, r.pass(ctx), r.wake)
	}
	return nil
}

// watch wakes the loop whenever the webhook configuration changes, and every few seconds while it can't be watched.
func (r *Rotator) watch(ctx context.Context) {
	for ctx.Err() == nil {
		r.follow(ctx)
		r.sleep(ctx, retryInterval, nil)
		r.poke()
	}
}

func (r *Rotator) follow(ctx context.Context) {
	var list admissionregistrationv1.ValidatingWebhookConfigurationList
	watcher, err := r.Client.Watch(ctx, &list, client.MatchingFields{metav1.ObjectNameField: r.Configuration})
	if err != nil {
		log.FromContext(ctx).V(1).Info("The webhook configuration can't be watched", "error", err.Error())
		return
	}
	defer context.AfterFunc(ctx, watcher.Stop)()
	defer watcher.Stop()
	for range watcher.ResultChan() {
		r.poke()
	}
}

func (r *Rotator) poke() {
	select {
	case r.wake <- struct{}{}:
	default: // one is waiting already
	}
}

func (r *Rotator) sleep(ctx context.Context, d time.Duration, wake <-chan struct{}) {
	timer := r.Clock.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-wake:
	case <-timer.C():
	}
}

// pass reconciles once and says when to look again. A failed call leaves a ready webhook ready: its certificate is good
// for weeks, and taking it out of its Service would block what it guards.
func (r *Rotator) pass(ctx context.Context) time.Duration {
	err := r.reconcile(ctx)
	switch {
	case err == nil:
		r.report(ctx, nil)
		return r.untilNextCheck()
	case ctx.Err() != nil:
		return 0
	case apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err):
		return conflictInterval
	case r.Check(nil) == nil && !errors.Is(err, errNotConfigured):
		log.FromContext(ctx).Error(err, "The webhook certificate could not be checked")
	default:
		r.report(ctx, err)
	}
	return retryInterval
}

// untilNextCheck returns the time to the next pass while nothing fails and the webhook configuration does not change.
func (r *Rotator) untilNextCheck() time.Duration {
	if r.Clock.Since(r.configSince) < settlePeriod {
		return settlePeriod
	}
	return checkInterval
}

// report records whether the webhook is ready, and logs it when that has changed.
func (r *Rotator) report(ctx context.Context, problem error) {
	r.mu.Lock()
	before := r.problem
	r.problem = problem
	r.mu.Unlock()
	switch {
	case problem == nil && before != nil:
		log.FromContext(ctx).Info("The webhook certificate is ready")
	case problem != nil && (before == nil || before.Error() != problem.Error()):
		log.FromContext(ctx).Info("The webhook certificate is not ready", "reason", problem.Error())
	}
}

// reconcile brings the Secret, the webhook configuration and the served certificate one step closer to what they should
// be.
//
// The configuration is read before the Secret, and written on condition that it has not changed since. An authority is
// in the Secret before it is in the configuration, so a replica that saw it there also reads it here: a slow replica can't put
// an older bundle back.
func (r *Rotator) reconcile(ctx context.Context) error {
	config, err := r.readConfiguration(ctx)
	if err != nil {
		return err
	}
	secret, err := r.readSecret(ctx)
	if err != nil {
		return err
	}
	now := r.Clock.Now()
	configured := configuredBundle(config)
	settled := r.settled(config, now)
	want, changes, err := r.renew(parseMaterial(secret.Data, configured, now), settled, now)
	if err != nil {
		return err
	}
	if err := r.writeSecret(ctx, secret, want, changes); err != nil {
		return err
	}
	err = r.inject(ctx, config, want.authorities)
	if err == nil {
		configured = want.authorities
	}
	r.serve(want.serving, configured, settled, now)
	return err
}

// renew returns what the Secret should hold, and how that differs from what it does.
func (r *Rotator) renew(have material, settled bundle, now time.Time) (want material, changes []string, err error) {
	want = have
	if have.signer == nil || due(have.signer, now) {
		if want, err = want.withNewAuthority(r.Rand, now); err != nil {
			return material{}, nil, err
		}
		changes = append(changes, "new authority")
	}
	if hosts := r.hostsToCertify(want, settled, now); hosts != nil {
		if want, err = want.withNewCertificate(r.Rand, hosts, now); err != nil {
			return material{}, nil, err
		}
		changes = append(changes, "new certificate")
	}
	if want.retirable(now) {
		want.authorities = bundle{want.signer}
		changes = append(changes, "retired authorities")
	}
	return want, changes, nil
}

// hostsToCertify returns the hosts that a new serving certificate is needed for, or nil if none is needed.
//
// Hosts that are missing are added to those of the certificate: replicas with different hosts, as in a rolling update,
// would otherwise replace each other's certificate for ever. The next renewal drops names that are no longer requested.
func (r *Rotator) hostsToCertify(m material, settled bundle, now time.Time) []string {
	switch {
	case m.serving == nil:
		return r.Hosts
	case !covers(m.serving.Leaf, r.Hosts):
		return slices.Compact(slices.Sorted(slices.Values(append(hostsOf(m.serving.Leaf), r.Hosts...))))
	case (due(m.serving.Leaf, now) || !m.ofSigner()) && settled.contains(m.signer):
		return r.Hosts
	}
	return nil
}

// settled returns the authorities of the webhook configuration once it has not changed for the whole settlePeriod.
func (r *Rotator) settled(config *admissionregistrationv1.ValidatingWebhookConfiguration, now time.Time) bundle {
	if config == nil {
		return nil
	}
	if config.ResourceVersion != r.configVersion {
		r.configVersion, r.configSince = config.ResourceVersion, now
	}
	if now.Sub(r.configSince) < settlePeriod {
		return nil
	}
	return configuredBundle(config)
}

// serve takes over the certificate of the Secret, unless the API server might not trust it yet while it does trust the
// one that is served.
func (r *Rotator) serve(candidate *tls.Certificate, configured, settled bundle, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.serving == nil || settled.verify(candidate.Leaf, now) || !configured.verify(r.serving.Leaf, now) {
		r.serving = candidate
	}
}
