// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package server_test

import (
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"github.com/google/go-cmp/cmp"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
	"github.com/apikey-manager/apikey-manager/internal/verifier"
	"github.com/apikey-manager/apikey-manager/internal/verifier/server"
)

type entries = map[string]v1alpha1.MetadataValue

var rateLimit = keystest.RateLimit

// dynamicMetadata returns the dynamic metadata of the response to a request with goodKey.
func dynamicMetadata(t *testing.T, srv authv3.AuthorizationServer) map[string]any {
	t.Helper()
	response, err := srv.Check(t.Context(), envoyRequest("/", map[string]string{"x-api-key": goodKey}, nil))
	if err != nil || response.GetStatus().GetCode() != 0 {
		t.Fatal(response, err)
	}
	return response.GetDynamicMetadata().AsMap()
}

// TestExtAuthz_DeniedMetadata checks that the access log of a gateway can name a key that is refused, and nothing else.
func TestExtAuthz_DeniedMetadata(t *testing.T) {
	t.Parallel()
	srv := setup{}.authorizer(t).ExtAuthz()
	for key, want := range map[string]map[string]any{
		revokedKey:  {"keyID": "idrevoked", "account": "acme"},
		inactiveKey: {"keyID": "idinactive", "account": "acme"},
		unknownKey:  {},
		"":          {},
	} {
		response, err := srv.Check(t.Context(), envoyRequest("/", map[string]string{"x-api-key": key}, nil))
		if err != nil || response.GetStatus().GetCode() == 0 {
			t.Fatal(response, err)
		}
		if diff := cmp.Diff(want, response.GetDynamicMetadata().AsMap()); diff != "" {
			t.Errorf("for %q (-want +got):\n%s", key, diff)
		}
	}
}

// indexWith returns an index with goodKey, which has the given fields and belongs to the account acme with others.
func indexWith(key v1alpha1.APIKeySpec, account v1alpha1.AccountSpec) *verifier.Index {
	index := newIndex()
	putAccount(index, account)
	key.Account = "acme"
	index.PutKey(newKey("good", goodKey, key))
	return index
}

// putAccount updates the account acme.
func putAccount(index *verifier.Index, spec v1alpha1.AccountSpec) {
	acme := accountNamed("acme", "")
	acme.Spec = spec
	index.PutAccount(acme)
}

// addFlatRateLimits adds the fields that rate limits have in addition to the two structs.
func addFlatRateLimits(metadata map[string]any) {
	for _, group := range []string{"rateLimits", "accountRateLimits"} {
		limits, _ := metadata[group].(map[string]any)
		for name, limit := range limits {
			metadata[group+"."+name] = limit
		}
	}
}

func TestExtAuthz_DynamicMetadata(t *testing.T) {
	t.Parallel()
	limit := func(requests float64, unit string) map[string]any {
		return map[string]any{"requests_per_unit": requests, "unit": unit}
	}
	for name, tc := range map[string]struct {
		key     v1alpha1.APIKeySpec
		account v1alpha1.AccountSpec
		// want holds the plan, the metadata and the rate limits.
		want map[string]any
	}{
		"what is absent is left out": {want: map[string]any{}},
		"all": {
			key: v1alpha1.APIKeySpec{Metadata: entries{"team": "shop"}},
			account: v1alpha1.AccountSpec{
				Plan: "pro", Metadata: entries{"tier": "gold"},
				RateLimits: []v1alpha1.RateLimit{
					rateLimit("requests", 1_000_000_000, v1alpha1.RateLimitMinute), rateLimit("mails", 0, v1alpha1.RateLimitMonth),
				},
			},
			want: map[string]any{
				"plan": "pro", "metadata": map[string]any{"team": "shop", "tier": "gold"},
				"rateLimits":        map[string]any{"requests": limit(1_000_000_000, "MINUTE"), "mails": limit(0, "MONTH")},
				"accountRateLimits": map[string]any{"requests": limit(1_000_000_000, "MINUTE"), "mails": limit(0, "MONTH")},
			},
		},
		"metadata of the account takes precedence": {
			key:     v1alpha1.APIKeySpec{Metadata: entries{"tier": "gold", "team": "shop"}},
			account: v1alpha1.AccountSpec{Metadata: entries{"tier": "basic"}},
			want:    map[string]any{"metadata": map[string]any{"team": "shop", "tier": "basic"}},
		},
		"a key lowers a rate limit of its account": {
			key:     v1alpha1.APIKeySpec{RateLimits: []v1alpha1.RateLimit{rateLimit("requests", 10, v1alpha1.RateLimitHour)}},
			account: v1alpha1.AccountSpec{RateLimits: []v1alpha1.RateLimit{rateLimit("requests", 100, v1alpha1.RateLimitHour)}},
			want: map[string]any{
				"rateLimits":        map[string]any{"requests": limit(10, "HOUR")},
				"accountRateLimits": map[string]any{"requests": limit(100, "HOUR")},
			},
		},
		"a key does not raise a rate limit, even before the manager refuses it": {
			key: v1alpha1.APIKeySpec{RateLimits: []v1alpha1.RateLimit{
				rateLimit("requests", 101, v1alpha1.RateLimitHour), rateLimit("mails", 1, v1alpha1.RateLimitSecond),
			}},
			account: v1alpha1.AccountSpec{RateLimits: []v1alpha1.RateLimit{
				rateLimit("requests", 100, v1alpha1.RateLimitHour), rateLimit("mails", 1, v1alpha1.RateLimitHour),
			}},
			want: map[string]any{
				"rateLimits":        map[string]any{"requests": limit(100, "HOUR"), "mails": limit(1, "HOUR")},
				"accountRateLimits": map[string]any{"requests": limit(100, "HOUR"), "mails": limit(1, "HOUR")},
			},
		},
		"without rate limits of the account, those of a key have no effect": {
			key:  v1alpha1.APIKeySpec{RateLimits: []v1alpha1.RateLimit{rateLimit("requests", 10, v1alpha1.RateLimitHour)}},
			want: map[string]any{},
		},
		"metadata cannot replace an identity or a rate limit": {
			key: v1alpha1.APIKeySpec{Metadata: entries{
				"account": "root", "keyID": "forged", "plan": "gold", "rateLimits": "x", "requests_per_unit": "1000000", "unit": "SECOND",
			}},
			want: map[string]any{"metadata": map[string]any{
				"account": "root", "keyID": "forged", "plan": "gold", "rateLimits": "x", "requests_per_unit": "1000000", "unit": "SECOND",
			}},
		},
		"invalid UTF-8 does not break the response": {
			key:  v1alpha1.APIKeySpec{Metadata: entries{"team": "a\xff", "na\xffme": "ñ"}},
			want: map[string]any{"metadata": map[string]any{"team": "a\uFFFD", "na\uFFFDme": "ñ"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tc.want["keyID"], tc.want["name"], tc.want["uid"], tc.want["account"] = "idgood", "shops/good", "good", "acme"
			tc.want["scopes"] = []any{}
			addFlatRateLimits(tc.want)
			srv := setup{index: indexWith(tc.key, tc.account)}.authorizer(t).ExtAuthz()
			for range 2 { // the second response uses the memory of the first
				if diff := cmp.Diff(tc.want, dynamicMetadata(t, srv)); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			}
		})
	}
}

// A changed account applies to the next request, also to keys with attributes of their own.
func TestExtAuthz_DynamicMetadataChangesWithAccount(t *testing.T) {
	t.Parallel()
	account := v1alpha1.AccountSpec{
		Plan: "free", Metadata: entries{"tier": "basic"},
		RateLimits: []v1alpha1.RateLimit{rateLimit("requests", 10, v1alpha1.RateLimitMinute)},
	}
	index := indexWith(v1alpha1.APIKeySpec{
		Metadata:   entries{"tier": "gold"},
		RateLimits: []v1alpha1.RateLimit{rateLimit("requests", 50, v1alpha1.RateLimitMinute)},
	}, account)
	srv := setup{index: index}.authorizer(t).ExtAuthz()
	for _, step := range []struct {
		plan, tier string
		requests   int32
		want       float64
	}{{"free", "basic", 10, 10}, {"pro", "silver", 100, 50}, {"free", "basic", 10, 10}} {
		account.Plan, account.Metadata = step.plan, entries{"tier": v1alpha1.MetadataValue(step.tier)}
		account.RateLimits = []v1alpha1.RateLimit{rateLimit("requests", step.requests, v1alpha1.RateLimitMinute)}
		putAccount(index, account)
		for range 2 {
			got := dynamicMetadata(t, srv)
			for _, name := range []string{"keyID", "name", "uid", "account", "scopes"} {
				delete(got, name)
			}
			requests := func(n float64) map[string]any {
				return map[string]any{"requests": map[string]any{"requests_per_unit": n, "unit": "MINUTE"}}
			}
			want := map[string]any{
				"plan": step.plan, "metadata": map[string]any{"tier": step.tier},
				"rateLimits": requests(step.want), "accountRateLimits": requests(float64(step.requests)),
			}
			addFlatRateLimits(want)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("plan %s (-want +got):\n%s", step.plan, diff)
			}
		}
	}
}

// indexWithAttributes returns an index with goodKey, which has what a provider with plans gives to most keys.
func indexWithAttributes() *verifier.Index {
	index := newIndex()
	putAccount(index, v1alpha1.AccountSpec{
		ExternalID: "cus_NffrFeUfNV2Hib", Plan: "professional", Metadata: entries{"region": "eu-central"},
		RateLimits: []v1alpha1.RateLimit{
			rateLimit("requests", 6_000, v1alpha1.RateLimitMinute), rateLimit("conversions", 1_000_000, v1alpha1.RateLimitMonth),
		},
	})
	key := newKey("good", goodKey, v1alpha1.APIKeySpec{
		Account: "acme", Scopes: []string{"orders:read", "orders:write"}, Metadata: entries{"team": "storefront"},
		RateLimits: []v1alpha1.RateLimit{rateLimit("requests", 600, v1alpha1.RateLimitMinute)},
	})
	key.UID = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"
	index.PutKey(key)
	return index
}

// Applications receive the same, with rate limits as they are in the API.
func TestVerify_Attributes(t *testing.T) {
	t.Parallel()
	index := indexWith(v1alpha1.APIKeySpec{
		Metadata: entries{"team": "Almacén", "tier": "gold"}, RateLimits: []v1alpha1.RateLimit{rateLimit("requests", 0, v1alpha1.RateLimitWeek)},
	}, v1alpha1.AccountSpec{
		Plan: "pro", Metadata: entries{"tier": "basic"}, RateLimits: []v1alpha1.RateLimit{
			rateLimit("requests", 100, v1alpha1.RateLimitWeek), rateLimit("mails", 7, v1alpha1.RateLimitSecond),
		},
	})
	at := serve(t, setup{index: index}, server.Options{})
	want := map[string]any{
		"valid": true, "code": "VALID", "keyID": "idgood", "name": "shops/good", "uid": "good", "account": "acme", "plan": "pro",
		"metadata": map[string]any{"team": "Almacén", "tier": "basic"},
		"rateLimits": []any{
			map[string]any{"name": "requests", "requests": 0.0, "unit": "Week"}, map[string]any{"name": "mails", "requests": 7.0, "unit": "Second"},
		},
		"accountRateLimits": []any{
			map[string]any{"name": "requests", "requests": 100.0, "unit": "Week"}, map[string]any{"name": "mails", "requests": 7.0, "unit": "Second"},
		},
	}
	if diff := cmp.Diff(want, postJSON(t, at, "/v1/verify", `{"key":"`+goodKey+`"}`)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	putAccount(index, v1alpha1.AccountSpec{Plan: "free"})
	if got := postJSON(t, at, "/v1/verify", `{"key":"`+goodKey+`"}`); got["plan"] != "free" || got["rateLimits"] != nil || got["accountRateLimits"] != nil {
		t.Errorf("after a change of the account, the response is %v", got)
	}
}

// Envoy parses the unit of an override as a name of its enumeration, which lacks weeks.
func TestExtAuthz_RateLimitUnitsOfEnvoy(t *testing.T) {
	t.Parallel()
	for unit, want := range map[v1alpha1.RateLimitUnit]string{
		v1alpha1.RateLimitSecond: "SECOND", v1alpha1.RateLimitMinute: "MINUTE", v1alpha1.RateLimitHour: "HOUR", v1alpha1.RateLimitDay: "DAY",
		v1alpha1.RateLimitMonth: "MONTH", v1alpha1.RateLimitYear: "YEAR", v1alpha1.RateLimitWeek: "WEEK",
	} {
		index := indexWith(v1alpha1.APIKeySpec{}, v1alpha1.AccountSpec{RateLimits: []v1alpha1.RateLimit{rateLimit("requests", 1, unit)}})
		limits := dynamicMetadata(t, setup{index: index}.authorizer(t).ExtAuthz())["rateLimits"]
		if diff := cmp.Diff(map[string]any{"requests": map[string]any{"requests_per_unit": 1.0, "unit": want}}, limits); diff != "" {
			t.Errorf("%s (-want +got):\n%s", unit, diff)
		}
		if _, known := typev3.RateLimitUnit_value[want]; known == (unit == v1alpha1.RateLimitWeek) {
			t.Errorf("Envoy knows the unit %s: %t", want, known)
		}
	}
}

// Without its account, what a key itself says is not handed on: the account may contradict it.
func TestIdentity_AttributesNeedTheAccount(t *testing.T) {
	t.Parallel()
	index := indexWith(v1alpha1.APIKeySpec{Metadata: entries{"tier": "gold"}}, v1alpha1.AccountSpec{Metadata: entries{"tier": "basic"}})
	index.SetComplete()
	index.DropAccount("acme")
	verdict := index.Check(&verifier.Input{Key: goodKey, ExtractResult: verifier.Valid}, now)
	if id := verdict.Key(); verdict.Code != verifier.Inactive || id.Metadata != nil || id.RateLimits != nil || id.AccountRateLimits != nil || id.Plan != "" {
		t.Errorf("got %s with %+v", verdict.Code, id)
	}
}
