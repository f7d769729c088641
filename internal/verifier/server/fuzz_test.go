// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package server_test

import (
	"bytes"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/proto"
)

// The seeds contain no valid key, so every allowed request is an error.

func FuzzCheck(f *testing.F) {
	for _, r := range []*authv3.CheckRequest{
		{},
		envoyRequest("/?api_key="+unknownKey, map[string]string{"x-api-key": revokedKey, "cookie": "session=" + expiredKey},
			map[string]string{"scopes": "a"}),
		withRawHeaders(envoyRequest("/", map[string]string{"authorization": "Basic eDp5"}, nil), "x-api-key", "a,b"),
	} {
		seed, err := proto.Marshal(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(seed)
	}
	srv := permissive.authorizer(f).ExtAuthz()
	f.Fuzz(func(t *testing.T, wire []byte) {
		r := &authv3.CheckRequest{}
		if proto.Unmarshal(wire, r) != nil || hasGoodKey(wire) {
			return
		}
		if problem := checkEnvoyAnswer(t, srv, r); problem != "" {
			t.Error(problem)
		}
	})
}

func FuzzAuthz(f *testing.F) {
	f.Add("GET", "/authz", "scopes=a&account=b", "X-Api-Key", revokedKey, "X-Forwarded-Uri", "/?api_key="+unknownKey)
	f.Add("POST", "/authz/x", "account=%zz", "Authorization", "Bearer "+expiredKey, "X-Forwarded-For", "192.0.2.7, [::1]:80")
	f.Add("HEAD", "/authz", "", "Cookie", "session=\"x\"; session=y", "Authorization", "Basic eDp5")
	handler := permissive.authorizer(f).Authz()
	f.Fuzz(func(t *testing.T, method, path, query, name, value, other, second string) {
		if hasGoodKey([]byte(value)) || hasGoodKey([]byte(second)) || !strings.HasPrefix(path, "/authz") {
			return
		}
		r := &http.Request{
			Method: method, URL: &url.URL{Path: path, RawQuery: query}, Header: header(name, value, other, second), Body: http.NoBody,
			RemoteAddr: "192.0.2.7:1",
		}
		if problem := checkHTTPAnswer(handler, r); problem != "" {
			t.Error(problem)
		}
	})
}

func FuzzVerify(f *testing.F) {
	f.Add([]byte(`{"key":"` + revokedKey + `","ip":"::1","scopes":["a"],"account":"b"}`))
	f.Add([]byte(`{"key":"x","key":"y"}`))
	f.Add([]byte(`{"scopes":[1],"ip":null}`))
	verify, explain := permissive.authorizer(f).Verify(), permissive.authorizer(f).Explain()
	f.Fuzz(func(t *testing.T, body []byte) {
		if hasGoodKey(body) {
			return
		}
		for _, handler := range []http.Handler{verify, explain} {
			r := &http.Request{
				Method: http.MethodPost, URL: &url.URL{Path: "/v1/verify"}, Header: http.Header{},
				Body: io.NopCloser(bytes.NewReader(body)),
			}
			if problem := checkHTTPAnswer(handler, r); problem != "" {
				t.Error(problem)
			}
		}
	})
}

// hasGoodKey reports whether an input contains a valid key, which a fuzzer cannot guess.
func hasGoodKey(input []byte) bool {
	for _, key := range []string{goodKey, plainKey, oddKey, listedKey} {
		if bytes.Contains(input, []byte(key)) {
			return true
		}
	}
	return false
}
