// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"iter"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/encoding/protowire"
)

// protoWriter is a message in the encoding of Protocol Buffers, being written. Building the generated types, and encoding those, takes several times as long.
type protoWriter []byte

// typicalLength is how long the parts of most answers are.
const typicalLength = 512

// The fields that are written, by message.
const (
	answerOkResponse      protowire.Number = 3 // envoy.service.auth.v3.CheckResponse
	answerDynamicMetadata protowire.Number = 4

	okHeaders                 protowire.Number = 2 // envoy.service.auth.v3.OkHttpResponse
	okHeadersToRemove         protowire.Number = 5
	okQueryParametersToRemove protowire.Number = 8

	optionHeader       protowire.Number = 1 // envoy.config.core.v3.HeaderValueOption
	optionAppendAction protowire.Number = 3

	entryKey   protowire.Number = 1 // of a map, and envoy.config.core.v3.HeaderValue
	entryValue protowire.Number = 2

	structFields protowire.Number = 1 // google.protobuf.Struct, Value and ListValue
	valueString  protowire.Number = 3
	valueList    protowire.Number = 6
	listValues   protowire.Number = 1
)

func (w *protoWriter) text(field protowire.Number, text string) {
	*w = protowire.AppendString(protowire.AppendTag(*w, field, protowire.BytesType), text)
}

func (w *protoWriter) message(field protowire.Number, content protoWriter) {
	*w = protowire.AppendBytes(protowire.AppendTag(*w, field, protowire.BytesType), content)
}

// begin opens a message of a size, which has to be written next.
func (w *protoWriter) begin(field protowire.Number, size int) {
	*w = protowire.AppendVarint(protowire.AppendTag(*w, field, protowire.BytesType), uint64(size)) //nolint:gosec // sizes are not negative
}

// sizeOf is how long a field is with so many bytes in it.
func sizeOf(field protowire.Number, bytes int) int {
	return protowire.SizeTag(field) + protowire.SizeBytes(bytes)
}

// overwrite sets a header, whatever the client sent under its name.
func (w *protoWriter) overwrite(name, value string) {
	const action = uint64(corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD)
	header := sizeOf(entryKey, len(name)) + sizeOf(entryValue, len(value))
	w.begin(okHeaders, sizeOf(optionHeader, header)+protowire.SizeTag(optionAppendAction)+protowire.SizeVarint(action))
	w.begin(optionHeader, header)
	w.text(entryKey, name)
	w.text(entryValue, value)
	*w = protowire.AppendVarint(protowire.AppendTag(*w, optionAppendAction, protowire.VarintType), action)
}

// textField is a text in a google.protobuf.Struct.
func (w *protoWriter) textField(name, text string) {
	value := sizeOf(valueString, len(text))
	w.begin(structFields, sizeOf(entryKey, len(name))+sizeOf(entryValue, value))
	w.text(entryKey, name)
	w.begin(entryValue, value)
	w.text(valueString, text)
}

// listField is a list of texts, which come separated by commas, in a google.protobuf.Struct.
func (w *protoWriter) listField(name, texts string) {
	values := 0
	for text := range listed(texts) {
		values += sizeOf(listValues, sizeOf(valueString, len(text)))
	}
	w.begin(structFields, sizeOf(entryKey, len(name))+sizeOf(entryValue, sizeOf(valueList, values)))
	w.text(entryKey, name)
	w.begin(entryValue, sizeOf(valueList, values))
	w.begin(valueList, values)
	for text := range listed(texts) {
		w.begin(listValues, sizeOf(valueString, len(text)))
		w.text(valueString, text)
	}
}

// listed are the texts of a list that are not empty.
func listed(texts string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for texts != "" {
			var text string
			text, texts, _ = strings.Cut(texts, ",")
			if text != "" && !yield(text) {
				return
			}
		}
	}
}
