// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"bytes"
	"errors"
	"slices"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// checkRequest holds what a check needs of an envoy.service.auth.v3.CheckRequest. It implements verifier.Request.
type checkRequest struct {
	// names holds the lower-case names of the headers that a check may read. All others are skipped.
	names []string
	// text holds the method, the path with the query, the host and the address of the peer.
	text [textRoles]string
	// headers holds the values of the headers in names, in which repeated headers are joined by commas.
	headers []headerValue
	// raw holds the headers one by one. Envoy sends it instead of headers if encode_raw_headers is set.
	raw []rawHeader
	// extensions holds the context extensions.
	extensions map[string]string
	// one is the backing array of a single value, which saves an allocation.
	one [1]string
}

// headerValue holds the value of a header, if it was sent.
type headerValue struct {
	value string
	sent  bool
}

// rawHeader holds one value of the header with an index in names.
type rawHeader struct {
	index int
	value string
}

// newCheckRequest returns a request for checks that read the headers with some lower-case names.
func newCheckRequest(names []string) *checkRequest {
	return &checkRequest{names: names, headers: make([]headerValue, len(names))}
}

// Header implements verifier.Request. The result is valid until the next call. Header panics if a check reads a header that is
// not in names, because its absence would be taken for that of the header.
func (r *checkRequest) Header(_, lower string) []string {
	index := slices.Index(r.names, lower)
	if index < 0 {
		panic("a check must not read the header " + lower + ", which is not decoded")
	}
	values := r.one[:0]
	if r.headers[index].sent {
		values = append(values, r.headers[index].value)
	}
	for i := range r.raw {
		if r.raw[i].index == index {
			values = append(values, r.raw[i].value)
		}
	}
	return values
}

// Queries implements verifier.Request.
func (r *checkRequest) Queries() []string {
	if q := queryOf(r.text[rolePath]); q != "" {
		return []string{q}
	}
	return nil
}

// maxReused limits the raw headers and extensions of a request whose memory is reused.
const maxReused = 64

// reset removes everything from the request, so that it can hold another one.
func (r *checkRequest) reset() {
	if max(cap(r.raw), len(r.extensions)) > maxReused {
		*r = *newCheckRequest(r.names)
		return
	}
	clear(r.headers)
	clear(r.raw)
	clear(r.extensions)
	*r = checkRequest{names: r.names, headers: r.headers, raw: r.raw[:0], extensions: r.extensions}
}

// errInvalidRequest is the error of a message that the generated types reject as well.
var errInvalidRequest = errors.New("invalid CheckRequest")

// unmarshal reads an encoded CheckRequest. It accepts the same messages as the generated types, and reads the same from
// them: fields that occur again overwrite or extend what precedes them, and fields that are unknown or have another wire
// type are ignored. The request does not refer to data afterwards.
func (r *checkRequest) unmarshal(data []byte) error {
	d := checkDecoder{data: data, request: r}
	if !d.message(checkRequestSchema, 0, len(data), protowire.DefaultRecursionLimit) {
		return errInvalidRequest
	}
	return nil
}

// checkDecoder decodes one CheckRequest.
type checkDecoder struct {
	data    []byte
	request *checkRequest
	// name, value and rawValue hold the content of the current header or extension.
	name, value, rawValue []byte
	// hasSocket reports whether the address of the peer is a socket address.
	hasSocket bool
}

// message decodes the message between two offsets. It returns false if the message is invalid, or nested deeper than depth.
func (d *checkDecoder) message(m *wireMessage, from, to, depth int) bool {
	if depth--; depth < 0 {
		return false
	}
	for from < to {
		number, wireType, n := protowire.ConsumeTag(d.data[from:to])
		if n < 0 || number > protowire.MaxValidNumber {
			return false
		}
		from += n
		field := m.field(number)
		if wireType != protowire.BytesType {
			if n = protowire.ConsumeFieldValue(number, wireType, d.data[from:to]); n < 0 || field.isMap && depth == 0 {
				return false
			}
			from += n
			continue
		}
		length, n := protowire.ConsumeVarint(d.data[from:to])
		if n < 0 || length > uint64(to-from-n) { //nolint:gosec // n is at most the length of the message
			return false
		}
		start := from + n
		from = start + int(length) //nolint:gosec // length is at most the length of the message
		if !d.field(field, start, from, depth) {
			return false
		}
	}
	return true
}

// field decodes the content of a length-delimited field.
func (d *checkDecoder) field(f *wireField, from, to, depth int) bool {
	switch f.kind {
	case wireNested:
		d.begin(f.role)
		if !d.message(f.message, from, to, depth) {
			return false
		}
		d.end(f.role)
		return true
	case wireText:
		if !utf8.Valid(d.data[from:to]) {
			return false
		}
	case wireBytes:
	}
	d.keep(f.role, d.data[from:to])
	return true
}

// keep keeps the content of a string or of bytes.
func (d *checkDecoder) keep(r role, content []byte) {
	switch r {
	case roleName:
		d.name = content
	case roleValue:
		d.value = content
	case roleRawValue:
		d.rawValue = content
	case roleMethod, rolePath, roleHost, rolePeer:
		d.request.text[r] = string(content)
	default: // skipped
	}
}

// begin prepares for the content of a message. Only one of several kinds of address applies, the last one.
func (d *checkDecoder) begin(r role) {
	switch r {
	case roleSocketAddress:
		if !d.hasSocket {
			d.request.text[rolePeer] = ""
		}
		d.hasSocket = true
	case roleOtherAddress:
		d.request.text[rolePeer], d.hasSocket = "", false
	case roleHeader, roleRawHeader, roleExtension:
		d.name, d.value, d.rawValue = nil, nil, nil
	default: // a message that is only a container
	}
}

// end keeps the content of a message.
func (d *checkDecoder) end(r role) {
	request := d.request
	switch r {
	case roleHeader:
		if i := slices.IndexFunc(request.names, func(name string) bool { return name == string(d.name) }); i >= 0 {
			request.headers[i] = headerValue{string(d.value), true}
		}
	case roleRawHeader:
		if len(d.rawValue) > 0 {
			d.value = d.rawValue
		}
		for i, name := range request.names {
			if bytes.EqualFold([]byte(name), d.name) { // no copy of either
				request.raw = append(request.raw, rawHeader{i, string(d.value)})
			}
		}
	case roleExtension:
		if request.extensions == nil {
			request.extensions = map[string]string{}
		}
		request.extensions[string(d.name)] = string(d.value)
	default: // a message that is only a container
	}
}
