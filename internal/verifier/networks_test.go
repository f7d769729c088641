// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

func TestNetworks_Contains(t *testing.T) {
	t.Parallel()
	var wide []string
	for i := range 300 {
		wide = append(wide, fmt.Sprintf("10.%d.%d.0/24", i/256, i%256), fmt.Sprintf("2001:db8:%x::/48", i))
	}
	for name, tc := range map[string]struct {
		entries []string
		in, out []string
	}{
		"nothing that can be read": {[]string{"nonsense", "10.0.0.1/8"}, nil, []string{"10.0.0.1", "::"}},
		"a list": {
			[]string{"192.0.2.7", "198.51.100.0/24", "2001:db8::/32"},
			[]string{"192.0.2.7", "198.51.100.0", "198.51.100.255", "2001:db8:ffff::1"},
			[]string{"192.0.2.8", "198.51.101.0", "2001:db9::", "::ffff:192.0.2.9"},
		},
		"trie": {wide, []string{"10.0.0.0", "10.1.43.255", "2001:db8:12b::1"}, []string{"10.1.44.0", "2001:db8:12c::", "11.0.0.0"}},
		"all":  {[]string{"0.0.0.0/0", "::/0"}, []string{"192.0.2.7", "::1"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := parseNetworks(tc.entries)
			for _, client := range tc.in {
				if !n.contains(netip.MustParseAddr(client)) {
					t.Errorf("the networks do not contain %s", client)
				}
			}
			for _, client := range tc.out {
				if n.contains(netip.MustParseAddr(client)) {
					t.Errorf("the networks contain %s", client)
				}
			}
			if n.contains(netip.Addr{}) {
				t.Error("the networks contain the zero address")
			}
		})
	}
	if parseNetworks(nil) != nil {
		t.Error("parsing no whitelist returned networks")
	}
}

// FuzzNetworks checks that a list and a trie of the same networks contain the same addresses.
func FuzzNetworks(f *testing.F) {
	f.Add("192.0.2.7,10.0.0.0/8", "10.1.2.3")
	f.Add("::/0,0.0.0.0/0,nonsense,::ffff:10.0.0.0/104", "2001:db8::1")
	f.Fuzz(func(t *testing.T, text, client string) {
		entries := strings.Split(text, ",")
		addr, err := netip.ParseAddr(client)
		if err != nil || len(entries) >= trieThreshold {
			return
		}
		addr = normalize(addr)
		list, trie := parseNetworks(entries), parseNetworks(strings.Split(strings.Repeat(text+",", trieThreshold), ","))
		if list.trie != nil || trie.contains(addr) != list.contains(addr) {
			t.Fatalf("%q in %q: the list reports %t", client, text, list.contains(addr))
		}
	})
}
