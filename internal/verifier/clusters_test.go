// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package verifier_test

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
	"github.com/apikey-manager/apikey-manager/internal/usage"
	"github.com/apikey-manager/apikey-manager/internal/verifier"
)

// twoClusters holds two clusters. Each has an active account acme.
type twoClusters struct {
	*verifier.Clusters

	eu, us *verifier.Index
}

func newTwoClusters() *twoClusters {
	c := &twoClusters{eu: verifier.NewClusterIndex("eu"), us: verifier.NewClusterIndex("us")}
	c.Clusters = verifier.NewClusters(c.eu, c.us)
	for _, x := range []*verifier.Index{c.eu, c.us} {
		x.PutAccount(keystest.NewAccount("acme"))
		x.SetComplete()
	}
	return c
}

// check returns the code and the account of the verdict on a key.
func (c *twoClusters) check(name string) [2]string {
	in := verifier.Input{Key: material(name), ExtractResult: verifier.Valid, Client: home}
	return c.checkInput(&in)
}

func (c *twoClusters) checkInput(in *verifier.Input) [2]string {
	v := c.Check(in, hour)
	return [2]string{v.Code.String(), v.Account()}
}

func (c *twoClusters) expect(t *testing.T, name, code, account string) {
	t.Helper()
	if got, want := c.check(name), [2]string{code, account}; got != want {
		t.Errorf("%s: got %q, want %q", name, got, want)
	}
}

// copied returns a key with the credential of key shop that was issued to another key, in seconds after Epoch.
func copied(seconds int, options ...keystest.KeyOption) *v1alpha1.APIKey {
	at := epoch.Add(time.Duration(seconds) * time.Second)
	return keystest.Key("copy", slices.Concat([]keystest.KeyOption{
		keystest.WithCredential("default/shop", v1alpha1.RoleCurrent, at), keystest.Observed(v1alpha1.StateActive),
	}, options)...)
}

func TestClusters_JudgeKeysByTheirOwnCluster(t *testing.T) {
	t.Parallel()
	c := newTwoClusters()
	c.eu.PutKey(keystest.Key("shop", keystest.Issued(epoch)))
	c.us.PutKey(keystest.Key("blog", keystest.Issued(epoch)))
	c.expect(t, "default/shop", "VALID", "acme@eu")
	c.expect(t, "default/blog", "VALID", "acme@us")
	c.expect(t, "default/none", "UNKNOWN", "")

	c.us.PutAccount(keystest.NewAccount("acme", keystest.Suspended()))
	c.expect(t, "default/shop", "VALID", "acme@eu")
	c.expect(t, "default/blog", "ACCOUNT_SUSPENDED", "acme@us")
	c.us.DropAccount("acme")
	c.expect(t, "default/blog", "INACTIVE", "acme@us")
	c.us.PutAccount(keystest.NewAccount("acme"))
	c.eu.DropAccount("acme")
	c.expect(t, "default/shop", "INACTIVE", "acme@eu")
	c.expect(t, "default/blog", "VALID", "acme@us")

	// The same namespace and name in the other cluster is another key.
	c.us.DropKey(types.NamespacedName{Namespace: "default", Name: "shop"})
	c.eu.PutAccount(keystest.NewAccount("acme"))
	c.expect(t, "default/shop", "VALID", "acme@eu")
}

func TestClusters_AccountsAreQualified(t *testing.T) {
	t.Parallel()
	c := newTwoClusters()
	c.eu.PutKey(keystest.Key("shop", keystest.Issued(epoch)))
	for required, want := range map[string]string{"acme@eu": "VALID", "acme": "ACCOUNT_MISMATCH", "acme@us": "ACCOUNT_MISMATCH"} {
		route := verifier.Input{Key: material("default/shop"), ExtractResult: verifier.Valid, Account: required}
		if got := c.checkInput(&route); got[0] != want {
			t.Errorf("a route of %s: got %s, want %s", required, got[0], want)
		}
		claim := verifier.Input{Key: route.Key, ExtractResult: verifier.Valid, Claim: verifier.Claim{Kind: verifier.ClaimName, Value: required}}
		if got := c.checkInput(&claim); got[0] != want {
			t.Errorf("a request of %s: got %s, want %s", required, got[0], want)
		}
	}
}

func TestClusters_OlderKeyWins(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		seconds int
		options []keystest.KeyOption
		want    string
	}{
		"issued later in the other":             {1, []keystest.KeyOption{keystest.Created(epoch.Add(-time.Hour))}, "acme@eu"},
		"issued earlier in the other":           {-1, []keystest.KeyOption{keystest.Created(epoch.Add(time.Hour))}, "acme@us"},
		"issued at the same time, created late": {0, []keystest.KeyOption{keystest.Created(epoch.Add(time.Hour))}, "acme@eu"},
		"issued at the same time, lower UID":    {0, []keystest.KeyOption{keystest.Created(epoch), keystest.UID("a")}, "acme@us"},
		"equal in everything":                   {0, []keystest.KeyOption{keystest.Created(epoch), keystest.UID("uid-shop")}, "acme@eu"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newTwoClusters()
			c.us.PutKey(copied(tc.seconds, tc.options...))
			c.expect(t, "default/shop", "VALID", "acme@us")
			c.eu.PutKey(keystest.Key("shop", keystest.Issued(epoch), keystest.Created(epoch), keystest.UID("uid-shop")))
			c.expect(t, "default/shop", "VALID", tc.want)
		})
	}
}

// A key must not change hands when the cluster that holds it fails: the copy may be accepted where the original is revoked.
func TestClusters_OutageLeavesOthersAlone(t *testing.T) {
	t.Parallel()
	c := newTwoClusters()
	c.eu.PutKey(keystest.Key("shop", keystest.Issued(epoch)))
	c.eu.PutKey(keystest.Key("old", keystest.Issued(epoch)))
	c.us.PutKey(copied(1))
	c.us.PutKey(keystest.Key("blog", keystest.Issued(epoch)))

	c.eu.SetIncomplete()
	if !c.Complete() {
		t.Error("the loss of one cluster ends all verdicts")
	}
	c.expect(t, "default/shop", "NOT_SYNCED", "")
	c.expect(t, "default/old", "NOT_SYNCED", "")
	c.expect(t, "default/none", "NOT_SYNCED", "")
	c.expect(t, "default/blog", "VALID", "acme@us")
	missing := verifier.Input{ExtractResult: verifier.Missing}
	if got := c.checkInput(&missing); got[0] != "MISSING" {
		t.Errorf("a request without a key: got %s", got[0])
	}

	c.us.SetIncomplete()
	if got := c.checkInput(&missing); c.Complete() || got[0] != "NOT_SYNCED" {
		t.Errorf("with no cluster: complete %t, %s", c.Complete(), got[0])
	}
	c.eu.SetComplete()
	c.expect(t, "default/shop", "VALID", "acme@eu")
	c.expect(t, "default/blog", "NOT_SYNCED", "")
	c.us.SetComplete()
	c.expect(t, "default/none", "UNKNOWN", "")
}

func TestClusters_StartRequiresAll(t *testing.T) {
	t.Parallel()
	eu, us := verifier.NewClusterIndex("eu"), verifier.NewClusterIndex("us")
	c := &twoClusters{verifier.NewClusters(eu, us), eu, us}
	eu.PutAccount(keystest.NewAccount("acme"))
	eu.PutKey(keystest.Key("shop", keystest.Issued(epoch)))
	for _, step := range []struct {
		change func()
		want   bool
	}{
		{func() {}, false},
		{eu.SetComplete, false},
		{eu.SetIncomplete, false},
		{us.SetComplete, false},
		{eu.SetComplete, true},
		{us.SetIncomplete, true},
		{eu.SetIncomplete, false},
		{us.SetComplete, true},
	} {
		_, changed := c.Completeness()
		before := c.Complete()
		step.change()
		if c.Complete() != step.want {
			t.Fatalf("complete is %t, want %t", c.Complete(), step.want)
		}
		if isClosed(changed) != (before != step.want) {
			t.Fatalf("from %t to %t, the channel is closed: %t", before, step.want, isClosed(changed))
		}
		if got := c.check("default/shop")[0]; !step.want && got != "NOT_SYNCED" {
			t.Fatalf("a verdict is given: %s", got)
		}
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func TestClusters_ReportsHoldOwnKeysOnly(t *testing.T) {
	t.Parallel()
	c := newTwoClusters()
	shop, blog := keystest.Key("shop", keystest.Issued(epoch)), keystest.Key("blog", keystest.Issued(epoch))
	c.eu.PutKey(shop)
	c.us.PutKey(blog)
	c.check("default/shop")
	c.check("default/blog")
	if got := c.eu.Usage(time.Time{}, hour); len(got) != 1 || got[0].UID != string(shop.UID) {
		t.Errorf("the usage is %+v", got)
	}
	reference := func(k *v1alpha1.APIKey) usage.KeyReference {
		return usage.KeyReference{Namespace: k.Namespace, Name: k.Name, UID: k.UID}
	}
	both := []usage.KeyReference{reference(shop), reference(blog)}
	if got := c.eu.Refused(both, hour); !slices.Equal(got, []types.UID{blog.UID}) {
		t.Errorf("refused are %v, want the key of the other cluster, which is not known in this one", got)
	}
}

// A manager must not report Enforced while the older copy in another cluster is accepted.
func TestClusters_RefusedFollowsTheVerdict(t *testing.T) {
	t.Parallel()
	c := newTwoClusters()
	revoked := keystest.Key("shop", keystest.Issued(epoch), keystest.State(v1alpha1.KeyStateRevoked))
	c.eu.PutKey(revoked)
	list := []usage.KeyReference{{Namespace: "default", Name: "shop", UID: revoked.UID}}
	c.us.PutKey(copied(1))
	if got := c.eu.Refused(list, hour); len(got) != 1 {
		t.Errorf("a younger copy in another cluster: refused are %v", got)
	}
	c.us.PutKey(copied(-1))
	c.expect(t, "default/shop", "VALID", "acme@us")
	if got := c.eu.Refused(list, hour); len(got) != 0 {
		t.Errorf("an older copy in another cluster is accepted, but refused are %v", got)
	}
}

func TestClusters_ChooseAmongAllKeys(t *testing.T) {
	t.Parallel()
	c := newTwoClusters()
	c.eu.PutKey(keystest.Key("shop", keystest.Issued(epoch)))
	c.us.PutKey(keystest.Key("blog", keystest.Issued(epoch)))
	extractor, err := verifier.NewKeyExtractor([]string{"header:A", "header:B"})
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		request request
		want    string
	}{
		"keys of two clusters":      {request{header: http.Header{"A": {material("default/shop")}, "B": {material("default/blog")}}}, "AMBIGUOUS"},
		"a key of the second":       {request{header: http.Header{"A": {material("default/none")}, "B": {material("default/blog")}}}, "VALID"},
		"no key of either":          {request{header: http.Header{"A": {material("default/none")}, "B": {material("default/other")}}}, "UNKNOWN"},
		"the same key in two":       {request{header: http.Header{"A": {material("default/shop")}, "B": {material("default/shop")}}}, "VALID"},
		"a header that came twice":  {request{header: http.Header{"A": {"x", "y"}, "B": {material("default/shop")}}}, "AMBIGUOUS"},
		"the only key of a request": {request{header: http.Header{"B": {material("default/blog")}}}, "VALID"},
	} {
		found := extractor.Extract(tc.request)
		var in verifier.Input
		in.Key, _, in.ExtractResult = c.Choose(&found)
		if got := c.checkInput(&in); got[0] != tc.want {
			t.Errorf("%s: got %s, want %s", name, got[0], tc.want)
		}
	}
}

func TestClusters_CheckAllocatesNothing(t *testing.T) {
	c := newTwoClusters()
	c.us.PutKey(keystest.Key("shop", keystest.Issued(epoch)))
	in := verifier.Input{Key: material("default/shop"), ExtractResult: verifier.Valid, Client: home}
	if n := testing.AllocsPerRun(100, func() { c.Check(&in, hour) }); n != 0 {
		t.Errorf("a check allocates %g times", n)
	}
}

// BenchmarkClusters_Check checks a key of the first of several clusters.
func BenchmarkClusters_Check(b *testing.B) {
	for _, n := range []int{1, 2, 8, 32} {
		indexes := make([]*verifier.Index, n)
		for i := range indexes {
			indexes[i] = newIndexWithKeysFrom(1_000*i, 1_000)
		}
		c := verifier.NewClusters(indexes...)
		in := verifier.Input{Key: memberMaterial(498), ExtractResult: verifier.Valid, Client: home, Scopes: "conversions:write"}
		b.Run(fmt.Sprintf("clusters=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if v := c.Check(&in, hour); v.Code != verifier.Valid {
					b.Fatal(v.Code)
				}
			}
		})
	}
}
