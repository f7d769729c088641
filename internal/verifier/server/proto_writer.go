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
	checkOkResponse      protowire.Number = 3 // envoy.service.auth.v3.CheckResponse
	checkDynamicMetadata protowire.Number = 4

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

func (w *protoWriter) appendString(field protowire.Number, text string) {
	*w = protowire.AppendString(protowire.AppendTag(*w, field, protowire.BytesType), text)
}

func (w *protoWriter) appendMessage(field protowire.Number, content protoWriter) {
	*w = protowire.AppendBytes(protowire.AppendTag(*w, field, protowire.BytesType), content)
}

// beginMessage opens a message of a size, which has to be written next.
func (w *protoWriter) beginMessage(field protowire.Number, size int) {
	*w = protowire.AppendVarint(protowire.AppendTag(*w, field, protowire.BytesType), uint64(size)) //nolint:gosec // sizes are not negative
}

// fieldSize is how long a field is with so many bytes in it.
func fieldSize(field protowire.Number, bytes int) int {
	return protowire.SizeTag(field) + protowire.SizeBytes(bytes)
}

// appendOverwrite sets a header, whatever the client sent under its name.
func (w *protoWriter) appendOverwrite(name, value string) {
	const action = uint64(corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD)
	header := fieldSize(entryKey, len(name)) + fieldSize(entryValue, len(value))
	w.beginMessage(okHeaders, fieldSize(optionHeader, header)+protowire.SizeTag(optionAppendAction)+protowire.SizeVarint(action))
	w.beginMessage(optionHeader, header)
	w.appendString(entryKey, name)
	w.appendString(entryValue, value)
	*w = protowire.AppendVarint(protowire.AppendTag(*w, optionAppendAction, protowire.VarintType), action)
}

// appendStructString is a text in a google.protobuf.Struct.
func (w *protoWriter) appendStructString(name, text string) {
	value := fieldSize(valueString, len(text))
	w.beginMessage(structFields, fieldSize(entryKey, len(name))+fieldSize(entryValue, value))
	w.appendString(entryKey, name)
	w.beginMessage(entryValue, value)
	w.appendString(valueString, text)
}

// appendStructList is a list of texts, which come separated by commas, in a google.protobuf.Struct.
func (w *protoWriter) appendStructList(name, texts string) {
	values := 0
	for text := range splitNonEmpty(texts) {
		values += fieldSize(listValues, fieldSize(valueString, len(text)))
	}
	w.beginMessage(structFields, fieldSize(entryKey, len(name))+fieldSize(entryValue, fieldSize(valueList, values)))
	w.appendString(entryKey, name)
	w.beginMessage(entryValue, fieldSize(valueList, values))
	w.beginMessage(valueList, values)
	for text := range splitNonEmpty(texts) {
		w.beginMessage(listValues, fieldSize(valueString, len(text)))
		w.appendString(valueString, text)
	}
}

// splitNonEmpty are the texts of a list that are not empty.
func splitNonEmpty(texts string) iter.Seq[string] {
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
