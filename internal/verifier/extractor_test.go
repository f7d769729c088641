// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package verifier_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/apikey-manager/apikey-manager/internal/verifier"
)

// request is a request with given headers and queries.
type request struct {
	header  http.Header
	queries []string
}

func (r request) Header(canonical, _ string) []string { return r.header[canonical] }
func (r request) Queries() []string                   { return r.queries }

// requestWith returns a request with headers, given as name, value, name, value.
func requestWith(pairs ...string) request {
	r := request{header: http.Header{}}
	for i := 0; i < len(pairs); i += 2 {
		r.header.Add(pairs[i], pairs[i+1])
	}
	return r
}

func (r request) query(q ...string) request {
	r.queries = q
	return r
}

func TestKeyExtractor_Extract(t *testing.T) {
	t.Parallel()
	all := append([]string{"query:api_key", "cookie:key", "basic"}, verifier.DefaultSources...)
	for name, tc := range map[string]struct {
		sources   []string // defaults to DefaultSources
		request   request
		want      string // the candidates, separated by spaces
		ambiguous bool
	}{
		"nothing":                            {request: requestWith()},
		"in its header":                      {request: requestWith("X-API-Key", "k"), want: "k"},
		"with spaces around it":              {request: requestWith("X-API-Key", " k\t"), want: "k"},
		"an empty header":                    {request: requestWith("X-API-Key", "")},
		"a header of spaces":                 {request: requestWith("X-API-Key", "   ")},
		"as a bearer token":                  {request: requestWith("Authorization", "Bearer k"), want: "k"},
		"as a bearer, in any case":           {request: requestWith("Authorization", "bEARER  k"), want: "k"},
		"a bearer of nothing":                {request: requestWith("Authorization", "Bearer ")},
		"Bearer without a key":               {request: requestWith("Authorization", "Bearer")},
		"another scheme":                     {request: requestWith("Authorization", "Basic azo=")},
		"a scheme that begins so":            {request: requestWith("Authorization", "BearerX k")},
		"the same key in two places":         {request: requestWith("X-API-Key", "k", "Authorization", "Bearer k"), want: "k"},
		"two keys, in two places":            {request: requestWith("X-API-Key", "k", "Authorization", "Bearer l"), want: "k l"},
		"two headers":                        {request: requestWith("X-API-Key", "k", "X-API-Key", "l"), ambiguous: true},
		"the same header twice":              {request: requestWith("X-API-Key", "k", "X-API-Key", "k"), ambiguous: true},
		"two headers, one of them empty":     {request: requestWith("X-API-Key", "", "X-API-Key", "k"), ambiguous: true},
		"a header joined from two":           {request: requestWith("X-API-Key", "k,l"), ambiguous: true},
		"joined from two, the same":          {request: requestWith("X-API-Key", "k, k"), ambiguous: true},
		"joined, and a single one elsewhere": {request: requestWith("X-API-Key", "k,l", "Authorization", "Bearer k"), ambiguous: true},
		"a single one, and joined elsewhere": {
			sources: []string{"header:A", "header:B", "header:C"},
			request: requestWith("A", "k", "B", "k,k", "C", "k"), ambiguous: true,
		},
		"bearer and joined with basic":        {request: requestWith("Authorization", "Bearer k, Basic azo="), ambiguous: true},
		"a header configured in another case": {sources: []string{"header:x-FF-api-key"}, request: requestWith("X-Ff-Api-Key", "k"), want: "k"},
		"in the query, which is not a source": {request: requestWith().query("api_key=k")},
		"in the query":                        {sources: all, request: requestWith().query("a=b&api_key=k&c"), want: "k"},
		"in the query only":                   {sources: all, request: requestWith().query("api_key=k"), want: "k"},
		"in the query, escaped":               {sources: all, request: requestWith().query("api_key=%6b%2B"), want: "k+"},
		"in the query, badly escaped":         {sources: all, request: requestWith().query("api_key=%zz"), want: "%zz"},
		"in the query, empty":                 {sources: all, request: requestWith().query("api_key=&api_key")},
		"in the query, under another case":    {sources: all, request: requestWith().query("API_KEY=k")},
		"in the query, an escaped name":       {sources: all, request: requestWith().query("api%5Fkey=k"), ambiguous: true},
		"in the query, two names":             {sources: all, request: requestWith().query("api_key=k&%61pi_key=l"), want: "k", ambiguous: true},
		"in the query, an escaped empty one":  {sources: all, request: requestWith().query("api%5Fkey=&api_key=k"), want: "k"},
		"in the query, a name escaped twice":  {sources: all, request: requestWith().query("api%255Fkey=k")},
		"in the query, as part of a name":     {sources: all, request: requestWith().query("xapi_key=k&api_keys=k")},
		"in the query twice":                  {sources: all, request: requestWith().query("api_key=k&api_key=k"), ambiguous: true},
		"in two queries, the same":            {sources: all, request: requestWith().query("api_key=k", "api_key=k"), want: "k"},
		"in two queries, different":           {sources: all, request: requestWith().query("api_key=k", "api_key=l"), want: "k l"},
		"in the query and a header":           {sources: all, request: requestWith("X-API-Key", "l").query("api_key=k"), want: "k l"},
		"in a cookie":                         {sources: all, request: requestWith("Cookie", "a=b; key=k; c=d"), want: "k"},
		"in a cookie, quoted":                 {sources: all, request: requestWith("Cookie", `key="k"`), want: "k"},
		"in a cookie of two lines":            {sources: all, request: requestWith("Cookie", "a=b", "Cookie", "key=k"), want: "k"},
		"in cookies of two lines, joined":     {sources: all, request: requestWith("Cookie", "a=b,key=k; c=d"), want: "k"},
		"in cookies joined, two keys":         {sources: all, request: requestWith("Cookie", "key=k,key=l"), ambiguous: true},
		"in the query, after a space":         {sources: all, request: requestWith().query("a& api_key=k")},
		"in two cookies":                      {sources: all, request: requestWith("Cookie", "key=k; key=k"), ambiguous: true},
		"in cookies of two lines":             {sources: all, request: requestWith("Cookie", "key=k", "Cookie", "key=l"), want: "k l"},
		"a cookie of another name":            {sources: all, request: requestWith("Cookie", "keys=k; Key=k")},
		"basic, the key only":                 {sources: []string{"basic"}, request: requestWith("Authorization", "Basic aw=="), want: "k"},
		"basic, as the user":                  {sources: []string{"basic"}, request: requestWith("Authorization", "Basic azo="), want: "k"},
		"basic, as the password":              {sources: []string{"basic"}, request: requestWith("Authorization", "Basic Oms="), want: "k"},
		"basic, user and password": {
			sources: []string{"basic"}, request: requestWith("Authorization", "Basic YXBpOms="),
			want: "api k",
		},
		"basic, a password with colons": {
			sources: []string{"basic"}, request: requestWith("Authorization", "Basic YXBpOms6bA=="),
			want: "api k:l",
		},
		"basic, of nothing": {sources: []string{"basic"}, request: requestWith("Authorization", "Basic Og==")},
		"basic, not base64": {sources: []string{"basic"}, request: requestWith("Authorization", "Basic %%%"), want: "not base64"},
		"basic, the key as it is": {
			sources: []string{"basic"}, request: requestWith("Authorization", "Basic ak_0123_4567."),
			want: "not base64",
		},
		"basic, the key and x-oauth-basic": {
			sources: []string{"basic"},
			request: requestWith("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte("k:x-oauth-basic"))), want: "k x-oauth-basic",
		},
		"basic, without padding": {sources: []string{"basic"}, request: requestWith("Authorization", "Basic aw"), want: "k"},
		"basic, in the other alphabet": {
			sources: []string{"basic"},
			request: requestWith("Authorization", "Basic "+base64.RawURLEncoding.EncodeToString([]byte("k?>k:"))), want: "k?>k",
		},
		"Bearer in a header without scheme": {request: requestWith("X-API-Key", "Bearer k"), want: "k"},
		"ApiKey in a header without scheme": {request: requestWith("X-API-Key", "apikey k"), want: "k"},
		"ApiKey in place of Bearer":         {request: requestWith("Authorization", "ApiKey k"), want: "k"},
		"ApiKey with the scheme Token":      {sources: []string{"header:Authorization:Token"}, request: requestWith("Authorization", "ApiKey k")},
		"beside a JWT":                      {request: requestWith("X-API-Key", "k", "Authorization", "Bearer ey.J.h"), want: "k ey.J.h"},
		"in a cookie, percent-encoded":      {sources: all, request: requestWith("Cookie", "key=k%2Dk%5F"), want: "k-k_"},
		"in a cookie, badly encoded":        {sources: all, request: requestWith("Cookie", "key=k%zz"), want: "k%zz"},
		"basic, beside a bearer":            {sources: all, request: requestWith("Authorization", "Basic azo=", "X-API-Key", "k"), want: "k"},
		"basic with another key than X-API": {sources: all, request: requestWith("Authorization", "Basic azo=", "X-API-Key", "l"), want: "k l"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sources := tc.sources
			if sources == nil {
				sources = verifier.DefaultSources
			}
			extractor, err := verifier.NewKeyExtractor(sources)
			if err != nil {
				t.Fatal(err)
			}
			candidates := extractor.Extract(tc.request)
			list, ambiguous := candidates.Keys()
			if got := strings.Join(list, " "); !ambiguous && got != tc.want || ambiguous != tc.ambiguous {
				t.Errorf("got %q, ambiguous: %t; want %q, %t", got, ambiguous, tc.want, tc.ambiguous)
			}
		})
	}
}

func TestNewKeyExtractor_RejectsInvalidSources(t *testing.T) {
	t.Parallel()
	for text, good := range map[string]bool{
		"header:X-API-Key": true, "header:Authorization:Bearer": true, "query:api_key": true, "cookie:session": true, "basic": true,
		"": false, "header": false, "header:": false, "header:a b": false, "header:A:b c": false, "query:": false, "query:a=b": false,
		"query:a b": false,
		"cookie:":   false, "cookie:a=b": false, "basic:x": false, "Basic": false, "body:key": false, "header:X-API-Key:Bearer:x": false,
	} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			_, err := verifier.NewKeyExtractor([]string{text})
			if (err == nil) != good {
				t.Errorf("got %v", err)
			}
			if err != nil && !strings.Contains(err.Error(), "must be header:NAME") {
				t.Errorf("%v: does not name the valid sources", err)
			}
		})
	}
}

func TestKeyExtractor_Places(t *testing.T) {
	t.Parallel()
	extractor, err := verifier.NewKeyExtractor([]string{
		"basic", "header:X-API-Key", "header:Authorization:Bearer", "query:api_key",
		"query:key", "cookie:session", "header:x-api-key",
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []verifier.Place{
		{Header: "authorization", Canonical: "Authorization", Bits: 1<<0 | 1<<2},
		{Header: "x-api-key", Canonical: "X-Api-Key", Bits: 1 << 1},
		{Parameter: "api_key", Bits: 1 << 3},
		{Parameter: "key", Bits: 1 << 4},
		{Cookie: "session", Bits: 1 << 5},
	}
	if diff := cmp.Diff(want, extractor.Places()); diff != "" {
		t.Error(diff)
	}
}

func TestKeyExtractor_LimitsCandidates(t *testing.T) {
	t.Parallel()
	var sources, headers []string
	for i := range 17 {
		name := fmt.Sprintf("X-%d", i)
		sources, headers = append(sources, "header:"+name), append(headers, name, name)
	}
	extractor, err := verifier.NewKeyExtractor(sources)
	if err != nil {
		t.Fatal(err)
	}
	for n, want := range map[int]bool{16: false, 17: true} {
		candidates := extractor.Extract(requestWith(headers[:2*n]...))
		if list, ambiguous := candidates.Keys(); ambiguous != want || len(list) != 16 {
			t.Errorf("%d keys: %d candidates, ambiguous: %t", n, len(list), ambiguous)
		}
	}
	var many []string
	for i := range 65 {
		many = append(many, fmt.Sprintf("header:X-%d", i))
	}
	if _, err := verifier.NewKeyExtractor(many); err == nil || !strings.Contains(err.Error(), "at most 64") {
		t.Errorf("65 sources: %v", err)
	}
}
