// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"bytes"
	"runtime"
	"strconv"
	"strings"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// hostileWires holds encodings of the maximum length that are expensive to decode.
func hostileWires() map[string][]byte {
	repeat := func(part []byte) []byte { return bytes.Repeat(part, maxMessage/len(part)) }
	var headers, raw, extensions []byte
	for i := 0; len(headers) < maxMessage; i++ {
		headers = append(headers, field(3, textField(1, strconv.Itoa(i)))...)
		raw = append(raw, field(1, textField(1, "x-api-key"), textField(2, "v"))...)
	}
	for i := 0; len(extensions) < maxMessage; i++ {
		extensions = append(extensions, field(10, textField(1, strconv.Itoa(i)))...)
	}
	return map[string][]byte{
		"different headers":             attributes(field(4, field(2, headers))),
		"headers without a name":        attributes(field(4, field(2, repeat(field(3))))),
		"raw headers":                   attributes(field(4, field(2, field(13, raw)))),
		"a raw header with a long name": rawHeaders(textField(1, strings.Repeat("x", maxMessage))),
		"raw headers with other names":  attributes(field(4, field(2, field(13, repeat(field(1, textField(1, strings.Repeat("x", 40)))))))),
		"empty raw headers":             attributes(field(4, field(2, field(13, repeat(field(1)))))),
		"extensions":                    attributes(extensions),
		"repeated attributes":           repeat(attributes()),
		"unknown fields":                repeat(number(15, 1)),
		"unknown groups":                nestedGroups(9_000),
		"many unknown groups":           repeat(group(20, group(20))),
		"nested metadata":               metadata(nested(nil, 3_000, 1, 2, 5)),
		"wide metadata":                 metadata(repeat(field(1, textField(1, "a")))),
		"a long path":                   httpRequest(textField(4, strings.Repeat("é", maxMessage/2))),
		"a method that is no text":      append(attributes(field(4, field(2, headers))), httpRequest(textField(2, "\xff"))...),
		"a truncated message":           append(attributes(field(4, field(2, headers))), protowire.AppendTag(nil, 1, protowire.BytesType)...),
	}
}

// BenchmarkExtAuthz_Hostile compares the decoder with the generated types. None of the messages may be more expensive to decode.
func BenchmarkExtAuthz_Hostile(b *testing.B) {
	for name, wire := range hostileWires() {
		b.Run(name+"/decoder", func(b *testing.B) {
			b.ReportAllocs()
			r := newCheckRequest(testedNames)
			for b.Loop() {
				_ = r.unmarshal(wire)
				r.reset()
			}
		})
		b.Run(name+"/generated", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_ = proto.Unmarshal(wire, &authv3.CheckRequest{})
			}
		})
	}
}

// TestCheckRequest_HostileMemory checks that no message makes the decoder allocate more than the generated types.
func TestCheckRequest_HostileMemory(t *testing.T) { //nolint:paralleltest // testing.Benchmark measures the memory of all goroutines
	for name, wire := range hostileWires() {
		decoder := allocated(t, func() {
			r := newCheckRequest(testedNames)
			_ = r.unmarshal(wire)
		})
		if generated := allocated(t, func() { _ = proto.Unmarshal(wire, &authv3.CheckRequest{}) }); decoder > generated+1<<10 {
			t.Errorf("%s: the decoder allocates %d bytes for %d, and the generated types %d", name, decoder, len(wire), generated)
		}
	}
}

// allocated returns the number of bytes that f allocates.
func allocated(t *testing.T, f func()) uint64 {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}
