// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"fmt"
	"strings"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// role determines what a field of a CheckRequest means to a check.
type role uint8

// The roles of strings and bytes, and of messages. A field without a role is validated and skipped.
const (
	roleNone role = iota
	roleMethod
	rolePath
	roleHost
	rolePeer

	textRoles

	roleName
	roleValue
	roleRawValue

	roleSocketAddress
	roleOtherAddress
	roleHeader
	roleRawHeader
	roleExtension
)

// checkRoles holds the fields that a check needs, by their path in a CheckRequest.
var checkRoles = map[string]role{
	"attributes.source.address.socket_address":             roleSocketAddress,
	"attributes.source.address.socket_address.address":     rolePeer,
	"attributes.source.address.pipe":                       roleOtherAddress,
	"attributes.source.address.envoy_internal_address":     roleOtherAddress,
	"attributes.request.http.method":                       roleMethod,
	"attributes.request.http.path":                         rolePath,
	"attributes.request.http.host":                         roleHost,
	"attributes.request.http.headers":                      roleHeader,
	"attributes.request.http.headers.key":                  roleName,
	"attributes.request.http.headers.value":                roleValue,
	"attributes.request.http.header_map.headers":           roleRawHeader,
	"attributes.request.http.header_map.headers.key":       roleName,
	"attributes.request.http.header_map.headers.value":     roleValue,
	"attributes.request.http.header_map.headers.raw_value": roleRawValue,
	"attributes.context_extensions":                        roleExtension,
	"attributes.context_extensions.key":                    roleName,
	"attributes.context_extensions.value":                  roleValue,
}

// wireMessage describes the length-delimited fields of a message, by number. Fields of other wire types need no
// description: they mean nothing to a check, and are validated like unknown fields.
type wireMessage struct{ fields []wireField }

// wireField describes a field.
type wireField struct {
	kind wireKind
	role role
	// isMap reports whether the field is a map, whose entries are messages.
	isMap bool
	// message describes the message that the field holds, if any.
	message *wireMessage
}

type wireKind uint8

const (
	// wireBytes is the kind of fields whose content is not validated.
	wireBytes wireKind = iota
	// wireText is the kind of fields that must be UTF-8.
	wireText
	wireNested
)

// unknownField describes a field that the generated types do not know. Its content is not validated.
var unknownField wireField

// field returns the description of a field.
func (m *wireMessage) field(number protowire.Number) *wireField {
	if int(number) < len(m.fields) {
		return &m.fields[number]
	}
	return &unknownField
}

// checkRequestSchema describes a CheckRequest, as the generated types define it.
var checkRequestSchema = schema{}.message((*authv3.CheckRequest)(nil).ProtoReflect().Descriptor(), "")

// schema holds the descriptions of messages without a role by their full name, since such messages may contain themselves.
type schema map[protoreflect.FullName]*wireMessage

// message describes the message at a path.
func (s schema) message(d protoreflect.MessageDescriptor, path string) *wireMessage {
	m := &wireMessage{}
	if !hasRoles(path) {
		if known := s[d.FullName()]; known != nil {
			return known
		}
		s[d.FullName()] = m
	}
	for i := range d.Fields().Len() {
		field := d.Fields().Get(i)
		for len(m.fields) <= int(field.Number()) {
			m.fields = append(m.fields, wireField{})
		}
		m.fields[field.Number()] = s.field(field, strings.TrimPrefix(path+"."+string(field.Name()), "."))
	}
	return m
}

// field describes the field at a path. It panics if the decoder does not support the field.
func (s schema) field(d protoreflect.FieldDescriptor, path string) wireField {
	f := wireField{role: checkRoles[path], isMap: d.IsMap()}
	switch d.Kind() {
	case protoreflect.StringKind:
		f.kind = wireText
	case protoreflect.MessageKind:
		f.kind, f.message = wireNested, s.message(d.Message(), path)
	case protoreflect.BytesKind:
	default:
		if d.IsList() || d.Kind() == protoreflect.GroupKind {
			panic(fmt.Sprintf("unsupported field %s: must not be a group or a list of numbers", d.FullName()))
		}
	}
	return f
}

// hasRoles reports whether a check needs the message at a path, or a field in it.
func hasRoles(path string) bool {
	for p := range checkRoles {
		if path == "" || strings.HasPrefix(p+".", path+".") {
			return true
		}
	}
	return false
}
