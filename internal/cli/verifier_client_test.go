// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/json"
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const secretKey = "ak_v1ReF6fIcrOF_BA1LkTz3LUYUqBNgYcsVOYI7jNFGFTXMFKwHsNmjTYn3ierx1"

func TestNewVerifierClient_RefusesAddresses(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"verifier:8080":                  "invalid --url",
		"":                               "invalid --url",
		"ftp://verifier":                 "invalid --url",
		"https://user:pass@verifier":     "invalid --url",
		"https://verifier?key=1":         "invalid --url",
		"http://verifier:8080":           "not encrypted",
		"http://10.0.0.7:8080":           "not encrypted",
		"http://localhost.example:8080":  "not encrypted",
		"http://localhost:8080":          "",
		"http://127.0.0.1:8080":          "",
		"http://[::1]:8080":              "",
		"https://verifier.example/authz": "",
	} {
		_, err := newVerifierClient(address, verifierTLS{})
		if (want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", address, err, want)
		}
	}
	if _, err := newVerifierClient("http://verifier:8080", verifierTLS{InsecureHTTP: true}); err != nil {
		t.Error(err)
	}
}

func TestVerifierClient_SendsQuestion(t *testing.T) {
	t.Parallel()
	var got map[string]any
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || r.URL.String() != "/v1/verify" {
			t.Errorf("%s %s", r.Method, r.URL)
		}
		_ = json.NewDecoder(r.Body).Decode(&got)
		_, _ = io.WriteString(w, `{"valid":true,"code":"VALID","keyID":"v1ReF6fIcrOF"}`)
	}))
	defer server.Close()
	c, err := newVerifierClient(server.URL, verifierTLS{})
	if err != nil {
		t.Fatal(err)
	}
	result, err := c.verify(t.Context(), verifyRequest{Key: secretKey, IP: "192.0.2.7", Scopes: []string{"orders:read"}, Account: "acme"})
	if err != nil || !result.Valid || result.KeyID != "v1ReF6fIcrOF" {
		t.Fatalf("got %+v, %v", result, err)
	}
	want := map[string]any{"key": secretKey, "ip": "192.0.2.7", "scopes": []any{"orders:read"}, "account": "acme"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// The command prints as JSON what the verifier answers.
func TestVerifierClient_KeepsAllFields(t *testing.T) {
	t.Parallel()
	const answer = `{"valid":true,"code":"VALID","keyID":"v1ReF6fIcrOF","name":"shop/orders","uid":"6ba7b810-9dad-11d1-80b4-00c04fd430c8",` +
		`"account":"acme","externalID":"4711","label":"Almacén","scopes":["orders:read"],"plan":"pro","metadata":{"team":"shop"},` +
		`"rateLimits":[{"name":"requests","requests":50,"unit":"Minute"}],` +
		`"accountRateLimits":[{"name":"requests","requests":100,"unit":"Minute"}],"expiresAt":"2027-02-28T00:00:00Z"}`
	result, err := readVerifyResult(&http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(answer))})
	if err != nil {
		t.Fatal(err)
	}
	printed, err := json.Marshal(result)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(answer, string(printed)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// Errors say what to do, and never contain the key, even if the other side returns it.
func TestVerifierClient_Errors(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		handler http.HandlerFunc
		want    string
	}{
		"a problem": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"detail":"invalid ip: must be an address such as 192.0.2.7"}`)
		}, "400 Bad Request: invalid ip"},
		"another server": {func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.Copy(w, r.Body)
		}, "is this the address of a verifier?"},
		"a redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		}, "307 Temporary Redirect"},
		"no verdict":      {func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }, "not that of a verifier"},
		"endless content": {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 4*maxVerifierResponse)) }, "not that of a verifier"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			asked := 0
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { asked++; tc.handler(w, r) }))
			defer server.Close()
			c, err := newVerifierClient(server.URL, verifierTLS{})
			if err != nil {
				t.Fatal(err)
			}
			_, err = c.verify(t.Context(), verifyRequest{Key: secretKey})
			if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), secretKey) || asked != 1 {
				t.Errorf("got %v after %d requests, want %q", err, asked, tc.want)
			}
		})
	}
}

func TestVerifierClient_ChecksCertificate(t *testing.T) {
	t.Parallel()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"valid":false,"code":"UNKNOWN"}`)
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	file := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		options verifierTLS
		want    string
	}{
		"unknown authority": {verifierTLS{}, "with --ca-file"},
		"known authority":   {verifierTLS{CAFile: file}, ""},
		"another name":      {verifierTLS{CAFile: file, ServerName: "apikey-verifier.other.svc"}, "certificate"},
		"a name of it":      {verifierTLS{CAFile: file, ServerName: "example.com"}, ""},
		"no file":           {verifierTLS{CAFile: file + "x"}, "read --ca-file"},
		"not a certificate": {verifierTLS{CAFile: "verifier_client_test.go"}, "invalid --ca-file"},
	} {
		c, err := newVerifierClient(server.URL, tc.options)
		if err == nil {
			_, err = c.verify(t.Context(), verifyRequest{Key: secretKey})
		}
		if (tc.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v, want %q", name, err, tc.want)
		}
	}
}
