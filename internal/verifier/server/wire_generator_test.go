// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"math/rand/v2"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// wireGenerator generates encodings of a CheckRequest: most of them valid, with repeated messages, unknown fields, wrong wire
// types, and text that is not UTF-8.
type wireGenerator struct{ *rand.Rand }

// pick returns one of several strings.
func (g *wireGenerator) pick(of ...string) string { return of[g.IntN(len(of))] }

func (g *wireGenerator) text() string {
	if g.IntN(300) == 0 {
		return g.pick("\xff", "a\xc0\x80", "\xed\xa0\x80", "abcdefgh\xe2\x82")
	}
	return g.pick("", "a", "x-api-key", "X-API-Key", "authorization", "cookie", "scopes", "account", "192.0.2.7", "\u212a", "/a?b=c", "GET", "\x00")
}

func (g *wireGenerator) checkRequest() []byte {
	return g.message((&authv3.CheckRequest{}).ProtoReflect().Descriptor(), 0)
}

// message returns an encoded message.
func (g *wireGenerator) message(d protoreflect.MessageDescriptor, depth int) (wire []byte) {
	const maxDepth = 12
	fields := d.Fields()
	for count := g.IntN(6); count > 0 && depth < maxDepth; count-- {
		if g.IntN(40) == 0 || fields.Len() == 0 {
			wire = g.appendOddity(wire, protowire.Number(1+g.IntN(16)))
			continue
		}
		wire = g.appendField(wire, fields.Get(g.IntN(fields.Len())), depth)
	}
	return wire
}

func (g *wireGenerator) appendField(wire []byte, f protoreflect.FieldDescriptor, depth int) []byte {
	switch {
	case f.Kind() == protoreflect.MessageKind:
		wire = protowire.AppendTag(wire, f.Number(), protowire.BytesType)
		return g.appendContent(wire, g.message(f.Message(), depth+1))
	case f.Kind() == protoreflect.StringKind, f.Kind() == protoreflect.BytesKind:
		return g.appendContent(protowire.AppendTag(wire, f.Number(), protowire.BytesType), []byte(g.text()))
	}
	return protowire.AppendVarint(protowire.AppendTag(wire, f.Number(), protowire.VarintType), g.Uint64())
}

// appendContent appends a content after its length, which rarely has more bytes than necessary or is wrong.
func (g *wireGenerator) appendContent(wire, content []byte) []byte {
	switch length := len(content); {
	case g.IntN(50) == 0 && length < 1<<7:
		wire = append(wire, byte(length)|0x80, 0)
	case g.IntN(500) == 0:
		wire = protowire.AppendVarint(wire, uint64(length+1-g.IntN(3)))
	default:
		wire = protowire.AppendVarint(wire, uint64(length))
	}
	return append(wire, content...)
}

// appendOddity appends a field that is unknown or has an unexpected wire type.
func (g *wireGenerator) appendOddity(wire []byte, number protowire.Number) []byte {
	wireType := protowire.Type(g.IntN(6))
	if g.IntN(100) == 0 {
		wireType = protowire.Type(g.IntN(8))
	}
	wire = protowire.AppendTag(wire, number, wireType)
	switch wireType {
	case protowire.VarintType:
		return protowire.AppendVarint(wire, g.Uint64())
	case protowire.Fixed32Type:
		return protowire.AppendFixed32(wire, g.Uint32())
	case protowire.Fixed64Type:
		return protowire.AppendFixed64(wire, g.Uint64())
	case protowire.BytesType:
		return g.appendContent(wire, []byte(g.text()))
	case protowire.StartGroupType:
		for g.IntN(2) == 0 {
			wire = g.appendOddity(wire, protowire.Number(1+g.IntN(3)))
		}
		return protowire.AppendTag(wire, number, protowire.EndGroupType)
	default:
		return wire
	}
}

// mutate sometimes joins a message with another one, changes a byte of it, or cuts it.
func (g *wireGenerator) mutate(wire, other []byte) []byte {
	switch g.IntN(12) {
	case 0:
		return append(wire, other...)
	case 1:
		return append(append([]byte(nil), other...), wire...)
	case 2:
		wire = append([]byte(nil), other...)
		wire[g.IntN(len(wire))] = byte(g.IntN(256))
	case 3:
		if len(wire) > 0 {
			wire[g.IntN(len(wire))] = byte(g.IntN(256))
		}
	case 4:
		return wire[:g.IntN(len(wire)+1)]
	}
	return wire
}
