// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package verifier_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/apikey-manager/apikey-manager/internal/verifier"
)

func TestClientIPResolver_Resolve(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		trusted   []string // defaults to 10.0.0.0/8 and fd00::/8
		peer      string   // defaults to 10.0.0.1
		forwarded []string
		want      string // empty if the client cannot be determined
	}{
		"no header":                         {want: "10.0.0.1"},
		"an empty header":                   {forwarded: []string{""}},
		"one hop":                           {forwarded: []string{"192.0.2.7"}, want: "192.0.2.7"},
		"trusted hops are skipped":          {forwarded: []string{"192.0.2.7, 10.1.1.1,10.2.2.2"}, want: "192.0.2.7"},
		"what a client made up is not read": {forwarded: []string{"198.51.100.1, 192.0.2.7, 10.1.1.1"}, want: "192.0.2.7"},
		"nonsense that a client made up":    {forwarded: []string{"nonsense, 192.0.2.7"}, want: "192.0.2.7"},
		"all are trusted":                   {forwarded: []string{"10.3.3.3, 10.1.1.1"}, want: "10.3.3.3"},
		"the peer is not trusted":           {peer: "203.0.113.9", forwarded: []string{"192.0.2.7"}, want: "203.0.113.9"},
		"no trusted proxies":                {trusted: []string{}, forwarded: []string{"192.0.2.7"}, want: "10.0.0.1"},
		"lines are read from the last":      {forwarded: []string{"198.51.100.1", "192.0.2.7", "10.1.1.1"}, want: "192.0.2.7"},
		"an entry that had to be read":      {forwarded: []string{"192.0.2.7, nonsense, 10.1.1.1"}},
		"an empty entry":                    {forwarded: []string{"192.0.2.7,,10.1.1.1"}},
		"an empty last entry":               {forwarded: []string{"192.0.2.7,"}},
		"unknown, as some proxies write":    {forwarded: []string{"unknown"}},
		"a name":                            {forwarded: []string{"client.example.com"}},
		"with a port":                       {forwarded: []string{"192.0.2.7:4711"}, want: "192.0.2.7"},
		"with an invalid port":              {forwarded: []string{"192.0.2.7:port"}},
		"IPv6":                              {forwarded: []string{"2001:db8::7"}, want: "2001:db8::7"},
		"IPv6 in brackets":                  {forwarded: []string{"[2001:db8::7]"}, want: "2001:db8::7"},
		"half a bracket":                    {forwarded: []string{"[192.0.2.7"}},
		"the other half":                    {forwarded: []string{"192.0.2.7]"}},
		"IPv6 in brackets, with a port":     {forwarded: []string{"[2001:db8::7]:443"}, want: "2001:db8::7"},
		"IPv6 with a zone":                  {forwarded: []string{"fe80::7%eth0"}, want: "fe80::7"},
		"a trusted hop of IPv6":             {forwarded: []string{"192.0.2.7, fd00::1"}, want: "192.0.2.7"},
		"IPv4 as IPv6":                      {forwarded: []string{"::ffff:192.0.2.7"}, want: "192.0.2.7"},
		"a trusted hop of IPv4 as IPv6":     {forwarded: []string{"192.0.2.7, ::ffff:10.9.9.9"}, want: "192.0.2.7"},
		"a peer of IPv4 as IPv6":            {peer: "::ffff:10.0.0.1", forwarded: []string{"192.0.2.7"}, want: "192.0.2.7"},
		"a trusted network of IPv4 as IPv6": {trusted: []string{"::ffff:10.0.0.0/104"}, forwarded: []string{"192.0.2.7"}, want: "192.0.2.7"},
		"a trusted address":                 {trusted: []string{"10.0.0.1"}, forwarded: []string{"192.0.2.7, 10.0.0.2"}, want: "10.0.0.2"},
		"an address with leading zeroes":    {forwarded: []string{"192.0.2.007"}},
		"tabs around":                       {forwarded: []string{"\t192.0.2.7\t"}, want: "192.0.2.7"},
		"a host of trusted hops":            {forwarded: []string{"192.0.2.7" + strings.Repeat(",10.0.0.1", 63)}, want: "192.0.2.7"},
		"more trusted hops than are read":   {forwarded: []string{"192.0.2.7" + strings.Repeat(",10.0.0.1", 64)}},
		"many lines of trusted hops":        {forwarded: strings.Split("192.0.2.7"+strings.Repeat(",10.0.0.1", 64), ",")},
		"many trusted networks, in a trie": {
			trusted:   strings.Split(strings.Repeat("10.0.0.0/8,", 20)+"fd00::/8", ","),
			forwarded: []string{"192.0.2.7, fd00::1"}, want: "192.0.2.7",
		},
		"a peer that is nothing (a socket)": {peer: "-", forwarded: []string{"192.0.2.7"}},
		"a network of everything is trusting": {
			trusted: []string{"0.0.0.0/0"}, forwarded: []string{"198.51.100.1, 192.0.2.7"},
			want: "198.51.100.1",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			trusted, peer := tc.trusted, tc.peer
			if trusted == nil {
				trusted = []string{"10.0.0.0/8", "fd00::/8"}
			}
			if peer == "" {
				peer = "10.0.0.1"
			}
			resolver, err := verifier.NewClientIPResolver(trusted)
			if err != nil {
				t.Fatal(err)
			}
			from, _ := netip.ParseAddr(peer)
			want, _ := netip.ParseAddr(tc.want)
			if got := resolver.Resolve(from, tc.forwarded); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		})
	}
}

func TestNewClientIPResolver_RejectsInvalidProxies(t *testing.T) {
	t.Parallel()
	for text, good := range map[string]bool{
		"10.0.0.0/8": true, "10.0.0.1": true, "fd00::/8": true, "::ffff:10.0.0.1": true, "10.0.0.1/8": true,
		"::ffff:10.0.0.0/104": true,
		"":                    false, "10.0.0.0/33": false, "proxy": false, "10.0.0.0:80": false, "::ffff:0:0/90": false,
	} {
		_, err := verifier.NewClientIPResolver([]string{text})
		if (err == nil) != good {
			t.Errorf("%s: got %v", text, err)
		}
	}
}
