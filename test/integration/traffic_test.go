// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
)

// request describes a request to the API server.
type request struct {
	method    string
	resource  string // "apikeys", "apikeys/status"
	namespace string
	name      string
	watch     bool
	metadata  bool // the response contains metadata only
	url       string
	sentName  string // of the object in the body of a POST without a name in the path
	conflict  bool   // the API server returned a conflict
	bytes     int64  // of the body
}

func (r request) String() string { return r.method + " " + r.url }

// writes reports whether the request changes anything.
func (r request) writes() bool {
	return !slices.Contains([]string{http.MethodGet, http.MethodHead, http.MethodOptions}, r.method)
}

// fault is a failure to inject into a request.
type fault int

const (
	faultNone   fault = iota
	faultBefore       // the request does not reach the API server
	faultAfter        // the request is carried out, and the response is lost
)

var errInjected = errors.New("injected: the connection broke")

// traffic records the requests of one client, and injects faults into them.
type traffic struct {
	// injectFault returns the fault to inject into a request. If it is nil, none is injected.
	injectFault func(request) fault

	mu       sync.Mutex
	requests []*request
}

// wrap returns a round tripper for rest.Config.Wrap.
func (t *traffic) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) { return t.roundTrip(next, r) })
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func (t *traffic) roundTrip(next http.RoundTripper, r *http.Request) (*http.Response, error) {
	is := parse(r)
	t.mu.Lock()
	t.requests = append(t.requests, &is)
	fault := faultNone
	if t.injectFault != nil {
		fault = t.injectFault(is)
	}
	t.mu.Unlock()
	if fault == faultBefore {
		return nil, errInjected
	}
	response, err := next.RoundTrip(r)
	if err != nil {
		output.record("transport errors", []byte(err.Error()))
		return nil, err
	}
	t.mu.Lock()
	is.conflict = response.StatusCode == http.StatusConflict
	t.mu.Unlock()
	if fault == faultAfter {
		_, _ = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
		return nil, errInjected
	}
	return response, recordResponse(is, response)
}

// recordResponse records the warnings and the body of an error response of the API server.
func recordResponse(is request, response *http.Response) error {
	for _, warning := range response.Header.Values("Warning") {
		output.record("API warnings", []byte(warning))
	}
	if response.StatusCode < http.StatusBadRequest {
		return nil
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return fmt.Errorf("read the answer to %s: %w", is, err)
	}
	_ = response.Body.Close()
	response.Body = io.NopCloser(bytes.NewReader(body))
	output.record("API errors", body)
	return nil
}

// parse derives a request from its path:
// /apis/apikey-manager.io/v1alpha1/namespaces/shop/apikeys/web/status.
func parse(r *http.Request) request {
	is := request{method: r.Method, url: r.URL.Path, watch: r.URL.Query().Get("watch") != "", bytes: r.ContentLength}
	is.metadata = strings.Contains(r.Header.Get("Accept"), "as=PartialObjectMetadata")
	path := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	switch {
	case path[0] == "api" && len(path) > 2:
		path = path[2:]
	case path[0] == "apis" && len(path) > 3:
		path = path[3:]
	default:
		return is // discovery
	}
	if path[0] == "namespaces" && len(path) > 2 {
		is.namespace, path = path[1], path[2:]
	}
	is.resource = path[0]
	if len(path) > 1 {
		is.name = path[1]
	}
	if len(path) > 2 {
		is.resource += "/" + path[2]
	}
	if is.method == http.MethodPost && is.resource == "accounts" {
		is.sentName = sentName(r)
	}
	return is
}

// sentName returns the name of the object in the body of a POST request.
func sentName(r *http.Request) string {
	body, err := r.GetBody()
	if err != nil {
		return ""
	}
	defer body.Close()
	text, err := io.ReadAll(body)
	if err != nil {
		return ""
	}
	_, after, _ := strings.Cut(string(text), `"name":"`)
	name, _, _ := strings.Cut(after, `"`)
	return name
}

// reset deletes the recorded requests.
func (t *traffic) reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.requests = nil
}

// all returns the requests for which keep returns true.
func (t *traffic) all(keep func(request) bool) []request {
	t.mu.Lock()
	defer t.mu.Unlock()
	var list []request
	for _, r := range t.requests {
		if keep(*r) {
			list = append(list, *r)
		}
	}
	return list
}

// writes returns the number of successful writes, by method and resource.
func (t *traffic) writes() map[string]int {
	return t.count(func(r request) bool { return r.writes() && !r.conflict })
}

// conflicts returns the number of writes that failed with a conflict, by method and resource.
func (t *traffic) conflicts() map[string]int {
	return t.count(func(r request) bool { return r.conflict })
}

// sizes returns the number of successful writes of a method and resource, and the bytes of their bodies.
func (t *traffic) sizes(what string) (n int, size int64) {
	for _, r := range t.all(func(r request) bool { return !r.conflict && r.method+" "+r.resource == what }) {
		n, size = n+1, size+r.bytes
	}
	return n, size
}

func (t *traffic) count(which func(request) bool) map[string]int {
	counts := map[string]int{}
	for _, r := range t.all(which) {
		counts[r.method+" "+r.resource]++
	}
	return counts
}
