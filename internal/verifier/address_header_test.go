// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package verifier_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/apikey-manager/apikey-manager/internal/verifier"
)

func TestAddressHeader_Hops(t *testing.T) {
	t.Parallel()
	const proxy = "10.0.0.9"
	for name, tc := range map[string]struct {
		header  verifier.AddressHeader
		peer    string // defaults to a trusted proxy
		request request
		want    string // empty if the client cannot be determined
	}{
		"X-Forwarded-For": {request: requestWith("X-Forwarded-For", "203.0.113.7"), want: "203.0.113.7"},
		"only the configured header": {request: requestWith("X-Forwarded-For", "203.0.113.7", "X-Real-IP", "203.0.113.8", "Forwarded",
			"for=203.0.113.9"), want: "203.0.113.7"},

		"X-Real-IP": {
			header:  verifier.XRealIP,
			request: requestWith("X-Real-IP", "203.0.113.8", "X-Forwarded-For", "203.0.113.7"), want: "203.0.113.8",
		},
		"X-Real-IP of IPv6":    {header: verifier.XRealIP, request: requestWith("X-Real-IP", "2001:db8::1"), want: "2001:db8::1"},
		"X-Real-IP twice":      {header: verifier.XRealIP, request: requestWith("X-Real-IP", "203.0.113.8", "X-Real-IP", "203.0.113.8")},
		"X-Real-IP of nothing": {header: verifier.XRealIP, request: requestWith("X-Real-IP", "")},
		"no X-Real-IP":         {header: verifier.XRealIP, request: requestWith(), want: proxy},
		"X-Real-IP of a stranger": {
			header: verifier.XRealIP, peer: "198.51.100.9", request: requestWith("X-Real-IP", "203.0.113.8"),
			want: "198.51.100.9",
		},

		"Forwarded": {header: verifier.Forwarded, request: requestWith("Forwarded", "for=203.0.113.9"), want: "203.0.113.9"},
		"with a port": {
			header: verifier.Forwarded, request: requestWith("Forwarded", `for="203.0.113.9:4711"`),
			want: "203.0.113.9",
		},
		"IPv6": {
			header: verifier.Forwarded, request: requestWith("Forwarded", `For="[2001:db8::1]"`),
			want: "2001:db8::1",
		},
		"IPv6 with a port": {
			header:  verifier.Forwarded,
			request: requestWith("Forwarded", `for="[2001:db8::1]:4711";proto=https`), want: "2001:db8::1",
		},
		"an escaped character": {
			header: verifier.Forwarded, request: requestWith("Forwarded", `for="203.0.113.\9"`),
			want: "203.0.113.9",
		},
		"among other pairs": {
			header:  verifier.Forwarded,
			request: requestWith("Forwarded", `proto=https; FOR=203.0.113.9 ;host="a,b;c"`), want: "203.0.113.9",
		},
		"of several hops the last": {
			header:  verifier.Forwarded,
			request: requestWith("Forwarded", `for=192.0.2.1, for=203.0.113.9, for=10.0.0.1`), want: "203.0.113.9",
		},
		"in several lines": {
			header:  verifier.Forwarded,
			request: requestWith("Forwarded", "for=192.0.2.1", "Forwarded", "for=203.0.113.9", "Forwarded", "for=10.0.0.1"), want: "203.0.113.9",
		},
		"a pair that is empty": {
			header: verifier.Forwarded, request: requestWith("Forwarded", "for=192.0.2.1;, ;for=203.0.113.9;"),
			want: "203.0.113.9",
		},
		"unknown":    {header: verifier.Forwarded, request: requestWith("Forwarded", "for=unknown")},
		"obfuscated": {header: verifier.Forwarded, request: requestWith("Forwarded", "for=203.0.113.9, for=_hidden")},
		"obfuscated before": {
			header: verifier.Forwarded, request: requestWith("Forwarded", "for=_hidden, for=203.0.113.9"),
			want: "203.0.113.9",
		},
		"without for":                    {header: verifier.Forwarded, request: requestWith("Forwarded", "proto=https")},
		"for twice":                      {header: verifier.Forwarded, request: requestWith("Forwarded", "for=203.0.113.9;for=203.0.113.8")},
		"an open quote":                  {header: verifier.Forwarded, request: requestWith("Forwarded", `for="203.0.113.9`)},
		"a quote that takes in the next": {header: verifier.Forwarded, request: requestWith("Forwarded", `for=192.0.2.1;x=", for=203.0.113.9`)},
		"two hops in quotes":             {header: verifier.Forwarded, request: requestWith("Forwarded", `for="192.0.2.1,10.0.0.1"`)},
		"nothing":                        {header: verifier.Forwarded, request: requestWith("Forwarded", "")},
		"nonsense":                       {header: verifier.Forwarded, request: requestWith("Forwarded", "=;=,,")},
		"no Forwarded":                   {header: verifier.Forwarded, request: requestWith("X-Forwarded-For", "203.0.113.7"), want: proxy},
		"Forwarded of a stranger": {
			header: verifier.Forwarded, peer: "198.51.100.9",
			request: requestWith("Forwarded", "for=203.0.113.9"), want: "198.51.100.9",
		},
		"very many hops": {
			header:  verifier.Forwarded,
			request: requestWith("Forwarded", strings.Repeat("for=10.0.0.1,", 100)+"for=10.0.0.1"),
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			resolver, err := verifier.NewClientIPResolver([]string{"10.0.0.0/8"})
			if err != nil {
				t.Fatal(err)
			}
			if tc.peer == "" {
				tc.peer = proxy
			}
			var want netip.Addr
			if tc.want != "" {
				want = netip.MustParseAddr(tc.want)
			}
			if got := resolver.Resolve(netip.MustParseAddr(tc.peer), tc.header.Hops(tc.request)); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		})
	}
}

func TestParseAddressHeader(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]verifier.AddressHeader{
		"": verifier.XForwardedFor, "X-Forwarded-For": verifier.XForwardedFor, "x-real-ip": verifier.XRealIP, "forwarded": verifier.Forwarded,
	} {
		if got, err := verifier.ParseAddressHeader(name); err != nil || got != want {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	if _, err := verifier.ParseAddressHeader("CF-Connecting-IP"); err == nil ||
		!strings.Contains(err.Error(), "must be X-Forwarded-For, X-Real-IP or Forwarded") {
		t.Errorf("%v", err)
	}
}

// FuzzForwarded checks that whatever a client sends before the element of a trusted proxy, the client resolves to the
// address that the proxy added, or cannot be determined.
func FuzzForwarded(f *testing.F) {
	f.Add(`for=192.0.2.1`)
	f.Add(`for="[::1]:80";by=_x, for=unknown`)
	f.Add(`a="\`)
	f.Add(`for="[::]";`)
	resolver, err := verifier.NewClientIPResolver([]string{"10.0.0.0/8"})
	if err != nil {
		f.Fatal(err)
	}
	peer, outside := netip.MustParseAddr("10.0.0.9"), netip.MustParseAddr("203.0.113.9")
	f.Fuzz(func(t *testing.T, forged string) {
		joined := resolver.Resolve(peer, verifier.Forwarded.Hops(requestWith("Forwarded", forged+", for=203.0.113.9")))
		if joined != outside && joined.IsValid() {
			t.Fatalf("%q changes the client to %s", forged, joined)
		}
		if got := resolver.Resolve(peer, verifier.Forwarded.Hops(requestWith("Forwarded", forged, "Forwarded",
			"for=203.0.113.9"))); got != outside {
			t.Fatalf("%q on a separate line changes the client to %s", forged, got)
		}
	})
}
