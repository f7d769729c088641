// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package server_test

import (
	"strings"
	"sync"
	"testing"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"

	"github.com/apikey-manager/apikey-manager/internal/verifier/server"
)

// logLines captures the lines of a logger.
type logLines struct {
	mu   sync.Mutex
	list []string
}

func (l *logLines) logger() logr.Logger {
	return funcr.NewJSON(func(line string) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.list = append(l.list, line)
	}, funcr.Options{})
}

func (l *logLines) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string{}, l.list...)
}

func TestAudit(t *testing.T) {
	t.Parallel()
	line := func(message, protocol, code, id, account, client, method, host, path string) string {
		return `{"logger":"","level":0,"msg":"` + message + `","protocol":"` + protocol + `","code":"` + code +
			`","keyID":"` + id + `","account":"` + account +
			`","client":"` + client + `","method":"` + method + `","host":"` + host + `","path":"` + path + `"}`
	}
	long := strings.Repeat("xy.", 700)
	for name, tc := range map[string]struct {
		send func(*testing.T, *endpoints)
		want []string
	}{
		"a denial over HTTP": {
			send: func(t *testing.T, at *endpoints) {
				send(t, at.http, "GET", "/authz?scopes=admin", header("X-Api-Key", goodKey, "X-Forwarded-Method", "PUT", "X-Forwarded-Host",
					"api.example.com", "X-Forwarded-Uri", "/orders?api_key=other"), "")
			},
			want: []string{line("Denied", "forward_auth", "SCOPE_MISSING", "idgood", "acme", "127.0.0.1", "PUT", "api.example.com", "/orders")},
		},
		"a URL instead of a path": {
			send: func(t *testing.T, at *endpoints) {
				send(t, at.http, "GET", "/authz", header("X-Original-Method", "GET", "X-Original-Url",
					"https://api.example.com/orders?api_key=other"), "")
			},
			want: []string{line("Denied", "forward_auth", "MISSING", "", "", "127.0.0.1", "GET", "", "/orders")},
		},
		"a denied request of an application": {
			send: func(t *testing.T, at *endpoints) {
				send(t, at.http, "POST", "/v1/verify", nil, `{"key":"`+unknownKey+`","ip":"192.0.2.9"}`)
			},
			want: []string{line("Denied", "verify", "UNKNOWN", "", "", "192.0.2.9", "", "", "")},
		},
		"redacts the key in unusual places": {
			send: func(t *testing.T, at *endpoints) {
				send(t, at.http, "GET", "/authz", header("X-Api-Key", revokedKey, "X-Forwarded-Method", revokedKey, "X-Forwarded-Host", revokedKey,
					"X-Forwarded-Uri", "/"+revokedKey+"/x#"+revokedKey), "")
			},
			want: []string{line("Denied", "forward_auth", "REVOKED", "idrevoked", "acme", "127.0.0.1", "[redacted]", "[redacted]", "/[redacted]/x")},
		},
		"something short that is no key strikes nothing out": {
			send: func(t *testing.T, at *endpoints) {
				send(t, at.http, "GET", "/authz", header("X-Api-Key", "/orders", "X-Forwarded-Uri", "/orders/7"), "")
			},
			want: []string{line("Denied", "forward_auth", "UNKNOWN", "", "", "127.0.0.1", "", "", "/orders/7")},
		},
		"redacts a path that may hold one of two keys": {
			send: func(t *testing.T, at *endpoints) {
				send(t, at.http, "GET", "/authz", header("X-Api-Key", goodKey, "Authorization", "Bearer "+plainKey, "X-Forwarded-Uri",
					"/orders/"+goodKey), "")
			},
			want: []string{line("Denied", "forward_auth", "AMBIGUOUS", "", "", "127.0.0.1", "", "", "[redacted]")},
		},
		"truncates long values": {
			send: func(t *testing.T, at *endpoints) {
				send(t, at.http, "GET", "/authz", header("X-Forwarded-Method", long, "X-Forwarded-Host", long, "X-Forwarded-Uri", "/"+long), "")
			},
			want: []string{line("Denied", "forward_auth", "MISSING", "", "", "127.0.0.1", long[:32], long[:255], "/"+long[:511])},
		},
		"redacts a key after an unexpected scheme": {
			send: func(t *testing.T, at *endpoints) {
				send(t, at.http, "GET", "/authz", header("X-Api-Key", "Token "+goodKey, "X-Forwarded-Uri", "/orders/"+goodKey), "")
			},
			want: []string{line("Denied", "forward_auth", "UNKNOWN", "", "", "127.0.0.1", "", "", "/orders/[redacted]")},
		},
		"redacts a key outside of headers": {
			send: func(t *testing.T, at *endpoints) {
				send(t, at.http, "GET", "/authz", header("X-Forwarded-Uri", "/orders/"+goodKey+"/lines"), "")
			},
			want: []string{line("Denied", "forward_auth", "MISSING", "", "", "127.0.0.1", "", "", "/orders/[redacted]/lines")},
		},
		"redacts a percent-encoded key": {
			send: func(t *testing.T, at *endpoints) {
				send(t, at.http, "GET", "/authz", header("X-Api-Key", revokedKey, "X-Forwarded-Uri", "/orders/"+percent(revokedKey, "%%%02x"),
					"X-Forwarded-Host", percent(goodKey, "%%25%02X")), "")
			},
			want: []string{line("Denied", "forward_auth", "REVOKED", "idrevoked", "acme", "127.0.0.1", "", "[redacted]", "/orders/[redacted]")},
		},
		"redacts the key of an allowed request": {
			send: func(t *testing.T, at *endpoints) {
				for range 5 {
					send(t, at.http, "GET", "/authz", header("X-Api-Key", goodKey, "X-Forwarded-Uri", "/orders/"+plainKey), "")
				}
			},
			want: []string{line("Allowed", "forward_auth", "VALID", "idgood", "acme", "127.0.0.1", "", "", "/orders/[redacted]")},
		},
		"samples allowed requests": {
			send: func(t *testing.T, at *endpoints) {
				for range 10 {
					send(t, at.http, "GET", "/authz", header("X-Api-Key", goodKey), "")
				}
			},
			want: []string{
				line("Allowed", "forward_auth", "VALID", "idgood", "acme", "127.0.0.1", "", "", ""),
				line("Allowed", "forward_auth", "VALID", "idgood", "acme", "127.0.0.1", "", "", ""),
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log logLines
			tc.send(t, serve(t, setup{options: server.AuthorizerOptions{Audit: server.NewAudit(log.logger(), 0.2)}}, server.Options{}))
			if diff := cmp.Diff(tc.want, log.all()); diff != "" {
				t.Errorf("the audit (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAudit_ExtAuthz(t *testing.T) {
	t.Parallel()
	var log logLines
	srv := setup{
		sources: []string{"query:api_key"},
		options: server.AuthorizerOptions{Audit: server.NewAudit(log.logger(), 1)},
	}.authorizer(t).ExtAuthz()
	for _, path := range []string{"/orders?api_key=" + goodKey, "/orders/" + expiredKey + "?api_key=" + expiredKey} {
		if _, err := srv.Check(t.Context(), envoyRequest(path, nil, nil)); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{
		`{"logger":"","level":0,"msg":"Allowed","protocol":"ext_authz","code":"VALID","keyID":"idgood","account":"acme",` +
			`"client":"198.51.100.9","method":"GET","host":"api.example.com","path":"/orders"}`,
		`{"logger":"","level":0,"msg":"Denied","protocol":"ext_authz","code":"EXPIRED","keyID":"idexpired","account":"acme",` +
			`"client":"198.51.100.9","method":"GET","host":"api.example.com","path":"/orders/[redacted]"}`,
	}
	if diff := cmp.Diff(want, log.all()); diff != "" {
		t.Errorf("the audit (-want +got):\n%s", diff)
	}
}
