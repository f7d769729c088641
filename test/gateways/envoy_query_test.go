// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package gateways_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestEnvoy_KeepsRestOfQuery checks what the application receives of a query that contains a key. Envoy sorts the parameters by
// name, and writes ?flag as ?flag=, which means the same to applications.
func TestEnvoy_KeepsRestOfQuery(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	f := w.serveEnvoy(t, []string{"--key-source=query:api_key"})
	key := w.keys["full"].material
	for query, want := range map[string]string{
		"?api_key=" + key:                                   "",
		"?a=1&api_key=" + key + "&a=2&a=1":                  "?a=1&a=2&a=1",
		"?flag&api_key=" + key:                              "?flag",
		"?flag&empty=&api_key=" + key + "&flag":             "?flag&empty=&flag",
		"?q=%20%2B+%C3%A1%26%3D&api_key=" + key:             "?q=%20%2B+%C3%A1%26%3D",
		"?api_keys=1&my_api_key=2&API_KEY=3&api_key=" + key: "?api_keys=1&my_api_key=2&API_KEY=3",
		"?a[]=1&a[]=2&api_key=" + key:                       "?a[]=1&a[]=2",
		"?u=http://x/?y=z&api_key=" + key:                   "?u=http://x/?y=z",
		"?=1&api_key=" + key:                                "?=1",
	} {
		t.Run(query, func(t *testing.T) {
			a := f.sendRaw(t, "/stock"+query, "")
			if a.status != http.StatusOK || len(a.received) != 1 {
				t.Fatalf("it was answered %d %s", a.status, a.body)
			}
			got, _ := url.ParseQuery(strings.TrimPrefix(strings.TrimPrefix(a.received[0].uri, "/stock"), "?"))
			rest, _ := url.ParseQuery(strings.TrimPrefix(want, "?"))
			if diff := cmp.Diff(rest, got); diff != "" || len(a.received[0].placesOfKey(key)) != 0 {
				t.Errorf("the application sees %s (-want +got):\n%s", a.received[0].uri, diff)
			}
		})
	}
}

// TestEnvoy_QueryNeverPassesKey sends queries that a gateway, the verifier and an application may read in different ways. They
// are rejected, or the application does not receive the key.
func TestEnvoy_QueryNeverPassesKey(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	f := w.serveEnvoy(t, []string{"--key-source=query:api_key"})
	key := w.keys["full"].material
	encoded := fmt.Sprintf("%%%02x", key[0]) + key[1:]
	for _, query := range []string{
		"?a=1;api_key=" + key, "?api_key=" + key + ";a=1", "?api_key=" + key + "&a=1;b=2", "?a=1;b=2&api_key=" + key,
		"?api_key=" + key + "&api_key=" + key, "?api_key=" + key + "&api%5Fkey=" + key, "?api_key=&api_key=" + key, "?api_key&api_key=" + key,
		"?api_key=" + encoded, "?b=2&api%5Fkey=" + key + "&a=1", "?&a=1&&api_key=" + key, "?api_key=" + key + "%00", "?api_key=" + key + "%20", "?api_key=%20" + key, "?api_key=+" + key,
		"?api%5fkey=" + key + "&api_key=" + w.keys["plain"].material, "?api_key=" + key + "#x", "??api_key=" + key, "?a=%zz&api_key=" + key,
		"?api_key=" + key + "&%zz", "?%61%70%69%5f%6b%65%79=" + key, "?api%255Fkey=" + key, "?api_key[]=" + key, "?api.key=" + key,
		"?a=\xff&api_key=" + key, "?api_key=" + key + "=", "?api_key==" + key,
	} {
		t.Run(query, func(t *testing.T) {
			a := f.sendRaw(t, "/stock"+query, "")
			if a.status == http.StatusOK && (len(a.received) != 1 || len(a.received[0].placesOfKey(key)) != 0) {
				t.Errorf("the application sees %v", uris(a.received))
			}
			if a.status >= 500 || a.status != http.StatusOK && len(a.received) != 0 {
				t.Errorf("it was answered %d and reached the application as %v", a.status, uris(a.received))
			}
		})
	}
	f.expectAllowed(t, clientRequest{path: "/?api_key=" + key}, w.fullIdentity())
}

func uris(requests []receivedRequest) (list []string) {
	for _, r := range requests {
		list = append(list, r.uri)
	}
	return list
}
