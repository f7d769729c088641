// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package gateways_test

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/test/controlplane"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
	"github.com/apikey-manager/apikey-manager/test/ratelimit"
)

// The rate limit service counts in windows that begin at a multiple of their length. Windows of a year make sure that none
// begins in the middle of a test.
const (
	window        = v1alpha1.RateLimitYear
	windowSeconds = 365 * 24 * 60 * 60
)

// staticLimit is the limit in the sample for accounts without one.
const staticLimit = 60

// limits describes the rate limit "requests".
func limits(requests int32, unit v1alpha1.RateLimitUnit) []v1alpha1.RateLimit {
	return []v1alpha1.RateLimit{{Name: "requests", Requests: &requests, Unit: unit}}
}

// TestRateLimit_Envoy runs Envoy with the rate limit service and Redis, and sends requests with keys of accounts with limits.
func TestRateLimit_Envoy(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	f, g := w.serveLimited(t, "unit: hour", "unit: year")
	t.Run("the eleventh request of an account that may send ten is denied", func(t *testing.T) { w.testAccountLimit(t, f) })
	t.Run("a changed plan applies at once, in both directions", func(t *testing.T) { w.testChangedPlan(t, f) })
	t.Run("a rotation does not reset the counters", func(t *testing.T) { w.testRotatedKey(t, f) })
	t.Run("a lower limit of a key binds that key only", func(t *testing.T) { w.testLowerKeyLimit(t, f) })
	t.Run("0 allows no request", func(t *testing.T) { w.testZeroLimit(t, f) })
	t.Run("without a limit that Envoy knows, the static one applies", func(t *testing.T) { w.testStaticLimit(t, f) })
	t.Run("denied requests do not count", func(t *testing.T) { w.testDeniedRequests(t, f) })
	t.Run("metadata headers of a client have no effect", func(t *testing.T) { w.testForgedLimit(t, f) })
	t.Run("requests pass without the rate limit service", func(t *testing.T) { w.testFailOpen(t, f, g) })
}

// TestRateLimit_EnvoyGatewayFields reads the numbers from the fields that the sample of Envoy Gateway names. Envoy Gateway translates
// each to a path of one segment.
func TestRateLimit_EnvoyGatewayFields(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	f, _ := w.serveLimited(t,
		"path: [{key: accountRateLimits}, {key: requests}]", "path: [{key: accountRateLimits.requests}]",
		"path: [{key: rateLimits}, {key: requests}]", "path: [{key: rateLimits.requests}]")
	w.testAccountLimit(t, f)
	w.testLowerKeyLimit(t, f)
}

// serveLimited runs Envoy with the sample of rate limits and changes of it. It skips the test if a program is missing.
func (w *suite) serveLimited(t *testing.T, changes ...string) (*runningGateway, *ratelimit.Gateway) {
	t.Helper()
	if missing := ratelimit.Missing(w.plane.Root()); missing != nil {
		t.Skipf("SKIPPED: rate limits with Envoy were not tested: bin/gateways has no %s. Run `make gateways`, which says why", strings.Join(missing, ", "))
	}
	f := &runningGateway{gateway: gatewayNamed("envoy"), application: newApplication(t)}
	g, err := ratelimit.Start(t.Context(), ratelimit.Options{
		Root: w.plane.Root(), Dir: t.TempDir(), Verifier: w.verifier(t).GRPC, Application: f.application.address(),
		Changes: changes,
	})
	t.Cleanup(func() {
		if err := g.Stop(); err != nil {
			t.Error(err)
		}
		for _, p := range g.Processes() {
			w.expectNoKeysLogged(t, f.gateway, p.Log)
			if t.Failed() {
				t.Logf("%s:\n%s", p.Log, controlplane.Tail(p.Log, 4000))
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	f.url = g.URL
	return f, g
}

// newLimitedKeys creates an account with limits, and keys with limits of their own. It returns the name of the account, and the
// keys by name, when the verifier of the test accepts them.
func (w *suite) newLimitedKeys(t *testing.T, account []v1alpha1.RateLimit, own map[string][]v1alpha1.RateLimit) (string, map[string]*v1alpha1.APIKey) {
	t.Helper()
	objects := controlplanetest.NewObjects(w.admin)
	a := controlplanetest.NewAccount(controlplanetest.UniqueName("limited"), func(s *v1alpha1.AccountSpec) {
		s.Plan, s.RateLimits = "free", account
	})
	objects.Create(t, a)
	list := map[string]*v1alpha1.APIKey{}
	for name, limits := range own {
		k := controlplanetest.NewKey("default", a.Name+"-"+name, a.Name, func(s *v1alpha1.APIKeySpec) { s.RateLimits = limits })
		objects.Issue(t, k)
		controlplanetest.AwaitVerdict(t, w.verifier(t), objects.Material(t, k), "VALID") // not through the gateway, which would count
		list[name] = k
	}
	return a.Name, list
}

func (w *suite) materialOf(t *testing.T, k *v1alpha1.APIKey) string {
	t.Helper()
	return controlplanetest.NewObjects(w.admin).Material(t, k)
}

// request sends a request with a key, and returns the response.
func (f *runningGateway) request(t *testing.T, material string) clientResponse {
	t.Helper()
	return f.send(t, clientRequest{header: http.Header{"X-API-Key": {material}}})
}

// expectRemaining fails the test unless a request is allowed, and leaves so many others.
func (f *runningGateway) expectRemaining(t *testing.T, material string, remaining int) {
	t.Helper()
	a := f.request(t, material)
	if got := a.header.Get("X-Ratelimit-Remaining"); a.status != http.StatusOK || len(a.received) != 1 || got != strconv.Itoa(remaining) {
		t.Fatalf("it was answered %d, and %q requests remain, want 200 and %d: %v", a.status, got, remaining, a.header)
	}
}

// expectLimited fails the test unless a request is denied because of a limit.
func (f *runningGateway) expectLimited(t *testing.T, material string, limit int) {
	t.Helper()
	a := f.request(t, material)
	if a.status != http.StatusTooManyRequests || len(a.received) != 0 {
		t.Fatalf("it was answered %d and reached the application %d times", a.status, len(a.received))
	}
	want := fmt.Sprintf("%d, ", limit)
	if got := a.header.Get("X-Ratelimit-Limit"); !strings.HasPrefix(got, want) || a.header.Get("X-Ratelimit-Remaining") != "0" {
		t.Errorf("the limit is %q, and %q remain", got, a.header.Get("X-Ratelimit-Remaining"))
	}
	if reset, err := strconv.Atoi(a.header.Get("X-Ratelimit-Reset")); err != nil || reset < 1 || reset > windowSeconds {
		t.Errorf("the client may come back in %q seconds", a.header.Get("X-Ratelimit-Reset"))
	}
}

// patchLimit changes the plan of an account as an operator would.
func (w *suite) patchLimit(t *testing.T, account, plan string, requests int) {
	t.Helper()
	w.kubectl(t, "patch", "account", account, "--type=merge", "-p",
		fmt.Sprintf(`{"spec":{"plan":%q,"rateLimits":[{"name":"requests","requests":%d,"unit":%q}]}}`, plan, requests, window))
}

func (w *suite) testAccountLimit(t *testing.T, f *runningGateway) {
	_, list := w.newLimitedKeys(t, limits(10, window), map[string][]v1alpha1.RateLimit{"one": nil, "two": nil})
	one, two := w.materialOf(t, list["one"]), w.materialOf(t, list["two"])
	for i := range 5 {
		f.expectRemaining(t, one, 9-2*i)
		f.expectRemaining(t, two, 8-2*i)
	}
	f.expectLimited(t, one, 10)
	f.expectLimited(t, two, 10)
}

// testChangedPlan raises and lowers the limit of an account that has used it up. The application must not notice.
func (w *suite) testChangedPlan(t *testing.T, f *runningGateway) {
	account, list := w.newLimitedKeys(t, limits(1, window), map[string][]v1alpha1.RateLimit{"one": nil})
	material := w.materialOf(t, list["one"])
	f.expectRemaining(t, material, 0)
	f.expectLimited(t, material, 1)
	for _, change := range []struct {
		plan     string
		requests int
		status   int
	}{{"pro", 10_000, http.StatusOK}, {"free", 1, http.StatusTooManyRequests}} {
		w.patchLimit(t, account, change.plan, change.requests)
		patched := time.Now()
		controlplanetest.Eventually(t, "plan "+change.plan+" applies", func() error {
			return controlplanetest.Equal(strconv.Itoa(f.request(t, material).status), strconv.Itoa(change.status))
		})
		t.Logf("plan %s applied %s after kubectl patch", change.plan, time.Since(patched).Round(time.Millisecond))
	}
}

// testRotatedKey rotates a key in the middle of the window, and uses the old and the new one during their overlap.
func (w *suite) testRotatedKey(t *testing.T, f *runningGateway) {
	_, list := w.newLimitedKeys(t, limits(100, window), map[string][]v1alpha1.RateLimit{"one": limits(6, window)})
	k := list["one"]
	before := w.materialOf(t, k)
	f.expectRemaining(t, before, 5)
	f.expectRemaining(t, before, 4)
	w.kubectl(t, "patch", "apikey", k.Name, "-n", k.Namespace, "--type=merge", "-p",
		fmt.Sprintf(`{"spec":{"rotation":{"requestedAt":%q,"overlap":"1h"}}}`, time.Now().UTC().Format(time.RFC3339)))
	after := before
	controlplanetest.Eventually(t, "the Secret has another key", func() error {
		if after = w.materialOf(t, k); after == before {
			return fmt.Errorf("it has not")
		}
		return nil
	})
	controlplanetest.AwaitVerdict(t, w.verifier(t), after, "VALID")
	f.expectRemaining(t, after, 3)
	f.expectRemaining(t, before, 2)
	f.expectRemaining(t, after, 1)
	f.expectRemaining(t, before, 0)
	f.expectLimited(t, after, 6)
	f.expectLimited(t, before, 6)
}

// testLowerKeyLimit exhausts the limit of one key of an account. Its denied requests must not count for the other key.
func (w *suite) testLowerKeyLimit(t *testing.T, f *runningGateway) {
	_, list := w.newLimitedKeys(t, limits(10, window), map[string][]v1alpha1.RateLimit{"low": limits(2, window), "other": nil})
	low, other := w.materialOf(t, list["low"]), w.materialOf(t, list["other"])
	f.expectRemaining(t, other, 9)
	f.expectRemaining(t, low, 1)
	f.expectRemaining(t, low, 0)
	for range 20 {
		f.expectLimited(t, low, 2)
	}
	for remaining := 6; remaining >= 0; remaining-- {
		f.expectRemaining(t, other, remaining)
	}
	f.expectLimited(t, other, 10)
}

func (w *suite) testZeroLimit(t *testing.T, f *runningGateway) {
	_, list := w.newLimitedKeys(t, limits(10, window), map[string][]v1alpha1.RateLimit{"none": limits(0, window), "other": nil})
	f.expectLimited(t, w.materialOf(t, list["none"]), 0)
	f.expectRemaining(t, w.materialOf(t, list["other"]), 9)
	_, list = w.newLimitedKeys(t, limits(0, window), map[string][]v1alpha1.RateLimit{"one": nil})
	f.expectLimited(t, w.materialOf(t, list["one"]), 0)
}

// testStaticLimit uses accounts whose limit does not reach the rate limit service.
func (w *suite) testStaticLimit(t *testing.T, f *runningGateway) {
	for about, account := range map[string][]v1alpha1.RateLimit{
		"no limit": nil, "a limit of another name": {{Name: "mails", Requests: new(int32), Unit: window}}, "a limit per week": limits(10_000, v1alpha1.RateLimitWeek),
	} {
		t.Run(about, func(t *testing.T) {
			_, list := w.newLimitedKeys(t, account, map[string][]v1alpha1.RateLimit{"one": nil})
			material := w.materialOf(t, list["one"])
			for i := range staticLimit {
				f.expectRemaining(t, material, staticLimit-1-i)
			}
			f.expectLimited(t, material, staticLimit)
		})
	}
}

// testDeniedRequests sends requests that the verifier denies, some of them with a valid key of the account.
func (w *suite) testDeniedRequests(t *testing.T, f *runningGateway) {
	// Enough for the requests that are sent until the verifier knows that the key is inactive.
	account, list := w.newLimitedKeys(t, limits(10_000, window), map[string][]v1alpha1.RateLimit{"good": nil, "inactive": nil})
	good, inactive := w.materialOf(t, list["good"]), w.materialOf(t, list["inactive"])
	controlplanetest.Must(t, w.become(t.Context(), list["inactive"].Name, v1alpha1.StateInactive, func(s *v1alpha1.APIKeySpec) { s.State = v1alpha1.KeyStateInactive }))
	inactiveRequest := clientRequest{header: http.Header{"X-API-Key": {inactive}}}
	controlplanetest.Eventually(t, "the key is inactive", func() error {
		return controlplanetest.Equal(strconv.Itoa(f.send(t, inactiveRequest).status), "401")
	})
	used := f.request(t, good).header.Get("X-Ratelimit-Remaining")
	remaining, err := strconv.Atoi(used)
	controlplanetest.Must(t, err)
	for range 5 {
		f.expectDenied(t, inactiveRequest, http.StatusUnauthorized, "INACTIVE")
		f.expectDenied(t, clientRequest{header: http.Header{"X-API-Key": {inactive, good}}}, http.StatusUnauthorized, "AMBIGUOUS")
		a := f.send(t, clientRequest{header: http.Header{"X-API-Key": {"unknown"}, "X-Apikey-Account": {account}}})
		if a.status != http.StatusUnauthorized || a.header.Get("X-Ratelimit-Limit") != "" {
			t.Errorf("it was answered %d with %v", a.status, a.header)
		}
	}
	f.expectRemaining(t, good, remaining-1)
}

// testForgedLimit sends what a client may try to choose another counter or limit.
func (w *suite) testForgedLimit(t *testing.T, f *runningGateway) {
	_, list := w.newLimitedKeys(t, limits(2, window), map[string][]v1alpha1.RateLimit{"one": nil})
	material := w.materialOf(t, list["one"])
	for i, header := range []http.Header{
		{"X-Apikey-Account": {"bare"}, "X-Apikey-Uid": {"forged"}, "X-Apikey-Plan": {"pro"}},
		{"X-Envoy-Internal": {"true"}, "X-Ratelimit-Limit": {"1000"}, "X-Ratelimit-Remaining": {"1000"}, "X-Forwarded-For": {"10.0.0.1"}},
	} {
		header["X-API-Key"] = []string{material}
		a := f.send(t, clientRequest{header: header})
		if got := a.header.Get("X-Ratelimit-Remaining"); a.status != http.StatusOK || got != strconv.Itoa(1-i) {
			t.Errorf("it was answered %d, and %q requests remain", a.status, got)
		}
	}
	f.expectLimited(t, material, 2)
}

// testFailOpen stops the rate limit service. It must be the last test.
func (w *suite) testFailOpen(t *testing.T, f *runningGateway, g *ratelimit.Gateway) {
	_, list := w.newLimitedKeys(t, limits(1, window), map[string][]v1alpha1.RateLimit{"one": nil})
	material := w.materialOf(t, list["one"])
	f.expectRemaining(t, material, 0)
	f.expectLimited(t, material, 1)
	g.Service.Kill()
	for range 3 {
		if a := f.request(t, material); a.status != http.StatusOK || len(a.received) != 1 {
			t.Errorf("it was answered %d", a.status)
		}
	}
	f.expectDenied(t, clientRequest{header: http.Header{"X-API-Key": {w.keys["revoked"].material}}}, http.StatusUnauthorized, "REVOKED")
}
