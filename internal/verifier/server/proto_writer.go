// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// This file writes responses of ext_authz in the wire format of Protocol Buffers by hand. Building the generated types and
// encoding them takes nine times as long (docs/design/ext-authz-encoding.md). Repeat the measurement with
//
//	go test ./internal/verifier/server -run '^$' -bench ExtAuthz_Encoding
//
// TestExtAuthz_EncodingEqualsGeneratedTypes guards the encoding: it decodes a response that was written by hand, and
// compares it with the same response built from the generated types.

package server

import (
	"math"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/encoding/protowire"
)

// protoWriter writes a message in the wire format of Protocol Buffers.
type protoWriter []byte

// The numbers of the fields that are written, by message.
const (
	checkStatus          protowire.Number = 1 // envoy.service.auth.v3.CheckResponse
	checkDeniedResponse  protowire.Number = 2
	checkOkResponse      protowire.Number = 3
	checkDynamicMetadata protowire.Number = 4

	deniedBody protowire.Number = 3 // envoy.service.auth.v3.DeniedHttpResponse

	okHeaders                 protowire.Number = 2 // envoy.service.auth.v3.OkHttpResponse
	okHeadersToRemove         protowire.Number = 5
	okQueryParametersToRemove protowire.Number = 8

	optionHeader       protowire.Number = 1 // envoy.config.core.v3.HeaderValueOption
	optionAppendAction protowire.Number = 3

	entryKey   protowire.Number = 1 // map entries and envoy.config.core.v3.HeaderValue
	entryValue protowire.Number = 2

	structFields protowire.Number = 1 // google.protobuf.Struct, Value and ListValue
	valueNumber  protowire.Number = 2
	valueString  protowire.Number = 3
	valueStruct  protowire.Number = 5
	valueList    protowire.Number = 6
	listValues   protowire.Number = 1
)

func (w *protoWriter) appendString(field protowire.Number, text string) {
	*w = protowire.AppendString(protowire.AppendTag(*w, field, protowire.BytesType), text)
}

// begin writes the header of a nested message, whose length is not known yet. It returns the offset of the content, for end.
func (w *protoWriter) begin(field protowire.Number) int {
	*w = append(protowire.AppendTag(*w, field, protowire.BytesType), 0)
	return len(*w)
}

// end completes the nested message whose content begins at an offset. It moves the content if its length takes more than one
// byte.
func (w *protoWriter) end(start int) {
	length := len(*w) - start
	for range protowire.SizeVarint(uint64(length)) - 1 { //nolint:gosec // lengths are never negative
		*w = append(*w, 0)
	}
	copy((*w)[len(*w)-length:], (*w)[start:start+length])
	protowire.AppendVarint((*w)[:start-1], uint64(length)) //nolint:gosec // lengths are never negative
}

// appendOverwrite writes an option that sets a header and replaces any value from the client.
func (w *protoWriter) appendOverwrite(name, value string) {
	const action = uint64(corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD)
	option := w.begin(okHeaders)
	header := w.begin(optionHeader)
	w.appendString(entryKey, name)
	w.appendString(entryValue, value)
	w.end(header)
	*w = protowire.AppendVarint(protowire.AppendTag(*w, optionAppendAction, protowire.VarintType), action)
	w.end(option)
}

// appendOverwriteOrRemove writes an option that sets a header, or the name of a header to remove if the value is empty.
func (w *protoWriter) appendOverwriteOrRemove(name, value string) {
	if value != "" {
		w.appendOverwrite(name, value)
		return
	}
	w.appendString(okHeadersToRemove, name)
}

// structField holds the offsets of a field of a google.protobuf.Struct and of its value.
type structField struct{ field, value int }

// beginField writes the header of a field of a google.protobuf.Struct. The caller must then write the value.
func (w *protoWriter) beginField(name string) structField {
	field := w.begin(structFields)
	w.appendString(entryKey, toValidUTF8(name))
	return structField{field, w.begin(entryValue)}
}

func (w *protoWriter) endField(f structField) {
	w.end(f.value)
	w.end(f.field)
}

// toValidUTF8 replaces bytes that are not UTF-8, because clients reject a message with such a string.
func toValidUTF8(text string) string { return strings.ToValidUTF8(text, "\uFFFD") }

// appendStructString writes a string field of a google.protobuf.Struct.
func (w *protoWriter) appendStructString(name, text string) {
	f := w.beginField(name)
	w.appendString(valueString, toValidUTF8(text))
	w.endField(f)
}

// appendStructNumber writes a number field of a google.protobuf.Struct.
func (w *protoWriter) appendStructNumber(name string, number float64) {
	f := w.beginField(name)
	*w = protowire.AppendFixed64(protowire.AppendTag(*w, valueNumber, protowire.Fixed64Type), math.Float64bits(number))
	w.endField(f)
}

// appendStruct writes a field of a google.protobuf.Struct that holds another one, whose fields appendFields writes.
func (w *protoWriter) appendStruct(name string, appendFields func()) {
	f := w.beginField(name)
	fields := w.begin(valueStruct)
	appendFields()
	w.end(fields)
	w.endField(f)
}

// appendStructList writes a field of a google.protobuf.Struct that holds a list of strings. texts separates them by
// commas.
func (w *protoWriter) appendStructList(name, texts string) {
	f := w.beginField(name)
	list := w.begin(valueList)
	for text := range strings.SplitSeq(texts, ",") {
		if text == "" {
			continue
		}
		value := w.begin(listValues)
		w.appendString(valueString, text)
		w.end(value)
	}
	w.end(list)
	w.endField(f)
}
