// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package gateways_test

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/apikey-manager/apikey-manager/test/controlplane"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

// TestEnvoyGateway_SampleIsAccepted applies the samples to a real API server with the CRDs of Envoy Gateway.
func TestEnvoyGateway_SampleIsAccepted(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	w.requireEnvoyGatewayCRDs(t)
	for _, sample := range []string{"envoy-gateway", "envoy-gateway-ratelimit"} {
		folder := filepath.Join(w.plane.Root(), "config", "samples", "gateways", sample)
		w.kubectl(t, "apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", folder)
	}
}

// TestEnvoyGateway runs what the samples of other gateways do not have.
func TestEnvoyGateway(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	v := w.verifiers.Start(t, controlplane.VerifierOptions{})
	t.Cleanup(v.Kill)
	f := w.serve(t, &envoyGateway, v.GRPC)
	t.Run("no request passes while it starts", func(t *testing.T) {
		if received := f.application.takeRequests(); len(received) != 0 {
			t.Errorf("the application received %v", received)
		}
	})
	t.Run("it accepts all policies", func(t *testing.T) { w.testPoliciesAccepted(t) })
	t.Run("the open route needs no key", func(t *testing.T) { testOpenHTTPRoute(t, f) })
	t.Run("Envoy answers preflight requests on a route with CORS", func(t *testing.T) { w.testCORSPolicy(t, f) })
	t.Run("the access log contains the key ID, and no query", func(t *testing.T) { w.testAccessLogSettings(t, f) })
	t.Run("no request is denied while a replica of the verifier shuts down", func(t *testing.T) { w.testReplicaShutdown(t, f) })
	t.Run("requests are denied on all routes if the verifier does not answer", func(t *testing.T) {
		v.Kill()
		w.testUnavailableRoutes(t, f, http.StatusServiceUnavailable)
	})
	t.Run("requests are denied if the policies may not refer to the verifier", func(t *testing.T) { w.testMissingReferenceGrant(t, f) })
}

// testPoliciesAccepted waits until Envoy Gateway has written into the status of each policy that it accepts it.
func (w *suite) testPoliciesAccepted(t *testing.T) {
	for _, kind := range []string{"securitypolicies", "clienttrafficpolicies"} {
		controlplanetest.Eventually(t, "all "+kind+" are accepted", func() error {
			out := w.kubectl(t, "get", kind, "-n", "default", "-o",
				`jsonpath={range .items[*]}{.metadata.name} {.status.ancestors[*].conditions[?(@.type=="Accepted")].status}{"\n"}{end}`)
			for line := range strings.Lines(out) {
				if !strings.HasSuffix(line, " True\n") {
					return fmt.Errorf("%s that are accepted:\n%s", kind, out)
				}
			}
			return nil
		})
	}
}

func testOpenHTTPRoute(t *testing.T, f *runningGateway) {
	f.expectAllowed(t, clientRequest{path: "/healthz", header: http.Header{
		"X-Apikey-Id": {"forged"}, "X_Apikey_Id": {"forged"}, "X.Apikey.Id": {"forged"}, "X-Apikey.Name": {"forged"},
	}}, map[string]string{})
	for _, path := range []string{"/healthz/", "/healthz/7", "/healthz/../orders", "/healthz/../stock", "/healthzz", "//stock/../healthz/x"} {
		f.expectDenied(t, clientRequest{path: path}, http.StatusUnauthorized, "MISSING")
	}
}

func (w *suite) testCORSPolicy(t *testing.T, f *runningGateway) {
	const origin = "https://shop.example"
	preflight := clientRequest{method: http.MethodOptions, path: "/shop/7", header: http.Header{
		"Origin": {origin}, "Access-Control-Request-Method": {"GET"}, "Access-Control-Request-Headers": {"x-api-key"},
	}}
	if a := f.send(t, preflight); a.status != http.StatusOK || len(a.received) != 0 || a.header.Get("Access-Control-Allow-Origin") != origin {
		t.Errorf("the preflight was answered %d %v and reached the application %d times", a.status, a.header, len(a.received))
	}
	request := clientRequest{path: "/shop/7", header: http.Header{"Origin": {origin}}}
	f.expectDenied(t, request, http.StatusUnauthorized, "MISSING")
	if a := f.send(t, request); a.header.Get("Access-Control-Allow-Origin") != origin {
		t.Errorf("the page cannot read the denial: %v", a.header)
	}
	preflight.header["Origin"] = []string{"https://other.example"}
	if a := f.send(t, preflight); len(a.received) != 0 || a.header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("the preflight of another origin was answered %d %v and reached the application %d times", a.status, a.header, len(a.received))
	}
	request.header["X-API-Key"] = []string{w.keys["full"].material}
	f.expectAllowed(t, request, w.fullIdentity())
}

func (w *suite) testAccessLogSettings(t *testing.T, f *runningGateway) {
	query := "?api_key=" + w.keys["full"].material // which no line may contain, as is checked when Envoy has ended
	q := w.requestWithKey("full")
	q.path = "/allowed" + query
	f.expectAllowed(t, q, w.fullIdentity())
	f.expectDenied(t, clientRequest{path: "/denied" + query}, http.StatusUnauthorized, "MISSING")
	controlplanetest.Eventually(t, "the access log has both requests", func() error {
		text, err := os.ReadFile(f.log)
		if err != nil {
			return err
		}
		if !regexp.MustCompile(`\{.*"/denied".*\}`).Match(text) || !w.loggedWithIdentity(string(text)) {
			return errors.New("it has not")
		}
		return nil
	})
}

// loggedWithIdentity reports whether a line of an access log has the allowed request with its key ID and account.
func (w *suite) loggedWithIdentity(log string) bool {
	for line := range strings.Lines(log) {
		if strings.Contains(line, `"/allowed"`) && strings.Contains(line, w.keys["full"].id) && strings.Contains(line, `"acme"`) {
			return true
		}
	}
	return false
}

// testReplicaShutdown adds a second verifier to the Service, and stops it while requests are sent. Its --drain-delay is longer
// than the interval of the health checks.
func (w *suite) testReplicaShutdown(t *testing.T, f *runningGateway) {
	v := w.verifiers.Start(t, controlplane.VerifierOptions{Flags: []string{"--drain-delay=3s"}})
	t.Cleanup(v.Kill)
	w.applyEndpoints(t, w.plane.Namespace(), "apikey-verifier", "second", v.GRPC)
	t.Cleanup(func() { w.kubectl(t, "delete", "endpointslice", "apikey-verifier-second", "-n", w.plane.Namespace()) })
	controlplanetest.Eventually(t, "the second verifier is asked", func() error {
		f.send(t, clientRequest{path: "/asked"})
		text, err := os.ReadFile(v.Log)
		if err == nil && !strings.Contains(string(text), "/asked") {
			err = errors.New("it is not")
		}
		return err
	})
	stopped := make(chan error, 1)
	go func() { stopped <- v.Stop(controlplanetest.Timeout) }()
	for after := 0; after < 10; { // requests after the end of the process
		if a := f.send(t, w.requestWithKey("full")); a.status != http.StatusOK {
			t.Errorf("a request was answered %d: %s", a.status, a.body)
		}
		select {
		case <-v.Done():
			after++
		default:
		}
	}
	controlplanetest.Must(t, <-stopped)
}

// testUnavailableRoutes checks that requests with a valid key are answered with a status, on routes with and without a policy of
// their own.
func (w *suite) testUnavailableRoutes(t *testing.T, f *runningGateway, status int) {
	for _, path := range []string{"/stock", "/orders/7", "/acme/7", "/shop/7"} {
		q := w.requestWithKey("full")
		q.path = path
		if a := f.send(t, q); a.status != status || len(a.received) != 0 {
			t.Errorf("%s was answered %d and reached the application %d times", path, a.status, len(a.received))
		}
	}
}

// testMissingReferenceGrant deletes the ReferenceGrant of the sample while Envoy runs.
func (w *suite) testMissingReferenceGrant(t *testing.T, f *runningGateway) {
	w.kubectl(t, "delete", "referencegrant", "apikey-verifier", "-n", w.plane.Namespace())
	controlplanetest.Eventually(t, "requests are denied", func() error {
		if a := f.send(t, w.requestWithKey("full")); a.status != http.StatusInternalServerError {
			return fmt.Errorf("it was answered %d", a.status)
		}
		return nil
	})
	w.testUnavailableRoutes(t, f, http.StatusInternalServerError)
}
