// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package gateways_test

import (
	"encoding/base64"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/apikey-manager/apikey-manager/test/controlplane"
)

// TestGateways runs the same tests with each gateway.
func TestGateways(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	for _, g := range gateways {
		t.Run(g.name, func(t *testing.T) {
			t.Parallel()
			g.logVersion(t, g.binary(t, w.plane.Root()))
			t.Run("a key in a header", func(t *testing.T) { w.testHeaderKey(t, &g) })
			t.Run("a key in the query", func(t *testing.T) { w.testQueryKey(t, &g) })
			t.Run("a key and an external ID in two headers", func(t *testing.T) { w.testTwoHeaders(t, &g) })
			t.Run("metadata in a header", func(t *testing.T) { w.testMetadataHeader(t, &g) })
			t.Run("a key as Basic credentials", func(t *testing.T) { w.testBasicKey(t, &g) })
			t.Run("floods of unknown keys are limited", func(t *testing.T) { w.testFailures(t, &g) })
			t.Run("requests are denied if the verifier does not answer", func(t *testing.T) { w.testFailClosed(t, &g) })
		})
	}
}

// requestWithKey returns a request with a key in X-API-Key.
func (w *suite) requestWithKey(name string) clientRequest {
	return clientRequest{header: http.Header{"X-API-Key": {w.keys[name].material}}}
}

func (w *suite) identityOf(name string, more ...string) map[string]string {
	k := w.keys[name]
	identity := map[string]string{"x-apikey-id": k.id, "x-apikey-uid": k.uid, "x-apikey-name": k.name, "x-apikey-account": "bare"}
	for i := 0; i < len(more); i += 2 {
		identity[more[i]] = more[i+1]
	}
	return identity
}

// fullIdentity returns the identity headers of the key that has all of them.
func (w *suite) fullIdentity() map[string]string {
	return w.memberIdentity("full", "x-apikey-scopes", "orders:read")
}

// memberIdentity returns the identity headers of a key of account acme.
func (w *suite) memberIdentity(name string, more ...string) map[string]string {
	return w.identityOf(name, append([]string{"x-apikey-account", "acme", "x-apikey-external-id", externalID, "x-apikey-plan", "pro"}, more...)...)
}

func (w *suite) testHeaderKey(t *testing.T, g *gateway) {
	v := w.verifier(t, g.verifierFlags...)
	f := w.serve(t, g, g.addressOf(v))
	t.Run("a valid key is replaced by its identity headers", func(t *testing.T) { w.testValidKeys(t, f) })
	t.Run("forged identity headers are replaced or removed", func(t *testing.T) { w.testForgedIdentity(t, f) })
	t.Run("invalid keys are denied with a reason", func(t *testing.T) { w.testInvalidKeys(t, f) })
	t.Run("routes require their scope and account", func(t *testing.T) { w.testRoutes(t, f) })
	t.Run("other spellings of a path do not bypass a scope", func(t *testing.T) { w.testPaths(t, f) })
	t.Run("ordinary paths are not changed", func(t *testing.T) { w.testPlainPaths(t, f) })
	t.Run("the client address cannot be forged", func(t *testing.T) { w.testClientAddresses(t, f) })
	t.Run("the audit log has the request as the client sent it", func(t *testing.T) { w.testAuditLog(t, f, v.Log) })
	t.Run("credentials for the application reach it", func(t *testing.T) { w.testOwnCredentials(t, f) })
	t.Run("preflight requests are allowed on routes that allow them", func(t *testing.T) { w.testPreflight(t, f) })
	t.Run("the maximum number of scopes is passed on", func(t *testing.T) { w.testManyScopes(t, f) })
	t.Run("requests and responses are complete", func(t *testing.T) { w.testUnchangedRequests(t, f) })
}

func (w *suite) testValidKeys(t *testing.T, f *runningGateway) {
	material := w.keys["full"].material
	for about, header := range map[string]http.Header{
		"in X-API-Key":       {"X-API-Key": {material}},
		"as a Bearer token":  {"Authorization": {"Bearer " + material}},
		"in a HTTP/2 manner": {"x-api-key": {material}},
		"in both places":     {"X-API-Key": {material}, "Authorization": {"Bearer " + material}},
	} {
		t.Run(about, func(t *testing.T) {
			s := f.expectAllowed(t, clientRequest{method: http.MethodPut, path: "/stock/a%20b?n=1&m=%C3%A1", body: "seven", header: header}, w.fullIdentity())
			if places := s.placesOfKey(material); len(places) != 0 {
				t.Errorf("the application sees the key in %v", places)
			}
			query, err := url.ParseQuery(strings.TrimPrefix(s.uri, "/stock/a%20b?"))
			if s.method != http.MethodPut || s.body != "seven" || err != nil || query.Encode() != "m=%C3%A1&n=1" {
				t.Errorf("the application sees %s %s with body %q", s.method, s.uri, s.body)
			}
		})
	}
	t.Run("with scopes and account in the query of the client", func(t *testing.T) {
		q := w.requestWithKey("full")
		q.path = "/stock?scopes=never&account=nobody"
		if s := f.expectAllowed(t, q, w.fullIdentity()); s.uri != q.path {
			t.Errorf("the application sees %s", s.uri)
		}
	})
}

func (w *suite) testForgedIdentity(t *testing.T, f *runningGateway) {
	names := []string{
		"X-Apikey-Id", "X-Apikey-Uid", "X-Apikey-Account", "X-Apikey-External-Id", "X-Apikey-Name", "X-Apikey-Scopes", "X-Apikey-Plan",
	}
	if !f.removesListed {
		names = append(names, "X-Apikey-Team")
	}
	for about, spell := range map[string]func(string) string{
		"as they are":            func(name string) string { return name },
		"in lower case":          strings.ToLower,
		"with underscores":       func(name string) string { return strings.ReplaceAll(name, "-", "_") },
		"with one underscore":    func(name string) string { return "X_" + name[2:] },
		"with dots":              func(name string) string { return strings.ReplaceAll(name, "-", ".") },
		"with a late underscore": func(name string) string { return "x-apikey_" + name[len("x-apikey-"):] },
	} {
		t.Run(about, func(t *testing.T) {
			q := w.requestWithKey("plain")
			for _, name := range names {
				q.header[spell(name)] = []string{"forged", "forged again"}
			}
			// The account of this key has no external ID and no plan, and the key has no scopes, so these headers are absent.
			f.expectAllowed(t, q, w.identityOf("plain"))
		})
	}
	t.Run("listed in the Connection header", func(t *testing.T) {
		q := w.requestWithKey("full")
		q.header["Connection"] = []string{"close, " + strings.Join(names, ", ")}
		f.expectAllowed(t, q, w.fullIdentity())
	})
}

func (w *suite) testInvalidKeys(t *testing.T, f *runningGateway) {
	unknown := strings.Repeat("x", 60)
	for about, c := range map[string]struct {
		keys   []string
		status int
		code   string
	}{
		"none":               {nil, http.StatusUnauthorized, "MISSING"},
		"unknown":            {[]string{unknown}, http.StatusUnauthorized, "UNKNOWN"},
		"two":                {[]string{w.keys["full"].material, w.keys["plain"].material}, http.StatusUnauthorized, "AMBIGUOUS"},
		"the same one twice": {[]string{w.keys["full"].material, w.keys["full"].material}, http.StatusUnauthorized, "AMBIGUOUS"},
		"inactive":           {[]string{w.keys["inactive"].material}, http.StatusUnauthorized, "INACTIVE"},
		"expired":            {[]string{w.keys["expired"].material}, http.StatusUnauthorized, "EXPIRED"},
		"revoked":            {[]string{w.keys["revoked"].material}, http.StatusUnauthorized, "REVOKED"},
	} {
		t.Run(about, func(t *testing.T) {
			f.expectDenied(t, clientRequest{path: "/stock", header: http.Header{"X-API-Key": c.keys}}, c.status, c.code)
			f.expectDenied(t, clientRequest{path: "/stock", method: http.MethodPost, body: "seven", header: http.Header{"X-API-Key": c.keys}}, c.status, c.code)
		})
	}
}

func (w *suite) testRoutes(t *testing.T, f *runningGateway) {
	orders, acme := w.requestWithKey("full"), w.requestWithKey("full")
	orders.path, acme.path = "/orders/7?scopes=", "/acme/7?account=bare"
	f.expectAllowed(t, orders, w.fullIdentity())
	f.expectAllowed(t, acme, w.fullIdentity())
	orders.header, acme.header = w.requestWithKey("plain").header, w.requestWithKey("plain").header
	f.expectDenied(t, orders, http.StatusForbidden, "SCOPE_MISSING")
	f.expectDenied(t, acme, http.StatusForbidden, "ACCOUNT_MISMATCH")
}

// testPaths sends paths that some gateway or application may interpret as being below /orders.
func (w *suite) testPaths(t *testing.T, f *runningGateway) {
	for _, path := range []string{
		"/orders", "//orders/7", "/%6Frders/7", "/./orders/7", "/stock/../orders/7", "/stock/%2e%2e/orders/7", "/%2Forders/7",
		"/stock%2F..%2Forders/7", "/%2e/orders/7",
		// A gateway cleans these, and takes them for /stock.
		"/orders/../stock", "/orders/%2e%2E/stock", "/orders%2f..%2Fstock",
		`/stock\..\orders/7`, "/stock%5C..%5corders/7", "/orders/..#/stock",
		// These cannot be decoded.
		"/orders/7%", "/orders/%zz", "/orders/%2", "/%6Frders/%",
		// Tomcat strips everything after a semicolon from a segment before it normalizes the path.
		"/stock/..;/orders/7", "/stock/..;x=1/orders/7", "/stock/%2e.;/orders/7", "/stock/..%3B/orders/7", "/.;/orders/7",
		"/;/orders/7", "/;x=1/orders/7", "/%3b/orders/7",
	} {
		t.Run(path, func(t *testing.T) {
			f.application.requests.Store(0)
			a := f.sendRaw(t, path, w.keys["plain"].material)
			refused := f.application.requests.Load() == 0 && a.status >= 300 && a.status < 500
			// The request may pass if the path that the application receives is not below /orders.
			cleaned := len(a.received) == 1 && a.received[0].uri == "/stock"
			if !refused && !cleaned {
				t.Errorf("it was answered %d and reached the application as %v", a.status, a.received)
			}
		})
	}
}

func (w *suite) testPlainPaths(t *testing.T, f *runningGateway) {
	for _, path := range []string{
		"/stock/.well-known/..a/b..", "/stock/.../7", "/stock/7;v=1.2;w/8", "/stock/a%20b%C3%A1", "/stock/7?next=/../orders%2F%3B%5c",
	} {
		t.Run(path, func(t *testing.T) {
			a := f.sendRaw(t, path, w.keys["plain"].material)
			if a.status != http.StatusOK || len(a.received) != 1 || a.received[0].uri != path {
				t.Errorf("it was answered %d and reached the application as %v", a.status, a.received)
			}
		})
	}
}

// testAuditLog checks that the verifier logs the request of the client, also behind a trusted load balancer that forwards all
// headers.
func (w *suite) testAuditLog(t *testing.T, f *runningGateway, log string) {
	for about, from := range map[string]string{"from anywhere": "127.0.0.2", "through the load balancer": "127.0.0.1"} {
		t.Run(about, func(t *testing.T) {
			path := "/audited/" + f.name + "/" + from
			header := http.Header{
				"X-Forwarded-Uri": {path + "/forged"}, "X-Forwarded-Method": {"FORGED"}, "X-Original-Method": {"FORGED"},
				"X-Original-Uri": {path + "/forged"}, "X-Original-Url": {"http://forged" + path},
			}
			if from != "127.0.0.1" { // a load balancer may say which host it was asked for
				header["X-Forwarded-Host"] = []string{"forged"}
			}
			f.send(t, clientRequest{method: http.MethodPost, path: path + "?n=1", from: from, header: header})
			line := auditLine(t, log, path)
			host, _, _ := strings.Cut(line.Host, ":")
			if line.Method != http.MethodPost || line.Path != path || host != "127.0.0.1" {
				t.Errorf("the audit says %+v", line)
			}
		})
	}
}

// testManyScopes uses a key whose scopes take more than eight kilobytes, and a client that sends large headers.
func (w *suite) testManyScopes(t *testing.T, f *runningGateway) {
	identity := w.identityOf("wide", "x-apikey-scopes", strings.Join(manyScopes(), ","))
	f.expectAllowed(t, w.requestWithKey("wide"), identity)
	q := w.requestWithKey("wide")
	q.header["X-Large"] = []string{strings.Repeat("x", 6000), strings.Repeat("x", 6000)}
	f.expectAllowed(t, q, identity)
}

func (w *suite) testUnchangedRequests(t *testing.T, f *runningGateway) {
	t.Run("a body of unknown length", func(t *testing.T) {
		q := w.requestWithKey("full")
		q.method, q.body, q.chunked = http.MethodPost, strings.Repeat("seven", 100_000), true
		if s := f.expectAllowed(t, q, w.fullIdentity()); s.body != q.body {
			t.Errorf("the application sees %d bytes of %d", len(s.body), len(q.body))
		}
	})
	t.Run("HEAD", func(t *testing.T) {
		q := w.requestWithKey("full")
		q.method = http.MethodHead
		if s := f.expectAllowed(t, q, w.fullIdentity()); s.method != http.MethodHead {
			t.Errorf("the application sees %s", s.method)
		}
	})
	for _, status := range []int{http.StatusUnauthorized, http.StatusForbidden} {
		t.Run("an error response of the application with "+strconv.Itoa(status), func(t *testing.T) {
			q := w.requestWithKey("full")
			q.header[answerWith] = []string{strconv.Itoa(status)}
			a := f.send(t, q)
			challenges := a.header.Values("WWW-Authenticate")
			if a.status != status || len(a.received) != 1 || a.body != ownBody || !slices.Equal(challenges, []string{ownChallenge}) {
				t.Errorf("the client receives %d %q %q, and the application saw %d requests", a.status, challenges, a.body, len(a.received))
			}
		})
	}
}

// testClientAddresses uses addresses of the loopback network as client addresses. 127.0.0.1 is the address of the gateway and
// of the trusted load balancer in front of it.
func (w *suite) testClientAddresses(t *testing.T, f *runningGateway) {
	if runtime.GOOS != "linux" {
		t.Skip("SKIPPED: client addresses were not tested: only Linux has all of 127.0.0.0/8")
	}
	const elsewhere = "127.0.0.2"
	for about, c := range map[string]struct {
		from      string
		forwarded []string
		allowed   bool
	}{
		"from the allowed address":                            {from: allowedAddress, allowed: true},
		"from another address":                                {from: elsewhere},
		"from another address with a forged X-Forwarded-For":  {from: elsewhere, forwarded: []string{allowedAddress}},
		"in two headers":                                      {from: elsewhere, forwarded: []string{allowedAddress, allowedAddress}},
		"by naming the load balancer":                         {from: elsewhere, forwarded: []string{allowedAddress + ", 127.0.0.1"}},
		"through the load balancer":                           {from: "127.0.0.1", forwarded: []string{allowedAddress}, allowed: true},
		"through it, with an earlier entry":                   {from: "127.0.0.1", forwarded: []string{elsewhere + ", " + allowedAddress}, allowed: true},
		"through it from another address":                     {from: "127.0.0.1", forwarded: []string{elsewhere}},
		"through it from another address with a forged entry": {from: "127.0.0.1", forwarded: []string{allowedAddress + ", " + elsewhere}},
		"through it in two headers":                           {from: "127.0.0.1", forwarded: []string{allowedAddress, elsewhere}},
	} {
		t.Run(about, func(t *testing.T) {
			q := w.requestWithKey("near")
			q.from = c.from
			if c.forwarded != nil {
				q.header["X-Forwarded-For"] = c.forwarded
			}
			if c.allowed {
				f.expectAllowed(t, q, w.memberIdentity("near"))
			} else {
				f.expectDenied(t, q, http.StatusForbidden, "IP_NOT_ALLOWED")
			}
		})
	}
}

func (w *suite) testQueryKey(t *testing.T, g *gateway) {
	f := w.serve(t, g, g.addressOf(w.verifier(t, append([]string{"--key-source=query:api_key"}, g.verifierFlags...)...)))
	material := w.keys["full"].material
	for about, path := range map[string]string{
		"alone":          "/platform/conversions?api_key=" + material,
		"first":          "/platform/conversions?api_key=" + material + "&event=CONVERSION",
		"last":           "/platform/conversions?event=CONVERSION&api_key=" + material,
		"between others": "/platform/conversions?event=CONVERSION&api_key=" + material + "&n=1",
	} {
		t.Run(about, func(t *testing.T) {
			s := f.expectAllowed(t, clientRequest{path: path}, w.fullIdentity())
			want := []string(nil)
			if g.keepsQuery { // docs/gateways.md says so
				want = []string{"the URL"}
			}
			if places := s.placesOfKey(material); !slices.Equal(places, want) {
				t.Errorf("the application sees the key in %v, want %v", places, want)
			}
			if strings.Contains(path, "event") && !strings.Contains(s.uri, "event=CONVERSION") {
				t.Errorf("the application does not see the other parameters: %s", s.uri)
			}
		})
	}
	t.Run("none", func(t *testing.T) {
		f.expectDenied(t, clientRequest{path: "/?api=" + material}, http.StatusUnauthorized, "MISSING")
	})
	t.Run("a key in a header that is not a key source", func(t *testing.T) { f.expectDenied(t, w.requestWithKey("full"), http.StatusUnauthorized, "MISSING") })
	t.Run("two keys, one of them empty", func(t *testing.T) {
		if a := f.send(t, clientRequest{path: "/?api_key=&api_key=" + material}); len(a.received) != 0 && len(a.received[0].placesOfKey(material)) != 0 && !g.keepsQuery {
			t.Errorf("the application sees the key in %v", a.received[0].placesOfKey(material))
		}
	})
	t.Run("a name that the application decodes", func(t *testing.T) {
		for _, path := range []string{"/?api%5Fkey=" + material, "/?api_key=" + w.keys["plain"].material + "&%61pi_key=" + material} {
			f.expectDenied(t, clientRequest{path: path}, http.StatusUnauthorized, "AMBIGUOUS")
		}
	})
	t.Run("a key in a URL in a header", func(t *testing.T) {
		for _, name := range []string{"X-Forwarded-Uri", "X-Original-Uri", "X-Original-Url"} {
			header := http.Header{name: {"/?api_key=" + material}}
			for _, from := range []string{"127.0.0.2", "127.0.0.1"} { // from anywhere, and through the load balancer
				f.expectDenied(t, clientRequest{from: from, header: header}, http.StatusUnauthorized, "MISSING")
			}
		}
	})
}

func (w *suite) testTwoHeaders(t *testing.T, g *gateway) {
	flags := append([]string{"--key-source=header:X-FF-API-Key", "--account-header=X-FF-Company:externalID"}, g.verifierFlags...)
	f := w.serve(t, g, g.addressOf(w.verifier(t, flags...)), "X-API-Key", "X-FF-API-Key", "http_x_api_key", "http_x_ff_api_key",
		"exact: x-api-key", "safe_regex: {regex: x-ff-api-key|x-ff-company}", "|x-api-key|", "|x-ff-api-key|",
		"[X-API-Key,", "[X-FF-API-Key, X-FF-Company,")
	material := w.keys["full"].material
	s := f.expectAllowed(t, clientRequest{header: http.Header{"X-FF-API-Key": {material}, "X-FF-Company": {externalID}}}, w.fullIdentity())
	if places := s.placesOfKey(material); len(places) != 0 {
		t.Errorf("the application sees the key in %v", places)
	}
	if got := s.header.Get("X-FF-Company"); got != externalID {
		t.Errorf("the application sees company %q", got)
	}
	for about, header := range map[string]http.Header{
		"another company": {"X-FF-API-Key": {material}, "X-FF-Company": {"00000000-0000-4000-8000-000000000001"}},
		"no company":      {"X-FF-API-Key": {material}},
	} {
		t.Run(about, func(t *testing.T) {
			f.expectDenied(t, clientRequest{header: header}, http.StatusForbidden, "ACCOUNT_MISMATCH")
		})
	}
	t.Run("no key", func(t *testing.T) {
		f.expectDenied(t, clientRequest{header: http.Header{"X-FF-Company": {externalID}}}, http.StatusUnauthorized, "MISSING")
	})
}

func (w *suite) testBasicKey(t *testing.T, g *gateway) {
	f := w.serve(t, g, g.addressOf(w.verifier(t, append([]string{"--key-source=basic"}, g.verifierFlags...)...)))
	material := w.keys["uuid"].material
	for about, credentials := range map[string]string{"the key alone": material, "the key as user": material + ":"} {
		t.Run(about, func(t *testing.T) {
			header := http.Header{"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte(credentials))}}
			s := f.expectAllowed(t, clientRequest{header: header}, w.memberIdentity("uuid"))
			if places := s.placesOfKey(material); len(places) != 0 {
				t.Errorf("the application sees the key in %v", places)
			}
		})
	}
	t.Run("an unknown key", func(t *testing.T) {
		header := http.Header{"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte("nobody"))}}
		f.expectDenied(t, clientRequest{header: header}, http.StatusUnauthorized, "UNKNOWN")
	})
}

func (w *suite) testFailClosed(t *testing.T, g *gateway) {
	t.Run("because it was killed", func(t *testing.T) {
		v := w.verifiers.Start(t, controlplane.VerifierOptions{Flags: append([]string{trustedProxyFlag}, g.verifierFlags...)})
		t.Cleanup(v.Kill)
		f := w.serve(t, g, g.addressOf(v))
		f.expectAllowed(t, w.requestWithKey("full"), w.fullIdentity())
		v.Kill()
		for range 3 {
			f.expectUnavailable(t, w.requestWithKey("full"))
		}
		// The log of the gateway is checked when it has ended.
		material := w.keys["full"].material
		f.expectUnavailable(t, clientRequest{path: "/?api_key=" + material})
		f.expectUnavailable(t, clientRequest{header: http.Header{"Authorization": {"Bearer " + material}}})
	})
	t.Run("because it hangs", func(t *testing.T) {
		hole, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = hole.Close() })
		w.serve(t, g, hole.Addr().String()).expectUnavailable(t, w.requestWithKey("full"))
	})
	t.Run("because it has not read the keys", func(t *testing.T) {
		v := w.verifiers.Start(t, controlplane.VerifierOptions{Unready: true, Flags: append([]string{trustedProxyFlag, "--kubeconfig=" + w.unreachableKubeconfig(t)}, g.verifierFlags...)})
		t.Cleanup(v.Kill)
		f := w.serve(t, g, g.addressOf(v))
		f.expectDenied(t, w.requestWithKey("full"), g.unsyncedStatus, "NOT_SYNCED")
	})
}

// TestHAProxy_LuaErrorDeniesRequests breaks the script, because HAProxy continues with a request whose action failed.
func TestHAProxy_LuaErrorDeniesRequests(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	f := w.serve(t, gatewayNamed("haproxy"), w.verifier(t).HTTP, "core.httpclient()", "core.nothing()")
	f.expectUnavailable(t, w.requestWithKey("full"))
}

// TestTraefik_RejectsEncodedCharacters sends the encoded characters that Traefik 3.6.4 and later reject, except the percent
// sign. Traefik 3.6.1 does not decode them for routing, but an application may decode them.
func TestTraefik_RejectsEncodedCharacters(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	f := w.serve(t, gatewayNamed("traefik"), w.verifier(t).HTTP)
	for _, path := range []string{"/a%2Fb", "/a%2fb", "/a%5Cb", "/a%5cb", "/a%00b", "/a%3Bb", "/a%3bb", "/a%3Fb", "/a%3fb", "/a%23b"} {
		if a := f.sendRaw(t, path, w.keys["full"].material); a.status != http.StatusForbidden || len(a.received) != 0 {
			t.Errorf("%s was answered %d and reached the application %d times", path, a.status, len(a.received))
		}
	}
}

// expectUnavailable fails the test if a request reaches the application, or the status is below 500.
func (f *runningGateway) expectUnavailable(t *testing.T, q clientRequest) {
	t.Helper()
	if a := f.send(t, q); len(a.received) != 0 || a.status < 500 {
		t.Errorf("it was answered %d and reached the application %d times", a.status, len(a.received))
	}
}

// unreachableKubeconfig returns the kubeconfig of an API server that does not exist.
func (w *suite) unreachableKubeconfig(t *testing.T) string {
	t.Helper()
	file := t.TempDir() + "/nowhere.kubeconfig"
	write(t, file, `{"apiVersion": "v1", "kind": "Config", "current-context": "nowhere",
"clusters": [{"name": "nowhere", "cluster": {"server": "https://`+freeAddress(t)+`"}}],
"contexts": [{"name": "nowhere", "context": {"cluster": "nowhere", "user": "nobody"}}],
"users": [{"name": "nobody", "user": {}}]}`)
	return file
}
