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

// request is what somebody asked of the API server.
type request struct {
	method    string
	resource  string // "apikeys", "apikeys/status"
	namespace string
	name      string
	watch     bool
	metadata  bool // the answer has the metadata only
	url       string
	sentName  string // of the object in the body of a POST without a name in the path
	conflict  bool   // it was refused, because it rested on stale facts
}

func (r request) String() string { return r.method + " " + r.url }

// writes is whether it changes anything.
func (r request) writes() bool {
	return !slices.Contains([]string{http.MethodGet, http.MethodHead, http.MethodOptions}, r.method)
}

// fault is what becomes of a request.
type fault int

const (
	faultNone   fault = iota
	faultBefore       // it does not reach the API server
	faultAfter        // it is carried out, and the answer is lost
)

var errInjected = errors.New("injected: the connection broke")

// traffic counts the requests of one client and, where asked, makes some of them fail.
type traffic struct {
	// injectFault says what becomes of a request; nil: nothing.
	injectFault func(request) fault

	mu       sync.Mutex
	requests []*request
}

// wrap is for rest.Config.Wrap.
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

// recordResponse writes down what the API server says against a request, and its warnings.
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

// parse reads what a request is about from its path:
// /apis/apikey-manager.io/v1alpha1/namespaces/shop/apikeys/web/status.
func parse(r *http.Request) request {
	is := request{method: r.Method, url: r.URL.Path, watch: r.URL.Query().Get("watch") != ""}
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

// sentName is the name of the object that is being created.
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

// reset forgets what was counted.
func (t *traffic) reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.requests = nil
}

// all are the requests for which keep says so.
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

// writes are the requests that changed something, by method and resource.
func (t *traffic) writes() map[string]int {
	return t.count(func(r request) bool { return r.writes() && !r.conflict })
}

// conflicts are the writes that rested on stale facts, and were made again.
func (t *traffic) conflicts() map[string]int {
	return t.count(func(r request) bool { return r.conflict })
}

func (t *traffic) count(which func(request) bool) map[string]int {
	counts := map[string]int{}
	for _, r := range t.all(which) {
		counts[r.method+" "+r.resource]++
	}
	return counts
}
