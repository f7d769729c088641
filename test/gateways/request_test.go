// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package gateways_test

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"mime"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

const (
	// answerWith is a request header with the status that the application must answer with.
	answerWith = "Answer-With"
	// ownChallenge and ownBody are the challenge and the body of these responses.
	ownChallenge = "Application"
	ownBody      = "the application's own words"
)

// application is the server behind the gateway. It stores the requests that it receives.
type application struct {
	server *httptest.Server
	// requests also counts requests that Go's server rejects.
	requests atomic.Int32

	mu       sync.Mutex
	received []receivedRequest
}

// receivedRequest is a request as the application received it.
type receivedRequest struct {
	method, uri, body string
	header, trailer   http.Header
}

func newApplication(t *testing.T) *application {
	t.Helper()
	a := &application{}
	a.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		a.mu.Lock()
		defer a.mu.Unlock()
		a.received = append(a.received, receivedRequest{
			method: r.Method, uri: r.RequestURI, body: string(body), header: r.Header, trailer: r.Trailer,
		})
		if status, err := strconv.Atoi(r.Header.Get(answerWith)); err == nil {
			w.Header().Set("WWW-Authenticate", ownChallenge)
			w.WriteHeader(status)
			_, _ = io.WriteString(w, ownBody)
		}
	}))
	a.server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateActive {
			a.requests.Add(1)
		}
	}
	a.server.Config.Protocols = &http.Protocols{}
	a.server.Config.Protocols.SetHTTP1(true)
	a.server.Config.Protocols.SetUnencryptedHTTP2(true)
	a.server.Start()
	t.Cleanup(a.server.Close)
	return a
}

func (a *application) address() string { return a.server.Listener.Addr().String() }

// takeRequests returns the requests since the last call.
func (a *application) takeRequests() []receivedRequest {
	a.mu.Lock()
	defer a.mu.Unlock()
	taken := a.received
	a.received = nil
	return taken
}

// clientRequest is a request that a client sends to the gateway.
type clientRequest struct {
	method, path, body string
	// chunked sends the body without a Content-Length.
	chunked bool
	// from is the address of the client. It defaults to 127.0.0.1, which is also the address of the trusted load balancer.
	from   string
	header http.Header
}

type clientResponse struct {
	status   int
	header   http.Header
	body     string
	received []receivedRequest
}

func (f *runningGateway) send(t *testing.T, q clientRequest) clientResponse {
	t.Helper()
	if q.method == "" {
		q.method = http.MethodGet
	}
	if q.path == "" {
		q.path = "/"
	}
	request, err := http.NewRequestWithContext(t.Context(), q.method, f.url+q.path, strings.NewReader(q.body))
	if err != nil {
		t.Fatal(err)
	}
	if q.chunked {
		request.ContentLength = -1
	}
	maps.Copy(request.Header, q.header) // names as they are written, which need not be the canonical way
	from := &net.TCPAddr{IP: net.ParseIP("127.0.0.1")}
	if q.from != "" {
		from.IP = net.ParseIP(q.from)
	}
	transport := &http.Transport{DialContext: (&net.Dialer{LocalAddr: from}).DialContext, DisableKeepAlives: true}
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	response, err := (&http.Client{Transport: transport, Timeout: controlplanetest.Timeout, CheckRedirect: stay}).Do(request)
	if err != nil {
		t.Fatalf("%s %s: %v", q.method, q.path, err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return clientResponse{status: response.StatusCode, header: response.Header, body: string(body), received: f.application.takeRequests()}
}

// sendRaw requests a path without encoding it. Go's client would reject or rewrite some of them.
func (f *runningGateway) sendRaw(t *testing.T, path, key string) clientResponse {
	t.Helper()
	return f.sendText(t, "GET "+path+" HTTP/1.1\r\nHost: HOST\r\nX-API-Key: "+key+"\r\nConnection: close\r\n\r\n")
}

// sendText sends the text of a request, in which HOST is replaced by the address of the gateway.
func (f *runningGateway) sendText(t *testing.T, text string) clientResponse {
	t.Helper()
	connection := f.connect(t)
	method, _, _ := strings.Cut(text, " ")
	_, _ = io.WriteString(connection, strings.ReplaceAll(text, "HOST", strings.TrimPrefix(f.url, "http://")))
	response, err := http.ReadResponse(bufio.NewReader(connection), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	defer func() { _ = response.Body.Close() }()
	body, _ := io.ReadAll(response.Body)
	return clientResponse{status: response.StatusCode, header: response.Header, body: string(body), received: f.application.takeRequests()}
}

// connect returns a connection to the gateway.
func (f *runningGateway) connect(t *testing.T) net.Conn {
	t.Helper()
	connection, err := (&net.Dialer{Timeout: controlplanetest.Timeout}).DialContext(t.Context(), "tcp", strings.TrimPrefix(f.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = connection.Close() })
	if err := connection.SetDeadline(time.Now().Add(controlplanetest.Timeout)); err != nil {
		t.Fatal(err)
	}
	return connection
}

// expectAllowed fails the test unless the request reaches the application once, with exactly these identity headers.
func (f *runningGateway) expectAllowed(t *testing.T, q clientRequest, identity map[string]string) receivedRequest {
	t.Helper()
	a := f.send(t, q)
	if a.status != http.StatusOK || len(a.received) != 1 {
		t.Fatalf("it was answered %d and reached the application %d times: %s", a.status, len(a.received), a.body)
	}
	if diff := cmp.Diff(identity, a.received[0].identityHeaders()); diff != "" {
		t.Errorf("the application sees another identity (-want +got):\n%s", diff)
	}
	return a.received[0]
}

// expectDenied fails the test unless the request does not reach the application and the client receives the response of the
// verifier.
func (f *runningGateway) expectDenied(t *testing.T, q clientRequest, status int, code string) {
	t.Helper()
	a := f.send(t, q)
	if a.status != status || len(a.received) != 0 {
		t.Fatalf("it was answered %d and reached the application %d times, want %d and none: %s", a.status, len(a.received), status, a.body)
	}
	var problem struct {
		Code   string `json:"code"`
		Status int    `json:"status"`
	}
	media, _, _ := mime.ParseMediaType(a.header.Get("Content-Type"))
	if err := json.Unmarshal([]byte(a.body), &problem); err != nil || media != "application/problem+json" || problem.Code != code || problem.Status != status {
		t.Errorf("the client receives %s %s, want %s", media, a.body, code)
	}
	challenges := a.header.Values("WWW-Authenticate")
	if status == http.StatusUnauthorized && (len(challenges) != 1 || !strings.HasPrefix(challenges[0], "ApiKey realm=")) {
		t.Errorf("the client is challenged with %q", challenges)
	}
	if status != http.StatusUnauthorized && len(challenges) != 0 {
		t.Errorf("the client is challenged with %q, and has a key already", challenges)
	}
}

// audit is an entry of the verifier's audit log.
type audit struct {
	Method, Host, Path string
}

// auditLine returns the first entry of a verifier's log whose path has a prefix.
func auditLine(t *testing.T, log, path string) (line audit) {
	t.Helper()
	controlplanetest.Eventually(t, "the audit has "+path, func() error {
		text, err := os.ReadFile(log)
		if err != nil {
			return err
		}
		for entry := range strings.Lines(string(text)) {
			line = audit{}
			if json.Unmarshal([]byte(entry), &line) == nil && strings.HasPrefix(line.Path, path) {
				return nil
			}
		}
		return errors.New("it has not")
	})
	return line
}

// identityHeaders returns the headers that an application may take for identity headers of the verifier, however it normalizes
// names.
func (s receivedRequest) identityHeaders() map[string]string {
	found := map[string]string{}
	for name, values := range s.header {
		name = strings.NewReplacer("_", "-", ".", "-").Replace(strings.ToLower(name))
		if strings.HasPrefix(name, "x-apikey-") {
			found[name] = strings.Join(values, " and ")
		}
	}
	return found
}

// placesOfKey returns where a request contains a key.
func (s receivedRequest) placesOfKey(material string) []string {
	var found []string
	for _, text := range []string{material, base64.StdEncoding.EncodeToString([]byte(material)), base64.StdEncoding.EncodeToString([]byte(material + ":"))} {
		for name, values := range s.header {
			if strings.Contains(strings.Join(values, ","), text) {
				found = append(found, name)
			}
		}
	}
	decoded, err := url.QueryUnescape(s.uri)
	if strings.Contains(s.uri, material) || err == nil && strings.Contains(decoded, material) {
		found = append(found, "the URL")
	}
	return found
}
