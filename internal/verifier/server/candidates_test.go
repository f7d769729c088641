// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package server_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Only candidates that some APIKey has count as keys. Other values are returned to the gateway.
func TestAuthz_ReturnsOtherCredentials(t *testing.T) {
	t.Parallel()
	everywhere := []string{"header:X-API-Key", "header:Authorization:Bearer", "basic", "cookie:session"}
	basic := func(credentials string) string {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(credentials))
	}
	for name, tc := range map[string]struct {
		header http.Header
		code   string // empty if the request is allowed
		// the returned headers
		key, authorization, cookie string
	}{
		"a JWT": {header: header("X-Api-Key", goodKey, "Authorization", "Bearer ey.J.h"), authorization: "Bearer ey.J.h"},
		"Basic": {
			header:        header("X-Api-Key", goodKey, "Authorization", basic("olga:secret")),
			authorization: basic("olga:secret"),
		},
		"another scheme": {
			header:        header("X-Api-Key", goodKey, "Authorization", `Digest username="a", realm="b"`),
			authorization: `Digest username="a", realm="b"`,
		},
		"a session": {header: header("X-Api-Key", goodKey, "Cookie", "session=s3ss10n; a=b"), cookie: "session=s3ss10n; a=b"},
		"all of them": {
			header:        header("X-Api-Key", goodKey, "Authorization", "Bearer ey.J.h", "Cookie", "session=x"),
			authorization: "Bearer ey.J.h", cookie: "session=x",
		},
		"the key as a bearer": {header: header("Authorization", "Bearer "+goodKey, "X-Api-Key", "none"), key: "none"},
		"the key in a cookie": {
			header:        header("Authorization", "Bearer ey.J.h", "Cookie", "a=b; session="+goodKey),
			authorization: "Bearer ey.J.h", cookie: "a=b",
		},
		"the key as Basic's user":       {header: header("Authorization", basic(goodKey+":x-oauth-basic"))},
		"the key as Basic's password":   {header: header("Authorization", basic("api:"+goodKey))},
		"the same key twice":            {header: header("X-Api-Key", goodKey, "Authorization", "Bearer "+goodKey)},
		"two known keys":                {header: header("X-Api-Key", goodKey, "Authorization", "Bearer "+plainKey), code: "AMBIGUOUS"},
		"a valid key and a revoked one": {header: header("X-Api-Key", goodKey, "Authorization", "Bearer "+revokedKey), code: "AMBIGUOUS"},
		"a revoked key and a JWT":       {header: header("X-Api-Key", revokedKey, "Authorization", "Bearer ey.J.h"), code: "REVOKED"},
		"two unknown keys":              {header: header("X-Api-Key", unknownKey, "Authorization", "Bearer ey.J.h"), code: "UNKNOWN"},
		"only a JWT":                    {header: header("Authorization", "Bearer ey.J.h"), code: "UNKNOWN"},
		"Basic of two keys":             {header: header("Authorization", basic(goodKey+":"+plainKey)), code: "AMBIGUOUS"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := httptest.NewRecorder()
			r := httptest.NewRequestWithContext(t.Context(), "GET", "/authz", http.NoBody)
			r.Header = tc.header
			setup{sources: everywhere}.authorizer(t).Authz().ServeHTTP(w, r)
			if got := codeOf(t, w); got != tc.code {
				t.Fatalf("%d, %q, want %q", w.Code, got, tc.code)
			}
			got := []string{w.Header().Get("X-Api-Key"), w.Header().Get("Authorization"), w.Header().Get("Cookie")}
			if diff := cmp.Diff([]string{tc.key, tc.authorization, tc.cookie}, got); diff != "" {
				t.Errorf("returned headers (-want +got):\n%s", diff)
			}
		})
	}
}

// codeOf returns the code of a refusal, or "" if the request is allowed.
func codeOf(t *testing.T, w *httptest.ResponseRecorder) string {
	t.Helper()
	if w.Code == http.StatusOK {
		return ""
	}
	var refusal struct {
		Code string `json:"code"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &refusal); err != nil {
		t.Fatal(err)
	}
	return refusal.Code
}
