// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package server_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"google.golang.org/grpc/codes"
)

// preflightHeaders returns the headers of a preflight and additional ones: name, value, name, value.
func preflightHeaders(more ...string) http.Header {
	return header(append([]string{"Origin", "https://shop.example", "Access-Control-Request-Method", "GET"}, more...)...)
}

func TestAuthz_Preflight(t *testing.T) {
	t.Parallel()
	const options, get = "OPTIONS", "GET"
	for name, tc := range map[string]struct {
		method string // defaults to GET
		target string // defaults to a route that allows preflights
		header http.Header
		passes bool
	}{
		"the forwarded method":          {header: preflightHeaders("X-Forwarded-Method", options), passes: true},
		"in the other header":           {header: preflightHeaders("X-Original-Method", options), passes: true},
		"in both":                       {header: preflightHeaders("X-Original-Method", options, "X-Forwarded-Method", options), passes: true},
		"sent with the client's method": {method: options, header: preflightHeaders(), passes: true},
		"in the path's parameters": {
			target: "/authz;preflight=allow", header: preflightHeaders("X-Forwarded-Method", options),
			passes: true,
		},
		"before the client's path": {
			method: options, target: "/authz;preflight=allow/orders?page=2", header: preflightHeaders(),
			passes: true,
		},
		"with scopes for other requests": {
			target: "/authz?preflight=allow&scopes=admin",
			header: preflightHeaders("X-Forwarded-Method", options), passes: true,
		},
		"with an invalid key":         {header: preflightHeaders("X-Forwarded-Method", options, "X-Api-Key", revokedKey), passes: true},
		"where it is not allowed":     {target: "/authz", header: preflightHeaders("X-Forwarded-Method", options)},
		"another method":              {header: preflightHeaders("X-Forwarded-Method", get)},
		"in lower case":               {header: preflightHeaders("X-Forwarded-Method", "options")},
		"two methods":                 {header: preflightHeaders("X-Forwarded-Method", options, "X-Forwarded-Method", get)},
		"two headers that differ":     {header: preflightHeaders("X-Forwarded-Method", options, "X-Original-Method", get)},
		"no method":                   {header: preflightHeaders()},
		"a method against the header": {method: options, header: preflightHeaders("X-Forwarded-Method", get)},
		"a forged header before a path": {
			method: get, target: "/authz;preflight=allow/orders",
			header: preflightHeaders("X-Forwarded-Method", options),
		},
		"without an origin":          {header: header("X-Forwarded-Method", options, "Access-Control-Request-Method", get)},
		"without a requested method": {header: header("X-Forwarded-Method", options, "Origin", "https://shop.example")},
		"two requested methods":      {header: preflightHeaders("X-Forwarded-Method", options, "Access-Control-Request-Method", "PUT")},
		"an invalid requested method": {header: header("X-Forwarded-Method", options, "Origin", "null", "Access-Control-Request-Method",
			"G E T")},
		"two origins": {header: preflightHeaders("X-Forwarded-Method", options, "Origin", "https://evil.example")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if tc.method == "" {
				tc.method = get
			}
			if tc.target == "" {
				tc.target = "/authz?preflight=allow"
			}
			w := httptest.NewRecorder()
			r := httptest.NewRequestWithContext(t.Context(), tc.method, tc.target, http.NoBody)
			r.Header = tc.header
			setup{}.authorizer(t).Authz().ServeHTTP(w, r)
			if got := w.Code == http.StatusOK; got != tc.passes {
				t.Errorf("%d: %s", w.Code, w.Body)
			}
			if got := identityOf(w.Header()); got != (identity{}) {
				t.Errorf("the response has an identity: %v", got)
			}
		})
	}
}

// A client cannot allow its own preflights through its query.
func TestAuthz_IgnoresPreflightInClientQuery(t *testing.T) {
	t.Parallel()
	for target, want := range map[string]int{
		"/authz/orders?preflight=allow":                    http.StatusBadRequest,
		"/authz;scopes=orders:read/orders?preflight=allow": http.StatusUnauthorized,
		"/authz?preflight=yes":                             http.StatusBadRequest,
		"/authz?preflight=":                                http.StatusBadRequest,
		"/authz?preflight=allow&preflight=deny":            http.StatusBadRequest,
		"/authz?preflight":                                 http.StatusBadRequest,
		"/authz?Preflight=allow":                           http.StatusBadRequest,
	} {
		w := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(t.Context(), "OPTIONS", target, http.NoBody)
		r.Header = preflightHeaders()
		setup{}.authorizer(t).Authz().ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("%s: %d, want %d: %s", target, w.Code, want, w.Body)
		}
	}
}

func TestAuthz_RefusalHasCORSHeaders(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		target string
		header http.Header
		want   string
	}{
		"where preflights pass":       {"/authz?preflight=allow", preflightHeaders("X-Api-Key", revokedKey), "*"},
		"where they do not":           {"/authz", preflightHeaders("X-Api-Key", revokedKey), ""},
		"to a client that is no page": {"/authz?preflight=allow", header("X-Api-Key", revokedKey), ""},
		"not on allowed responses":    {"/authz?preflight=allow", preflightHeaders("X-Api-Key", goodKey), ""},
	} {
		w := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(t.Context(), "GET", tc.target, http.NoBody)
		r.Header = tc.header
		setup{}.authorizer(t).Authz().ServeHTTP(w, r)
		if got := w.Header().Get("Access-Control-Allow-Origin"); got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}

func TestExtAuthz_Preflight(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		method    string
		extension string
		headers   map[string]string
		want      codes.Code
	}{
		"a preflight": {
			"OPTIONS", "allow",
			map[string]string{"origin": "https://shop.example", "access-control-request-method": "GET"},
			codes.OK,
		},
		"where it is not allowed": {
			"OPTIONS", "",
			map[string]string{"origin": "https://shop.example", "access-control-request-method": "GET"},
			codes.Unauthenticated,
		},
		"another value": {"OPTIONS", "true", map[string]string{
			"origin":                        "https://shop.example",
			"access-control-request-method": "GET",
		}, codes.Unauthenticated},
		"a forged method": {"GET", "allow", map[string]string{
			"origin": "https://shop.example", "access-control-request-method": "GET",
			"x-forwarded-method": "OPTIONS", "x-http-method-override": "OPTIONS",
		}, codes.Unauthenticated},
		"without an origin": {"OPTIONS", "allow", map[string]string{"access-control-request-method": "GET"}, codes.Unauthenticated},
		"origins joined": {
			"OPTIONS", "allow",
			map[string]string{"origin": "a,b", "access-control-request-method": "GET"},
			codes.Unauthenticated,
		},
	} {
		extensions := map[string]string{}
		if tc.extension != "" {
			extensions["preflight"] = tc.extension
		}
		r := envoyRequest("/orders", tc.headers, extensions)
		r.Attributes.Request.Http.Method = tc.method
		got, err := setup{}.authorizer(t).ExtAuthz().Check(t.Context(), r)
		if err != nil || codes.Code(got.GetStatus().GetCode()) != tc.want {
			t.Errorf("%s: %v, %v; want %s", name, got.GetStatus(), err, tc.want)
		}
	}
}
