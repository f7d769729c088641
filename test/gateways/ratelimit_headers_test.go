// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package gateways_test

import (
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

// rateLimitBlocks returns the code blocks of a language in docs/rate-limits.md.
func rateLimitBlocks(t *testing.T, root, language string) (blocks []string) {
	t.Helper()
	page, err := os.ReadFile(filepath.Join(root, "docs", "rate-limits.md"))
	if err != nil {
		t.Fatal(err)
	}
	for i, block := range strings.Split(string(page), "\n```") {
		if text, is := strings.CutPrefix(block, language+"\n"); is && i%2 == 1 {
			blocks = append(blocks, text+"\n")
		}
	}
	if blocks == nil {
		t.Fatalf("docs/rate-limits.md has no block in %s", language)
	}
	return blocks
}

// TestRateLimit_HAProxy adds the lines of docs/rate-limits.md to the sample of HAProxy, and limits accounts by their plan.
func TestRateLimit_HAProxy(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	root, dir := w.plane.Root(), t.TempDir()
	blocks := rateLimitBlocks(t, root, "haproxy")
	write(t, filepath.Join(dir, "plans.map"), strings.Replace(rateLimitBlocks(t, root, "text")[0], "free 100", "free 10", 1))
	verified, backend := "    http-request deny deny_status 503 unless { var(txn.apikey_allowed) -m bool }\n", "\nbackend application\n"
	rules := strings.NewReplacer("/etc/haproxy/", dir+"/", "int(60)", "int(3)").Replace(blocks[0])
	f := w.serve(t, gatewayNamed("haproxy"), w.verifier(t).HTTP, verified, verified+rules, backend, "\n"+blocks[1]+backend)
	t.Run("accounts of a plan", func(t *testing.T) { w.testPlanOfMap(t, f, 10) })
	t.Run("a client cannot choose its account or plan", func(t *testing.T) {
		_, list := w.newLimitedKeys(t, nil, map[string][]v1alpha1.RateLimit{"one": nil})
		f.expectAllowedTimes(t, w.materialOf(t, list["one"]), 10, http.Header{
			"X-Apikey-Account": {"bare"}, "X_apikey_account": {"bare"}, "X-Apikey-Plan": {"pro"}, "X-Apikey-Uid": {"forged"},
		})
	})
	t.Run("without a plan, the default applies", func(t *testing.T) {
		f.expectAllowedTimes(t, w.keys["plain"].material, 3, nil)
	})
}

// testPlanOfMap uses up the limit of an account with two keys, and moves the account to a higher plan.
func (w *suite) testPlanOfMap(t *testing.T, f *runningGateway, limit int) {
	account, list := w.newLimitedKeys(t, nil, map[string][]v1alpha1.RateLimit{"one": nil, "two": nil})
	one, two := w.materialOf(t, list["one"]), w.materialOf(t, list["two"])
	f.expectAllowedTimes(t, one, limit, nil)
	if a := f.request(t, two); a.status != http.StatusTooManyRequests {
		t.Errorf("the other key is answered %d", a.status)
	}
	w.kubectl(t, "patch", "account", account, "--type=merge", "-p", `{"spec":{"plan":"pro"}}`)
	controlplanetest.Until(t, "plan pro does not apply", func() bool { return f.request(t, two).status == http.StatusOK })
}

// expectAllowedTimes fails the test unless so many requests are allowed, and the one after them is answered 429.
func (f *runningGateway) expectAllowedTimes(t *testing.T, material string, times int, header http.Header) {
	t.Helper()
	q := clientRequest{header: http.Header{"X-API-Key": {material}}}
	maps.Copy(q.header, header)
	for i := range times {
		if a := f.send(t, q); a.status != http.StatusOK || len(a.received) != 1 {
			t.Fatalf("request %d of %d is answered %d", i+1, times, a.status)
		}
	}
	if a := f.send(t, q); a.status != http.StatusTooManyRequests || len(a.received) != 0 || a.header.Get("Retry-After") == "" {
		t.Errorf("the request after them is answered %d and %v", a.status, a.header)
	}
}

// TestRateLimit_Traefik adds the middleware and the router of docs/rate-limits.md to the sample of Traefik.
func TestRateLimit_Traefik(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	blocks := rateLimitBlocks(t, w.plane.Root(), "yaml")
	middleware, router := strings.ReplaceAll(blocks[1], "100", "10"), blocks[2]
	f := w.serve(t, gatewayNamed("traefik"), w.verifier(t).HTTP,
		"  routers:\n", "  routers:\n"+router, "  middlewares:\n", "  middlewares:\n"+middleware,
		"[remove-forwarded, apikey]", "[remove-forwarded, apikey, per-account]",
		"[remove-forwarded, apikey-orders]", "[remove-forwarded, apikey-orders, per-account]")
	t.Run("preflights", func(t *testing.T) { w.testUnlimitedPreflights(t, f) })
	for about, header := range map[string]http.Header{
		"all keys of an account": nil,
		"a client cannot choose its counter": {
			"X-Apikey-Account": {"bare"}, "X_apikey_account": {"bare"}, "X.Apikey.Account": {"bare"}, "Connection": {"X-Apikey-Account"},
		},
	} {
		t.Run(about, func(t *testing.T) {
			_, list := w.newLimitedKeys(t, nil, map[string][]v1alpha1.RateLimit{"one": nil, "two": nil})
			f.expectAllowedTimes(t, w.materialOf(t, list["one"]), 10, header)
			if a := f.request(t, w.materialOf(t, list["two"])); a.status != http.StatusTooManyRequests {
				t.Errorf("the other key is answered %d", a.status)
			}
		})
	}
	f.expectAllowedTimes(t, w.keys["plain"].material, 10, nil) // the counter of account bare, which forged headers named
}

// testUnlimitedPreflights sends more preflights than an account may send requests, before and after that account has used up its
// limit.
func (w *suite) testUnlimitedPreflights(t *testing.T, f *runningGateway) {
	preflight := clientRequest{method: http.MethodOptions, path: "/orders/7", header: http.Header{
		"Origin": {"https://shop.example"}, "Access-Control-Request-Method": {"GET"}, "X-Apikey-Account": {"acme"},
	}}
	for range 20 {
		f.expectAllowed(t, preflight, map[string]string{})
	}
	orders := clientRequest{path: "/orders/7", header: http.Header{"X-API-Key": {w.keys["full"].material}}}
	for range 10 {
		f.expectAllowed(t, orders, w.fullIdentity())
	}
	if a := f.send(t, orders); a.status != http.StatusTooManyRequests {
		t.Errorf("the request after them is answered %d", a.status)
	}
	f.expectAllowed(t, preflight, map[string]string{})
	f.expectDenied(t, clientRequest{method: http.MethodOptions, path: "/orders/7"}, http.StatusUnauthorized, "MISSING")
}
