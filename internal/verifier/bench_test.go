// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package verifier_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"runtime"
	"syscall"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
	"github.com/apikey-manager/apikey-manager/internal/verifier"
)

// newIndexWithKeys returns an index with n keys, five per account.
func newIndexWithKeys(n int) *verifier.Index { return newIndexWithKeysFrom(0, n) }

// newIndexWithKeysFrom returns an index with n keys, of which the first has a number that is a multiple of five.
func newIndexWithKeysFrom(first, n int) *verifier.Index {
	x := verifier.NewIndex()
	for i := first; i < first+n; i++ {
		if i%5 == 0 {
			x.PutAccount(newOwner(i / 5))
		}
		x.PutKey(newMember(i))
	}
	x.SetComplete()
	return x
}

func randomUID(i int) string { return fmt.Sprintf("6ba7b810-9dad-11d1-80b4-%012d", i) }

// newOwner returns a realistic account with an external ID, a plan, limits, and a UID as long as those of the API server.
func newOwner(i int) *v1alpha1.Account {
	a := keystest.NewAccount(fmt.Sprintf("account-%d", i), keystest.Policy(func(s *v1alpha1.AccountSpec) {
		s.ExternalID, s.Plan, s.TimeZone = fmt.Sprintf("customer-%d", i), "gold", "Europe/Madrid"
		s.AllowedScopes = []string{"conversions:*", "reports:read"}
		s.RateLimits = []v1alpha1.RateLimit{keystest.RateLimit("requests", 100, v1alpha1.RateLimitMinute)}
	}))
	a.UID = types.UID(randomUID(i))
	return a
}

// newMember returns a realistic key with a label, scopes, and a UID as long as those of the API server. One in five has a
// second credential, which was revoked.
func newMember(i int) *v1alpha1.APIKey {
	scopes := [][]string{{"conversions:write"}, {"conversions:write", "reports:read"}, {"conversions:read"}}[i%3]
	options := []keystest.KeyOption{
		keystest.Namespace(fmt.Sprintf("team-%d", i/5%200)), keystest.Account(fmt.Sprintf("account-%d", i/5)), keystest.UID(randomUID(i)),
		keystest.Label(fmt.Sprintf("Clave para la tienda %d", i)), keystest.Scopes(scopes...), keystest.Issued(epoch),
	}
	if i%5 == 4 {
		options = append(options, keystest.Revoked(fmt.Sprintf("revoked-%d", i), epoch))
	}
	return keystest.Key(fmt.Sprintf("shop-%d", i), options...)
}

// memberMaterials returns the materials of up to 4,096 of n keys, evenly distributed, so that few of them are in a CPU cache.
func memberMaterials(n int) []string {
	list := make([]string, min(n, 1<<12))
	for j := range list {
		list[j] = memberMaterial(j * (n / len(list)))
	}
	return list
}

// memberMaterial returns the material of newMember(i).
func memberMaterial(i int) string {
	k := newMember(i)
	return material(k.Namespace + "/" + k.Name)
}

func unknownMaterials() []string {
	list := make([]string, 1<<12)
	for i := range list {
		list[i] = material(fmt.Sprintf("default/unknown-%d", i))
	}
	return list
}

func BenchmarkIndex_Check(b *testing.B) {
	for _, n := range []int{10, 1_000, 100_000, 1_000_000} {
		x := newIndexWithKeys(n)
		for name, tc := range map[string]struct {
			keys []string
			want verifier.Code
		}{
			"valid":   {memberMaterials(n), verifier.Valid},
			"unknown": {unknownMaterials(), verifier.Unknown},
		} {
			b.Run(fmt.Sprintf("keys=%d/%s", n, name), func(b *testing.B) {
				b.ReportAllocs()
				in := verifier.Input{ExtractResult: verifier.Valid, Client: netip.MustParseAddr("192.0.2.7"), Scopes: "conversions:write"}
				if tc.want == verifier.Valid {
					in.Scopes = ""
				}
				for i := 0; b.Loop(); i++ {
					in.Key = tc.keys[i%len(tc.keys)]
					if v := x.Check(&in, hour); v.Code != tc.want {
						b.Fatal(v.Code)
					}
				}
			})
		}
	}
}

// BenchmarkIndex_PutKey updates keys among many, each with a new label. The objects are decoded right before, as those of a watch are,
// which the time does not include.
func BenchmarkIndex_PutKey(b *testing.B) {
	const batch = 256
	for _, n := range []int{100, 100_000, 1_000_000} {
		x := newIndexWithKeys(n)
		encoded := make([][2][]byte, min(n, 100_000))
		for j := range encoded {
			encoded[j] = encodedMember(b, j*(n/len(encoded)))
		}
		b.Run(fmt.Sprintf("keys=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			objects := make([]v1alpha1.APIKey, batch)
			for done := 0; done < b.N; done += batch {
				b.StopTimer()
				for i := range objects {
					at := done + i
					objects[i] = v1alpha1.APIKey{}
					if err := json.Unmarshal(encoded[at%len(encoded)][at/len(encoded)%2], &objects[i]); err != nil {
						b.Fatal(err)
					}
				}
				b.StartTimer()
				for i := range objects[:min(batch, b.N-done)] {
					x.PutKey(&objects[i])
				}
			}
		})
	}
}

// encodedMember returns newMember(i) with its label and with another one, as JSON.
func encodedMember(b *testing.B, i int) (list [2][]byte) {
	b.Helper()
	for j := range list {
		k := newMember(i)
		if j == 1 {
			keystest.Label("Otra clave para la tienda")(k)
		}
		var err error
		if list[j], err = json.Marshal(k); err != nil {
			b.Fatal(err)
		}
	}
	return list
}

// BenchmarkIndex_Memory measures the memory per key, with its share of an account, and the CPU time of a garbage collection.
func BenchmarkIndex_Memory(b *testing.B) {
	for _, n := range []int{100_000, 1_000_000} {
		b.Run(fmt.Sprintf("keys=%d", n), func(b *testing.B) {
			before := heapSize()
			x := newIndexWithKeys(n)
			size := float64(heapSize()-before) / float64(n)
			start := processorTime(b)
			for b.Loop() {
				runtime.GC()
			}
			b.ReportMetric((processorTime(b)-start)*1e3/float64(b.N), "cpu-ms/gc")
			b.ReportMetric(size, "B/key")
			b.ReportMetric(0, "ns/op")
			runtime.KeepAlive(x)
		})
	}
}

// processorTime returns the CPU time of this process in seconds. On a shared machine, it says more than the time of day.
func processorTime(b *testing.B) float64 {
	b.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano()).Seconds()
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
	const total, most = 100_000, 40 << 20
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
