// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const someAudit = `{"kind":"Event","verb":"update","requestURI":"/x","user":{"username":"system:serviceaccount:s:apikey-manager"},"objectRef":{"resource":"leases"}}
{"kind":"Event","verb":"watch","requestURI":"/x","user":{"username":"system:serviceaccount:s:apikey-manager"},"objectRef":{"resource":"apikeys"}}
{"kind":"Event","verb":"list","requestURI":"/x","user":{"username":"system:serviceaccount:s:apikey-manager"},"objectRef":{"resource":"apikeys"}}
{"kind":"Event","verb":"list","requestURI":"/x","user":{"username":"system:serviceaccount:s:apikey-manager"},"objectRef":{"resource":"apikeys"}}
{"kind":"Event","verb":"update","requestURI":"/x","user":{"username":"system:serviceaccount:s:apikey-manager"},"objectRef":{"resource":"apikeys","subresource":"status"}}
{"kind":"Event","verb":"create","requestURI":"/x","user":{"username":"system:serviceaccount:s:apikey-verifier"},"objectRef":{"resource":"tokenreviews"}}
{"kind":"Event","verb":"get","requestURI":"/version","user":{"username":"system:serviceaccount:s:apikey-verifier"}}
`

func TestParseAudit(t *testing.T) {
	t.Parallel()
	got, err := parseAudit(strings.NewReader(someAudit))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]counts{
		managerAccount:  {{"update", "leases"}: 1, {"watch", "apikeys"}: 1, {"list", "apikeys"}: 2, {"update", "apikeys/status"}: 1},
		verifierAccount: {{"create", "tokenreviews"}: 1, {"get", "/version"}: 1},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if n := otherRequests(got[managerAccount]); n != 3 {
		t.Errorf("%d requests but leases and watches", n)
	}
	if _, err := parseAudit(strings.NewReader("no event")); err == nil {
		t.Error("no error")
	}
}

func TestIdleReport(t *testing.T) {
	t.Parallel()
	requests, err := parseAudit(strings.NewReader(someAudit))
	if err != nil {
		t.Fatal(err)
	}
	p := idlePhase{keys: 10, took: 2 * time.Minute, rounds: 3, polls: counts{{http.MethodGet, "uses"}: 1}, programs: []idleProgram{
		{name: "manager", started: 5 * time.Second, cpu: 600 * time.Millisecond, requests: requests[managerAccount]},
		{name: "verifier", cpu: 60 * time.Millisecond, requests: requests[verifierAccount]},
	}}
	got := idleReport(options{keys: 10, accounts: 2}, p)
	for _, want := range []string{
		"10 keys over 2 accounts, a manager and a verifier at rest for 120 s",
		"CPU, % of a core 0.50 0.05 < 0.5",
		"CPU from start to rest, s 5.0 0.0",
		"reconciliations per minute 1.5",
		"all but leases and watches 1.5 1.0 0",
		"list apikeys 1.0 0.0",
		"get /version 0.0 0.5",
		"uses 0.5",
		"propagation 0.0",
	} {
		if !strings.Contains(strings.Join(strings.Fields(got), " "), want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
}

func TestUsageProxy_CountsAndForwardsRequests(t *testing.T) {
	t.Parallel()
	verifier := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.URL.RawQuery+" "+r.Header.Get("Authorization"))
	}))
	t.Cleanup(verifier.Close)
	p, err := newUsageProxy(strings.TrimPrefix(verifier.URL, "https://"))
	if err != nil {
		t.Skip("SKIPPED: " + err.Error())
	}
	t.Cleanup(p.Close)
	p.Client().Transport.(*http.Transport).TLSClientConfig.ServerName = "example.com" // the certificate has no other name that fits
	get := func(query string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.URL+"/v1/usage?"+query, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer t")
		response, err := p.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = response.Body.Close() }()
		if text, _ := io.ReadAll(response.Body); string(text) != query+" Bearer t" {
			t.Errorf("got %q", text)
		}
	}
	get("since=x")
	p.reset()
	get("keys=none&refused=a")
	get("keys=none")
	get("")
	if diff := cmp.Diff(counts{{http.MethodGet, "uses"}: 1, {http.MethodGet, "propagation"}: 2}, p.counts()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
