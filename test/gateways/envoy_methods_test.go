// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package gateways_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

// TestEnvoy_RequestsWithoutPath sends requests that have no path, at which older versions of Envoy terminate. None of them may
// reach the application, and Envoy must continue to serve.
func TestEnvoy_RequestsWithoutPath(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	f := w.serveEnvoy(t, nil)
	for _, key := range []string{"", w.keys["full"].material} {
		for _, target := range []string{"CONNECT HOST", "CONNECT shop.example:443", "OPTIONS *"} {
			t.Run(target+" over HTTP/1.1", func(t *testing.T) {
				f.expectNotServed(t, f.sendText(t, target+" HTTP/1.1\r\nHost: HOST\r\nX-API-Key: "+key+"\r\n\r\n"))
			})
		}
		for _, request := range []*http.Request{
			{Method: http.MethodConnect, URL: &url.URL{Host: strings.TrimPrefix(f.url, "http://")}},
			{Method: http.MethodOptions, URL: &url.URL{Opaque: "*"}},
		} {
			t.Run(request.Method+" over HTTP/2", func(t *testing.T) { f.expectNotServed(t, f.sendHTTP2(t, request, key)) })
		}
		f.expectAllowed(t, w.requestWithKey("full"), w.fullIdentity())
	}
}

// sendHTTP2 sends a request over HTTP/2.
func (f *runningGateway) sendHTTP2(t *testing.T, request *http.Request, key string) clientResponse {
	t.Helper()
	request = request.Clone(t.Context())
	request.URL.Scheme, request.URL.Host = "http", strings.TrimPrefix(f.url, "http://")
	request.Header = http.Header{"X-Api-Key": {key}}
	response, err := http2Client(t).Do(request)
	controlplanetest.Must(t, err)
	defer func() { _ = response.Body.Close() }()
	return clientResponse{status: response.StatusCode, received: f.application.takeRequests()}
}

// expectNotServed fails the test unless a request is rejected without reaching the application.
func (f *runningGateway) expectNotServed(t *testing.T, a clientResponse) {
	t.Helper()
	if a.status < 400 || a.status >= 500 || len(a.received) != 0 {
		t.Errorf("it was answered %d and reached the application as %v", a.status, a.received)
	}
}
