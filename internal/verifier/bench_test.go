// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package verifier_test

import (
	"fmt"
	"net/netip"
	"runtime"
	"testing"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
	"github.com/apikey-manager/apikey-manager/internal/verifier"
)

// newIndexWithKeys returns an index with n keys, five per account.
func newIndexWithKeys(n int) *verifier.Index {
	x := verifier.NewIndex()
	for i := range n {
		account := fmt.Sprintf("account-%d", i/5)
		if i%5 == 0 {
			x.PutAccount(keystest.NewAccount(account))
		}
		x.PutKey(newMember(i))
	}
	x.SetComplete()
	return x
}

// newMember returns a realistic key with a label, a scope, and a UID as long as those of the API server.
func newMember(i int) *v1alpha1.APIKey {
	return keystest.Key(fmt.Sprintf("key-%d", i), keystest.Account(fmt.Sprintf("account-%d", i/5)),
		keystest.UID(fmt.Sprintf("6ba7b810-9dad-11d1-80b4-%012d", i)),
		keystest.Label(fmt.Sprintf("Clave para la tienda %d", i)), keystest.Scopes("conversions:write"), keystest.Issued(epoch))
}

func BenchmarkIndex_Check(b *testing.B) {
	for _, n := range []int{10, 1_000, 100_000} {
		x := newIndexWithKeys(n)
		for name, tc := range map[string]struct {
			key  string
			want verifier.Code
		}{
			"valid":   {material(fmt.Sprintf("default/key-%d", n/2)), verifier.Valid},
			"unknown": {material("default/unknown"), verifier.Unknown},
		} {
			b.Run(fmt.Sprintf("keys=%d/%s", n, name), func(b *testing.B) {
				b.ReportAllocs()
				in := verifier.Input{Key: tc.key, ExtractResult: verifier.Valid, Client: netip.MustParseAddr("192.0.2.7"), Scopes: "conversions:write"}
				for b.Loop() {
					if v := x.Check(&in, hour); v.Code != tc.want {
						b.Fatal(v.Code)
					}
				}
			})
		}
	}
}

// BenchmarkIndex_PutKey updates one key among many.
func BenchmarkIndex_PutKey(b *testing.B) {
	for _, n := range []int{100, 100_000} {
		x := newIndexWithKeys(n)
		k := newMember(n / 2)
		b.Run(fmt.Sprintf("keys=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				x.PutKey(k)
			}
		})
	}
}

func TestIndexCheck_AllocatesNothing(t *testing.T) {
	for name, tc := range map[string]struct {
		key    *v1alpha1.APIKey
		input  verifier.Input
		policy func(*v1alpha1.AccountSpec)
	}{
		"plain":   {key: issued()},
		"unknown": {key: issued(), input: verifier.Input{Key: "ak_unknown"}},
		"with all restrictions": {
			key: issued(keystest.Whitelist("10.0.0.0/8", "192.0.2.7"), keystest.Scopes("a", "b:*"), keystest.Expiration("2099-01-01"),
				keystest.RevokedBefore(epoch)),
			input: verifier.Input{
				Scopes: "a, b:c", Account: "acme", ExternalID: "4711",
				Claim: verifier.Claim{Kind: verifier.ClaimExternalID, Value: "4711"},
			},
			policy: func(s *v1alpha1.AccountSpec) {
				external(s)
				allowTeam(s)
				s.TimeZone, s.AllowedScopes = "Europe/Madrid", []string{"a", "b:*"}
			},
		},
		"with a large whitelist": {key: issued(keystest.Whitelist(manyNetworks(256)...))},
	} {
		t.Run(name, func(t *testing.T) {
			s := suite{key: tc.key, account: keystest.NewAccount("acme"), labels: map[string]string{"team": "shop"}}
			if tc.policy != nil {
				s.account = policy(tc.policy)
			}
			x, in := s.index(), tc.input
			if in.Key == "" {
				in.Key = material("default/shop")
			}
			in.ExtractResult, in.Client = verifier.Valid, home
			want := verifier.Valid
			if tc.input.Key != "" {
				want = verifier.Unknown
			}
			got := verifier.NotSynced
			if n := testing.AllocsPerRun(100, func() {
				v := x.Check(&in, hour)
				got = v.Code
			}); n > 0 {
				t.Errorf("%g allocations", n)
			}
			if got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		})
	}
}

func manyNetworks(n int) []string {
	list := []string{"192.0.2.7"}
	for i := range n - 1 {
		list = append(list, fmt.Sprintf("10.%d.0.0/16", i))
	}
	return list
}

// TestIndex_LimitsMemoryPerKey checks the memory that 100,000 keys take.
func TestIndex_LimitsMemoryPerKey(t *testing.T) {
	if testing.Short() {
		t.Skip("it makes up 100,000 keys")
	}
	const total, most = 100_000, 60 << 20
	before := heapSize()
	x := newIndexWithKeys(total)
	used := heapSize() - before
	t.Logf("%d keys take %.1f MiB: %d bytes each", total, float64(used)/(1<<20), used/total)
	if used > most {
		t.Errorf("%d keys take %d bytes, more than %d", total, used, most)
	}
	runtime.KeepAlive(x)
}

func heapSize() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
