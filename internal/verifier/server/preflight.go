// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"net/http"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/apikey-manager/apikey-manager/internal/verifier"
)

// isPreflight reports whether a request is a CORS preflight (Fetch standard, section 3.2.2): a browser's question whether a
// page may send a request. It never carries a key.
func isPreflight(method string, r verifier.Request) bool {
	return method == http.MethodOptions &&
		singleValue(r.Header("Origin", "origin")) != "" &&
		httpguts.ValidHeaderFieldName(singleValue(r.Header("Access-Control-Request-Method", "access-control-request-method")))
}

// clientMethod returns the method of the request that a gateway asks about. A gateway that puts the client's path behind
// /authz asks with the client's method; what headers say is the client's then. Other gateways say it in a header; one that is
// sent twice, or contradicts another, says nothing.
func clientMethod(r *http.Request) string {
	if strings.Contains(r.URL.Path[1:], "/") {
		return r.Method
	}
	method := ""
	for _, name := range [...]string{"X-Forwarded-Method", "X-Original-Method"} {
		for _, value := range r.Header[name] {
			if method != "" && method != value {
				return ""
			}
			method = value
		}
	}
	if method == "" {
		return r.Method // a gateway that says nothing asks with it, or with GET
	}
	return method
}

// corsHeaders let a page read a refusal, on routes that let its preflight pass. They name no origin, and a browser hands over
// no refusal of a request with credentials of its own, such as cookies.
var corsHeaders = [...][2]string{
	{"Access-Control-Allow-Origin", "*"},
	{"Access-Control-Expose-Headers", "WWW-Authenticate"},
}

// wantsCORS reports whether a refusal gets CORS headers.
func (r *request) wantsCORS() bool {
	return r.requirements.preflight && len(r.request.Header("Origin", "origin")) > 0
}
