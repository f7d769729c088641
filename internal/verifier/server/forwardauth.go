// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"net/http"
	"net/netip"
	"strings"

	"github.com/apikey-manager/apikey-manager/internal/verifier"
)

// authzPath is the path of forward-auth requests. Gateways may append the path of the client.
const authzPath = "/authz"

// originalURLs lists the headers in which gateways pass on the URL of the client's request, or its path and query.
var originalURLs = [...]string{"X-Forwarded-Uri", "X-Original-Uri", "X-Original-Url"}

// Authz returns the handler for gateways that use HTTP: nginx auth_request, Traefik forwardAuth, Caddy forward_auth,
// HAProxy, and ExternalAuth of Gateway API. Only status 200 allows a request.
func (a *Authorizer) Authz() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requirements, detail := authzRequirements(r.URL)
		switch isExact := !strings.Contains(r.URL.Path[1:], "/"); {
		case isExact && !isHandledMethod(r.Method):
			w.Header().Set("Allow", "GET, HEAD, POST, OPTIONS")
			problem{
				Status: limitStatus(http.StatusMethodNotAllowed, a.DenyStatusOnly),
				Detail: "the method must be GET, HEAD, POST or OPTIONS",
			}.write(w)
		case detail != "": // a misspelt requirement must not be ignored
			problem{Status: limitStatus(http.StatusBadRequest, a.DenyStatusOnly), Detail: detail}.write(w)
		default:
			a.authorize(w, r, requirements)
		}
	})
}

func isHandledMethod(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodPost || method == http.MethodOptions
}

func (a *Authorizer) authorize(w http.ResponseWriter, r *http.Request, requirements Requirements) {
	forwarded := forwardedRequest{r.Header}
	uri := forwarded.first(originalURLs[:]...)
	req := &request{
		protocol: ForwardAuth, request: forwarded, peer: peerOf(r.RemoteAddr), requirements: requirements,
		confirmedMethod: clientMethod(r),
		method:          forwarded.first("X-Forwarded-Method", "X-Original-Method"), host: forwarded.first("X-Forwarded-Host"), path: pathOf(uri),
	}
	verdict, places := a.check(req)
	h := w.Header()
	h["Cache-Control"] = noStore
	if verdict.Code.Passes() {
		if id := verdict.Key(); id != nil {
			a.setIdentity(h, id)
		}
		a.returnOtherCredentials(h, forwarded, places)
		w.WriteHeader(http.StatusOK)
		return
	}
	if req.wantsCORS() {
		for _, header := range corsHeaders {
			h.Set(header[0], header[1])
		}
	}
	denial, body := a.denials.forVerdict(&verdict)
	h["Content-Type"] = problemJSON
	if denial.challenge != "" {
		h["Www-Authenticate"] = []string{denial.challenge}
	}
	if denial.retryAfter != "" {
		h["Retry-After"] = []string{denial.retryAfter}
	}
	w.WriteHeader(denial.Status)
	_, _ = w.Write(body) // the client may have disconnected
}

func (a *Authorizer) setIdentity(h http.Header, id *verifier.Identity) {
	values := identityValues(id)
	for i, name := range identityHeaders {
		if values[i] != "" {
			h[name] = values[i : i+1 : i+1]
		}
	}
	for i := range a.MetadataHeaders {
		if value := a.MetadataHeaders[i].value(id); value != "" {
			h[a.MetadataHeaders[i].canonical] = []string{value}
		}
	}
}

// returnOtherCredentials sets response headers to the values that the request has at key places but that are not its
// key: the Authorization header of the application, or the rest of its cookies. The gateway removes the headers that
// may hold a key from the request, and copies them from the response.
func (a *Authorizer) returnOtherCredentials(h http.Header, f forwardedRequest, keys verifier.Places) {
	hasCookies := false
	for _, p := range a.places {
		hasCookies = hasCookies || p.Cookie != ""
		if values := f.header[p.Canonical]; p.Header != "" && p.Bits&keys == 0 && len(values) > 0 && values[0] != "" {
			h[p.Canonical] = values
		}
	}
	if !hasCookies {
		return
	}
	if remaining := cutCookies(f.header["Cookie"], a.places, keys); remaining.rest != "" {
		h["Cookie"] = []string{remaining.rest}
	}
}

// Header values that net/http does not modify.
var (
	noStore     = []string{"no-store"}
	problemJSON = []string{problemType}
)

// forwardedRequest provides the client's request as described by the headers of the gateway's request.
type forwardedRequest struct{ header http.Header }

// Header implements verifier.Request.
func (f forwardedRequest) Header(canonical, _ string) []string { return f.header[canonical] }

// Queries implements verifier.Request. It ignores the query of the gateway's own request, which holds no key.
func (f forwardedRequest) Queries() []string {
	var list []string
	for _, name := range originalURLs {
		for _, value := range f.header[name] {
			if q := queryOf(value); q != "" {
				list = append(list, q)
			}
		}
	}
	return list
}

// first returns the first value of the first header in names that is present, or "".
func (f forwardedRequest) first(names ...string) string {
	for _, name := range names {
		if values := f.header[name]; len(values) > 0 {
			return values[0]
		}
	}
	return ""
}

// pathOf returns the path of a URL, which may lack the scheme and host.
func pathOf(uri string) string {
	path := trimQuery(uri)
	if scheme, rest, isURL := strings.Cut(path, "://"); isURL && !strings.Contains(scheme, "/") {
		_, path, _ = strings.Cut(rest, "/")
		return "/" + path
	}
	return path
}

// peerOf returns the address of the remote end of a connection, or the zero address if remote is invalid.
func peerOf(remote string) netip.Addr {
	addrPort, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Addr{}
	}
	return addrPort.Addr()
}
