// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/apikey-manager/apikey-manager/internal/verifier"
)

// problem is an answer that says what is wrong (RFC 9457).
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	// Detail names what to change, and how.
	Detail string `json:"detail,omitempty"`
	// Code and KeyID are those of a verdict.
	Code  string `json:"code,omitempty"`
	KeyID string `json:"keyID,omitempty"`
}

const (
	problemType = "application/problem+json"
	// blank is the type of problems that their title tells enough about.
	blank = "about:blank"
)

func (p problem) body() []byte {
	body, err := json.Marshal(p)
	if err != nil {
		return nil // there is nothing in a problem that can't be marshalled
	}
	return append(body, '\n')
}

// write answers with a problem that is no verdict.
func (p problem) write(w http.ResponseWriter) {
	p.Type = blank
	if p.Title == "" {
		p.Title = http.StatusText(p.Status)
	}
	h := w.Header()
	h["Content-Type"], h["Cache-Control"] = []string{problemType}, []string{"no-store"}
	w.WriteHeader(p.Status)
	_, _ = w.Write(p.body()) // whoever hung up needs no answer
}

// denials are the answers to those who are not let in, by code. Those without a key's ID are ready to be sent.
type denials struct {
	list []denial
}

type denial struct {
	problem

	static []byte
	// challenge says how to be let in (RFC 9110, section 11.6.1); empty: there is no way.
	challenge string
}

func newDenials(realm string, statusOnly bool) denials {
	var d denials
	for _, code := range verifier.Codes() {
		entry := denial{problem: problem{Type: blank, Title: code.Title(), Status: foldStatus(code.HTTP(), statusOnly), Code: code.String()}}
		entry.static = entry.body()
		if entry.Status == http.StatusUnauthorized {
			entry.challenge = "ApiKey realm=" + strconv.Quote(realm)
		}
		d.list = append(d.list, entry)
	}
	return d
}

// foldStatus makes 403 of what gateways such as nginx would make 500 of.
func foldStatus(status int, statusOnly bool) int {
	if statusOnly && status != http.StatusUnauthorized && status != http.StatusOK {
		return http.StatusForbidden
	}
	return status
}

// forVerdict is the denial of a verdict, and its body.
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
