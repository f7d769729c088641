// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Package e2e_test installs the project on a real cluster, as users do, and runs an application behind a gateway there. There is
// one scenario, because its steps build on each other: each step is in the file of the behaviour that it tests.
//
// make test-e2e starts a cluster, or uses one that is named, and sets the variables below. Without them, the test is skipped.
package e2e_test

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

const (
	// timeout is how long to wait for a condition, such as that pods are ready.
	timeout = 2 * time.Minute
	// specTimeout is how long a step may take.
	specTimeout = 5 * time.Minute
	// pollInterval is the time between two checks of a condition.
	pollInterval = 200 * time.Millisecond
	// namespace is that of the installation.
	namespace = "apikey-manager-system"
)

// settings are set by hack/e2e/run.
var settings = struct{ kubeconfig, kubectl, registry, tag string }{
	kubeconfig: os.Getenv("E2E_KUBECONFIG"),
	kubectl:    os.Getenv("E2E_KUBECTL"),
	registry:   os.Getenv("E2E_REGISTRY"),
	tag:        os.Getenv("E2E_TAG"),
}

var (
	admin     client.Client
	clientset kubernetes.Interface
)

func TestE2E(t *testing.T) {
	if settings.kubeconfig == "" {
		t.Skip("SKIPPED: nothing was tested on a real cluster. make test-e2e does")
	}
	RegisterFailHandler(Fail)
	SetDefaultEventuallyTimeout(timeout)
	SetDefaultEventuallyPollingInterval(pollInterval)
	EnforceDefaultTimeoutsWhenUsingContexts()
	RunSpecs(t, "apikey-manager on a real cluster")
}

var _ = BeforeSuite(func(ctx SpecContext) {
	config, err := clientcmd.BuildConfigFromFlags("", settings.kubeconfig)
	Expect(err).NotTo(HaveOccurred())
	config.QPS = -1
	connect(config)
	refuseUsedCluster(ctx)
})

func connect(config *rest.Config) {
	scheme := clientgoscheme.Scheme
	Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
	var err error
	admin, err = client.New(config, client.Options{Scheme: scheme})
	Expect(err).NotTo(HaveOccurred())
	clientset, err = kubernetes.NewForConfig(config)
	Expect(err).NotTo(HaveOccurred())
}

// refuseUsedCluster fails if the cluster has an installation, because the test would remove it.
func refuseUsedCluster(ctx SpecContext) {
	_, err := clientset.Discovery().ServerResourcesForGroupVersion(v1alpha1.GroupVersion.String())
	Expect(err).To(HaveOccurred(), "the cluster has the CRDs of apikey-manager already: use another one")
}

var _ = Describe("A cluster", Ordered, func() {
	JustAfterEach(dumpOnFailure)

	installation()
	keyInSecret()
	takeOwnership()
	rotation()
	refusal()
	crashes()
	plugin()
	pods()
	upgrade()
	namespaceDeletion()
})

// root returns the directory of the repository.
func root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "..")
}

func testdata(name string) string { return filepath.Join(root(), "test", "e2e", "testdata", name) }
