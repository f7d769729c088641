// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package faces

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/encoding/protowire"
)

// wire is a message in the encoding of Protocol Buffers, being written. The generated types would take ten times as long.
type wire []byte

// usualAnswer is how long the parts of most answers are.
const usualAnswer = 384

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

func (w *wire) text(field protowire.Number, text string) {
	*w = protowire.AppendString(protowire.AppendTag(*w, field, protowire.BytesType), text)
}

func (w *wire) message(field protowire.Number, content wire) {
	*w = protowire.AppendBytes(protowire.AppendTag(*w, field, protowire.BytesType), content)
}

// overwrite sets a header, whatever the client sent under its name.
func (w *wire) overwrite(name, value string) {
	header, option := make(wire, 0, usualAnswer), make(wire, 0, usualAnswer)
	header.text(entryKey, name)
	header.text(entryValue, value)
	option.message(optionHeader, header)
	option = protowire.AppendTag(option, optionAppendAction, protowire.VarintType)
	option = protowire.AppendVarint(option, uint64(corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD))
	w.message(okHeaders, option)
}

// field is one of a google.protobuf.Struct.
func (w *wire) field(name string, value wire) {
	entry := make(wire, 0, usualAnswer)
	entry.text(entryKey, name)
	entry.message(entryValue, value)
	w.message(structFields, entry)
}

func stringValue(text string) wire {
	var value wire
	value.text(valueString, text)
	return value
}
