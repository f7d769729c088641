// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package server_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/apikey-manager/apikey-manager/internal/verifier/server"
)

var allSteps = []any{"synced", "key", "state", "account", "expiry", "admitted", "address", "scopes", "claim"}

func TestVerify(t *testing.T) {
	t.Parallel()
	good := map[string]any{
		"valid": true, "code": "VALID", "keyID": "idgood", "name": "shops/good", "uid": "good", "account": "acme", "externalID": "ext-1", "label": "Shop", "plan": "pro",
		"scopes": []any{"orders:read", "orders:write"}, "expiresAt": "2027-02-28T13:00:00Z",
	}
	refused := func(code string, more ...any) map[string]any {
		m := map[string]any{"valid": false, "code": code}
		for i := 0; i < len(more); i += 2 {
			m[more[i].(string)] = more[i+1]
		}
		return m
	}
	known := func(code, name, account, externalID string) map[string]any {
		m := refused(code, "keyID", "id"+name, "name", "shops/"+name, "uid", name, "account", account, "externalID", externalID)
		if account == "acme" {
			m["plan"] = "pro"
		}
		return m
	}
	but := func(code string) map[string]any {
		m := refused(code)
		for name, value := range good {
			if m[name] == nil {
				m[name] = value
			}
		}
		return m
	}
	listed := known("VALID", "listed", "acme", "ext-1")
	listed["valid"] = true
	expired := known("EXPIRED", "expired", "acme", "ext-1")
	expired["expiresAt"] = "2027-02-28T11:00:00Z"
	for name, tc := range map[string]struct {
		setup setup
		body  string
		want  map[string]any
		// step decided.
		step string
	}{
		"a valid key": {body: `{"key":"` + goodKey + `"}`, want: good, step: "claim"},
		"all fields": {body: `{"key":"` + goodKey +
			`","ip":"203.0.113.9:443","scopes":["orders:read","orders:write"],"account":"acme"}`, want: good, step: "claim"},
		"its external ID":            {body: `{"key":"` + goodKey + `","externalID":"ext-1","account":"acme"}`, want: good, step: "claim"},
		"its external ID as a name":  {body: `{"key":"` + goodKey + `","account":"ext-1"}`, want: but("ACCOUNT_MISMATCH"), step: "claim"},
		"its name as an external ID": {body: `{"key":"` + goodKey + `","externalID":"acme"}`, want: but("ACCOUNT_MISMATCH"), step: "claim"},
		"no key":                     {body: `{}`, want: refused("MISSING"), step: "key"},
		"an unknown key":             {body: `{"key":"` + unknownKey + `"}`, want: refused("UNKNOWN"), step: "key"},
		"a key that is too long":     {body: `{"key":"` + strings.Repeat("k", 60000) + `"}`, want: refused("UNKNOWN"), step: "key"},
		"a revoked key": {
			body: `{"key":"` + revokedKey + `"}`, want: known("REVOKED", "revoked", "acme", "ext-1"),
			step: "state",
		},
		"a revoked credential": {
			body: `{"key":"` + leakedKey + `"}`, want: known("REVOKED", "leaked", "acme", "ext-1"),
			step: "state",
		},
		"an inactive key": {
			body: `{"key":"` + inactiveKey + `"}`, want: known("INACTIVE", "inactive", "acme", "ext-1"),
			step: "state",
		},
		"a suspended account": {
			body: `{"key":"` + suspendedKey + `"}`,
			want: known("ACCOUNT_SUSPENDED", "suspended", "late", "ext-2"), step: "account",
		},
		"an expired key": {body: `{"key":"` + expiredKey + `"}`, want: expired, step: "expiry"},
		"a whitelist and no address": {
			body: `{"key":"` + listedKey + `"}`, want: known("IP_NOT_ALLOWED", "listed", "acme", "ext-1"),
			step: "address",
		},
		"a whitelist and its address": {body: `{"key":"` + listedKey + `","ip":"::ffff:192.0.2.7"}`, want: listed, step: "claim"},
		"a scope that it lacks": {
			body: `{"key":"` + goodKey + `","scopes":["orders:read","admin"]}`, want: but("SCOPE_MISSING"),
			step: "scopes",
		},
		"another account": {body: `{"key":"` + goodKey + `","account":"bare"}`, want: but("ACCOUNT_MISMATCH"), step: "claim"},
		"an index that is not synced": {
			setup: setup{unsynced: true}, body: `{"key":"` + goodKey + `"}`, want: refused("NOT_SYNCED"),
			step: "synced",
		},
		"always status 200": {setup: setup{options: server.AuthorizerOptions{
			DenyStatusOnly: true,
			AccountHeader:  accountHeader("X-FF-Company"),
		}}, body: `{"key":"` + goodKey + `"}`, want: good, step: "claim"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			at := serve(t, tc.setup, server.Options{})
			if diff := cmp.Diff(tc.want, postJSON(t, at, "/v1/verify", tc.body)); diff != "" {
				t.Errorf("verify (-want +got):\n%s", diff)
			}
			explained := postJSON(t, at, "/v1/explain", tc.body)
			passed := allSteps
			for i, step := range allSteps {
				if step == tc.step && tc.want["valid"] == false {
					passed = allSteps[:i]
				}
			}
			if explained["step"] != tc.step || !cmp.Equal(explained["passed"], append([]any{}, passed...)) {
				t.Errorf("explain reports step %v after %v, want %s after %v", explained["step"], explained["passed"], tc.step, passed)
			}
			delete(explained, "step")
			delete(explained, "passed")
			if diff := cmp.Diff(tc.want, explained); diff != "" {
				t.Errorf("explain (-want +got):\n%s", diff)
			}
		})
	}
}

// postJSON sends a request and returns the response, whose status must be 200.
func postJSON(t *testing.T, at *endpoints, path, body string) map[string]any {
	t.Helper()
	a := send(t, at.http, http.MethodPost, path, nil, body)
	if a.status != http.StatusOK || a.header.Get("Content-Type") != "application/json" || a.header.Get("Cache-Control") != "no-store" {
		t.Fatalf("got %+v", a)
	}
	got := map[string]any{}
	if err := json.Unmarshal([]byte(a.body), &got); err != nil {
		t.Fatal(err)
	}
	return got
}

func TestVerify_ReportsInvalidRequests(t *testing.T) {
	t.Parallel()
	at := serve(t, setup{}, server.Options{})
	for name, tc := range map[string]struct {
		method, body string
		status       int
		detail       string
	}{
		"not JSON":         {body: goodKey, status: 400, detail: "invalid body: must be a JSON object"},
		"an empty body":    {body: "", status: 400, detail: "invalid body: must be a JSON object"},
		"truncated JSON":   {body: `{"key":"` + goodKey, status: 400, detail: "invalid body: must be a JSON object"},
		"two JSON objects": {body: `{"key":"` + goodKey + `"}{"key":"x"}`, status: 400, detail: "invalid body: must be a JSON object"},
		"a list":           {body: `["` + goodKey + `"]`, status: 400, detail: "invalid body: must be a JSON object"},
		"a number as key":  {body: `{"key":12345}`, status: 400, detail: "invalid key: must be a string"},
		"a scope instead of a list": {
			body: `{"key":"` + goodKey + `","scopes":"admin"}`, status: 400,
			detail: "invalid scopes: must be a list of strings",
		},
		"an unknown field": {
			body: `{"key":"` + goodKey + `","scope":["admin"]}`, status: 400,
			detail: "unknown field scope: must be key, ip, scopes, account or externalID",
		},
		"an empty account": {
			body: `{"key":"` + goodKey + `","account":""}`, status: 400,
			detail: "invalid account: must not be empty",
		},
		"an empty external ID": {
			body: `{"key":"` + goodKey + `","externalID":""}`, status: 400,
			detail: "invalid externalID: must not be empty",
		},
		"an empty scope": {
			body: `{"key":"` + goodKey + `","scopes":["orders:read",""]}`, status: 400,
			detail: "invalid scopes: must not contain an empty scope",
		},
		"a number as ID":   {body: `{"key":"` + goodKey + `","externalID":7}`, status: 400, detail: "invalid externalID: must be a string"},
		"another case":     {body: `{"Key":"` + goodKey + `"}`, status: 400, detail: "unknown field Key"},
		"a field twice":    {body: `{"key":"x","key":"` + goodKey + `"}`, status: 400, detail: "duplicate field key"},
		"a key as a field": {body: `{"` + goodKey + `":1}`, status: 400, detail: "unknown field: must be key"},
		"no address": {
			body: `{"key":"` + goodKey + `","ip":"localhost"}`, status: 400,
			detail: "invalid ip: must be an address such as 192.0.2.7",
		},
		"more than 64 KiB": {body: `{"key":"` + strings.Repeat("k", 64<<10) + `"}`, status: 413, detail: "at most 64 KiB"},
		"GET":              {method: http.MethodGet, status: 405, detail: "the method must be POST"},
		"DELETE":           {method: http.MethodDelete, status: 405, detail: "the method must be POST"},
	} {
		for _, path := range []string{"/v1/verify", "/v1/explain"} {
			t.Run(fmt.Sprint(name, " at ", path), func(t *testing.T) {
				t.Parallel()
				method := tc.method
				if method == "" {
					method = http.MethodPost
				}
				got := send(t, at.http, method, path, nil, tc.body)
				if got.status != tc.status {
					t.Fatalf("got %+v, want %d", got, tc.status)
				}
				checkProblem(t, got, "")
				if !strings.Contains(got.body, tc.detail) || strings.Contains(got.body, goodKey) {
					t.Errorf("the problem is %s, want %q", got.body, tc.detail)
				}
			})
		}
	}
}
