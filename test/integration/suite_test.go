// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Package integration_test tests the manager on a real API server, with the shipped roles. There is one control plane for the
// suite, and one file for each behaviour.
//
// All output of the run is recorded: logs, events, statuses, metrics and responses of the API server. At the end it is searched
// for every key that was issued: see output_test.go.
package integration_test

import (
	"context"
	"log"
	"os"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/test/controlplane"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

const (
	// timeout is how long to wait for a condition. It allows for a busy laptop.
	timeout = time.Minute
	// pollInterval is the time between two checks of a condition.
	pollInterval = 25 * time.Millisecond
	// quietPeriod is how long nothing may be written before the manager counts as idle. The delays of the manager are shorter.
	quietPeriod = 2 * time.Second
)

var (
	plane *controlplane.ControlPlane
	// admin is an administrator's client without rate limit.
	admin client.WithWatch
	// recorder records the writes on the API server, in order.
	recorder *writeRecorder
	// output records the output of all programs and the responses of the API server.
	output = &outputLog{}
)

func TestIntegration(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: nothing was tested on a real API server. Run it without -short; `make controlplane` builds what it needs, once")
	}
	RegisterFailHandler(Fail)
	SetDefaultEventuallyTimeout(timeout)
	SetDefaultEventuallyPollingInterval(pollInterval)
	SetDefaultConsistentlyDuration(quietPeriod)
	SetDefaultConsistentlyPollingInterval(pollInterval)
	EnforceDefaultTimeoutsWhenUsingContexts()
	RunSpecs(t, "apikey-manager on a real API server")
}

var _ = BeforeSuite(func(ctx SpecContext) {
	setLoggers()
	var err error
	plane, err = controlplane.Start(ctx, controlplane.Options{})
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func() error { return plane.Stop() })
	_, err = managerBinary()
	Expect(err).NotTo(HaveOccurred())
	admin = connect(plane.Config())
	watching, stop := context.WithCancel(context.Background())
	DeferCleanup(stop)
	recorder = newWriteRecorder(watching)
})

// Every spec starts on a control plane without keys, accounts and webhooks. Cleanups of a spec run before cleanUp, because they
// are deferred later.
var _ = BeforeEach(func() { DeferCleanup(cleanUp) })

var _ = AfterSuite(func() {
	if recorder == nil {
		return // the control plane did not start
	}
	logs, err := filepath.Glob(filepath.Join(plane.Dir(), "*.log"))
	Expect(err).NotTo(HaveOccurred())
	for _, file := range logs {
		text, err := os.ReadFile(file)
		Expect(err).NotTo(HaveOccurred())
		output.record(filepath.Base(file), text)
	}
	expectNoLeak(recorder, output)
})

// INTEGRATION_OUTPUT names a folder to which the recorded output is written, to investigate failures.
var _ = ReportAfterSuite("recorded output", func(Report) {
	if dir := os.Getenv("INTEGRATION_OUTPUT"); dir != "" {
		Expect(output.save(dir)).To(Succeed())
	}
})

func setLoggers() {
	logger := zap.New(zap.WriteTo(output.writer("log")), zap.Level(levelEverything))
	ctrl.SetLogger(logger)
	klog.SetLogger(logger.WithName("klog"))
	log.SetOutput(output.writer("standard log"))
}

// connect returns a client that records errors and warnings of the API server.
func connect(config *rest.Config) client.WithWatch {
	GinkgoHelper()
	config.Wrap((&traffic{}).wrap)
	c, err := controlplanetest.NewClient(config)
	Expect(err).NotTo(HaveOccurred())
	return c
}

// cleanUp deletes the objects that a spec left behind.
func cleanUp(ctx SpecContext) {
	removeWebhooks(ctx)
	var list v1alpha1.APIKeyList
	Expect(admin.List(ctx, &list)).To(Succeed())
	namespaces := map[string]bool{}
	for _, k := range list.Items {
		namespaces[k.Namespace] = true
	}
	for namespace := range namespaces {
		Expect(admin.DeleteAllOf(ctx, &v1alpha1.APIKey{}, client.InNamespace(namespace))).To(Succeed())
		Expect(admin.DeleteAllOf(ctx, &corev1.Secret{}, client.InNamespace(namespace), client.MatchingLabels{keys.LabelManagedBy: keys.ManagedBy})).To(Succeed())
		Expect(admin.DeleteAllOf(ctx, &eventsv1.Event{}, client.InNamespace(namespace))).To(Succeed())
	}
	cleanUpExports(ctx)
	Expect(admin.DeleteAllOf(ctx, &v1alpha1.Account{})).To(Succeed())
}

// cleanUpExports deletes the KeyExports that a failed spec left: the keys of later specs would be exported.
func cleanUpExports(ctx context.Context) {
	var list v1alpha1.KeyExportList
	Expect(admin.List(ctx, &list)).To(Succeed())
	for i := range list.Items {
		Expect(client.IgnoreNotFound(admin.Delete(ctx, &list.Items[i]))).To(Succeed())
	}
}
