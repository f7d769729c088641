// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"bytes"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/google/go-cmp/cmp"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/structpb"
	"k8s.io/utils/ptr"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/verifier"
)

var encodedIdentity = verifier.Identity{
	KeyID: "v1ReF6fIcrOF", Namespace: "shops", Name: "orders", UID: "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
	Account: "acme", ExternalID: "7f9c24e8-3b0a-4d56", Scopes: "orders:read,stock:read", Plan: "pro",
	Metadata: verifier.Metadata{{Name: "team", Value: "shop"}, {Name: "tier", Value: "gold"}},
	RateLimits: []v1alpha1.RateLimit{
		{Name: "requests", Requests: ptr.To[int32](100), Unit: v1alpha1.RateLimitMinute},
		{Name: "mails", Requests: ptr.To[int32](0), Unit: v1alpha1.RateLimitDay},
	},
	AccountRateLimits: []v1alpha1.RateLimit{
		{Name: "requests", Requests: ptr.To[int32](1000), Unit: v1alpha1.RateLimitMinute},
		{Name: "mails", Requests: ptr.To[int32](10), Unit: v1alpha1.RateLimitDay},
	},
}

// handWritten returns a function that writes a response for a key by hand.
func handWritten(id verifier.Identity) func() []byte {
	r := &extAuthzResponses{places: []verifier.Place{{Header: "x-api-key", Bits: 1}}}
	var buffer protoWriter
	return func() []byte {
		buffer = buffer[:0]
		r.appendAllowed(&buffer, &id, 1, cookies{})
		return buffer
	}
}

// generated returns the same response, built from the generated types.
func generated() *authv3.CheckResponse {
	ok := &authv3.OkHttpResponse{}
	for i, value := range identityValues(&encodedIdentity) {
		if value == "" {
			ok.HeadersToRemove = append(ok.HeadersToRemove, lowerIdentityHeaders[i])
			continue
		}
		ok.Headers = append(ok.Headers, &corev3.HeaderValueOption{
			Header:       &corev3.HeaderValue{Key: lowerIdentityHeaders[i], Value: value},
			AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
		})
	}
	ok.HeadersToRemove = append(ok.HeadersToRemove, "x-api-key")
	return &authv3.CheckResponse{
		Status:       &rpcstatus.Status{},
		HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: ok},
		DynamicMetadata: &structpb.Struct{Fields: map[string]*structpb.Value{
			"keyID":      structpb.NewStringValue(encodedIdentity.KeyID),
			"name":       structpb.NewStringValue(encodedIdentity.Namespace + "/" + encodedIdentity.Name),
			"uid":        structpb.NewStringValue(encodedIdentity.UID),
			"account":    structpb.NewStringValue(encodedIdentity.Account),
			"externalID": structpb.NewStringValue(encodedIdentity.ExternalID),
			"scopes": structpb.NewListValue(&structpb.ListValue{Values: []*structpb.Value{
				structpb.NewStringValue("orders:read"), structpb.NewStringValue("stock:read"),
			}}),
			"plan":                       structpb.NewStringValue(encodedIdentity.Plan),
			"metadata":                   structOf("team", structpb.NewStringValue("shop"), "tier", structpb.NewStringValue("gold")),
			"rateLimits":                 structOf("requests", limitOf(100, "MINUTE"), "mails", limitOf(0, "DAY")),
			"rateLimits.requests":        limitOf(100, "MINUTE"),
			"rateLimits.mails":           limitOf(0, "DAY"),
			"accountRateLimits":          structOf("requests", limitOf(1000, "MINUTE"), "mails", limitOf(10, "DAY")),
			"accountRateLimits.requests": limitOf(1000, "MINUTE"),
			"accountRateLimits.mails":    limitOf(10, "DAY"),
		}},
	}
}

func limitOf(requests float64, unit string) *structpb.Value {
	return structOf("requests_per_unit", structpb.NewNumberValue(requests), "unit", structpb.NewStringValue(unit))
}

// structOf returns a value that holds a struct with two fields.
func structOf(name1 string, value1 *structpb.Value, name2 string, value2 *structpb.Value) *structpb.Value {
	return structpb.NewStructValue(&structpb.Struct{Fields: map[string]*structpb.Value{name1: value1, name2: value2}})
}

// TestExtAuthz_EncodingEqualsGeneratedTypes checks that a client decodes both encodings to the same message, and that neither is
// longer than the other.
func TestExtAuthz_EncodingEqualsGeneratedTypes(t *testing.T) {
	t.Parallel()
	raw := handWritten(encodedIdentity)()
	var got authv3.CheckResponse
	if err := proto.Unmarshal(raw, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(generated(), &got, protocmp.Transform()); diff != "" {
		t.Errorf("the message differs from the one of the generated types (-want +got):\n%s", diff)
	}
	if want := proto.Size(generated()); len(raw) != want {
		t.Errorf("the encoding takes %d bytes, want %d", len(raw), want)
	}
}

// TestProtoWriter_Lengths checks messages around the lengths at which the encoding of the length grows.
func TestProtoWriter_Lengths(t *testing.T) {
	t.Parallel()
	for _, length := range []int{0, 1, 126, 127, 128, 129, 1<<14 - 1, 1 << 14, 1<<14 + 1, 1 << 21} {
		content := strings.Repeat("abcdefg", length/7+1)[:length]
		w := protoWriter("before")
		start := w.begin(3)
		w = append(w, content...)
		w.end(start)
		want := protowire.AppendString(protowire.AppendTag([]byte("before"), 3, protowire.BytesType), content)
		if !bytes.Equal(w, want) {
			t.Errorf("a message of %d bytes is encoded in another way", length)
		}
	}
}

// TestWriteResponse_Pooling checks that only memory of the length that the pool expects is reused.
func TestWriteResponse_Pooling(t *testing.T) {
	t.Parallel()
	for length, reused := range map[int]bool{1: true, typicalLength: true, 16 * typicalLength: false} {
		content := bytes.Repeat([]byte("a"), length)
		response := writeResponse(func(w *protoWriter) { *w = append(*w, content...) })
		if !bytes.Equal(response.ReadOnlyData(), content) {
			t.Errorf("a response of %d bytes has another content", length)
		}
		if _, kept := response.(mem.SliceBuffer); kept == reused {
			t.Errorf("the memory of a response of %d bytes is reused: %t, want %t", length, !kept, reused)
		}
		response.Free()
	}
}

// BenchmarkExtAuthz_Encoding compares the encoding that is written by hand with that of the generated types.
func BenchmarkExtAuthz_Encoding(b *testing.B) {
	plain := encodedIdentity
	plain.Plan, plain.Metadata, plain.RateLimits, plain.AccountRateLimits = "", nil, nil, nil
	for name, build := range map[string]func() []byte{
		"hand-written": handWritten(encodedIdentity), "generated": func() []byte { return mustEncode(generated()) },
		"hand-written without attributes": handWritten(plain),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				build()
			}
		})
	}
}
