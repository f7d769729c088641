// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package gateways_test

import (
	"io"
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

// http2Application is a change of the sample: Envoy speaks HTTP/2 to the application, so that it passes trailers.
var http2Application = []string{"      connect_timeout: 5s\n", `      connect_timeout: 5s
      typed_extension_protocol_options:
        envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
          "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
          explicit_http_config: {http2_protocol_options: {}}
`}

// TestEnvoy_RemovesForgedTrailers sends identity headers as trailers.
func TestEnvoy_RemovesForgedTrailers(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	for about, changes := range map[string][]string{"to HTTP/1.1": nil, "to HTTP/2": http2Application} {
		t.Run(about, func(t *testing.T) {
			t.Parallel()
			f := w.serveEnvoy(t, nil, changes...)
			for _, path := range []string{"/stock", "/healthz"} {
				f.expectNoForgedTrailers(t, f.sendText(t, "POST "+path+" HTTP/1.1\r\nHost: HOST\r\nX-API-Key: "+w.keys["plain"].material+
					"\r\nConnection: close\r\nTrailer: X-Apikey-Id\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n"+
					"X-Apikey-Id: forged\r\nx.apikey.id: forged\r\nX_Apikey_Name: forged\r\nX-Own: kept\r\n\r\n"))
				f.expectNoForgedTrailers(t, f.sendTrailers(t, path, w.keys["plain"].material))
			}
		})
	}
}

// sendTrailers sends a request with forged trailers over HTTP/2.
func (f *runningGateway) sendTrailers(t *testing.T, path, key string) clientResponse {
	t.Helper()
	body := io.MultiReader(strings.NewReader("a")) // of unknown length
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, f.url+path, body)
	controlplanetest.Must(t, err)
	request.Header.Set("X-API-Key", key)
	request.Trailer = http.Header{"X-Apikey-Id": {"forged"}, "X.apikey.id": {"forged"}, "X_apikey_name": {"forged"}, "X-Own": {"kept"}}
	response, err := http2Client(t).Do(request)
	controlplanetest.Must(t, err)
	defer func() { _ = response.Body.Close() }()
	return clientResponse{status: response.StatusCode, received: f.application.takeRequests()}
}

func (f *runningGateway) expectNoForgedTrailers(t *testing.T, a clientResponse) {
	t.Helper()
	if a.status != http.StatusOK || len(a.received) != 1 {
		t.Fatalf("it was answered %d and reached the application %d times", a.status, len(a.received))
	}
	// A name without a value was only announced.
	maps.DeleteFunc(a.received[0].trailer, func(_ string, values []string) bool { return len(values) == 0 })
	if forged := (receivedRequest{header: a.received[0].trailer}).identityHeaders(); len(forged) != 0 {
		t.Errorf("the application sees the trailers %v", forged)
	}
}
