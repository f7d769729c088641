// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/controllers"
	"github.com/apikey-manager/apikey-manager/internal/usage"
	"github.com/apikey-manager/apikey-manager/test/controlplane"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

const (
	verifierAudience = "apikey-verifier"
	verifierPort     = "usage"
	usagePath        = "/v1/usage"
)

var _ = Describe("Usage reports of verifiers", func() {
	var (
		f     *fakeVerifiers
		clock *offsetClock
		m     *manager
		k     *v1alpha1.APIKey
	)
	BeforeEach(func(ctx SpecContext) {
		clock = &offsetClock{}
		f = newFakeVerifiers(ctx, clock, "192.0.2.1", "192.0.2.2")
		m = startManager(ctx, managerOptions{clock: clock, verifiers: f.verifiers(ctx)})
		k = newKey(newNamespace(ctx, nil), "web", uniqueName("acme"))
		create(ctx, k)
		become(ctx, v1alpha1.StateActive, k)
	})

	It("update lastUsedTime at most every five minutes, and never backwards", func(ctx SpecContext) {
		first, second := f.replicas["192.0.2.1"], f.replicas["192.0.2.2"]
		now := time.Now().UTC().Truncate(time.Minute)
		lastUsed := func() time.Time {
			read(ctx, k)
			if k.Status.LastUsedTime == nil {
				return time.Time{}
			}
			Expect(controlplanetest.CredentialOf(k, v1alpha1.RoleCurrent).LastUsedTime.Time).To(Equal(k.Status.LastUsedTime.Time))
			return k.Status.LastUsedTime.UTC()
		}
		Expect(lastUsed()).To(BeZero())
		By("using the key for the first time")
		first.recordUse(k, now.Add(-8*time.Minute))
		Eventually(lastUsed).WithContext(ctx).Should(Equal(now.Add(-8 * time.Minute)))
		By("using the key again within five minutes")
		second.recordUse(k, now.Add(-4*time.Minute))
		second.waitForPolls(ctx, 2) // the answer to the first has been read when the second begins
		Consistently(lastUsed).WithContext(ctx).Should(Equal(now.Add(-8 * time.Minute)))
		By("stopping the replica that has reported the use, before it is written")
		second.setDown(true)
		clock.advance(5 * time.Minute)
		Eventually(lastUsed).WithContext(ctx).Should(Equal(now.Add(-4 * time.Minute)))
		By("starting the replica without its report")
		second.clearUsage()
		second.setDown(false)
		clock.advance(5 * time.Minute)
		Consistently(lastUsed).WithContext(ctx).Should(Equal(now.Add(-4 * time.Minute)))
		By("using the key once more, with a clock that is ahead")
		second.setClockOffset(1000 * time.Hour)
		second.recordUse(k, clock.Now().Add(1000*time.Hour))
		clock.advance(5 * time.Minute)
		Eventually(lastUsed).WithContext(ctx).Should(BeTemporally(">", now))
		Expect(lastUsed()).To(BeTemporally("<=", clock.Now()))

		recorder.catchUp(ctx)
		Expect(distinctValues(k, func(k *v1alpha1.APIKey) time.Time { return k.Status.LastUsedTime.UTC() }, func(k *v1alpha1.APIKey) bool { return k.Status.LastUsedTime != nil })).
			To(Equal([]time.Time{now.Add(-8 * time.Minute), now.Add(-4 * time.Minute), lastUsed()}), "each was written once")
	})

	It("set Enforced=True when every verifier rejects a disabled key", func(ctx SpecContext) {
		first, second := f.replicas["192.0.2.1"], f.replicas["192.0.2.2"]
		enforced := func() string { read(ctx, k); return verdict(k.Status.Conditions, v1alpha1.ConditionEnforced) }
		catchUp := func(list ...*fakeVerifier) {
			read(ctx, k)
			for _, v := range list {
				v.setKeysVersion(k.ResourceVersion)
			}
		}
		catchUp(first, second)
		Consistently(enforced).WithContext(ctx).Should(BeEmpty())
		change(ctx, k, state(v1alpha1.KeyStateInactive))
		become(ctx, v1alpha1.StateInactive, k)
		Eventually(enforced).WithContext(ctx).Should(Equal("False/Enforcing"))
		By("updating one of two replicas")
		catchUp(first)
		Consistently(enforced).WithContext(ctx).Should(Equal("False/Enforcing"))
		Expect(message(k.Status.Conditions, v1alpha1.ConditionEnforced)).To(ContainSubstring("Waiting for every verifier"))
		By("updating the other replica")
		catchUp(second)
		Eventually(enforced).WithContext(ctx).Should(Equal("True/Enforced"))
		By("changing another field")
		change(ctx, k, label("off"))
		become(ctx, v1alpha1.StateInactive, k)
		Consistently(enforced).WithContext(ctx).Should(Equal("True/Enforced"))
		observed := func() int64 {
			read(ctx, k)
			return meta.FindStatusCondition(k.Status.Conditions, v1alpha1.ConditionEnforced).ObservedGeneration
		}
		Expect(observed()).To(BeNumerically("<", k.Generation))
		catchUp(first, second)
		Eventually(observed).WithContext(ctx).Should(Equal(k.Generation))
		By("enabling the key")
		change(ctx, k, state(v1alpha1.KeyStateActive))
		become(ctx, v1alpha1.StateActive, k)
		Expect(enforced()).To(BeEmpty())
		By("revoking the key while one replica cannot be reached")
		second.setDown(true)
		change(ctx, k, state(v1alpha1.KeyStateRevoked))
		become(ctx, v1alpha1.StateRevoked, k)
		catchUp(first)
		Eventually(enforced).WithContext(ctx).Should(Equal("False/Enforcing"))
		By("removing the endpoint of that replica")
		f.setEndpoints(ctx, "192.0.2.1")
		Eventually(enforced).WithContext(ctx).Should(Equal("True/Enforced"))
		By("adding the endpoint of the outdated replica again")
		f.setEndpoints(ctx, "192.0.2.1", "192.0.2.2")
		Consistently(enforced).WithContext(ctx).Should(Equal("True/Enforced"))

		recorder.catchUp(ctx)
		Expect(distinctValues(k, func(k *v1alpha1.APIKey) string { return verdict(k.Status.Conditions, v1alpha1.ConditionEnforced) }, func(*v1alpha1.APIKey) bool { return true })).
			To(Equal([]string{"", "False/Enforcing", "True/Enforced", "", "False/Enforcing", "True/Enforced"}), "it does not flap")
		Expect(m.propagationCount()).To(Equal(uint64(2)), "each time it was switched off while it was in use was measured, once")
	})
})

var _ = Describe("Usage reports of the verifier binary", func() {
	It("update lastUsedTime and Enforced", func(ctx SpecContext) {
		binary, err := controlplane.BuildVerifier(ctx)
		Expect(err).NotTo(HaveOccurred())
		f := newFakeVerifiers(ctx, nil)
		var replicas []*controlplane.Verifier
		for _, address := range []string{"192.0.2.1", "192.0.2.2"} {
			v, err := plane.StartVerifier(ctx, controlplane.VerifierOptions{Binary: binary})
			Expect(err).NotTo(HaveOccurred())
			DeferCleanup(func() error { return v.Stop(timeout) })
			replicas, f.addresses[address] = append(replicas, v), v.Usage
		}
		f.setEndpoints(ctx, "192.0.2.1", "192.0.2.2")
		m := startManager(ctx, managerOptions{verifiers: f.verifiers(ctx)})
		k := newKey(newNamespace(ctx, nil), "web", uniqueName("acme"))
		create(ctx, k)
		become(ctx, v1alpha1.StateActive, k)
		enforced := func() string { read(ctx, k); return verdict(k.Status.Conditions, v1alpha1.ConditionEnforced) }
		material := materialOf(ctx, k)

		By("using the key")
		begun := time.Now().UTC().Truncate(time.Minute)
		Eventually(func() int { return authorize(ctx, replicas[1], material) }).WithContext(ctx).Should(Equal(http.StatusOK))
		awaitStatus(ctx, k, func(g Gomega) { g.Expect(k.Status.LastUsedTime).NotTo(BeNil()) })
		Expect(k.Status.LastUsedTime.Time).To(BeTemporally(">=", begun))
		Expect(controlplanetest.CredentialOf(k, v1alpha1.RoleCurrent).LastUsedTime).To(Equal(k.Status.LastUsedTime))

		By("disabling the key")
		change(ctx, k, state(v1alpha1.KeyStateInactive))
		Eventually(enforced).WithContext(ctx).Should(Equal("True/Enforced"))
		for _, v := range replicas {
			Expect(authorize(ctx, v, material)).To(Equal(http.StatusUnauthorized), "the status says that it is refused")
		}
		Expect(m.propagationCount()).To(Equal(uint64(1)))

		By("revoking the key while one replica does not answer")
		Expect(replicas[0].Stop(timeout)).To(Succeed())
		change(ctx, k, state(v1alpha1.KeyStateActive))
		become(ctx, v1alpha1.StateActive, k)
		change(ctx, k, state(v1alpha1.KeyStateRevoked))
		become(ctx, v1alpha1.StateRevoked, k)
		Eventually(enforced).WithContext(ctx).Should(Equal("False/Enforcing"))
		f.setEndpoints(ctx, "192.0.2.2")
		Eventually(enforced).WithContext(ctx).Should(Equal("True/Enforced"))
		Expect(authorize(ctx, replicas[1], material)).To(Equal(http.StatusUnauthorized))
	})
})

// authorize returns the status with which a verifier answers a gateway about a key.
func authorize(ctx context.Context, v *controlplane.Verifier, material string) int {
	GinkgoHelper()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+v.HTTP+"/authz", nil)
	Expect(err).NotTo(HaveOccurred())
	request.Header.Set("X-API-Key", material)
	response, err := http.DefaultClient.Do(request)
	Expect(err).NotTo(HaveOccurred())
	Expect(response.Body.Close()).To(Succeed())
	return response.StatusCode
}

// distinctValues returns the values that a field of a key had, in order and without repetitions.
func distinctValues[T comparable](k *v1alpha1.APIKey, of func(*v1alpha1.APIKey) T, has func(*v1alpha1.APIKey) bool) []T {
	var list []T
	for _, e := range recorder.versionsOf(kindKey, k.UID) {
		if key := e.object.(*v1alpha1.APIKey); has(key) {
			list = append(list, of(key))
		}
	}
	return slices.Compact(list)
}

// propagationCount returns the number of observations in apikey_manager_enforcement_seconds.
func (m *manager) propagationCount() uint64 {
	GinkgoHelper()
	families, err := m.registry.Gather()
	Expect(err).NotTo(HaveOccurred())
	for _, family := range families {
		if family.GetName() == "apikey_manager_enforcement_seconds" {
			return family.GetMetric()[0].GetHistogram().GetSampleCount()
		}
	}
	Fail("nothing measures")
	return 0
}

// offsetClock is a clock that is ahead of the real one by an offset.
type offsetClock struct {
	mu     sync.Mutex
	offset time.Duration
}

func (c *offsetClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.offset)
}

func (c *offsetClock) Since(t time.Time) time.Duration { return c.Now().Sub(t) }

func (c *offsetClock) advance(by time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.offset += by
}

// fakeVerifiers are verifiers on this machine. The API server rejects loopback addresses in EndpointSlices, so each has another address
// there.
type fakeVerifiers struct {
	service types.NamespacedName
	// replicas are the fake verifiers, and reach the addresses on which all verifiers listen, by their address in the EndpointSlice.
	replicas  map[string]*fakeVerifier
	addresses map[string]string
	client    *controllers.UsageClient
}

// fakeVerifier is an HTTP server that returns a usage report to authorized clients.
type fakeVerifier struct {
	server *httptest.Server
	mu     sync.Mutex
	down   bool
	polls  int
	report usage.Report
	// clock is the clock of the manager. The clock of the fake verifier differs from it by clockOffset.
	clock       *offsetClock
	clockOffset time.Duration
}

func newFakeVerifiers(ctx context.Context, clock *offsetClock, addresses ...string) *fakeVerifiers {
	GinkgoHelper()
	f := &fakeVerifiers{service: types.NamespacedName{Namespace: plane.Namespace(), Name: uniqueName("verifier")}, replicas: map[string]*fakeVerifier{}, addresses: map[string]string{}}
	for _, address := range addresses {
		v := &fakeVerifier{clock: clock, report: usage.Report{Replica: address, Synced: true, KeysVersion: "1"}}
		v.server = httptest.NewTLSServer(v)
		DeferCleanup(v.server.Close)
		f.replicas[address], f.addresses[address] = v, v.server.Listener.Addr().String()
	}
	slice := f.slice(addresses)
	create(ctx, slice)
	DeferCleanup(func(ctx SpecContext) { Expect(admin.Delete(ctx, slice)).To(Succeed()) })
	return f
}

func (f *fakeVerifiers) slice(addresses []string) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: f.service.Namespace, Name: f.service.Name, Labels: map[string]string{discoveryv1.LabelServiceName: f.service.Name},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: new(verifierPort), Port: new(int32(8443))}},
	}
	for _, address := range addresses {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{address}, Conditions: discoveryv1.EndpointConditions{Ready: new(true)}})
	}
	return s
}

// setEndpoints sets the endpoints of the Service.
func (f *fakeVerifiers) setEndpoints(ctx context.Context, addresses ...string) {
	GinkgoHelper()
	s := f.slice(nil)
	read(ctx, s)
	s.Endpoints = f.slice(addresses).Endpoints
	Expect(admin.Update(ctx, s)).To(Succeed())
}

// verifiers returns the configuration with which the manager polls, with a token of its ServiceAccount.
func (f *fakeVerifiers) verifiers(ctx context.Context) *controllers.Verifiers {
	GinkgoHelper()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: plane.Namespace(), Name: "apikey-manager"}}
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: []string{verifierAudience}}}
	Expect(admin.SubResource("token").Create(ctx, account, request)).To(Succeed())
	file := filepath.Join(GinkgoT().TempDir(), "token")
	Expect(os.WriteFile(file, []byte(request.Status.Token), 0o600)).To(Succeed())
	f.client = controllers.NewUsageClient(controllers.UsageClientOptions{TokenFile: file})
	return &controllers.Verifiers{Service: f.service, Port: verifierPort, Client: f, PollInterval: 100 * time.Millisecond}
}

// GetUsage implements controllers.ReplicaClient.
func (f *fakeVerifiers) GetUsage(ctx context.Context, address string, q controllers.UsageRequest) (controllers.UsageResponse, error) {
	host, _, _ := strings.Cut(address, ":")
	return f.client.GetUsage(ctx, f.addresses[host], q)
}

// ServeHTTP returns the usage report if the API server authenticates and authorizes the client.
func (v *fakeVerifier) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.down {
		panic(http.ErrAbortHandler)
	}
	if !authorized(r) {
		http.Error(w, "forbidden", http.StatusForbidden)
		return
	}
	w.Header().Set("Date", v.clock.Now().Add(v.clockOffset).UTC().Format(http.TimeFormat))
	report := v.report
	if r.URL.Query().Get("keys") == "none" {
		report.Keys = nil
	} else {
		v.polls++
	}
	for _, text := range r.URL.Query()["refused"] {
		if key, ok := usage.ParseKeyReference(text); ok {
			report.Refused = append(report.Refused, key.UID)
		}
	}
	_ = json.NewEncoder(w).Encode(report)
}

// authorized reports whether the token has the audience of verifiers and its user is allowed to get the path.
func authorized(r *http.Request) bool {
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	review := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: []string{verifierAudience}}}
	if admin.Create(r.Context(), review) != nil || !review.Status.Authenticated {
		return false
	}
	access := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: review.Status.User.Username, Groups: review.Status.User.Groups,
		NonResourceAttributes: &authorizationv1.NonResourceAttributes{Path: r.URL.Path, Verb: strings.ToLower(r.Method)},
	}}
	return r.URL.Path == usagePath && admin.Create(r.Context(), access) == nil && access.Status.Allowed
}

func (v *fakeVerifier) recordUse(k *v1alpha1.APIKey, last time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.report.Keys = []usage.KeyUsage{{
		Namespace: k.Namespace, Name: k.Name, UID: string(k.UID),
		Credentials: []usage.CredentialUsage{{ID: k.Status.KeyID, LastUsed: &last, Counts: map[string]uint64{"VALID": 1}}},
	}}
}

// setClockOffset sets how far the clock of the fake verifier is ahead.
func (v *fakeVerifier) setClockOffset(by time.Duration) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.clockOffset = by
}

// waitForPolls waits until the manager has polled a number of times more.
func (v *fakeVerifier) waitForPolls(ctx context.Context, more int) {
	GinkgoHelper()
	polls := func() int {
		v.mu.Lock()
		defer v.mu.Unlock()
		return v.polls
	}
	Eventually(polls).WithContext(ctx).Should(BeNumerically(">=", polls()+more))
}

func (v *fakeVerifier) setKeysVersion(version string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.report.KeysVersion = version
}

func (v *fakeVerifier) clearUsage() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.report.Keys = nil
}

func (v *fakeVerifier) setDown(dead bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.down = dead
}
