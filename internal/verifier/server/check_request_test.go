// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// randomRequests is the number of random encodings that TestCheckRequest_RandomWire compares.
var randomRequests = flag.Int("random-requests", 20_000, "number of random encodings of a CheckRequest")

// testedNames are the headers that the tests decode: more than a check does.
var testedNames = []string{"", "a", "authorization", "cookie", "k", "x-api-key", "scopes", "/a?b=c", "0", "1"}

// compareWithGenerated describes a difference between the decoder and the generated types, or returns "".
func compareWithGenerated(reused *checkRequest, wire []byte) string {
	generated := &authv3.CheckRequest{}
	problem := proto.Unmarshal(wire, generated)
	for _, r := range []*checkRequest{newCheckRequest(testedNames), reused} {
		defer r.reset()
		switch err := r.unmarshal(wire); {
		case (err == nil) != (problem == nil):
			return fmt.Sprintf("the generated types return the error %v, and the decoder %v", problem, err)
		case err == nil:
			if difference := compareDecoded(r, generated.GetAttributes()); difference != "" {
				return difference
			}
		}
	}
	return ""
}

// compareDecoded describes a difference between what a check reads of a request and what the generated types hold.
func compareDecoded(r *checkRequest, want *authv3.AttributeContext) string {
	h := want.GetRequest().GetHttp()
	for role, text := range map[role]string{
		roleMethod: h.GetMethod(), rolePath: h.GetPath(), roleHost: h.GetHost(),
		rolePeer: want.GetSource().GetAddress().GetSocketAddress().GetAddress(),
	} {
		if r.text[role] != text {
			return fmt.Sprintf("role %d is %q, want %q", role, r.text[role], text)
		}
	}
	if !maps.Equal(r.extensions, want.GetContextExtensions()) {
		return fmt.Sprintf("the extensions are %q, want %q", r.extensions, want.GetContextExtensions())
	}
	for _, name := range r.names {
		if got, want := r.Header("", name), generatedHeader(h, name); !slices.Equal(got, want) {
			return fmt.Sprintf("the header %q is %q, want %q", name, got, want)
		}
	}
	return ""
}

// generatedHeader returns the values of a header that the generated types hold.
func generatedHeader(h *authv3.AttributeContext_HttpRequest, name string) (values []string) {
	if value, sent := h.GetHeaders()[name]; sent {
		values = append(values, value)
	}
	for _, raw := range h.GetHeaderMap().GetHeaders() {
		value := raw.GetValue()
		if len(raw.GetRawValue()) > 0 {
			value = string(raw.GetRawValue())
		}
		if strings.EqualFold(raw.GetKey(), name) {
			values = append(values, value)
		}
	}
	return values
}

// typicalCheckRequest returns a request with every part that Envoy sends.
func typicalCheckRequest() *authv3.CheckRequest {
	address := func(text string, port uint32) *authv3.AttributeContext_Peer {
		return &authv3.AttributeContext_Peer{
			Principal: "spiffe://cluster.local/ns/shop/sa/web", Labels: map[string]string{"app": "web"},
			Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
				Address: text, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port},
			}}},
		}
	}
	metadata, err := structpb.NewStruct(map[string]any{"sub": "u", "groups": []any{"a", 1.0, nil, true, map[string]any{"b": "c"}}})
	if err != nil {
		panic(err)
	}
	return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Source: address("192.0.2.7", 41234), Destination: address("10.1.2.3", 8443),
		Request: &authv3.AttributeContext_Request{
			Time: &timestamppb.Timestamp{Seconds: 1_764_000_000, Nanos: 7},
			Http: &authv3.AttributeContext_HttpRequest{
				Id: "4830913427532840817", Method: "GET", Path: "/v1/orders?from=2026-11-01", Host: "api.example.com", Scheme: "https",
				Size: -1, Protocol: "HTTP/2", Body: "b", RawBody: []byte{0xff},
				Headers: map[string]string{":path": "/v1/orders", "x-api-key": "sk_a", "authorization": "Bearer x", "x-forwarded-for": "192.0.2.7"},
				HeaderMap: &corev3.HeaderMap{Headers: []*corev3.HeaderValue{
					{Key: "X-Api-Key", RawValue: []byte("\xffraw")}, {Key: "Cookie", Value: "a=b"}, {Key: "x-api-\u212aey", Value: "c"},
				}},
			},
		},
		ContextExtensions:    map[string]string{"scopes": "orders:read", "account": "acme"},
		MetadataContext:      &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{"envoy.filters.http.jwt_authn": metadata}},
		RouteMetadataContext: &corev3.Metadata{},
		TlsSession:           &authv3.AttributeContext_TLSSession{Sni: "api.example.com"},
	}}
}

func typicalWire(tb testing.TB) []byte {
	tb.Helper()
	wire, err := proto.Marshal(typicalCheckRequest())
	if err != nil {
		tb.Fatal(err)
	}
	return wire
}

// field returns an encoded length-delimited field.
func field(number protowire.Number, contents ...[]byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, number, protowire.BytesType), bytes.Join(contents, nil))
}

func textField(number protowire.Number, text string) []byte { return field(number, []byte(text)) }

func number(n protowire.Number, value uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(nil, n, protowire.VarintType), value)
}

func group(n protowire.Number, contents ...[]byte) []byte {
	wire := protowire.AppendTag(nil, n, protowire.StartGroupType)
	return protowire.AppendTag(append(wire, bytes.Join(contents, nil)...), n, protowire.EndGroupType)
}

// nestedGroups returns groups in each other.
func nestedGroups(depth int) []byte {
	start, end := protowire.AppendTag(nil, 20, protowire.StartGroupType), protowire.AppendTag(nil, 20, protowire.EndGroupType)
	return append(bytes.Repeat(start, depth), bytes.Repeat(end, depth)...)
}

// nested returns content in fields that are nested in each other. The numbers repeat, from the outside.
func nested(content []byte, depth int, numbers ...protowire.Number) []byte {
	var lengths []int // from the inside
	length := len(content)
	for range depth {
		for _, n := range slices.Backward(numbers) {
			lengths = append(lengths, length)
			length += protowire.SizeTag(n) + protowire.SizeVarint(uint64(length))
		}
	}
	wire := make([]byte, 0, length)
	for i, length := range slices.Backward(lengths) {
		n := numbers[(len(lengths)-1-i)%len(numbers)]
		wire = protowire.AppendVarint(protowire.AppendTag(wire, n, protowire.BytesType), uint64(length))
	}
	return append(wire, content...)
}

// The fields of a CheckRequest, from the outside.
func attributes(contents ...[]byte) []byte  { return field(1, contents...) }
func httpRequest(contents ...[]byte) []byte { return attributes(field(4, field(2, contents...))) }
func header(contents ...[]byte) []byte      { return httpRequest(field(3, contents...)) }
func rawHeaders(contents ...[]byte) []byte  { return httpRequest(field(13, field(1, contents...))) }
func source(contents ...[]byte) []byte      { return attributes(field(1, contents...)) }
func extension(contents ...[]byte) []byte   { return attributes(field(10, contents...)) }
func metadata(contents ...[]byte) []byte {
	return attributes(field(11, field(1, textField(1, "n"), field(2, contents...))))
}

// oddities holds encodings that few clients produce.
func oddities() map[string][]byte {
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	key, value := textField(1, "x-api-key"), textField(2, "v")
	socket := func(address string) []byte { return field(1, textField(2, address)) }
	return map[string][]byte{
		"nothing":                          {},
		"no attributes":                    attributes(),
		"attributes twice":                 join(httpRequest(textField(2, "GET")), httpRequest(textField(4, "/a"))),
		"a method twice":                   httpRequest(textField(2, "GET"), textField(2, "PUT")),
		"a method in two messages":         join(httpRequest(textField(2, "GET")), httpRequest(textField(2, "PUT"))),
		"a method that becomes empty":      join(httpRequest(textField(2, "GET")), httpRequest(textField(2, ""))),
		"a method and an empty message":    join(httpRequest(textField(2, "GET")), httpRequest()),
		"a method as a number":             httpRequest(textField(2, "GET"), number(2, 7)),
		"a method as a group":              httpRequest(textField(2, "GET"), group(2, textField(1, "x"))),
		"a method as fixed32":              httpRequest(protowire.AppendFixed32(protowire.AppendTag(nil, 2, protowire.Fixed32Type), 1)),
		"a method that is no text":         httpRequest(textField(2, "\xff")),
		"a fragment that is no text":       httpRequest(textField(8, "\xff")),
		"a raw body that is no text":       httpRequest(textField(12, "\xff")),
		"a principal that is no text":      source(textField(4, "\xc0\x80")),
		"a surrogate":                      httpRequest(textField(2, "\xed\xa0\x80")),
		"a truncated character":            httpRequest(textField(2, "GET\xe2\x82")),
		"a header":                         header(key, value),
		"a header twice":                   join(header(key, value), header(key, textField(2, "w"))),
		"a header without a value":         header(key),
		"a header without a name":          header(value),
		"a header that is empty":           header(),
		"a header that lost its value":     join(header(key, value), header(key)),
		"a header with two names":          header(key, value, textField(1, "cookie")),
		"a header with two values":         header(key, value, textField(2, "w")),
		"a header in reverse":              header(value, key),
		"a header with more fields":        header(key, textField(3, "\xff"), value, number(9, 1), group(7, textField(1, "\xff"))),
		"a header whose name is a number":  header(number(1, 1), value),
		"a header whose value is a number": header(key, number(2, 1)),
		"a header whose name is no text":   header(textField(1, "\xff"), value),
		"a header whose value is no text":  header(key, textField(2, "\xff")),
		"a header that ends a group":       header(key, protowire.AppendTag(nil, 1, protowire.EndGroupType)),
		"a header as a number":             httpRequest(number(3, 1)),
		"a header as a group":              httpRequest(group(3, key, value)),
		"a raw header":                     rawHeaders(key, textField(3, "\xff")),
		"a raw header with both values":    rawHeaders(key, value, textField(3, "raw")),
		"a raw header with an empty value": rawHeaders(key, value, textField(3, "")),
		"raw headers after each other":     join(rawHeaders(key, value), header(key, value), rawHeaders(textField(1, "X-API-KEY"), value)),
		"a raw header with a Kelvin sign":  rawHeaders(textField(1, "x-api-\u212aey"), value),
		"a raw header that is no text":     rawHeaders(key, textField(2, "\xff")),
		"a peer":                           source(field(1, socket("192.0.2.7"))),
		"a peer twice":                     join(source(field(1, socket("192.0.2.7"))), source(field(1, socket("192.0.2.8")))),
		"a peer in parts":                  join(source(field(1, socket("192.0.2.7"))), source(field(1, field(1, number(3, 80))))),
		"a peer, then a pipe":              source(field(1, socket("192.0.2.7"), field(2, textField(1, "/run/p")))),
		"a pipe, then a peer":              source(field(1, field(2, textField(1, "/run/p")), socket("192.0.2.7"))),
		"a peer, a pipe, and a port":       source(field(1, socket("192.0.2.7"), field(2), field(1, number(3, 80)))),
		"a peer, then an internal address": source(field(1, socket("192.0.2.7"), field(3))),
		"a peer, and a pipe as a number":   source(field(1, socket("192.0.2.7"), number(2, 1))),
		"a destination":                    attributes(field(2, field(1, socket("192.0.2.9")))),
		"an extension twice":               join(extension(textField(1, "scopes"), value), extension(textField(1, "scopes"), textField(2, "w"))),
		"an extension without anything":    extension(),
		"an extension that is no text":     extension(textField(1, "\xff"), value),
		"metadata that is no text":         metadata(field(1, textField(1, "\xff"))),
		"metadata with a list":             metadata(field(1, textField(1, "a"), field(2, field(6, field(1, textField(3, "\xff")))))),
		"metadata as a number":             attributes(field(11, number(1, 1))),
		"an unknown field":                 join(textField(2, "\xff"), number(3, 1), httpRequest(textField(2, "GET"))),
		"the largest number":               textField(protowire.MaxValidNumber, "x"),
		"a number that is too large":       protowire.AppendBytes(protowire.AppendVarint(nil, uint64(protowire.MaxValidNumber+1)<<3|2), nil),
		"field zero":                       {0x02, 0x00},
		"a long tag":                       {0x8a, 0x80, 0x80, 0x00, 0x00},
		"a long length":                    {0x0a, 0x80, 0x80, 0x00},
		"a tag of eleven bytes":            bytes.Repeat([]byte{0xff}, 11),
		"a tag of 64 bits":                 {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01},
		"a length beyond the end":          {0x0a, 0x05, 0x00},
		"a huge length":                    {0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01},
		"a negative length":                {0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f},
		"wire type 6":                      {0x0e, 0x00},
		"wire type 7":                      {0x0f, 0x00},
		"the end of no group":              {0x0c},
		"a group without an end":           {0x13},
		"a group with another end":         {0x13, 0x1c},
		"attributes as a group":            group(1, field(4, field(2, textField(2, "GET")))),
		"groups below the limit":           nestedGroups(9_990),
		"groups beyond the limit":          nestedGroups(10_010),
	}
}

func TestCheckRequest_Oddities(t *testing.T) {
	t.Parallel()
	for name, wire := range oddities() {
		for _, wire := range [][]byte{wire, append(slices.Clone(wire), typicalWire(t)...), append(typicalWire(t), wire...)} {
			if diff := compareWithGenerated(newCheckRequest(testedNames), wire); diff != "" {
				t.Errorf("%s: %s", name, diff)
			}
		}
	}
}

// TestCheckRequest_Depth compares the limits of nested messages exactly. Each struct takes three levels, and each list two.
func TestCheckRequest_Depth(t *testing.T) {
	t.Parallel()
	accepted, total := 0, 0
	for depth := 3_322; depth < 3_334; depth++ {
		for lists := range 3 {
			for _, end := range [][]byte{nil, number(1, 1), field(1), textField(1, "x"), nestedGroups(1)} {
				structs := nested(end, depth, 1, 2, 5)
				wire := metadata(field(1, field(2, nested(field(5, structs), lists, 6, 1))))
				if diff := compareWithGenerated(newCheckRequest(testedNames), wire); diff != "" {
					t.Errorf("%d structs in %d lists that end with %x: %s", depth, lists, end, diff)
				}
				if total++; newCheckRequest(testedNames).unmarshal(wire) == nil {
					accepted++
				}
			}
		}
	}
	if accepted == 0 || accepted == total {
		t.Errorf("%d of %d requests are accepted: the limit is elsewhere", accepted, total)
	}
}

func TestCheckRequest_RandomWire(t *testing.T) {
	t.Parallel()
	g := &wireGenerator{rand.New(rand.NewPCG(1, uint64(*randomRequests)))}
	reused := newCheckRequest(testedNames)
	typical, accepted := typicalWire(t), 0
	for i := range *randomRequests {
		wire := g.mutate(g.checkRequest(), typical)
		if diff := compareWithGenerated(reused, wire); diff != "" {
			t.Fatalf("request %d: %x: %s", i, wire, diff)
		}
		if newCheckRequest(testedNames).unmarshal(wire) == nil {
			accepted++
		}
	}
	if accepted < *randomRequests/4 || accepted > *randomRequests*9/10 {
		t.Errorf("%d of %d requests are accepted: the generator is of no use", accepted, *randomRequests)
	}
}

// FuzzCheckRequest compares the decoder with the generated types.
func FuzzCheckRequest(f *testing.F) {
	for _, wire := range oddities() {
		if len(wire) < 1<<10 {
			f.Add(wire)
		}
	}
	f.Add(typicalWire(f))
	reused := newCheckRequest(testedNames)
	f.Fuzz(func(t *testing.T, wire []byte) {
		if diff := compareWithGenerated(reused, wire); diff != "" {
			t.Error(diff)
		}
	})
}

// A message must not refer to the buffer, which gRPC reuses.
func TestCheckRequest_OutlivesBuffer(t *testing.T) {
	t.Parallel()
	wire := typicalWire(t)
	r := newCheckRequest(testedNames)
	if err := r.unmarshal(wire); err != nil {
		t.Fatal(err)
	}
	for i := range wire {
		wire[i] = '#'
	}
	if got := r.Header("", "x-api-key"); len(got) != 3 || got[0] != "sk_a" || r.text[rolePath] != "/v1/orders?from=2026-11-01" || r.extensions["account"] != "acme" {
		t.Errorf("the request became %q, %q and %q", got, r.text, r.extensions)
	}
}

// A request that is reused holds nothing of the one before.
func TestCheckRequest_Reset(t *testing.T) {
	t.Parallel()
	r := newCheckRequest(testedNames)
	if err := r.unmarshal(typicalWire(t)); err != nil {
		t.Fatal(err)
	}
	r.reset()
	for _, raw := range r.raw[:cap(r.raw)] {
		if raw != (rawHeader{}) {
			t.Errorf("a request that was reset holds %v", raw)
		}
	}
	if difference := compareDecoded(r, nil); difference != "" {
		t.Error("after a reset, ", difference)
	}
	if err := r.unmarshal(bytes.Repeat(rawHeaders(textField(1, "a")), 10*maxReused)); err != nil {
		t.Fatal(err)
	}
	if r.reset(); cap(r.raw) > maxReused {
		t.Errorf("the memory of %d headers is reused", cap(r.raw))
	}
}
