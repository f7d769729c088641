// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package server_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/verifier"
	"github.com/apikey-manager/apikey-manager/internal/verifier/server"
)

func TestParseMetadataHeaders(t *testing.T) {
	t.Parallel()
	const badEntry, badName = "must begin with the name of a metadata entry and =", "must end with the name of a header that begins with X-Apikey-"
	for name, tc := range map[string]struct {
		texts []string
		want  string
	}{
		"none":                       {nil, ""},
		"several":                    {[]string{"team=X-Apikey-Team", "costCenter=x-apikey-cost-center", "team=X-Apikey-2"}, ""},
		"no header":                  {[]string{"team"}, badName},
		"an empty header":            {[]string{"team="}, badName},
		"no entry":                   {[]string{"X-Apikey-Team"}, badEntry},
		"an empty entry":             {[]string{"=X-Apikey-Team"}, badEntry},
		"an entry that cannot exist": {[]string{"cost-center=X-Apikey-Team"}, badEntry},
		"an entry that is too long":  {[]string{strings.Repeat("a", 64) + "=X-Apikey-Team"}, badEntry},
		"another family of headers":  {[]string{"team=X-Team"}, badName},
		"the prefix alone":           {[]string{"team=X-Apikey-"}, badName},
		"an underscore":              {[]string{"team=X-Apikey-My_Team"}, badName},
		"a dot":                      {[]string{"team=X-Apikey-My.Team"}, badName},
		"a second header":            {[]string{"team=X-Apikey-Team\r\nHost"}, badName},
		"a second equals sign":       {[]string{"team=X-Apikey-Team=x"}, badName},
		"a fixed header":             {[]string{"team=x-apikey-account"}, "must not name X-Apikey-Account, which the verifier sets to another value"},
		"the same header twice":      {[]string{"team=X-Apikey-Team", "squad=x-apikey-team"}, "must not name X-Apikey-Team again"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			list, err := server.ParseMetadataHeaders(tc.texts)
			if tc.want == "" && (err != nil || len(list) != len(tc.texts)) || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

// metadataHeaders parses values of --metadata-header.
func metadataHeaders(texts ...string) []server.MetadataHeader {
	list, err := server.ParseMetadataHeaders(texts)
	if err != nil {
		panic(err)
	}
	return list
}

// TestMetadataHeaders compares the identity headers of both protocols. The client forges each of them.
func TestMetadataHeaders(t *testing.T) {
	t.Parallel()
	headers := metadataHeaders("team=X-Apikey-Team", "tier=X-Apikey-Tier", "note=X-Apikey-Note")
	for name, tc := range map[string]struct {
		key, account entries
		want         map[string]string
	}{
		"none": {nil, nil, map[string]string{}},
		"of the key and of the account": {
			entries{"team": "shop"},
			entries{"tier": "gold"},
			map[string]string{"X-Apikey-Team": "shop", "X-Apikey-Tier": "gold"},
		},
		"the account takes precedence": {
			entries{"tier": "gold", "other": "x"},
			entries{"tier": "basic"},
			map[string]string{"X-Apikey-Tier": "basic"},
		},
		"an empty value of the account is absent": {entries{"tier": "gold"}, entries{"tier": ""}, map[string]string{}},
		"other entries have no header":            {entries{"account": "root", "x": "y"}, nil, map[string]string{}},
		"a value cannot add a header": {
			entries{"team": "a\r\nX-Apikey-Tier: gold", "note": "a,b; c=\"d\""},
			nil,
			map[string]string{"X-Apikey-Team": "a%0D%0AX-Apikey-Tier: gold", "X-Apikey-Note": "a,b; c=\"d\""},
		},
		"a value that is not ASCII": {
			entries{"team": "Almacén 50 %", "note": " \u202e"},
			nil,
			map[string]string{"X-Apikey-Team": "Almac%C3%A9n 50 %25", "X-Apikey-Note": "%20%E2%80%AE"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := setup{
				index:   indexWith(v1alpha1.APIKeySpec{Metadata: tc.key}, v1alpha1.AccountSpec{Metadata: tc.account}),
				options: server.AuthorizerOptions{MetadataHeaders: headers},
			}
			overHTTP, overGRPC := s.metadataHeadersOverHTTP(t), s.metadataHeadersOverGRPC(t)
			if diff := cmp.Diff(tc.want, overHTTP); diff != "" {
				t.Errorf("HTTP (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.want, overGRPC); diff != "" {
				t.Errorf("gRPC (-want +got):\n%s", diff)
			}
		})
	}
}

var metadataHeaderNames = []string{"X-Apikey-Team", "X-Apikey-Tier", "X-Apikey-Note"}

// metadataHeadersOverHTTP returns the headers with metadata in the response to forged ones.
func (s setup) metadataHeadersOverHTTP(t *testing.T) map[string]string {
	t.Helper()
	forged := header("X-Api-Key", goodKey)
	for _, name := range metadataHeaderNames {
		forged.Set(name, "forged")
	}
	a := send(t, serve(t, s, server.Options{}).http, http.MethodGet, "/authz", forged, "")
	got := map[string]string{}
	for _, name := range metadataHeaderNames {
		if values := a.header.Values(name); len(values) > 0 {
			got[name] = strings.Join(values, " and ")
		}
	}
	if a.status != http.StatusOK {
		t.Errorf("got %+v", a)
	}
	return got
}

// metadataHeadersOverGRPC returns the headers with metadata that Envoy sets. It checks that Envoy removes the others.
func (s setup) metadataHeadersOverGRPC(t *testing.T) map[string]string {
	t.Helper()
	response, err := s.authorizer(t).ExtAuthz().Check(t.Context(), envoyRequest("/", map[string]string{"x-api-key": goodKey}, nil))
	if err != nil {
		t.Fatal(err)
	}
	ok := response.GetOkResponse()
	got := map[string]string{}
	for _, option := range ok.GetHeaders() {
		name := http.CanonicalHeaderKey(option.GetHeader().GetKey())
		if slices.Contains(metadataHeaderNames, name) {
			got[name] = option.GetHeader().GetValue()
		}
	}
	for _, name := range metadataHeaderNames {
		_, set := got[name]
		if removed := slices.Contains(ok.GetHeadersToRemove(), strings.ToLower(name)); removed == set {
			t.Errorf("%s is set: %t, and removed: %t", name, set, removed)
		}
	}
	return got
}

// A preflight, which has no key, removes headers with metadata as well.
func TestMetadataHeaders_Preflight(t *testing.T) {
	t.Parallel()
	s := setup{options: server.AuthorizerOptions{MetadataHeaders: metadataHeaders("team=X-Apikey-Team")}}
	request := envoyRequest("/", map[string]string{"origin": "https://a", "access-control-request-method": "PUT"}, map[string]string{"preflight": "allow"})
	request.GetAttributes().GetRequest().GetHttp().Method = http.MethodOptions
	response, err := s.authorizer(t).ExtAuthz().Check(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	if got := response.GetOkResponse().GetHeadersToRemove(); !slices.Contains(got, "x-apikey-team") {
		t.Errorf("the headers to remove are %q", got)
	}
}

func TestNewAuthorizer_RejectsMetadataHeaders(t *testing.T) {
	t.Parallel()
	extractor, err := verifier.NewKeyExtractor([]string{"header:X-Apikey-Team"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = server.NewAuthorizer(server.AuthorizerOptions{Extractor: extractor, MetadataHeaders: metadataHeaders("team=X-Apikey-Team")})
	if err == nil || !strings.Contains(err.Error(), "invalid key source header:x-apikey-team: must not be an identity header") {
		t.Errorf("got %v", err)
	}
}

// The largest metadata that the schema admits stays below the limits of gateways: Envoy accepts messages of megabytes, and
// each header is shorter than the 8 KB that servers commonly accept.
func TestMetadata_Size(t *testing.T) {
	t.Parallel()
	const most, longest, widest = 16, 256, "\U0001F511" // four bytes, and twelve when percent-encoded
	own, account, flags := entries{}, entries{}, []string{}
	for i := range most {
		name := fmt.Sprintf("e%062d", i)
		own[name], account["a"+name[1:]] = v1alpha1.MetadataValue(strings.Repeat(widest, longest)), v1alpha1.MetadataValue(strings.Repeat(widest, longest))
		flags = append(flags, fmt.Sprintf("%s=X-Apikey-E%d", name, i))
	}
	s := setup{
		index:   indexWith(v1alpha1.APIKeySpec{Metadata: own}, v1alpha1.AccountSpec{Metadata: account}),
		options: server.AuthorizerOptions{MetadataHeaders: metadataHeaders(flags...)},
	}
	srv := s.authorizer(t).ExtAuthz()
	if got := dynamicMetadata(t, srv)["metadata"].(map[string]any); len(got) != 2*most {
		t.Errorf("%d entries", len(got))
	}
	response, err := srv.Check(t.Context(), envoyRequest("/", map[string]string{"x-api-key": goodKey}, nil))
	if err != nil {
		t.Fatal(err)
	}
	for _, option := range response.GetOkResponse().GetHeaders() {
		if length := len(option.GetHeader().GetValue()); length > 12*longest {
			t.Errorf("%s has %d bytes", option.GetHeader().GetKey(), length)
		}
	}
	if length := proto.Size(response); length > 100<<10 {
		t.Errorf("the response has %d bytes", length)
	}
	if a := send(t, serve(t, s, server.Options{}).http, http.MethodGet, "/authz", header("X-Api-Key", goodKey), ""); a.status != http.StatusOK {
		t.Errorf("got status %d", a.status)
	}
}
