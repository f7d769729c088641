// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"sync"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/prometheus/client_golang/prometheus"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlconfig "sigs.k8s.io/controller-runtime/pkg/config"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/webhook"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/controllers"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/metrics"
	guard "github.com/apikey-manager/apikey-manager/internal/webhook"
	"github.com/apikey-manager/apikey-manager/internal/webhook/certs"
	"github.com/apikey-manager/apikey-manager/test/controlplane"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

// The defaults of cmd/manager.
const (
	concurrency          = 8
	webhookConfiguration = "apikey-manager"
	webhookSecret        = "apikey-manager-webhook-tls"
)

var flagDefaults = keys.Settings{MaxKeys: 5, DeletionPolicy: v1alpha1.DeletionAllow}

// managerOptions configure a manager. The zero value has the defaults of the flags and no webhooks.
type managerOptions struct {
	defaults *keys.Settings
	// webhookPort is the port of the webhooks. If it is 0, the manager serves none.
	webhookPort int
	// injectFault returns the fault to inject into a request of the manager.
	injectFault func(request) fault
	// verifiers configure the verifiers that the manager polls. If it is nil, it polls none.
	verifiers *controllers.Verifiers
	// configMapNamespaces are the namespaces in which KeyExports may write ConfigMaps.
	configMapNamespaces []string
	// clock is the clock of the manager. It defaults to the real clock.
	clock clock.PassiveClock
}

// manager is a manager in this process, set up like cmd/manager, with a cache of its own and the permissions of the
// ServiceAccount. It has no leader election, so several managers can run at the same time.
type manager struct {
	traffic  *traffic
	registry *prometheus.Registry
	stop     func()
}

// startManager starts a manager and waits until its caches are synced. The manager is stopped at the end of the spec.
func startManager(ctx context.Context, o managerOptions) *manager {
	GinkgoHelper()
	if o.defaults == nil {
		o.defaults = &flagDefaults
	}
	if o.clock == nil {
		o.clock = clock.RealClock{}
	}
	m := &manager{traffic: &traffic{injectFault: o.injectFault}, registry: prometheus.NewPedanticRegistry()}
	if o.verifiers != nil {
		enforcement, err := metrics.NewVerifierRecorder(m.registry)
		Expect(err).NotTo(HaveOccurred())
		o.verifiers.Recorder = enforcement
	}
	config := plane.ManagerConfig()
	config.QPS = -1 // as ctrl.GetConfig has it
	config.Wrap(m.traffic.wrap)
	runCtx, cancel := context.WithCancel(context.Background())
	rotator := newRotator(config)
	mgr := newManager(config, o, rotator)
	Expect(controllers.Setup(runCtx, mgr, controllers.Options{
		Clock: o.clock, Random: rand.Reader, Settings: *o.defaults, MaxConcurrentReconciles: concurrency, SkipNameValidation: true,
		Verifiers: o.verifiers, ExportConfigMapNamespaces: o.configMapNamespaces,
	})).To(Succeed())
	if o.webhookPort != 0 {
		Expect(guard.Setup(mgr, o.clock, *o.defaults)).To(Succeed())
		Expect(mgr.Add(rotator)).To(Succeed())
	}
	Expect(m.registry.Register(metrics.NewObjectCollector(runCtx, mgr.GetCache(), mgr.GetLogger()))).To(Succeed())
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(runCtx) }()
	m.stop = sync.OnceFunc(func() {
		m.recordMetrics()
		cancel()
		Eventually(ended).WithTimeout(timeout).Should(Receive(BeNil()), "the manager did not end well")
	})
	DeferCleanup(m.stop)
	Eventually(mgr.Elected()).WithContext(ctx).Should(BeClosed())
	Expect(mgr.GetCache().WaitForCacheSync(ctx)).To(BeTrue())
	return m
}

// newManager is like newManager of cmd/manager, without the parts that would conflict with a second manager in this process.
func newManager(config *rest.Config, o managerOptions, rotator *certs.Rotator) ctrl.Manager {
	GinkgoHelper()
	scheme, err := controllers.NewScheme()
	Expect(err).NotTo(HaveOccurred())
	byObject := map[client.Object]cache.ByObject{
		&corev1.Secret{}: {Label: labels.SelectorFromSet(labels.Set{keys.LabelManagedBy: keys.ManagedBy})},
	}
	if len(o.configMapNamespaces) > 0 {
		configMaps := cache.ByObject{Label: labels.SelectorFromSet(labels.Set{keys.LabelManagedBy: keys.ManagedBy}), Namespaces: map[string]cache.Config{}}
		for _, namespace := range o.configMapNamespaces {
			configMaps.Namespaces[namespace] = cache.Config{}
		}
		byObject[&corev1.ConfigMap{}] = configMaps
	}
	if o.verifiers != nil {
		byObject[&discoveryv1.EndpointSlice{}] = cache.ByObject{Namespaces: map[string]cache.Config{
			o.verifiers.Service.Namespace: {LabelSelector: labels.SelectorFromSet(labels.Set{discoveryv1.LabelServiceName: o.verifiers.Service.Name})},
		}}
	}
	warm := true
	mgr, err := ctrl.NewManager(config, ctrl.Options{
		Scheme:   scheme,
		NewCache: controllers.NewCache,
		Cache: cache.Options{
			DefaultTransform: cache.TransformStripManagedFields(),
			ByObject:         byObject,
		},
		Controller: ctrlconfig.Controller{EnableWarmup: &warm},
		Metrics:    metricsserver.Options{BindAddress: "0"},
		WebhookServer: webhook.NewServer(webhook.Options{
			Host: "127.0.0.1", Port: o.webhookPort,
			TLSOpts: []func(*tls.Config){func(t *tls.Config) { t.MinVersion, t.GetCertificate = tls.VersionTLS12, rotator.GetCertificate }},
		}),
	})
	Expect(err).NotTo(HaveOccurred())
	for _, o := range []client.Object{&v1alpha1.APIKey{}, &v1alpha1.Account{}, metadata("Secret"), metadata("Namespace")} {
		_, err := mgr.GetCache().GetInformer(context.Background(), o, cache.BlockUntilSynced(false))
		Expect(err).NotTo(HaveOccurred())
	}
	return mgr
}

func metadata(kind string) client.Object {
	return &metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: kind}}
}

func newRotator(config *rest.Config) *certs.Rotator {
	GinkgoHelper()
	live, err := client.NewWithWatch(config, client.Options{})
	Expect(err).NotTo(HaveOccurred())
	rotator, err := certs.New(certs.Options{
		Client: live, Clock: clock.RealClock{}, Rand: rand.Reader,
		Secret:        client.ObjectKey{Namespace: plane.Namespace(), Name: webhookSecret},
		Configuration: webhookConfiguration,
		Hosts:         []string{"127.0.0.1"},
	})
	Expect(err).NotTo(HaveOccurred())
	return rotator
}

// recordMetrics records the metrics.
func (m *manager) recordMetrics() {
	GinkgoHelper()
	for _, registry := range []prometheus.Gatherer{m.registry, ctrlmetrics.Registry} {
		families, err := registry.Gather()
		Expect(err).NotTo(HaveOccurred())
		for _, family := range families {
			output.record("metrics", []byte(family.String()))
		}
	}
}

// startManagerWithWebhooks installs the webhooks and starts a manager that serves them.
func startManagerWithWebhooks(ctx context.Context, o managerOptions) *manager {
	GinkgoHelper()
	o.webhookPort = installWebhooks(ctx)
	m := startManager(ctx, o)
	awaitWebhooks(ctx, true)
	return m
}

// installWebhooks installs the webhooks of a manager that has not been started yet.
func installWebhooks(ctx context.Context) (port int) {
	GinkgoHelper()
	port, err := controlplane.FreePort()
	Expect(err).NotTo(HaveOccurred())
	Expect(plane.InstallWebhooks(ctx, port)).To(Succeed())
	return port
}

func removeWebhooks(ctx context.Context) {
	GinkgoHelper()
	configuration := &admissionregistrationv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: webhookConfiguration}}
	if err := admin.Delete(ctx, configuration); client.IgnoreNotFound(err) != nil {
		Expect(err).NotTo(HaveOccurred())
	}
	awaitWebhooks(ctx, false)
}

// awaitWebhooks waits until the API server calls the webhooks, or no longer calls them.
func awaitWebhooks(ctx context.Context, on bool) {
	GinkgoHelper()
	Expect(controlplanetest.AwaitWebhooks(ctx, admin, on)).To(Succeed())
	if on {
		return
	}
	var list v1alpha1.AccountList
	Expect(admin.List(ctx, &list, client.Limit(1))).To(Succeed())
	if len(list.Items) > 0 {
		Eventually(func() error { return admin.Delete(ctx, &list.Items[0], client.DryRunAll) }).WithContext(ctx).Should(Succeed())
	}
}

var managerBinary = sync.OnceValues(func() (string, error) { return controlplane.BuildManager(context.Background()) })

// startProcess starts the binary of the manager, without leader election.
func startProcess(ctx context.Context, flags ...string) *controlplane.Manager {
	GinkgoHelper()
	binary, err := managerBinary()
	Expect(err).NotTo(HaveOccurred())
	m, err := plane.StartManager(ctx, controlplane.ManagerOptions{Binary: binary, Flags: append([]string{"--zap-log-level=5"}, flags...)})
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func() error { return m.Stop(timeout) })
	return m
}
