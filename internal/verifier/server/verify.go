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

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/verifier"
)

const (
	verifyPath  = "/v1/verify"
	explainPath = "/v1/explain"
	// maxBody limits the size of a request.
	maxBody = 64 << 10
)

// verifyRequest holds the body of a request to /v1/verify and /v1/explain.
type verifyRequest struct {
	Key string `json:"key"`
	// IP holds the address of the client. Without it, a key with a whitelist is refused.
	IP string `json:"ip"`
	// Scopes lists the scopes that the key must have.
	Scopes []string `json:"scopes"`
	// Account holds the name of the only account that is accepted, ExternalID its external ID. If omitted, any account
	// is accepted.
	Account    *string `json:"account"`
	ExternalID *string `json:"externalID"`
}

// verifyResponse holds the body of a response from /v1/verify.
type verifyResponse struct {
	Valid      bool                              `json:"valid"`
	Code       string                            `json:"code"`
	KeyID      string                            `json:"keyID,omitempty"`
	Name       string                            `json:"name,omitempty"` // namespace/name
	UID        string                            `json:"uid,omitempty"`
	Account    string                            `json:"account,omitempty"`
	ExternalID string                            `json:"externalID,omitempty"`
	Label      string                            `json:"label,omitempty"`
	Scopes     []string                          `json:"scopes,omitempty"`
	Plan       string                            `json:"plan,omitempty"`
	Metadata   map[string]v1alpha1.MetadataValue `json:"metadata,omitempty"`
	RateLimits []v1alpha1.RateLimit              `json:"rateLimits,omitempty"`
	// AccountRateLimits holds the rate limits of the account, which no key changes.
	AccountRateLimits []v1alpha1.RateLimit `json:"accountRateLimits,omitempty"`
	ExpiresAt         *time.Time           `json:"expiresAt,omitempty"`
}

// explainResponse holds the body of a response from /v1/explain: a verifyResponse with the checks that led to it.
type explainResponse struct {
	verifyResponse

	// Step names the check that determined the code, Passed the checks before it.
	Step   string   `json:"step"`
	Passed []string `json:"passed"`
}

// Verify returns the handler for applications. The status of a response is 200 whatever the verdict in its body is.
func (a *Authorizer) Verify() http.Handler {
	return a.handleJSON(Verify, func(v *verifier.Verdict) any { return newVerifyResponse(v) })
}

// Explain returns a handler like Verify whose responses also name the check that determined the code.
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
			problem{Status: http.StatusMethodNotAllowed, Detail: "the method must be POST"}.write(w)
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
		_, _ = w.Write(append(body, '\n')) // the client may have disconnected
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

// readVerifyRequest parses and validates a request. It returns a problem if the request is invalid.
func readVerifyRequest(w http.ResponseWriter, r *http.Request) (*verifyRequest, netip.Addr, *problem) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return nil, netip.Addr{}, &problem{Status: http.StatusRequestEntityTooLarge, Detail: "invalid body: must be at most 64 KiB"}
	}
	if err != nil {
		return nil, netip.Addr{}, &problem{Status: http.StatusBadRequest, Detail: "failed to read the body: send the request again"}
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
		return nil, client, &problem{Status: http.StatusBadRequest, Detail: "invalid ip: must be an address such as 192.0.2.7"}
	}
	return &request, client, nil
}

// emptyRequirement describes a requirement that is present but empty, or returns "". It would accept any key; most
// likely the application lost its value.
func (r *verifyRequest) emptyRequirement() string {
	switch {
	case r.Account != nil && *r.Account == "":
		return "invalid account: must not be empty if present"
	case r.ExternalID != nil && *r.ExternalID == "":
		return "invalid externalID: must not be empty if present"
	case slices.ContainsFunc(r.Scopes, func(scope string) bool { return !hasScope(scope) }):
		return "invalid scopes: must not contain an empty scope"
	}
	return ""
}

// describeJSONError describes what is wrong with the body of a request. It does not use the messages of the decoder,
// which may repeat parts of the body, such as a key in an unexpected place.
func describeJSONError(strict []error, err error) string {
	if typeError, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		if want, known := fieldTypes[typeError.Field]; known {
			return "invalid " + typeError.Field + ": must be " + want
		}
	}
	switch {
	case err != nil:
		return `invalid body: must be a JSON object such as {"key":"...","ip":"192.0.2.7","scopes":["orders:read"],"account":"acme"}`
	case len(strict) == 0:
		return ""
	}
	name := fieldName.FindStringSubmatch(strict[0].Error())
	switch {
	case name == nil:
		return "unknown field: " + knownFields
	case name[1] == "duplicate":
		return "duplicate field " + name[2]
	}
	return "unknown field " + name[2] + ": " + knownFields
}

const knownFields = "must be key, ip, scopes, account or externalID"

var fieldTypes = map[string]string{
	"key": "a string", "ip": "a string", "scopes": "a list of strings", "account": "a string",
	"externalID": "a string",
}

// fieldName matches the name of a field that is too short and too simple to be a key.
var fieldName = regexp.MustCompile(`^(unknown|duplicate) field "([A-Za-z_]{1,16})"$`)

func newVerifyResponse(v *verifier.Verdict) verifyResponse {
	response := verifyResponse{Valid: v.Code == verifier.Valid, Code: v.Code.String()}
	id := v.Key()
	if id == nil {
		return response
	}
	response.KeyID, response.Name, response.UID, response.Label = id.KeyID, id.Namespace+"/"+id.Name, id.UID, id.Label
	response.Account, response.ExternalID, response.Plan = id.Account, id.ExternalID, id.Plan
	response.Metadata, response.RateLimits, response.AccountRateLimits = id.Metadata.Map(), id.RateLimits, id.AccountRateLimits
	if id.Scopes != "" {
		response.Scopes = strings.Split(id.Scopes, ",")
	}
	if !id.ExpiresAt.IsZero() {
		response.ExpiresAt = &id.ExpiresAt
	}
	return response
}
