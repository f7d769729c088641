// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package gateways_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/apikey-manager/apikey-manager/test/controlplane"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

// apiKeyAuth is the configuration of Envoy's filter api_key_auth without its credentials.
const apiKeyAuth = `resources:
  - "@type": type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig
    name: api-keys
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.filters.http.api_key_auth.v3.ApiKeyAuth
      key_sources: [{header: X-API-Key}]
      forwarding: {header: X-Apikey-Id, hide_credentials: true}
      credentials: `

// filterFile is the file from which a running Envoy reads the configuration of the filter.
type filterFile string

// replace replaces the credentials in the file as the script of the sample does, in one step.
func (f filterFile) replace(t *testing.T, credentials string) {
	t.Helper()
	write(t, string(f)+".new", apiKeyAuth+credentials+"\n")
	controlplanetest.Must(t, os.Rename(string(f)+".new", string(f)))
}

// TestAPIKeyAuth_EnvoyRules checks the rules of Envoy's filter on which KeyExports and the script of the sample rely.
func TestAPIKeyAuth_EnvoyRules(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	var file filterFile
	alone := gateway{name: "envoy", samples: "exports/envoy/envoy.yaml", args: exportEnvoy.args}
	alone.prepare = func(_ *suite, t *testing.T, dir, _, _ string, _ *runningGateway) []string {
		file = filterFile(filepath.Join(dir, "filter.yaml"))
		file.replace(t, `[{key: first, client: one}]`)
		return nil
	}
	f := w.serve(t, &alone, "")
	f.awaitStatus(t, "first", http.StatusOK)
	t.Run("without credentials all requests are denied", func(t *testing.T) {
		file.replace(t, "")
		f.awaitStatus(t, "first", http.StatusUnauthorized)
		f.awaitStatus(t, "", http.StatusUnauthorized)
	})
	t.Run("a client may have several keys", func(t *testing.T) {
		file.replace(t, `[{key: first, client: one}, {key: second, client: one}]`)
		f.awaitStatus(t, "first", http.StatusOK)
		f.awaitStatus(t, "second", http.StatusOK)
	})
	t.Run("only the first header counts", func(t *testing.T) { testRepeatedKey(t, f) })
	for about, c := range map[string]struct{ credentials, reason string }{
		"a key that is there twice": {`[{key: third, client: one}, {key: third, client: two}]`, "Duplicated credential key"},
		"an empty key":              {`[{key: third, client: one}, {key: "", client: two}]`, "CredentialValidationError.Key"},
		"an empty client":           {`[{key: third, client: one}, {key: fourth, client: ""}]`, "CredentialValidationError.Client"},
		"an unfinished file":        {`[{key: third, client: one}`, "yaml-cpp"},
	} {
		t.Run("it keeps what it has because of "+about, func(t *testing.T) {
			file.replace(t, c.credentials)
			awaitText(t, f.log, c.reason)
			f.awaitStatus(t, "first", http.StatusOK)
			f.awaitStatus(t, "third", http.StatusUnauthorized)
		})
	}
}

// TestAPIKeyAuth_EnvoyScript lets the script of the sample read Secrets that the test writes.
func TestAPIKeyAuth_EnvoyScript(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	f := w.serve(t, &exportEnvoy, "")
	const label = "gateway.example.com/keys: envoy"
	odd := `a"b\c {{ .Key }} $(id) 'd: #`
	w.applySecret(t, "script", label, map[string]string{"one": "script-1", "two": "script-2", "odd": odd})
	w.applySecret(t, "script-1", label, map[string]string{"three": "script-3"})
	w.applySecret(t, "script-other", "gateway.example.com/keys: other", map[string]string{"four": "script-4"})
	for _, key := range []string{"script-1", "script-2", odd, "script-3"} {
		f.awaitStatus(t, key, http.StatusOK)
	}
	controlplanetest.Must(t, f.expectStatus(t, "script-4", http.StatusUnauthorized))
	w.applySecret(t, "script", label, map[string]string{"two": "script-2"})
	f.awaitStatus(t, "script-1", http.StatusUnauthorized)
	w.kubectl(t, "delete", "secret", "script-1", "-n", exportNamespace)
	f.awaitStatus(t, "script-3", http.StatusUnauthorized)
	controlplanetest.Must(t, f.expectStatus(t, "script-2", http.StatusOK))
}

func testRepeatedKey(t *testing.T, f *runningGateway) {
	a := f.send(t, clientRequest{header: http.Header{"X-API-Key": {"first", "other"}, "X-Apikey-Id": {"forged"}}})
	if a.status != http.StatusOK || len(a.received) != 1 {
		t.Fatalf("it was answered %d and reached the application %d times", a.status, len(a.received))
	}
	if h := a.received[0].header; h.Get("X-Apikey-Id") != "one" || len(h.Values("X-Apikey-Id")) != 1 || len(h.Values("X-API-Key")) != 0 {
		t.Errorf("the application sees %v", h)
	}
	if a := f.send(t, clientRequest{header: http.Header{"X-API-Key": {"other", "first"}}}); a.status != http.StatusUnauthorized {
		t.Errorf("if the first one is not valid, it is answered %d", a.status)
	}
}

// awaitStatus waits until requests with a key are answered with a status, on a new connection and on one that is kept.
func (f *runningGateway) awaitStatus(t *testing.T, key string, want int) {
	t.Helper()
	controlplanetest.Eventually(t, fmt.Sprintf("it is answered %d", want), func() error { return f.expectStatus(t, key, want) })
}

func (f *runningGateway) expectStatus(t *testing.T, key string, want int) error {
	t.Helper()
	kept, err := statusOf(t.Context(), f.url, key)
	if err != nil {
		return err
	}
	if fresh := f.request(t, key).status; fresh != want || kept != want {
		return fmt.Errorf("it is answered %d on a new connection, and %d on one that is kept", fresh, kept)
	}
	return nil
}

func awaitText(t *testing.T, file, text string) {
	t.Helper()
	controlplanetest.Until(t, "it does not say "+text, func() bool { return strings.Contains(controlplane.Tail(file, 1<<20), text) })
}
