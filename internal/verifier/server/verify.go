// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"k8s.io/utils/ptr"
	kjson "sigs.k8s.io/json"

	"github.com/apikey-manager/apikey-manager/internal/verifier"
)

const (
	verifyPath  = "/v1/verify"
	explainPath = "/v1/explain"
	// maxBody bounds a question.
	maxBody = 64 << 10
)

// verifyRequest is what an application asks.
type verifyRequest struct {
	Key string `json:"key"`
	// IP is the client's address. Left out, a key with a whitelist is not accepted.
	IP string `json:"ip"`
	// Scopes are all required.
	Scopes []string `json:"scopes"`
	// Account is the name of the only account that will do, ExternalID its external ID; left out: any account.
	Account    *string `json:"account"`
	ExternalID *string `json:"externalID"`
}

// verifyResponse is the answer to an application.
type verifyResponse struct {
	Valid      bool       `json:"valid"`
	Code       string     `json:"code"`
	KeyID      string     `json:"keyID,omitempty"`
	Account    string     `json:"account,omitempty"`
	ExternalID string     `json:"externalID,omitempty"`
	Label      string     `json:"label,omitempty"`
	Scopes     []string   `json:"scopes,omitempty"`
	ExpiresAt  *time.Time `json:"expiresAt,omitempty"`
}

// explainResponse is a finding with the way to it.
type explainResponse struct {
	verifyResponse

	// Step is the check that decided, and Passed are those that were passed.
	Step   string   `json:"step"`
	Passed []string `json:"passed"`
}

// Verify is the face for applications that ask themselves: what the verdict is, is in the answer, which is always 200.
func (a *Authorizer) Verify() http.Handler {
	return a.handleJSON(Verify, func(v *verifier.Verdict) any { return newVerifyResponse(v) })
}

// Explain asks the same, and says which check decided.
func (a *Authorizer) Explain() http.Handler {
	return a.handleJSON(Explain, func(v *verifier.Verdict) any {
		e := explainResponse{verifyResponse: newVerifyResponse(v), Step: v.Check.String(), Passed: []string{}}
		for _, check := range verifier.Checks() {
			if check < v.Check || v.Code == verifier.Valid {
				e.Passed = append(e.Passed, check.String())
			}
		}
		return e
	})
}

func (a *Authorizer) handleJSON(protocol Protocol, newResponse func(*verifier.Verdict) any) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			w.Header().Set("Allow", http.MethodPost)
			problem{Status: http.StatusMethodNotAllowed, Detail: "ask with POST"}.write(w)
			return
		}
		request, client, invalid := readVerifyRequest(w, r)
		if invalid != nil {
			invalid.write(w)
			return
		}
		verdict := a.verify(protocol, request, client)
		body, err := json.Marshal(newResponse(&verdict))
		if err != nil {
			problem{Status: http.StatusInternalServerError}.write(w)
			return
		}
		h := w.Header()
		h["Cache-Control"], h["Content-Type"] = noStore, applicationJSON
		_, _ = w.Write(append(body, '\n')) // whoever hung up needs no answer
	})
}

var applicationJSON = []string{"application/json"}

func (a *Authorizer) verify(protocol Protocol, r *verifyRequest, client netip.Addr) verifier.Verdict {
	in := verifier.Input{
		Key: r.Key, ExtractResult: verifier.Valid, Client: client, Scopes: strings.Join(r.Scopes, ","),
		Account: ptr.Deref(r.Account, ""), ExternalID: ptr.Deref(r.ExternalID, ""),
	}
	if r.Key == "" {
		in.ExtractResult = verifier.Missing
	}
	return a.decide(&request{protocol: protocol}, &in, a.Clock.Now())
}

// readVerifyRequest reads a question, or says what is wrong with it.
func readVerifyRequest(w http.ResponseWriter, r *http.Request) (*verifyRequest, netip.Addr, *problem) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return nil, netip.Addr{}, &problem{Status: http.StatusRequestEntityTooLarge, Detail: "the question is larger than 64 KiB: ask about one key with the scopes of one route"}
	}
	if err != nil {
		return nil, netip.Addr{}, &problem{Status: http.StatusBadRequest, Detail: "the question could not be read to its end: send it again"}
	}
	var request verifyRequest
	strict, err := kjson.UnmarshalStrict(body, &request, kjson.DisallowDuplicateFields, kjson.DisallowUnknownFields)
	if detail := describeJSONError(strict, err); detail != "" {
		return nil, netip.Addr{}, &problem{Status: http.StatusBadRequest, Detail: detail}
	}
	if detail := request.emptyRequirement(); detail != "" {
		return nil, netip.Addr{}, &problem{Status: http.StatusBadRequest, Detail: detail}
	}
	if request.IP == "" {
		return &request, netip.Addr{}, nil
	}
	client := verifier.ParseClient(request.IP)
	if !client.IsValid() {
		return nil, client, &problem{Status: http.StatusBadRequest, Detail: "ip is no address: give one such as 192.0.2.7, or leave it out"}
	}
	return &request, client, nil
}

// emptyRequirement names a requirement that is present but empty, and would let any key in: the application has most likely
// lost its value. Empty: there is none.
func (r *verifyRequest) emptyRequirement() string {
	switch {
	case r.Account != nil && *r.Account == "":
		return "account is empty: give an account's name, or leave it out"
	case r.ExternalID != nil && *r.ExternalID == "":
		return "externalID is empty: give an account's external ID, or leave it out"
	case slices.ContainsFunc(r.Scopes, func(scope string) bool { return !namesScope(scope) }):
		return "scopes has an empty scope: give scopes such as orders:read only"
	}
	return ""
}

// describeJSONError says what is wrong with a question in words of ours: the decoder's own may repeat what was sent, and with it a
// key that came in the wrong place.
func describeJSONError(strict []error, err error) string {
	if typeError, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		if want, known := fieldTypes[typeError.Field]; known {
			return typeError.Field + " must be " + want
		}
	}
	switch {
	case err != nil:
		return `the question is no JSON object: send one such as {"key":"...","ip":"192.0.2.7","scopes":["orders:read"],"account":"acme"}`
	case len(strict) == 0:
		return ""
	}
	name := fieldName.FindStringSubmatch(strict[0].Error())
	switch {
	case name == nil:
		return "a field is not known: give key, ip, scopes, account and externalID only"
	case name[1] == "duplicate":
		return "the field " + name[2] + " is there twice: give it once"
	}
	return "the field " + name[2] + " is not known: give key, ip, scopes, account and externalID only"
}

var fieldTypes = map[string]string{"key": "a string", "ip": "a string", "scopes": "a list of strings", "account": "a string", "externalID": "a string"}

// fieldName finds a field's name that is too short, and too plain, to be a key.
var fieldName = regexp.MustCompile(`^(unknown|duplicate) field "([A-Za-z_]{1,16})"$`)

func newVerifyResponse(v *verifier.Verdict) verifyResponse {
	response := verifyResponse{Valid: v.Code == verifier.Valid, Code: v.Code.String()}
	id := v.Key()
	if id == nil {
		return response
	}
	response.KeyID, response.Account, response.ExternalID, response.Label = id.KeyID, id.Account, id.ExternalID, id.Label
	if id.Scopes != "" {
		response.Scopes = strings.Split(id.Scopes, ",")
	}
	if !id.ExpiresAt.IsZero() {
		response.ExpiresAt = &id.ExpiresAt
	}
	return response
}
