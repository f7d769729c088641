// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package conformance_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/test/controlplane"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
	"github.com/apikey-manager/apikey-manager/test/ratelimit"
)

// A marketing provider sells plans: free allows 100 requests an hour, pro 10,000. Its keys travel in the query as api_key, and
// some allow conversions only, as those of RD Station do. Envoy and its rate limit service enforce both.

// plans holds the number of requests of each plan. Windows of a year make sure that none begins in the middle of a test.
var plans = map[string]int32{"free": 100, "pro": 10_000}

const window = v1alpha1.RateLimitYear

// conversionsRoute is a route before the only one of the sample.
const conversionsRoute = `- match: {prefix: /platform/conversions}
                          route: {cluster: application}
                          typed_per_filter_config:
                            envoy.filters.http.ext_authz:
                              "@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute
                              check_settings:
                                context_extensions: {scopes: "conversions:write"}
                        - match: {prefix: /platform/contacts}
                          route: {cluster: application}
                          typed_per_filter_config:
                            envoy.filters.http.ext_authz:
                              "@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute
                              check_settings:
                                context_extensions: {scopes: "contacts:read"}
                        - match: {prefix: /}`

func TestPlans_LimitConversionOnlyKeys(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	gateway := w.startEnvoy(t)
	account := w.newAccount(t, v1alpha1.AccountSpec{
		DeletionPolicy: v1alpha1.DeletionForbid, AllowedScopes: []string{"conversions:write"},
		KeyDefaults: &v1alpha1.KeyDefaults{Scopes: []string{"conversions:write"}}, Plan: "free",
		RateLimits: []v1alpha1.RateLimit{{Name: "requests", Requests: new(plans["free"]), Unit: window}},
	})
	namespace := w.newNamespace(t)
	landing := newKey(namespace, "landing", v1alpha1.APIKeySpec{Account: account.Name, Label: "Landing"})
	popup := newKey(namespace, "popup", v1alpha1.APIKeySpec{Account: account.Name, Label: "Popup"})
	w.Issue(t, landing, popup)
	conversion := func(k *v1alpha1.APIKey) (status int, remaining string) {
		return get(t, gateway+"/platform/conversions?event=CONVERSION&api_key="+url.QueryEscape(w.Material(t, k)))
	}
	controlplanetest.Until(t, "the verifier does not accept the key", func() bool {
		status, _ := get(t, gateway+"/platform?api_key="+url.QueryEscape(w.Material(t, popup))) // the first request of the account
		return status == http.StatusOK
	})
	controlplanetest.Until(t, "a key that allows conversions only is not denied when it reads contacts", func() bool {
		status, _ := get(t, gateway+"/platform/contacts?api_key="+url.QueryEscape(w.Material(t, landing)))
		return status == http.StatusForbidden
	})
	for sent := 2; sent <= 100; sent++ { // from both keys
		if status, remaining := conversion([]*v1alpha1.APIKey{landing, popup}[sent%2]); status != http.StatusOK || remaining != strconv.Itoa(100-sent) {
			t.Fatalf("request %d is answered %d, and %s remain", sent, status, remaining)
		}
	}
	if status, _ := conversion(landing); status != http.StatusTooManyRequests {
		t.Errorf("request 101 is answered %d", status)
	}
	w.mustKubectl(t, "patch", "account", account.Name, "--type=merge",
		"-p", `{"spec":{"plan":"pro","rateLimits":[{"name":"requests","requests":10000,"unit":"Year"}]}}`)
	upgraded := time.Now()
	controlplanetest.Until(t, "plan pro does not apply", func() bool { status, _ := conversion(landing); return status == http.StatusOK })
	t.Logf("plan pro applied %s after kubectl patch", time.Since(upgraded).Round(time.Millisecond))
	if status, remaining := conversion(popup); status != http.StatusOK || len(remaining) != len("9898") {
		t.Errorf("the other key is answered %d, and %s of 10,000 remain", status, remaining)
	}
}

// startEnvoy runs Envoy with its rate limit service in front of an application, and returns its URL. It skips the test if a
// program is missing.
func (w *suite) startEnvoy(t *testing.T) string {
	t.Helper()
	root := w.Plane.Root()
	if missing := ratelimit.Missing(root); missing != nil {
		t.Skipf("SKIPPED: plans were not tested with Envoy: bin/gateways has no %s. Run `make gateways`, which says why", strings.Join(missing, ", "))
	}
	application := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Has("api_key") {
			t.Errorf("the application receives the key")
		}
	}))
	t.Cleanup(application.Close)
	g, err := ratelimit.Start(t.Context(), ratelimit.Options{
		Root: root, Dir: t.TempDir(), Verifier: w.verifiers.With(t, "--key-source=query:api_key").GRPC,
		Application: strings.TrimPrefix(application.URL, "http://"), Changes: []string{"- match: {prefix: /}", conversionsRoute},
	})
	t.Cleanup(func() {
		controlplanetest.Must(t, g.Stop())
		for _, p := range g.Processes() {
			if t.Failed() {
				t.Logf("%s:\n%s", p.Log, controlplane.Tail(p.Log, 4000))
			}
		}
	})
	controlplanetest.Must(t, err)
	return g.URL
}

// get returns the status of a response, and how many requests remain.
func get(t *testing.T, address string) (status int, remaining string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, http.NoBody)
	controlplanetest.Must(t, err)
	response, err := http.DefaultClient.Do(request)
	controlplanetest.Must(t, err)
	defer func() { _ = response.Body.Close() }()
	return response.StatusCode, response.Header.Get("X-Ratelimit-Remaining")
}
