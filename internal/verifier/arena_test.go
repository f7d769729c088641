// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"crypto/sha256"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
)

// chunksOf returns the chunks that hold the records of an index, with those that are being filled.
func chunksOf(x *Index) map[*chunk]bool {
	chunks := map[*chunk]bool{}
	for _, a := range []*arena{&x.records, &x.staged} {
		if a.current != nil {
			chunks[a.current] = true
		}
	}
	x.names.forEach(func(k *key) { chunks[k.chunk()] = true })
	x.table.forEach(func(c *credential) { chunks[c.key().chunk()] = true })
	for _, list := range x.shadowed {
		for _, c := range list {
			chunks[c.key().chunk()] = true
		}
	}
	return chunks
}

// memoryOf returns the sizes in words of all chunks of an index, and of the records in it.
func memoryOf(x *Index) (all, live int) {
	for c := range chunksOf(x) {
		all += headerSize/wordSize + int(c.capacity)
		live += int(c.live)
	}
	return all, live
}

// checkChunks checks that the index refers to records in the index only, and counts them correctly.
func checkChunks(t rapid.TB, x *Index) {
	t.Helper()
	live := map[*chunk]uint32{}
	count := 0
	x.names.forEach(func(k *key) {
		count++
		live[k.chunk()] += k.size() + k.profile().words
		if !k.isLive || k.isListed {
			t.Errorf("%s: live %t, listed %t", k.name(), k.isLive, k.isListed)
		}
		if x.find(k.namespace().name, k.name()) != k {
			t.Errorf("%s is not found by its name", k.name())
		}
	})
	for c := range chunksOf(x) {
		if c.live != live[c] {
			t.Errorf("a chunk counts %d live words, not %d", c.live, live[c])
		}
		if c.isSparse() {
			t.Errorf("a chunk has %d live words of %d", c.live, c.used)
		}
	}
	held := func(c *credential) {
		if k := c.key(); x.names.find(k.namespace(), k.name()) != k {
			t.Errorf("the index holds a credential of an old record of %s", k.name())
		}
	}
	x.table.forEach(held)
	for _, list := range x.shadowed {
		for _, c := range list {
			held(c)
		}
	}
}

// shaOf returns a digest of its own for numbers.
func shaOf(numbers ...int) string { return fmt.Sprintf("%x", sha256.Sum256(fmt.Append(nil, numbers))) }

// maximal returns a key with the longest texts and the most credentials that the API server accepts.
func maximal(i, version int) *v1alpha1.APIKey {
	k := keystest.Key(fmt.Sprintf("%0253d", i), keystest.Label(strings.Repeat("ñ", 1024)),
		keystest.UID(fmt.Sprintf("6ba7b810-9dad-11d1-80b4-%012d", i)), keystest.Observed(v1alpha1.StateActive))
	for n := range 8 + 128 {
		id := fmt.Sprintf("%064d", n)
		sha := shaOf(i, version, n)
		if n < 8 {
			k.Status.Credentials = append(k.Status.Credentials, v1alpha1.Credential{ID: id, SHA256: sha})
		} else {
			k.Status.RevokedCredentials = append(k.Status.RevokedCredentials, v1alpha1.RevokedCredential{ID: id, SHA256: sha})
		}
	}
	return k
}

// Changes of keys with the longest texts, and keys that come and go, do not make the index grow.
func TestIndex_ChurnDoesNotGrowChunks(t *testing.T) {
	t.Parallel()
	for name, newKey := range map[string]func(i, version int) *v1alpha1.APIKey{
		"the largest keys": maximal,
		"small keys": func(i, version int) *v1alpha1.APIKey {
			return keystest.Key(fmt.Sprintf("key-%d", i), keystest.Issued(keystest.Epoch), keystest.Label(fmt.Sprint(version)))
		},
		"sizes that change": func(i, version int) *v1alpha1.APIKey {
			if version%7 == i%7 {
				return maximal(i, version)
			}
			return keystest.Key(fmt.Sprintf("%0253d", i), keystest.Label(strings.Repeat("x", version%1000)))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const total, rounds, factor, most = 10, 60, 4, 3 * chunkSize / wordSize
			x := NewIndex()
			for version := range rounds {
				for i := range total {
					x.PutKey(newKey(i, version))
					if i%3 == version%3 {
						x.PutKey(newKey(total+i, version))
					} else {
						x.DropKey(types.NamespacedName{Namespace: "default", Name: newKey(total+i, version).Name})
					}
				}
				if all, live := memoryOf(x); all > factor*live+most {
					t.Fatalf("round %d: the chunks take %d words for %d", version, all, live)
				}
			}
			checkChunks(t, x)
			for i := range 2 * total {
				x.DropKey(types.NamespacedName{Namespace: "default", Name: newKey(i, rounds-1).Name})
				x.DropKey(types.NamespacedName{Namespace: "default", Name: newKey(i, i%7).Name})
			}
			if all, live := memoryOf(x); live != 0 || all > most {
				t.Errorf("without keys, the chunks take %d words for %d", all, live)
			}
		})
	}
}

// A key that the API server would refuse is refused as a whole, instead of being stored in part.
func TestNewEntry_RefusesOversizedKeys(t *testing.T) {
	t.Parallel()
	many := func(k *v1alpha1.APIKey) {
		for n := range 2000 {
			k.Status.Credentials = append(k.Status.Credentials, v1alpha1.Credential{ID: fmt.Sprint(n), SHA256: fmt.Sprintf("%064x", n)})
		}
	}
	for name, change := range map[string]func(*v1alpha1.APIKey){
		"label":       func(k *v1alpha1.APIKey) { k.Spec.Label = strings.Repeat("x", 1<<20) },
		"UID":         func(k *v1alpha1.APIKey) { k.UID = types.UID(strings.Repeat("x", 1<<17)) },
		"ID":          func(k *v1alpha1.APIKey) { k.Status.Credentials[0].ID = strings.Repeat("x", 300) },
		"credentials": many,
	} {
		k := keystest.Key("shop", keystest.Issued(keystest.Epoch))
		change(k)
		x := NewIndex()
		x.PutAccount(keystest.NewAccount("acme"))
		x.PutKey(k)
		x.SetComplete()
		in := Input{Key: string(keystest.MaterialOf("default/shop")), ExtractResult: Valid}
		if v := x.Check(&in, keystest.Epoch); v.Code != Unknown {
			t.Errorf("%s: got %s", name, v.Code)
		}
		if got := x.Size(); got.Keys != 1 || got.Credentials != 0 {
			t.Errorf("%s: got %+v", name, got)
		}
	}
}

// The largest record of all is in a chunk of its own.
func TestIndex_LargeRecords(t *testing.T) {
	t.Parallel()
	large := func(i int) *v1alpha1.APIKey {
		k := keystest.Key(fmt.Sprintf("large-%d", i), keystest.Issued(keystest.Epoch))
		for n := range 1000 {
			k.Status.Credentials = append(k.Status.Credentials,
				v1alpha1.Credential{ID: fmt.Sprintf("%064d", n), SHA256: shaOf(i, n)})
		}
		return k
	}
	x := NewIndex()
	x.PutAccount(keystest.NewAccount("acme"))
	for i := range 3 {
		x.PutKey(large(i))
		x.PutKey(keystest.Key(fmt.Sprintf("small-%d", i), keystest.Issued(keystest.Epoch)))
	}
	x.SetComplete()
	for i := range 3 {
		for _, name := range []string{"large", "small"} {
			in := Input{Key: string(keystest.MaterialOf(fmt.Sprintf("default/%s-%d", name, i))), ExtractResult: Valid}
			v := x.Check(&in, keystest.Epoch)
			if id := v.Key(); id == nil || v.Code != Valid || id.Name != fmt.Sprintf("%s-%d", name, i) {
				t.Errorf("got %s of %+v for %s-%d", v.Code, id, name, i)
			}
		}
	}
	checkChunks(t, x)
}

// An index after any changes gives the same verdicts and identities as one that received only the last version of each
// key, and holds no old record. Keys with the same digests move and are replaced as well.
func TestIndex_AgreesWithFreshIndex(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		x, last := NewIndex(), map[string]*v1alpha1.APIKey{}
		x.PutAccount(keystest.NewAccount("acme"))
		for range rapid.IntRange(1, 120).Draw(t, "steps") {
			name := fmt.Sprintf("key-%d", rapid.IntRange(0, 5).Draw(t, "name"))
			switch rapid.IntRange(0, 9).Draw(t, "step") {
			case 0:
				delete(last, name)
				x.DropKey(types.NamespacedName{Namespace: "default", Name: name})
			case 1:
				var list []Entry
				for _, k := range last {
					list = append(list, x.stage(NewEntry(k)), x.stage(NewEntry(k)))
				}
				x.ReplaceKeys(list[:len(list)-len(list)%2])
			default:
				last[name] = drawKey(t, name)
				x.PutKey(last[name])
			}
		}
		checkChunks(t, x)
		fresh := NewIndex()
		fresh.PutAccount(keystest.NewAccount("acme"))
		for _, k := range last {
			fresh.PutKey(k)
		}
		for i := range 8 {
			in := Input{Key: string(keystest.MaterialOf(fmt.Sprint(i))), ExtractResult: Valid}
			x.SetComplete()
			fresh.SetComplete()
			got, want := x.Check(&in, keystest.Epoch), fresh.Check(&in, keystest.Epoch)
			if got.Code != want.Code || fmt.Sprintf("%+v", got.Key()) != fmt.Sprintf("%+v", want.Key()) {
				t.Fatalf("credential %d: got %s %+v, want %s %+v", i, got.Code, got.Key(), want.Code, want.Key())
			}
		}
	})
}

// drawKey draws a key whose credentials other keys may have as well. Records are large, so that chunks are sealed often.
func drawKey(t *rapid.T, name string) *v1alpha1.APIKey {
	uid := rapid.SampledFrom([]string{"6ba7b810-9dad-11d1-80b4-00000000000" + name[4:], "uid-" + name}).Draw(t, "UID")
	k := keystest.Key(name, keystest.Observed(v1alpha1.StateActive), keystest.UID(uid),
		keystest.Label(strings.Repeat("x", rapid.SampledFrom([]int{0, 10, 1 << 13}).Draw(t, "label"))),
		keystest.Scopes(rapid.SampledFrom([]string{"a", "b"}).Draw(t, "scope")))
	for _, i := range rapid.SliceOfNDistinct(rapid.IntRange(0, 7), 0, 3, rapid.ID).Draw(t, "credentials") {
		at := keystest.Epoch.Add(time.Duration(rapid.IntRange(0, 2).Draw(t, "issued")) * time.Second)
		if rapid.Bool().Draw(t, "revoked") {
			keystest.Revoked(fmt.Sprint(i), at)(k)
		} else {
			keystest.WithCredential(fmt.Sprint(i), v1alpha1.RoleCurrent, at)(k)
		}
	}
	if rapid.IntRange(0, 5).Draw(t, "undecodable") == 0 {
		k.Undecodable = []string{"spec.scopes"}
	}
	return k
}

// Verdicts during changes describe one version of the key that the request presented, and count exactly once, although
// records move and chunks are released meanwhile.
func TestIndex_VerdictsDuringChanges(t *testing.T) {
	t.Parallel()
	const total, rounds = 40, 40
	x := NewIndex()
	version := func(i, n int) *v1alpha1.APIKey {
		text := fmt.Sprintf("%d-%d", i, n)
		return keystest.Key(fmt.Sprint(i), keystest.Issued(keystest.Epoch), keystest.UID("uid-"+text), keystest.Scopes("scope-"+text),
			keystest.Account(fmt.Sprintf("account-%d-%d", i, n%2)), keystest.Label(text+strings.Repeat("x", 100*(n%20))))
	}
	for i := range total {
		for n := range 2 {
			x.PutAccount(keystest.NewAccount(fmt.Sprintf("account-%d-%d", i, n)))
		}
		x.PutKey(version(i, 0))
	}
	x.SetComplete()
	var readers sync.WaitGroup
	var counted [total]atomic.Uint64
	done := make(chan struct{})
	for reader := range 2 {
		readers.Go(func() {
			for i := reader; ; i++ {
				select {
				case <-done:
					return
				default:
				}
				checkDuringChanges(t, x, i%total)
				counted[i%total].Add(1)
			}
		})
	}
	for n := range rounds {
		for i := range total {
			x.PutKey(version(i, n+1))
		}
		runtime.GC() // releases the memory of chunks that only a faulty reader still uses
	}
	close(done)
	readers.Wait()
	checkChunks(t, x)
	list := x.Usage(time.Time{}, keystest.Epoch)
	for _, k := range list {
		i, err := strconv.Atoi(k.Name)
		if err != nil || k.Credentials[0].Counts["VALID"] != counted[i].Load() {
			t.Errorf("key %d: counted %d verdicts of %d", i, k.Credentials[0].Counts["VALID"], counted[i].Load())
		}
	}
	if len(list) != total {
		t.Errorf("%d keys were used, want %d", len(list), total)
	}
}

func checkDuringChanges(t *testing.T, x *Index, i int) {
	t.Helper()
	in := Input{Key: string(keystest.MaterialOf(fmt.Sprintf("default/%d", i))), ExtractResult: Valid}
	v := x.Check(&in, keystest.Epoch)
	id := v.Key()
	if id == nil || v.Code != Valid {
		t.Errorf("key %d: got %s", i, v.Code)
		return
	}
	text := strings.TrimPrefix(id.UID, "uid-")
	n := 0
	if _, err := fmt.Sscanf(text, fmt.Sprint(i)+"-%d", &n); err != nil || id.Name != fmt.Sprint(i) || id.Scopes != "scope-"+text ||
		id.Account != fmt.Sprintf("account-%d-%d", i, n%2) || strings.TrimRight(id.Label, "x") != text ||
		id.KeyID != keystest.CredentialOf(fmt.Sprintf("default/%d", i)).ID {
		t.Errorf("key %d: got %+v", i, id)
	}
}

// A list that was not applied leaves no memory behind.
func TestIndex_AbortedListsAreReleased(t *testing.T) {
	const lists, total, most = 20, 3000, 8 << 20
	x := NewIndex()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for range lists {
		for i := range total {
			x.stage(NewEntry(keystest.Key(fmt.Sprint(i), keystest.Label(strings.Repeat("x", 100)), keystest.Issued(keystest.Epoch))))
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if used := int64(after.HeapAlloc) - int64(before.HeapAlloc); used > most {
		t.Errorf("the heap grew by %d bytes", used)
	}
	runtime.KeepAlive(x)
}

// Records that were replaced do not keep their settings in memory, however small the records are.
func TestIndex_OldSettingsAreReleased(t *testing.T) {
	const total, most = 4000, 4 << 20
	large := func(i int) *v1alpha1.APIKey {
		k := keystest.Key("large", keystest.Issued(keystest.Epoch))
		for n := range 256 {
			k.Spec.IPWhitelist = append(k.Spec.IPWhitelist, fmt.Sprintf("2001:db8:%x:%x::/64", i, n<<4))
		}
		return k
	}
	x := NewIndex()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range total {
		x.PutKey(keystest.Key(fmt.Sprintf("small-%d", i), keystest.Issued(keystest.Epoch)))
		if i%4 == 0 {
			x.PutKey(large(i))
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	used := int64(after.HeapAlloc) - int64(before.HeapAlloc)
	t.Logf("the heap grew by %d bytes", used)
	if used > most {
		t.Errorf("the heap grew by %d bytes", used)
	}
	checkChunks(t, x)
}

// A verdict on a record that is being replaced counts, even if the digest meanwhile belongs to another key.
func TestIndex_CountsForKeysThatLostADigest(t *testing.T) {
	t.Parallel()
	x := NewIndex()
	later := keystest.WithCredential("shared", v1alpha1.RoleCurrent, keystest.Epoch.Add(time.Second))
	x.PutKey(keystest.Key("later", later))
	c := x.lookUp(string(keystest.MaterialOf("shared")))
	x.PutKey(keystest.Key("earlier", keystest.WithCredential("shared", v1alpha1.RoleCurrent, keystest.Epoch)))
	x.PutKey(keystest.Key("later", later, keystest.Label("changed")))
	if c.record(Valid, keystest.Epoch.Unix()) {
		t.Fatal("the record that was replaced counted the verdict")
	}
	x.recordReplaced(c, Valid, keystest.Epoch)
	list := x.Usage(time.Time{}, keystest.Epoch)
	if len(list) != 1 || list[0].Name != "later" || list[0].Credentials[0].Counts["VALID"] != 1 {
		t.Errorf("got %+v", list)
	}
}
