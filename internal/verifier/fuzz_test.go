// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package verifier_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/apikey-manager/apikey-manager/internal/verifier"
)

// FuzzExtract extracts keys from arbitrary requests. Each candidate must occur in the request as a whole.
func FuzzExtract(f *testing.F) {
	f.Add("k", "Bearer k", "api_key=k", "key=k")
	f.Add("k,l", "Basic azo=", "api_key=%6b&api_key", `key="k"; key=`)
	f.Add("", "Basic "+strings.Repeat("A", 1<<12), "&&=&", ";;=")
	extractor, err := verifier.NewKeyExtractor(append([]string{"query:api_key", "cookie:key", "basic"}, verifier.DefaultSources...))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, header, authorization, query, cookie string) {
		candidates := extractor.Extract(requestWith("X-API-Key", header, "Authorization", authorization, "Cookie", cookie).query(query))
		list, twice := candidates.Keys()
		if slices.Contains(list, "") {
			t.Fatalf("an empty string is a candidate: %q", list)
		}
		if strings.Contains(header, ",") && !twice {
			t.Fatalf("a joined header has the candidates %q", list)
		}
		trimmed := strings.TrimSpace(header)
		if fields := strings.Fields(trimmed); len(fields) == 1 && fields[0] == trimmed && !twice && !slices.Contains(list, trimmed) {
			t.Fatalf("the header is %q, and the candidates are %q", trimmed, list)
		}
	})
}

// FuzzResolve checks that entries of X-Forwarded-For before those of the proxies do not change the client.
func FuzzResolve(f *testing.F) {
	f.Add("192.0.2.7", "10.0.0.1")
	f.Add("nonsense,,[::1]:80", "::ffff:10.0.0.1")
	f.Add(strings.Repeat("10.0.0.1,", 100), "fe80::1%eth0")
	resolver, err := verifier.NewClientIPResolver([]string{"10.0.0.0/8"})
	if err != nil {
		f.Fatal(err)
	}
	outside := netip.MustParseAddr("203.0.113.9")
	f.Fuzz(func(t *testing.T, forged, peer string) {
		from, _ := netip.ParseAddr(peer)
		got := resolver.Resolve(from, []string{forged})
		if got.Zone() != "" || got.Is4In6() {
			t.Fatalf("%s is not normalized", got)
		}
		if got := resolver.Resolve(from, []string{forged, outside.String()}); netip.MustParsePrefix("10.0.0.0/8").Contains(from.Unmap()) &&
			got != outside {
			t.Fatalf("got %s after the forged entries %q", got, forged)
		}
		if got := resolver.Resolve(outside, []string{forged}); got != outside {
			t.Fatalf("an untrusted peer changed the client to %s", got)
		}
	})
}

// FuzzIndexCheck presents arbitrary keys to an index with one key that has all restrictions.
func FuzzIndexCheck(f *testing.F) {
	f.Add(material("default/shop"), "192.0.2.7", "a", "acme")
	f.Add("", "", ",", "*")
	x := suite{key: issued(), account: policy(external)}.index()
	whole := material("default/shop")
	f.Fuzz(func(t *testing.T, key, client, scopes, account string) {
		in := verifier.Input{Key: key, ExtractResult: verifier.Valid, Scopes: scopes, Account: account, ExternalID: account}
		in.Client, _ = netip.ParseAddr(client)
		if v := x.Check(&in, hour); v.Code == verifier.Valid && key != whole {
			t.Fatalf("%q was allowed", key)
		}
	})
}
