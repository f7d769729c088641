// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package verifier_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/apikey-manager/apikey-manager/internal/verifier"
)

// request is what a test says of one.
type request struct {
	header  http.Header
	queries []string
}

func (r request) Header(canonical, _ string) []string { return r.header[canonical] }
func (r request) Queries() []string                   { return r.queries }

// with is a request with headers: name, value, name, value.
func with(pairs ...string) request {
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

func TestFinder_Find(t *testing.T) {
	t.Parallel()
	all := append([]string{"query:api_key", "cookie:key", "basic"}, verifier.DefaultSources...)
	const missing, ambiguous = verifier.Missing, verifier.Ambiguous
	for name, tc := range map[string]struct {
		sources []string // the default ones unless said
		request request
		want    string
		found   verifier.Code // Valid unless said
	}{
		"nothing":                           {request: with(), found: missing},
		"in its header":                     {request: with("X-API-Key", "k"), want: "k"},
		"with spaces around it":             {request: with("X-API-Key", " k\t"), want: "k"},
		"an empty header":                   {request: with("X-API-Key", ""), found: missing},
		"a header of spaces":                {request: with("X-API-Key", "   "), found: missing},
		"as a bearer token":                 {request: with("Authorization", "Bearer k"), want: "k"},
		"as a bearer, in any case":          {request: with("Authorization", "bEARER  k"), want: "k"},
		"a bearer of nothing":               {request: with("Authorization", "Bearer "), found: missing},
		"Bearer alone":                      {request: with("Authorization", "Bearer"), found: missing},
		"another scheme":                    {request: with("Authorization", "Basic azo="), found: missing},
		"a scheme that begins so":           {request: with("Authorization", "BearerX k"), found: missing},
		"the same twice, in two places":     {request: with("X-API-Key", "k", "Authorization", "Bearer k"), want: "k"},
		"two keys, in two places":           {request: with("X-API-Key", "k", "Authorization", "Bearer l"), found: ambiguous},
		"two headers":                       {request: with("X-API-Key", "k", "X-API-Key", "l"), found: ambiguous},
		"the same header twice":             {request: with("X-API-Key", "k", "X-API-Key", "k"), found: ambiguous},
		"two headers, one of them empty":    {request: with("X-API-Key", "", "X-API-Key", "k"), found: ambiguous},
		"a header joined from two":          {request: with("X-API-Key", "k,l"), found: ambiguous},
		"joined from two, the same":         {request: with("X-API-Key", "k, k"), found: ambiguous},
		"joined, and a good one elsewhere":  {request: with("X-API-Key", "k,l", "Authorization", "Bearer k"), found: ambiguous},
		"a good one, and joined elsewhere":  {sources: []string{"header:A", "header:B", "header:C"}, request: with("A", "k", "B", "k,k", "C", "k"), found: ambiguous},
		"bearer and joined with basic":      {request: with("Authorization", "Bearer k, Basic azo="), found: ambiguous},
		"a header asked for by other case":  {sources: []string{"header:x-FF-api-key"}, request: with("X-Ff-Api-Key", "k"), want: "k"},
		"in the query, which is not asked":  {request: with().query("api_key=k"), found: missing},
		"in the query":                      {sources: all, request: with().query("a=b&api_key=k&c"), want: "k"},
		"in the query, alone":               {sources: all, request: with().query("api_key=k"), want: "k"},
		"in the query, escaped":             {sources: all, request: with().query("api_key=%6b%2B"), want: "k+"},
		"in the query, badly escaped":       {sources: all, request: with().query("api_key=%zz"), want: "%zz"},
		"in the query, empty":               {sources: all, request: with().query("api_key=&api_key"), found: missing},
		"in the query, under another case":  {sources: all, request: with().query("API_KEY=k"), found: missing},
		"in the query, an escaped name":     {sources: all, request: with().query("api%5Fkey=k"), found: missing},
		"in the query, as part of a name":   {sources: all, request: with().query("xapi_key=k&api_keys=k"), found: missing},
		"in the query twice":                {sources: all, request: with().query("api_key=k&api_key=k"), found: ambiguous},
		"in two queries, the same":          {sources: all, request: with().query("api_key=k", "api_key=k"), want: "k"},
		"in two queries, different":         {sources: all, request: with().query("api_key=k", "api_key=l"), found: ambiguous},
		"in the query and a header":         {sources: all, request: with("X-API-Key", "l").query("api_key=k"), found: ambiguous},
		"in a cookie":                       {sources: all, request: with("Cookie", "a=b; key=k; c=d"), want: "k"},
		"in a cookie, quoted":               {sources: all, request: with("Cookie", `key="k"`), want: "k"},
		"in a cookie of two lines":          {sources: all, request: with("Cookie", "a=b", "Cookie", "key=k"), want: "k"},
		"in cookies of two lines, joined":   {sources: all, request: with("Cookie", "a=b,key=k; c=d"), want: "k"},
		"in cookies joined, two keys":       {sources: all, request: with("Cookie", "key=k,key=l"), found: ambiguous},
		"in the query, after a space":       {sources: all, request: with().query("a& api_key=k"), found: missing},
		"in two cookies":                    {sources: all, request: with("Cookie", "key=k; key=k"), found: ambiguous},
		"in cookies of two lines":           {sources: all, request: with("Cookie", "key=k", "Cookie", "key=l"), found: ambiguous},
		"a cookie of another name":          {sources: all, request: with("Cookie", "keys=k; Key=k"), found: missing},
		"basic, the key alone":              {sources: []string{"basic"}, request: with("Authorization", "Basic aw=="), want: "k"},
		"basic, as the user":                {sources: []string{"basic"}, request: with("Authorization", "Basic azo="), want: "k"},
		"basic, as the password":            {sources: []string{"basic"}, request: with("Authorization", "Basic Oms="), want: "k"},
		"basic, user and password":          {sources: []string{"basic"}, request: with("Authorization", "Basic YXBpOms="), want: "k"},
		"basic, a password with colons":     {sources: []string{"basic"}, request: with("Authorization", "Basic YXBpOms6bA=="), want: "k:l"},
		"basic, of nothing":                 {sources: []string{"basic"}, request: with("Authorization", "Basic Og=="), found: missing},
		"basic, not base64":                 {sources: []string{"basic"}, request: with("Authorization", "Basic %%%"), want: "not base64"},
		"basic, the key as it is":           {sources: []string{"basic"}, request: with("Authorization", "Basic ak_0123_4567"), want: "not base64"},
		"basic, beside a bearer":            {sources: all, request: with("Authorization", "Basic azo=", "X-API-Key", "k"), want: "k"},
		"basic with another key than X-API": {sources: all, request: with("Authorization", "Basic azo=", "X-API-Key", "l"), found: ambiguous},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sources := tc.sources
			if sources == nil {
				sources = verifier.DefaultSources
			}
			finder, err := verifier.NewFinder(sources)
			if err != nil {
				t.Fatal(err)
			}
			if tc.found == 0 {
				tc.found = verifier.Valid
			}
			if key, found := finder.Find(tc.request); key != tc.want || found != tc.found {
				t.Errorf("got %q, %s; want %q, %s", key, found, tc.want, tc.found)
			}
		})
	}
}

func TestNewFinder(t *testing.T) {
	t.Parallel()
	for text, good := range map[string]bool{
		"header:X-API-Key": true, "header:Authorization:Bearer": true, "query:api_key": true, "cookie:session": true, "basic": true,
		"": false, "header": false, "header:": false, "header:a b": false, "header:A:b c": false, "query:": false, "query:a=b": false, "query:a b": false,
		"cookie:": false, "cookie:a=b": false, "basic:x": false, "Basic": false, "body:key": false, "header:X-API-Key:Bearer:x": false,
	} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			_, err := verifier.NewFinder([]string{text})
			if (err == nil) != good {
				t.Errorf("got %v", err)
			}
			if err != nil && !strings.Contains(err.Error(), "give header:NAME") {
				t.Errorf("%v: does not say what to do", err)
			}
		})
	}
}

func TestFinder_WhatAnUpstreamMustNotSee(t *testing.T) {
	t.Parallel()
	finder, err := verifier.NewFinder([]string{"basic", "header:X-API-Key", "header:Authorization:Bearer", "query:api_key", "query:key", "cookie:session", "header:x-api-key"})
	if err != nil {
		t.Fatal(err)
	}
	got := [][]string{finder.Headers(), finder.QueryParameters(), finder.Cookies()}
	want := [][]string{{"authorization", "x-api-key"}, {"api_key", "key"}, {"session"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
