// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"encoding/json"
	"math"
	"net/http"
	"strconv"

	"github.com/apikey-manager/apikey-manager/internal/verifier"
)

// problem holds the body of an error response (RFC 9457).
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	// Detail describes what to change, and how.
	Detail string `json:"detail,omitempty"`
	// Code and KeyID describe the verdict, if the problem is one.
	Code  string `json:"code,omitempty"`
	KeyID string `json:"keyID,omitempty"`
}

const (
	problemType = "application/problem+json"
	// blank is the type of problems that their title describes sufficiently.
	blank = "about:blank"
)

func (p problem) body() []byte {
	body, err := json.Marshal(p)
	if err != nil {
		return nil // cannot happen: every field of a problem can be marshalled
	}
	return append(body, '\n')
}

// write sends a problem that is not a verdict.
func (p problem) write(w http.ResponseWriter) {
	p.Type = blank
	if p.Title == "" {
		p.Title = http.StatusText(p.Status)
	}
	h := w.Header()
	h["Content-Type"], h["Cache-Control"] = []string{problemType}, []string{"no-store"}
	w.WriteHeader(p.Status)
	_, _ = w.Write(p.body()) // the client may have disconnected
}

// denials holds the refusals by code. Those without a key ID are encoded in advance.
type denials struct {
	list []denial
}

// denial holds the refusal for one code.
type denial struct {
	problem

	static []byte
	// challenge holds the WWW-Authenticate header (RFC 9110, section 11.6.1). It is empty if authenticating does not
	// help.
	challenge string
	// retryAfter holds the Retry-After header (RFC 9110, section 10.2.3), or is empty.
	retryAfter string
}

func newDenials(o *AuthorizerOptions) denials {
	var d denials
	for _, code := range verifier.Codes() {
		status := limitStatus(code.HTTP(), o.DenyStatusOnly)
		entry := denial{problem: problem{Type: blank, Title: code.Title(), Status: status, Code: code.String()}}
		entry.static = entry.body()
		if entry.Status == http.StatusUnauthorized {
			entry.challenge = "ApiKey realm=" + strconv.Quote(o.Realm)
		}
		if code == verifier.TooManyFailures {
			entry.retryAfter = strconv.Itoa(int(math.Ceil(o.Failures.RetryAfter().Seconds())))
		}
		d.list = append(d.list, entry)
	}
	return d
}

// limitStatus replaces every status but 200 and 401 by 403 if statusOnly is set, for gateways such as nginx that turn
// other codes into 500.
func limitStatus(status int, statusOnly bool) int {
	if statusOnly && status != http.StatusUnauthorized && status != http.StatusOK {
		return http.StatusForbidden
	}
	return status
}

// forVerdict returns the refusal for a verdict, and its body.
func (d *denials) forVerdict(v *verifier.Verdict) (*denial, []byte) {
	entry := &d.list[v.Code]
	id := v.KeyID()
	if id == "" {
		return entry, entry.static
	}
	p := entry.problem
	p.KeyID = id
	return entry, p.body()
}
