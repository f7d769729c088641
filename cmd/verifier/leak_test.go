// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/go-logr/logr/funcr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/credential"
	"github.com/apikey-manager/apikey-manager/internal/metrics"
	"github.com/apikey-manager/apikey-manager/internal/verifier"
	"github.com/apikey-manager/apikey-manager/internal/verifier/server"
)

// FuzzNothingLeaks puts known and unknown keys anywhere into requests, in many encodings, and searches for them in all
// output of the verifier: audit lines, logs, metrics, traces and responses.
func FuzzNothingLeaks(f *testing.F) {
	v := newLeakFixture(f)
	for i := range keyPlacements {
		f.Add([]byte{byte(i), 0, byte(i), byte(i)}, "", "")
	}
	f.Add([]byte{3, 1, 2, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3}, "/orders/%2", "%")
	f.Fuzz(func(t *testing.T, choices []byte, before, after string) { v.checkForLeaks(t, choices, before, after) })
}

// TestNothingLeaks combines each placement with each encoding, using each key in turn.
func TestNothingLeaks(t *testing.T) {
	t.Parallel()
	v := newLeakFixture(t)
	for place := range keyPlacements {
		for encoding := range encodings {
			v.checkForLeaks(t, []byte{byte(place*len(encodings) + encoding), 0, byte(place), byte(encoding)}, "", "")
		}
	}
}

// byteChooser makes choices from the bytes of a fuzzer. When they are used up, it always chooses the first alternative.
type byteChooser []byte

func (d *byteChooser) choose(sides int) int {
	if len(*d) == 0 {
		return 0
	}
	n := int((*d)[0]) % sides
	*d = (*d)[1:]
	return n
}

// leakFixture runs a verifier and captures all its output.
type leakFixture struct {
	grpc     authv3.AuthorizationClient
	conn     *grpc.ClientConn
	http     string
	client   *http.Client
	keys     []string
	spans    *tracetest.InMemoryExporter
	registry *prometheus.Registry

	mu  sync.Mutex
	log bytes.Buffer
}

func (v *leakFixture) Write(p []byte) (int, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.log.Write(p)
}

// takeLog returns what was logged since the last call.
func (v *leakFixture) takeLog() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	defer v.log.Reset()
	return v.log.String()
}

func newLeakFixture(f testing.TB) *leakFixture {
	f.Helper()
	v := &leakFixture{spans: tracetest.NewInMemoryExporter(), registry: prometheus.NewRegistry(), client: &http.Client{}}
	index := v.index(f)
	o := options{
		sources:       []string{"header:X-API-Key", "header:Authorization:Bearer", "query:api_key", "cookie:session", "basic"},
		accountHeader: "X-FF-Company", auditSample: 1, trusted: []string{"127.0.0.0/8"}, realm: "tests",
	}
	recorder, err := metrics.NewVerdictRecorder(v.registry, metrics.VerdictRecorderOptions{
		Protocols: namesOf(server.Protocols()), Codes: namesOf(verifier.Codes()), AccountLimit: 10,
		Clusters: []metrics.VerifierCluster{{
			Synced: index.Complete, CacheAge: func() (age time.Duration) { return 0 }, Size: func() (int, int, int) { return 0, 0, 0 },
			Undecodable: func() (int, int) { return 0, 0 }, Rollbacks: func() uint64 { return 0 },
		}},
	})
	if err != nil {
		f.Fatal(err)
	}
	authorizer, err := newAuthorizer(o, verifier.NewClusters(index), recorder,
		funcr.NewJSON(func(line string) { _, _ = v.Write([]byte(line + "\n")) }, funcr.Options{}))
	if err != nil {
		f.Fatal(err)
	}
	const local = "127.0.0.1:0"
	so := server.Options{GRPCAddress: local, HTTPAddress: local, ProbeAddress: "0", ShutdownTimeout: timeout, ErrorLog: log.New(v, "", 0)}
	addTraces(&so, sdktrace.NewTracerProvider(sdktrace.WithSyncer(v.spans)))
	srv, err := server.New(f.Context(), authorizer, so)
	if err != nil {
		f.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(f.Context()))
	done := make(chan error, 1)
	go func() { done <- srv.Run(ctx) }()
	v.http = "http://" + srv.Address("http-bind-address").String()
	v.conn, err = grpc.NewClient(srv.Address("grpc-bind-address").String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		f.Fatal(err)
	}
	v.grpc = authv3.NewAuthorizationClient(v.conn)
	f.Cleanup(func() {
		_ = v.conn.Close()
		v.client.CloseIdleConnections()
		stop()
		if err := <-done; err != nil {
			f.Error(err)
		}
	})
	return v
}

var formats = []credential.Format{
	{Type: v1alpha1.FormatToken, Prefix: "ak"},
	{Type: v1alpha1.FormatUUID},
	{Type: v1alpha1.FormatAlphanumeric, Length: 22},
	{Type: v1alpha1.FormatHex, Length: 32},
	{Type: v1alpha1.FormatToken, Prefix: "abcdefghij012345"},
	{Type: v1alpha1.FormatAlphanumeric, Length: 100},
	{Type: v1alpha1.FormatHex, Length: 64},
	{Type: v1alpha1.FormatAlphanumeric, Length: 256},
}

// index returns an index with a key of each format in each state.
func (v *leakFixture) index(f testing.TB) *verifier.Index {
	x := verifier.NewIndex()
	x.PutNamespace("shops", nil)
	x.PutAccount(&v1alpha1.Account{ObjectMeta: metav1.ObjectMeta{Name: "acme"}, Spec: v1alpha1.AccountSpec{ExternalID: "ext-1"}})
	random := rand.NewChaCha8([32]byte{1})
	for _, state := range []v1alpha1.KeyState{v1alpha1.KeyStateActive, v1alpha1.KeyStateInactive, v1alpha1.KeyStateRevoked} {
		for i, format := range formats {
			issued, err := format.Generate(random)
			if err != nil {
				f.Fatal(err)
			}
			name := strings.ToLower(fmt.Sprintf("%s-%d", state, i))
			x.PutKey(&v1alpha1.APIKey{
				ObjectMeta: metav1.ObjectMeta{Namespace: "shops", Name: name, UID: types.UID(name)},
				Spec:       v1alpha1.APIKeySpec{Account: "acme", State: state, Label: "Shop", Scopes: []string{"orders:read"}},
				Status: v1alpha1.APIKeyStatus{State: v1alpha1.StateActive, Credentials: []v1alpha1.Credential{{
					ID: issued.ID, SHA256: issued.Material.SHA256(), IssuedAt: metav1.Now(),
				}}},
			})
			v.keys = append(v.keys, string(issued.Material))
		}
	}
	x.SetComplete()
	return x
}

// testCall holds the values of a request that is sent over each protocol.
type testCall struct {
	method, path, query, host                string
	gatewayMethod, gatewayPath, gatewayQuery string
	header                                   map[string]string
	body                                     map[string]any
	extensions, metadata                     map[string]string
	rpc                                      string
}

func setHeader(name string) func(*testCall, string) {
	return func(c *testCall, text string) { c.header[name] = text }
}

func setField(name string, list bool) func(*testCall, string) {
	return func(c *testCall, text string) {
		if list {
			c.body[name] = []string{text}
		} else {
			c.body[name] = text
		}
	}
}

// keyPlacements lists the parts of a request that may hold a key.
var keyPlacements = []func(*testCall, string){
	func(c *testCall, text string) { c.path = "/orders/" + text },
	func(c *testCall, text string) { c.path = "/orders/" + text + "/lines;v=1" },
	func(c *testCall, text string) { c.path = text },
	func(c *testCall, text string) { c.path = "https://" + text + "/orders" },
	func(c *testCall, text string) { c.path = "/orders#" + text },
	func(c *testCall, text string) { c.query = "api_key=" + text },
	func(c *testCall, text string) { c.query = "a=b&token=" + text },
	func(c *testCall, text string) { c.host = text },
	func(c *testCall, text string) { c.host = text + ".example.com:8443" },
	func(c *testCall, text string) { c.method = text },
	func(c *testCall, text string) { c.gatewayPath = "/authz/" + text },
	func(c *testCall, text string) { c.gatewayPath = "/" + text },
	func(c *testCall, text string) { c.gatewayQuery = "scopes=" + text },
	func(c *testCall, text string) { c.gatewayQuery = "account=acme&" + text + "=x" },
	func(c *testCall, text string) { c.gatewayMethod = text },
	func(c *testCall, text string) { c.header[text] = "x" },
	func(c *testCall, text string) { c.rpc = "/envoy.service.auth.v3.Authorization/" + text },
	func(c *testCall, text string) { c.rpc = "/" + text + "/Check" },
	func(c *testCall, text string) { c.extensions["scopes"] = text },
	func(c *testCall, text string) { c.extensions[text] = text },
	func(c *testCall, text string) { c.metadata["x-api-key"] = text },
	func(c *testCall, text string) { c.metadata["traceparent"] = text },
	func(c *testCall, text string) {
		c.metadata["traceparent"], c.metadata["tracestate"] = parent, "k="+text
	},
	func(c *testCall, text string) { c.header["Traceparent"], c.header["Tracestate"] = parent, "k="+text },
	func(c *testCall, text string) { c.header["Authorization"] = "Bearer " + text },
	func(c *testCall, text string) { c.header["Authorization"] = "Basic " + text },
	func(c *testCall, text string) { c.header["X-Api-Key"] = "Bearer " + text },
	func(c *testCall, text string) { c.header["Cookie"] = "session=" + text + "; a=b" },
	setHeader("X-Api-Key"), setHeader("Authorization"), setHeader("Cookie"), setHeader("Baggage"), setHeader("User-Agent"),
	setHeader("X-Forwarded-For"),
	setHeader("X-Ff-Company"),
	setHeader("Referer"), setHeader("X-Request-Id"), setHeader("Content-Type"),
	setField("key", false), setField("ip", false), setField("account", false), setField("scopes", true), setField("scopes", false),
	func(c *testCall, text string) { c.body[text] = text },
}

// encodings lists the ways to encode a key.
var encodings = []func(string) string{
	func(key string) string { return key },
	encodeEach("%%%02x"), encodeEach("%%%02X"), encodeEach("%%25%02x"), encodeEach("%%2525%02X"), encodeEach("%%u%04x"),
	encodeEach(`\u%04x`), encodeEach("&#%d;"), encodeEach("&#x%x;"),
	encodeEach("=%02X"), encodeEach("%02x "),
	func(key string) string { return key[:3] + encodeEach("%%%02x")(key[3:9]) + key[9:] },
	func(key string) string { return base64.StdEncoding.EncodeToString([]byte(key)) },
	func(key string) string { return base64.StdEncoding.EncodeToString([]byte("user:" + key)) },
	func(key string) string { return base64.RawURLEncoding.EncodeToString([]byte(":" + key)) },
	func(key string) string { return url.QueryEscape(base64.StdEncoding.EncodeToString([]byte(key + ":"))) },
	func(key string) string { return hex.EncodeToString([]byte(key)) },
	func(key string) string { return "Bearer+" + key }, func(key string) string { return "Bearer%20" + key },
	func(key string) string { return `"` + key + `"` },
	strings.ToUpper, strings.ToLower,
	func(key string) string { return key[len(key)-22:] },
}

func encodeEach(format string) func(string) string {
	return func(key string) string {
		var b strings.Builder
		for _, c := range []byte(key) {
			fmt.Fprintf(&b, format, c)
		}
		return b.String()
	}
}

// checkForLeaks sends a request with a key in some placements over each protocol, and searches for the key in all
// output.
func (v *leakFixture) checkForLeaks(t *testing.T, choices []byte, before, after string) {
	d := byteChooser(choices)
	key := v.key(t, &d)
	c := testCall{
		method: "GET", path: "/orders", host: "api.example.com", gatewayMethod: "GET", gatewayPath: "/authz", header: map[string]string{},
		body:       map[string]any{},
		extensions: map[string]string{}, metadata: map[string]string{}, rpc: authv3.Authorization_Check_FullMethodName,
	}
	for range 1 + d.choose(3) {
		place, text := keyPlacements[d.choose(len(keyPlacements))], encodings[d.choose(len(encodings))](key)
		switch d.choose(4) {
		case 1:
			text = before + text
		case 2:
			text += after
		case 3:
			text = before + text + after
		}
		place(&c, text)
	}
	v.spans.Reset()
	outputs := []string{v.authz(t, &c), v.postJSON(t, &c, "/v1/verify"), v.postJSON(t, &c, "/v1/explain"), v.check(t, &c)}
	outputs = append(outputs, v.takeLog(), fmt.Sprintf("%+v", v.spans.GetSpans()))
	if d.choose(8) == 0 {
		outputs = append(outputs, v.metrics(t))
	}
	for i, text := range outputs {
		if found := findKey(text, key); found != "" {
			t.Errorf("%s is in %s: %q", found, [...]string{
				"a response from /authz", "a response from /v1/verify", "a response from /v1/explain",
				"a response to Envoy", "the log", "the traces", "the metrics",
			}[i], text)
		}
	}
}

// key returns a known key or a newly generated, unknown one.
func (v *leakFixture) key(t *testing.T, d *byteChooser) string {
	which := d.choose(2 * len(v.keys))
	if which < len(v.keys) {
		return v.keys[which]
	}
	issued, err := formats[which%len(formats)].Generate(rand.NewChaCha8([32]byte{
		byte(d.choose(256)), byte(d.choose(256)),
		byte(d.choose(256)),
	}))
	if err != nil {
		t.Fatal(err)
	}
	return string(issued.Material)
}

func (v *leakFixture) authz(t *testing.T, c *testCall) string {
	u, err := url.Parse(v.http + c.gatewayPath)
	if err != nil {
		return ""
	}
	u.RawQuery = c.gatewayQuery
	r, err := http.NewRequestWithContext(t.Context(), c.gatewayMethod, u.String(), http.NoBody)
	if err != nil {
		return ""
	}
	for name, value := range c.header {
		r.Header.Set(name, value)
	}
	r.Header.Set("X-Forwarded-Method", c.method)
	r.Header.Set("X-Forwarded-Host", c.host)
	r.Header.Set("X-Forwarded-Uri", c.uri())
	return v.send(r)
}

func (c *testCall) uri() string {
	if c.query == "" {
		return c.path
	}
	return c.path + "?" + c.query
}

func (v *leakFixture) postJSON(t *testing.T, c *testCall, path string) string {
	body, err := json.Marshal(c.body)
	if err != nil {
		return ""
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, v.http+path+"?"+url.QueryEscape(c.query), bytes.NewReader(body))
	if err != nil {
		return ""
	}
	for name, value := range c.header {
		r.Header.Set(name, value)
	}
	return v.send(r)
}

// send returns a response with its headers, or "" if the request cannot be sent.
func (v *leakFixture) send(r *http.Request) string {
	response, err := v.client.Do(r)
	if err != nil {
		return ""
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(response.Body)
	// The returned headers are the client's own, for its upstream. Other tests check that they do not hold the key.
	if response.StatusCode == http.StatusOK {
		for _, name := range []string{"Authorization", "X-Api-Key", "Cookie"} {
			response.Header.Del(name)
		}
	}
	return fmt.Sprint(response.Status, response.Header) + string(body)
}

func (v *leakFixture) check(t *testing.T, c *testCall) string {
	asked := &authv3.AttributeContext_HttpRequest{Method: c.method, Host: c.host, Path: c.uri(), Headers: map[string]string{}}
	for name, value := range c.header {
		asked.Headers[strings.ToLower(name)] = value
	}
	request := &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Request: &authv3.AttributeContext_Request{Http: asked}, ContextExtensions: c.extensions,
	}}
	ctx := t.Context()
	for name, value := range c.metadata {
		ctx = metadata.AppendToOutgoingContext(ctx, name, value)
	}
	response := &authv3.CheckResponse{}
	err := v.conn.Invoke(ctx, c.rpc, request, response)
	if err != nil && strings.Contains(err.Error(), "string field contains invalid UTF-8") {
		return ""
	}
	// The returned cookies are the client's own, for its upstream. Other tests check that they do not hold the key.
	ok := response.GetOkResponse()
	if ok != nil {
		ok.Headers = slices.DeleteFunc(ok.GetHeaders(), func(h *corev3.HeaderValueOption) bool { return h.GetHeader().GetKey() == "cookie" })
	}
	wire, marshalling := proto.Marshal(response)
	return fmt.Sprint(string(wire), err, marshalling)
}

func (v *leakFixture) metrics(t *testing.T) string {
	families, err := v.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, family := range families {
		if _, err := expfmt.MetricFamilyToText(&b, family); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

// partLength is the length of a part of a key that counts as a leak. The prefix and ID of a Token are shorter, and so
// are hints.
const partLength = 16

// findKey returns a part of a key that text contains in any encoding, or "".
func findKey(text, key string) string {
	if parts := strings.Split(key, "_"); len(parts) == 3 {
		key = parts[2]
	}
	parts := map[string]bool{}
	for _, form := range encodedForms(key) {
		for i := 0; i+partLength <= len(form); i++ {
			parts[form[i:i+partLength]] = true
		}
	}
	for _, reading := range decodings(text) {
		for i := 0; i+partLength <= len(reading); i++ {
			if part := reading[i : i+partLength]; parts[part] {
				return part
			}
		}
	}
	return ""
}

// encodedForms returns a key and the characters of its base64 encoding that do not depend on adjacent text.
func encodedForms(key string) []string {
	list := []string{strings.ToLower(key), hex.EncodeToString([]byte(key))}
	for shift := range 3 {
		encoded := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", shift) + key))
		list = append(list, strings.ToLower(encoded[4:len(encoded)-4]))
	}
	return list
}

var escapes = regexp.MustCompile(`(?i)%u00([0-9a-f]{2})|\\+u00([0-9a-f]{2})|%([0-9a-f]{2})|=([0-9a-f]{2})|&#x([0-9a-f]{2});|&#([0-9]{2,3});`)

// decodings returns a text in lower case, as it is and after each round of decoding.
func decodings(text string) []string {
	const rounds = 5
	list := []string{strings.ToLower(text)}
	for range rounds {
		decoded := escapes.ReplaceAllStringFunc(text, unescape)
		if decoded == text {
			break
		}
		text = decoded
		list = append(list, strings.ToLower(text))
	}
	return list
}

func unescape(escape string) string {
	groups := escapes.FindStringSubmatch(escape)
	for i, digits := range groups[1:] {
		base := 16
		if i == len(groups)-2 {
			base = 10
		}
		if n, err := strconv.ParseUint(digits, base, 8); digits != "" && err == nil {
			return string([]byte{byte(n)})
		}
	}
	return escape
}

// TestFindKey checks that findKey finds a key in each encoding.
func TestFindKey(t *testing.T) {
	t.Parallel()
	random := rand.NewChaCha8([32]byte{2})
	for _, format := range formats {
		issued, err := format.Generate(random)
		if err != nil {
			t.Fatal(err)
		}
		key := string(issued.Material)
		for i, encode := range encodings {
			quoted, err := json.Marshal("/orders/" + encode(key) + "/x")
			if err != nil {
				t.Fatal(err)
			}
			if spaced := i == 10; findKey(string(quoted), key) == "" && !spaced {
				t.Errorf("%s in encoding %d is not found in %s", format, i, quoted)
			}
		}
		if findKey("/orders "+issued.ID+" "+issued.Hint, key) != "" {
			t.Errorf("the ID and the hint of %s count as the key", format)
		}
	}
}
