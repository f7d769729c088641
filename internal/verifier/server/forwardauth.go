// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"net/http"
	"net/netip"
	"strings"

	"github.com/apikey-manager/apikey-manager/internal/verifier"
)

// authzPath is where gateways ask. Gateways that put the client's path behind it may do so.
const authzPath = "/authz"

// originalURLs are the headers in which gateways hand on what the client asked for: a URL, or its path and query.
var originalURLs = [...]string{"X-Forwarded-Uri", "X-Original-Uri", "X-Original-Url"}

// Authz is the face for gateways that ask over HTTP: nginx auth_request, Traefik forwardAuth, Caddy forward_auth, HAProxy
// and Gateway API's ExternalAuth. Nothing but 200 lets a request pass.
func (a *Authorizer) Authz() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requirements, detail := authzRequirements(r.URL)
		switch isExact := !strings.Contains(r.URL.Path[1:], "/"); {
		case isExact && !isHandledMethod(r.Method):
			w.Header().Set("Allow", "GET, HEAD, POST, OPTIONS")
			problem{Status: foldStatus(http.StatusMethodNotAllowed, a.DenyStatusOnly), Detail: "ask " + authzPath + " with GET, HEAD, POST or OPTIONS"}.write(w)
		case detail != "": // a misspelt requirement must not let everybody in
			problem{Status: foldStatus(http.StatusBadRequest, a.DenyStatusOnly), Detail: detail}.write(w)
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
			setIdentity(h, id)
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
	w.WriteHeader(denial.Status)
	_, _ = w.Write(body) // whoever hung up needs no answer
}

func setIdentity(h http.Header, id *verifier.Identity) {
	values := identityValues(id)
	for i, name := range identityHeaders {
		if values[i] != "" {
			h[name] = values[i : i+1 : i+1]
		}
	}
}

// returnOtherCredentials puts into the answer what a request has in places for keys and is none: the application's own Authorization, or
// the rest of its cookies. The gateway removes the headers that may hold a key from the request, and takes them from the
// answer.
func (a *Authorizer) returnOtherCredentials(h http.Header, f forwardedRequest, keys verifier.Places) {
	hasCookies := false
	for _, p := range a.places {
		hasCookies = hasCookies || p.Cookie != ""
		if values := f.header[p.Canonical]; p.Header != "" && p.Bits&keys == 0 && len(values) > 0 {
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

// Values that net/http only reads.
var (
	noStore     = []string{"no-store"}
	problemJSON = []string{problemType}
)

// forwardedRequest is a request that a gateway asks about, as its headers tell.
type forwardedRequest struct{ header http.Header }

// Header implements verifier.Request.
func (f forwardedRequest) Header(canonical, _ string) []string { return f.header[canonical] }

// Queries implements verifier.Request. The query of the question itself is the gateway's, and holds no key.
func (f forwardedRequest) Queries() []string {
	var list []string
	for _, name := range originalURLs {
		for _, value := range f.header[name] {
			if q := query(value); q != "" {
				list = append(list, q)
			}
		}
	}
	return list
}

// first is the first value of the first of these headers that is there.
func (f forwardedRequest) first(names ...string) string {
	for _, name := range names {
		if values := f.header[name]; len(values) > 0 {
			return values[0]
		}
	}
	return ""
}

// pathOf is the path of a URL, or of what follows its host.
func pathOf(uri string) string {
	path := beforeQuery(uri)
	if scheme, rest, whole := strings.Cut(path, "://"); whole && !strings.Contains(scheme, "/") {
		_, path, _ = strings.Cut(rest, "/")
		return "/" + path
	}
	return path
}

// peerOf is the address of a connection's other end; the zero address: it has none.
func peerOf(remote string) netip.Addr {
	addrPort, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Addr{}
	}
	return addrPort.Addr()
}
