// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"bytes"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"

	"github.com/apikey-manager/apikey-manager/internal/usage"
)

// tokenFile creates a file with the manager's token.
func tokenFile(t *testing.T, token string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// verifierServer starts a local verifier with a self-signed certificate for example.com.
func verifierServer(t *testing.T, response http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewTLSServer(response)
	t.Cleanup(s.Close)
	return s
}

func addressOf(s *httptest.Server) string { return strings.TrimPrefix(s.URL, "https://") }

// caFile creates a file with the certificate of a server.
func caFile(t *testing.T, s *httptest.Server) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestUsageClient_SendsRequests(t *testing.T) {
	t.Parallel()
	var got []string
	s := verifierServer(t, func(w http.ResponseWriter, r *http.Request) {
		got = append(got, r.Method+" "+r.URL.String()+" "+r.Header.Get("Authorization"))
		w.Header().Set("Date", "Sat, 10 Jan 2026 09:00:07 GMT")
		_, _ = io.WriteString(w, `{"replica":"a","synced":true,"keysVersion":"12","refused":["u"],"known":["default/web/u/c"],"keys":[{"namespace":"default","name":"web","uid":"1",
			"credentials":[{"id":"c","lastUsed":"2026-01-10T09:00:00Z","counts":{"VALID":3}}]}],"new":"field"}`)
	})
	file := tokenFile(t, "first\n")
	c := NewUsageClient(UsageClientOptions{TokenFile: file})
	response, err := c.GetUsage(t.Context(), addressOf(s), UsageRequest{IncludeUsage: true})
	if err != nil {
		t.Fatal(err)
	}
	used := at(0)
	want := UsageResponse{SentAt: at(7 * time.Second), Report: usage.Report{
		Replica: "a", Synced: true, KeysVersion: "12", Refused: []types.UID{"u"},
		Known: []usage.CredentialReference{{KeyReference: usage.KeyReference{Namespace: "default", Name: "web", UID: "u"}, ID: "c"}},
		Keys: []usage.KeyUsage{{
			Namespace: "default", Name: "web", UID: "1",
			Credentials: []usage.CredentialUsage{{ID: "c", LastUsed: &used, Counts: map[string]uint64{"VALID": 3}}},
		}},
	}}
	if diff := cmp.Diff(want, response); diff != "" {
		t.Errorf("response (-want +got):\n%s", diff)
	}
	if err := os.WriteFile(file, []byte("second"), 0o600); err != nil {
		t.Fatal(err)
	}
	refused := []usage.KeyReference{{Namespace: "default", Name: "web", UID: "u"}, {Namespace: "default", Name: "app", UID: "v"}}
	known := []usage.CredentialReference{{KeyReference: refused[0], ID: "c"}}
	for _, q := range []UsageRequest{{IncludeUsage: true, Since: at(0).In(time.FixedZone("CET", 3600))}, {}, {Refused: refused}, {Known: known}} {
		if _, err := c.GetUsage(t.Context(), addressOf(s), q); err != nil {
			t.Fatal(err)
		}
	}
	wantAsked := []string{
		"GET /v1/usage Bearer first", "GET /v1/usage?since=2026-01-10T09%3A00%3A00Z Bearer second", "GET /v1/usage?keys=none Bearer second",
		"GET /v1/usage?keys=none&refused=default%2Fweb%2Fu&refused=default%2Fapp%2Fv Bearer second",
		"GET /v1/usage?keys=none&known=default%2Fweb%2Fu%2Fc Bearer second",
	}
	if diff := cmp.Diff(wantAsked, got); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

func TestUsageClient_RefusesInvalidResponses(t *testing.T) {
	t.Parallel()
	elsewhere := verifierServer(t, func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("the token was sent to another server: %s", r.URL)
	})
	for name, tc := range map[string]struct {
		response http.HandlerFunc
		want     string
	}{
		"forbidden": {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusForbidden) }, "403 Forbidden"},
		"redirect":  {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere.URL, http.StatusFound) }, "302 Found"},
		"truncated": {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"replica":`) }, "read the response"},
		"not JSON":  {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `<html>`) }, "read the response"},
		"no report": {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{}`) }, "invalid report"},
		"too many objects": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"replica":"a","keys":[`+strings.Repeat("{},", maxReportObjects)+`{}]}`)
		}, "too large"},
		"too long": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"replica":"`)
			for block := bytes.Repeat([]byte("a"), 1<<20); ; {
				if _, err := w.Write(block); err != nil {
					return
				}
			}
		}, "too large"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := verifierServer(t, tc.response)
			response, err := NewUsageClient(UsageClientOptions{TokenFile: tokenFile(t, "s3cret")}).GetUsage(t.Context(), addressOf(s), UsageRequest{IncludeUsage: true})
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %+v, %v; want %q", response, err, tc.want)
			}
			if err != nil && strings.Contains(err.Error(), "s3cret") {
				t.Errorf("the token is in the error: %v", err)
			}
		})
	}
}

func TestUsageClient_VerifiesCertificateWithCAFile(t *testing.T) {
	t.Parallel()
	s := verifierServer(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"replica":"a"}`) })
	other := filepath.Join(t.TempDir(), "empty.crt")
	if err := os.WriteFile(other, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		options UsageClientOptions
		want    string // of the error; empty for none
	}{
		"no CA file":                          {UsageClientOptions{ServerName: "verifier.shop.svc"}, ""},
		"valid for the name":                  {UsageClientOptions{ServerName: "example.com", CAFile: caFile(t, s)}, ""},
		"the certificate is for another name": {UsageClientOptions{ServerName: "verifier.shop.svc", CAFile: caFile(t, s)}, "not verifier.shop.svc"},
		"the file has no certificate":         {UsageClientOptions{ServerName: "example.com", CAFile: other}, "--verifier-ca-file"},
		"there is no such file":               {UsageClientOptions{ServerName: "example.com", CAFile: other + ".not"}, "--verifier-ca-file"},
		"there is no token":                   {UsageClientOptions{TokenFile: other + ".not"}, "--verifier-token-file"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if tc.options.TokenFile == "" {
				tc.options.TokenFile = tokenFile(t, "s3cret")
			}
			_, err := NewUsageClient(tc.options).GetUsage(t.Context(), addressOf(s), UsageRequest{})
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}
