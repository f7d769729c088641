// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package gateways_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

// defaultRoute is the start of the default route of the sample.
const defaultRoute = "match: {prefix: /}\n                          route: {cluster: application"

// accessLogEntry is an entry of Envoy's access log.
type accessLogEntry struct {
	Path, KeyID, Account, Details string
	Status                        int
}

// accessLog returns the entries for a path as soon as there are as many as expected.
func (f *runningGateway) accessLog(t *testing.T, path string, want int) (entries []accessLogEntry) {
	t.Helper()
	controlplanetest.Eventually(t, "the access log has the requests for "+path, func() error {
		entries = nil
		text, err := os.ReadFile(f.log)
		for line := range strings.Lines(string(text)) {
			var entry accessLogEntry
			if json.Unmarshal([]byte(line), &entry) == nil && entry.Path == path {
				entries = append(entries, entry)
			}
		}
		if len(entries) < want {
			err = errors.Join(err, errors.New("it has not"))
		}
		return err
	})
	return entries
}

// TestEnvoy_AccessLogHasKeyID checks the log of allowed and denied requests. That no log contains a key is checked whenever
// Envoy ends.
func TestEnvoy_AccessLogHasKeyID(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	f := w.serveEnvoy(t, []string{"--key-source=query:api_key", "--key-source=header:X-API-Key"})
	material := w.keys["full"].material
	inHeader := w.requestWithKey("full")
	inHeader.path = "/logged/header?next=" + material
	f.send(t, inHeader)
	f.send(t, clientRequest{path: "/logged/query?a=1&api_key=" + material})
	for _, path := range []string{"/logged/header", "/logged/query"} {
		want := accessLogEntry{Path: path, KeyID: w.keys["full"].id, Account: "acme", Details: "via_upstream", Status: http.StatusOK}
		if got := f.accessLog(t, path, 1); len(got) != 1 || got[0] != want {
			t.Errorf("the access log has %+v, want %+v", got, want)
		}
	}
	revoked := w.requestWithKey("revoked")
	revoked.path = "/logged/revoked"
	f.send(t, revoked)
	want := accessLogEntry{
		Path: revoked.path, KeyID: w.keys["revoked"].id, Account: "bare", Details: "ext_authz_denied", Status: http.StatusUnauthorized,
	}
	if got := f.accessLog(t, revoked.path, 1); len(got) != 1 || got[0] != want {
		t.Errorf("the access log has %+v, want %+v", got, want)
	}
	f.send(t, clientRequest{path: "/logged/denied?key=" + material})
	if got := f.accessLog(t, "/logged/denied", 1); got[0].Status != http.StatusUnauthorized || got[0].Details != "ext_authz_denied" {
		t.Errorf("the access log has %+v", got)
	}
}

// TestEnvoy_RetriesHaveIdentity lets Envoy retry a request that the application answers with 503. Each attempt has the identity
// headers and not the key, and the verifier is asked once.
func TestEnvoy_RetriesHaveIdentity(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	f := w.serveEnvoy(t, nil, defaultRoute, defaultRoute+", retry_policy: {retry_on: 5xx, num_retries: 2}")
	q := w.requestWithKey("full")
	q.path, q.header[answerWith] = "/retried", []string{"503"}
	a := f.send(t, q)
	if a.status != http.StatusServiceUnavailable || len(a.received) != 3 {
		t.Fatalf("it was answered %d and reached the application %d times", a.status, len(a.received))
	}
	for _, attempt := range a.received {
		if attempt.identityHeaders()["x-apikey-id"] != w.keys["full"].id || len(attempt.placesOfKey(w.keys["full"].material)) != 0 {
			t.Errorf("the application sees %v", attempt.header)
		}
	}
	if got := f.accessLog(t, "/retried", 1); len(got) != 1 || got[0].KeyID != w.keys["full"].id {
		t.Errorf("the access log has %+v", got)
	}
}

// TestEnvoy_InternalRedirectNeedsKey lets Envoy follow a redirect of the application. Envoy asks the verifier again, about a
// request without the key, which was removed before.
func TestEnvoy_InternalRedirectNeedsKey(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	var redirected atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/redirects" {
			redirected.Add(1)
		}
		http.Redirect(rw, r, "http://"+r.Host+"/redirected", http.StatusFound)
	}))
	t.Cleanup(server.Close)
	f := w.serveEnvoy(t, nil, socketAddress("127.0.0.1:8090"), socketAddress(server.Listener.Addr().String()),
		defaultRoute, defaultRoute+", internal_redirect_policy: {}")
	redirected.Store(0)
	q := w.requestWithKey("full")
	q.path = "/redirects"
	if a := f.send(t, q); a.status != http.StatusUnauthorized || redirected.Load() != 0 {
		t.Errorf("it was answered %d, and the redirect reached the application %d times", a.status, redirected.Load())
	}
	if got := f.accessLog(t, "/redirected", 2); got[0].KeyID != w.keys["full"].id || got[1].Details != "ext_authz_denied" {
		t.Errorf("the access log has %+v", got)
	}
}
