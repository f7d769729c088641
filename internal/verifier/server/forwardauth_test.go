// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package server_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/apikey-manager/apikey-manager/internal/verifier/server"
)

// identity holds the identity headers.
type identity struct{ id, uid, account, externalID, name, scopes, plan string }

func identityOf(h http.Header) identity {
	return identity{
		h.Get("X-Apikey-Id"), h.Get("X-Apikey-Uid"), h.Get("X-Apikey-Account"), h.Get("X-Apikey-External-Id"), h.Get("X-Apikey-Name"),
		h.Get("X-Apikey-Scopes"), h.Get("X-Apikey-Plan"),
	}
}

var goodIdentity = identity{"idgood", "good", "acme", "ext-1", "shops/good", "orders:read,orders:write", "pro"}

func TestAuthz(t *testing.T) {
	t.Parallel()
	type call struct {
		setup  setup
		method string
		target string
		header http.Header
	}
	query := setup{sources: []string{"query:api_key", "header:X-API-Key"}}
	for name, tc := range map[string]struct {
		call
		status   int
		code     string
		identity identity
	}{
		"allows a valid key": {call: call{header: header("X-Api-Key", goodKey)}, status: 200, identity: goodIdentity},
		"accepts HEAD":       {call: call{method: "HEAD", header: header("X-Api-Key", goodKey)}, status: 200, identity: goodIdentity},
		"accepts POST":       {call: call{method: "POST", header: header("X-Api-Key", goodKey)}, status: 200, identity: goodIdentity},
		"DELETE is not":      {call: call{method: "DELETE", header: header("X-Api-Key", goodKey)}, status: 405},
		"a client's path may follow": {call: call{
			method: "DELETE", target: "/authz/orders//7?api_key=x",
			header: header("X-Api-Key", goodKey),
		}, status: 200, identity: goodIdentity},
		"a path that only begins so": {call: call{target: "/authzz", header: header("X-Api-Key", goodKey)}, status: 404},
		"what is not there is not sent": {
			call: call{header: header("X-Api-Key", plainKey)}, status: 200,
			identity: identity{"idplain", "plain", "bare", "", "shops/plain", "", ""},
		},
		"an odd external ID is encoded": {
			call: call{header: header("X-Api-Key", oddKey)}, status: 200,
			identity: identity{"idodd", "odd", "odd", "%2050%25%0D%0AX-Apikey-Account: root%C3%A9", "shops/odd", "", ""},
		},
		"a forged identity is not echoed": {call: call{header: header("X-Api-Key", plainKey, "X-Apikey-External-Id", "root", "X-Apikey-Scopes",
			"all")}, status: 200, identity: identity{"idplain", "plain", "bare", "", "shops/plain", "", ""}},

		"no key": {call: call{}, status: 401, code: "MISSING"},
		"two keys": {
			call: call{header: header("X-Api-Key", goodKey, "Authorization", "Bearer "+plainKey)}, status: 401,
			code: "AMBIGUOUS",
		},
		"one header twice":    {call: call{header: header("X-Api-Key", goodKey, "X-Api-Key", goodKey)}, status: 401, code: "AMBIGUOUS"},
		"an unknown key":      {call: call{header: header("X-Api-Key", unknownKey)}, status: 401, code: "UNKNOWN"},
		"a revoked key":       {call: call{header: header("X-Api-Key", revokedKey)}, status: 401, code: "REVOKED"},
		"an inactive key":     {call: call{header: header("X-Api-Key", inactiveKey)}, status: 401, code: "INACTIVE"},
		"a suspended account": {call: call{header: header("X-Api-Key", suspendedKey)}, status: 401, code: "ACCOUNT_SUSPENDED"},
		"an expired key":      {call: call{header: header("X-Api-Key", expiredKey)}, status: 401, code: "EXPIRED"},
		"a strange address":   {call: call{header: header("X-Api-Key", listedKey)}, status: 403, code: "IP_NOT_ALLOWED"},
		"a scope that it has": {
			call: call{target: "/authz?scopes=orders:read", header: header("X-Api-Key", goodKey)}, status: 200,
			identity: goodIdentity,
		},
		"an encoded one": {
			call:   call{target: "/authz?scopes=orders%3Aread%2Corders%3Awrite", header: header("X-Api-Key", goodKey)},
			status: 200, identity: goodIdentity,
		},
		"a scope that it lacks": {
			call: call{target: "/authz?scopes=admin", header: header("X-Api-Key", goodKey)}, status: 403, code: "SCOPE_MISSING",
		},
		"one of two scopes": {
			call: call{target: "/authz?scopes=orders:read,admin", header: header("X-Api-Key", goodKey)}, status: 403,
			code: "SCOPE_MISSING",
		},
		"scopes add up": {
			call: call{target: "/authz?scopes=admin&scopes=orders:read", header: header("X-Api-Key", goodKey)}, status: 403,
			code: "SCOPE_MISSING",
		},
		"an unreadable scope": {
			call: call{target: "/authz?scopes=%zz", header: header("X-Api-Key", goodKey)}, status: 403,
			code: "SCOPE_MISSING",
		},
		"its account": {
			call: call{target: "/authz?account=acme", header: header("X-Api-Key", goodKey)}, status: 200,
			identity: goodIdentity,
		},
		"its external ID": {
			call: call{target: "/authz?externalID=ext-1", header: header("X-Api-Key", goodKey)}, status: 200,
			identity: goodIdentity,
		},
		"both": {
			call: call{target: "/authz?externalID=ext-1&account=acme", header: header("X-Api-Key", goodKey)}, status: 200,
			identity: goodIdentity,
		},
		"its ID as a name": {
			call: call{target: "/authz?account=ext-1", header: header("X-Api-Key", goodKey)}, status: 403,
			code: "ACCOUNT_MISMATCH",
		},
		"its name as an ID": {
			call: call{target: "/authz?externalID=acme", header: header("X-Api-Key", goodKey)}, status: 403,
			code: "ACCOUNT_MISMATCH",
		},
		"two external IDs": {
			call:   call{target: "/authz?externalID=ext-1&externalID=ext-2", header: header("X-Api-Key", goodKey)},
			status: 403, code: "ACCOUNT_MISMATCH",
		},
		"an ID of two accounts": {
			call: call{target: "/authz?externalID=ext-1&account=bare", header: header("X-Api-Key", goodKey)}, status: 403,
			code: "ACCOUNT_MISMATCH",
		},
		"an empty ID": {call: call{target: "/authz?externalID=", header: header("X-Api-Key", plainKey)}, status: 400},
		"another account": {
			call: call{target: "/authz?account=bare", header: header("X-Api-Key", goodKey)}, status: 403,
			code: "ACCOUNT_MISMATCH",
		},
		"two accounts": {
			call: call{target: "/authz?account=acme&account=bare", header: header("X-Api-Key", goodKey)}, status: 403,
			code: "ACCOUNT_MISMATCH",
		},
		"a name and its ID": {
			call: call{target: "/authz?account=acme&account=ext-1", header: header("X-Api-Key", goodKey)}, status: 403,
			code: "ACCOUNT_MISMATCH",
		},
		"an index that is not synced": {
			call: call{setup: setup{unsynced: true}, header: header("X-Api-Key", goodKey)}, status: 503,
			code: "NOT_SYNCED",
		},
		"503 becomes 403": {call: call{
			setup:  setup{unsynced: true, options: server.AuthorizerOptions{DenyStatusOnly: true}},
			header: header("X-Api-Key", goodKey),
		}, status: 403, code: "NOT_SYNCED"},
		"405 becomes 403": {call: call{setup: setup{options: server.AuthorizerOptions{DenyStatusOnly: true}}, method: "DELETE"}, status: 403},
		"401 stays":       {call: call{setup: setup{options: server.AuthorizerOptions{DenyStatusOnly: true}}}, status: 401, code: "MISSING"},
		"Traefik's URI": {
			call: call{setup: query, header: header("X-Forwarded-Uri", "/orders?api_key="+goodKey+"&page=2")}, status: 200,
			identity: goodIdentity,
		},
		"nginx's URI": {
			call: call{setup: query, header: header("X-Original-Uri", "/orders?page=2&api_key="+goodKey)}, status: 200,
			identity: goodIdentity,
		},
		"ingress-nginx's URL": {
			call:   call{setup: query, header: header("X-Original-Url", "https://a.example/orders?api_key="+goodKey)},
			status: 200, identity: goodIdentity,
		},
		"a fragment is no key": {
			call: call{setup: query, header: header("X-Original-Url", "/orders#?api_key="+goodKey)}, status: 401,
			code: "MISSING",
		},
		"two URIs that differ": {call: call{setup: query, header: header("X-Original-Uri", "/?api_key="+goodKey, "X-Forwarded-Uri",
			"/?api_key="+plainKey)}, status: 401, code: "AMBIGUOUS"},
		"the query of the gateway's request": {call: call{setup: query, target: "/authz/?api_key=" + goodKey}, status: 401, code: "MISSING"},
		"a misspelt need":                    {call: call{target: "/authz?scope=orders:read", header: header("X-Api-Key", goodKey)}, status: 400},
		"one beside a need": {
			call:   call{target: "/authz?scopes=orders:read&acount=acme", header: header("X-Api-Key", goodKey)},
			status: 400,
		},
		"one behind a slash": {call: call{target: "/authz/?scope=orders:read", header: header("X-Api-Key", goodKey)}, status: 400},
		"one behind a path": {
			call:   call{target: "/authz/orders?page=2&Account=acme", header: header("X-Api-Key", goodKey)},
			status: 400,
		},
		"one that is encoded": {call: call{target: "/authz/orders?%73cope=a", header: header("X-Api-Key", goodKey)}, status: 400},
		"an external ID's": {
			call:   call{target: "/authz/orders?external_id=a", header: header("X-Api-Key", goodKey)},
			status: 400,
		},
		"empty scopes, a path": {
			call: call{target: "/authz/?scopes=,", header: header("X-Api-Key", goodKey)}, status: 403,
			code: "ACCOUNT_MISMATCH",
		},
		"a need in the path": {
			call: call{target: "/authz;scopes=orders:read;account=acme", header: header("X-Api-Key", goodKey)}, status: 200,
			identity: goodIdentity,
		},
		"one that it lacks": {
			call: call{target: "/authz;scopes=admin", header: header("X-Api-Key", goodKey)}, status: 403,
			code: "SCOPE_MISSING",
		},
		"one before a path": {
			call: call{target: "/authz;scopes=admin/orders?page=2", header: header("X-Api-Key", goodKey)}, status: 403,
			code: "SCOPE_MISSING",
		},
		"the client's query": {call: call{
			method: "DELETE", target: "/authz;scopes=orders:read/orders?scope=x&account=bare",
			header: header("X-Api-Key", goodKey),
		}, status: 200, identity: goodIdentity},
		"one and a query": {
			call: call{target: "/authz;account=acme?scopes=admin", header: header("X-Api-Key", goodKey)}, status: 403,
			code: "SCOPE_MISSING",
		},
		"misspelt in the path": {call: call{target: "/authz;scope=a/orders", header: header("X-Api-Key", goodKey)}, status: 400},
		"empty in the path":    {call: call{target: "/authz;scopes=/orders", header: header("X-Api-Key", goodKey)}, status: 400},
		"no name in the path":  {call: call{target: "/authz;=a", header: header("X-Api-Key", goodKey)}, status: 400},
		"400 becomes 403": {
			call:   call{setup: setup{options: server.AuthorizerOptions{DenyStatusOnly: true}}, target: "/authz?scope=a"},
			status: 403,
		},
		"an empty account": {call: call{target: "/authz?account=", header: header("X-Api-Key", goodKey)}, status: 400},
		"an account, bare": {call: call{target: "/authz?account", header: header("X-Api-Key", goodKey)}, status: 400},
		"empty scopes":     {call: call{target: "/authz?scopes=,", header: header("X-Api-Key", goodKey)}, status: 400},
		"one that is empty": {
			call: call{target: "/authz/orders?account=acme&account=", header: header("X-Api-Key", goodKey)}, status: 403,
			code: "ACCOUNT_MISMATCH",
		},
		"nothing at all":               {call: call{target: "/authz?&", header: header("X-Api-Key", goodKey)}, status: 200, identity: goodIdentity},
		"a query that is not a source": {call: call{header: header("X-Forwarded-Uri", "/orders?api_key="+goodKey)}, status: 401, code: "MISSING"},
		"a client behind a trusted proxy": {
			call:   call{setup: setup{trusted: []string{"127.0.0.1"}}, header: header("X-Api-Key", listedKey, "X-Forwarded-For", "192.0.2.7")},
			status: 200, identity: identity{"idlisted", "listed", "acme", "ext-1", "shops/listed", "", "pro"},
		},
		"a client that forges its address": {
			call: call{header: header("X-Api-Key", listedKey, "X-Forwarded-For", "192.0.2.7")}, status: 403, code: "IP_NOT_ALLOWED",
		},
		"a header that names its account": {
			call:   call{setup: claim, header: header("X-Api-Key", goodKey, "X-Ff-Company", "ext-1")},
			status: 200, identity: goodIdentity,
		},
		"a header with a name for an ID": {
			call:   call{setup: claim, header: header("X-Api-Key", goodKey, "X-Ff-Company", "acme")},
			status: 403, code: "ACCOUNT_MISMATCH",
		},
		"a header with an ID for a name": {
			call:   call{setup: claimName, header: header("X-Api-Key", goodKey, "X-Ff-Company", "ext-1")},
			status: 403, code: "ACCOUNT_MISMATCH",
		},
		"a header with the name": {
			call:   call{setup: claimName, header: header("X-Api-Key", goodKey, "X-Ff-Company", "acme")},
			status: 200, identity: goodIdentity,
		},
		"a header that names another account": {
			call:   call{setup: claim, header: header("X-Api-Key", goodKey, "X-Ff-Company", "bare")},
			status: 403, code: "ACCOUNT_MISMATCH",
		},
		"a header that names two": {call: call{
			setup:  claim,
			header: header("X-Api-Key", goodKey, "X-Ff-Company", "ext-1", "X-Ff-Company", "ext-1"),
		}, status: 403, code: "ACCOUNT_MISMATCH"},
		"a header that is not there": {
			call: call{setup: claim, header: header("X-Api-Key", goodKey)}, status: 403,
			code: "ACCOUNT_MISMATCH",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			at := serve(t, tc.setup, server.Options{})
			method, target := tc.method, tc.target
			if method == "" {
				method = http.MethodGet
			}
			if target == "" {
				target = "/authz"
			}
			got := send(t, at.http, method, target, tc.header, "")
			if got.status != tc.status {
				t.Fatalf("got %+v, want %d", got, tc.status)
			}
			if got.header.Get("Cache-Control") != "no-store" {
				t.Errorf("the response may be cached: %v", got.header)
			}
			if got := identityOf(got.header); got != tc.identity {
				t.Errorf("identity is %+v, want %+v", got, tc.identity)
			}
			wantChallenge := ""
			if tc.status == http.StatusUnauthorized {
				wantChallenge = `ApiKey realm="tests"`
			}
			if got := got.header.Get("WWW-Authenticate"); got != wantChallenge {
				t.Errorf("WWW-Authenticate is %q, want %q", got, wantChallenge)
			}
			if tc.status != http.StatusOK && method != http.MethodHead {
				checkProblem(t, got, tc.code)
			} else if got.body != "" {
				t.Errorf("the body is %q", got.body)
			}
		})
	}
}

var claim = setup{options: server.AuthorizerOptions{AccountHeader: accountHeader("x-ff-company:externalID")}}

var claimName = setup{options: server.AuthorizerOptions{AccountHeader: accountHeader("X-FF-Company")}}

// header returns headers from names, which it converts to canonical form, and values.
func header(pairs ...string) http.Header {
	h := http.Header{}
	for i := 0; i < len(pairs); i += 2 {
		h[pairs[i]] = append(h[pairs[i]], pairs[i+1])
	}
	return h
}

// checkProblem checks the body of a refusal.
func checkProblem(t *testing.T, a answer, code string) {
	t.Helper()
	if got := a.header.Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("Content-Type is %q", got)
	}
	if code != "" {
		checkDenial(t, a.body, code, a.status)
		return
	}
	var got map[string]any
	if err := json.Unmarshal([]byte(a.body), &got); err != nil {
		t.Fatalf("%q: %v", a.body, err)
	}
	if got["title"] == "" || got["detail"] == "" || got["status"] != float64(a.status) || got["type"] != "about:blank" {
		t.Errorf("the problem is %s", a.body)
	}
}

// keyIDByCode holds the ID of the key that the tests use for each code. Responses with other codes have no key ID.
var keyIDByCode = map[string]string{
	"REVOKED": "idrevoked", "INACTIVE": "idinactive", "ACCOUNT_SUSPENDED": "idsuspended", "EXPIRED": "idexpired",
	"IP_NOT_ALLOWED": "idlisted", "SCOPE_MISSING": "idgood", "ACCOUNT_MISMATCH": "idgood",
}

// answer holds a response.
type answer struct {
	status int
	header http.Header
	body   string
}

// send sends a request and returns the response.
func send(t *testing.T, address, method, target string, h http.Header, body string) answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "http://"+address+target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if h != nil {
		r.Header = h
	}
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{response.StatusCode, response.Header, string(text)}
}

// After the path of a client, the query may come from the client. It is parsed once, however many requirements it
// contains.
func TestAuthz_ManyRequirementsAllocateLittle(t *testing.T) {
	handler := setup{}.authorizer(t).Authz()
	request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/authz/?"+strings.Repeat("scopes=a&", 6000), nil)
	const few = 100
	if n := testing.AllocsPerRun(10, func() { handler.ServeHTTP(httptest.NewRecorder(), request) }); n > few {
		t.Errorf("%v allocations", n)
	}
}
