// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"net/http"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/apikey-manager/apikey-manager/internal/verifier"
)

// isPreflight reports whether a request is a CORS preflight (Fetch standard, section 3.2.2), with which a browser asks
// whether a page may send a request. A preflight never carries a key.
func isPreflight(method string, r verifier.Request) bool {
	return method == http.MethodOptions &&
		singleValue(r.Header("Origin", "origin")) != "" &&
		httpguts.ValidHeaderFieldName(singleValue(r.Header("Access-Control-Request-Method", "access-control-request-method")))
}

// clientMethod returns the method of the client's request. A gateway that appends the client's path to /authz also uses
// the client's method; its headers then come from the client and are ignored. Other gateways pass the method in a
// header. If such a header is repeated with another value or contradicts another one, clientMethod returns "".
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
		return r.Method // without a header, the gateway uses the client's method or GET
	}
	return method
}

// corsHeaders allow a page to read a refusal, on routes that allow preflights. They name no origin, and browsers do not
// expose such a response to a request with credentials of the browser, such as cookies.
var corsHeaders = [...][2]string{
	{"Access-Control-Allow-Origin", "*"},
	{"Access-Control-Expose-Headers", "WWW-Authenticate, Retry-After"},
}

// wantsCORS reports whether a refusal needs CORS headers.
func (r *request) wantsCORS() bool {
	return r.requirements.preflight && len(r.request.Header("Origin", "origin")) > 0
}
