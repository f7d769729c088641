// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/apikey-manager/apikey-manager/test/controlplane"
)

// auditPolicy logs each request of a ServiceAccount once, when it begins: a watch may not end during the measurement.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [ResponseStarted, ResponseComplete, Panic]
rules:
  - level: Metadata
    userGroups: ["system:serviceaccounts"]
  - level: None
`

// auditLog is the audit log of the API server.
type auditLog struct{ policy, file string }

func newAuditLog(dir string) auditLog {
	return auditLog{policy: filepath.Join(dir, "policy.yaml"), file: filepath.Join(dir, "audit.log")}
}

// flags writes the policy, and returns the flags of the API server. The log must not be rotated, because it is read by offset.
func (l auditLog) flags() (map[string]string, error) {
	flags := map[string]string{"audit-policy-file": l.policy, "audit-log-path": l.file, "audit-log-maxsize": "4096"}
	return flags, os.WriteFile(l.policy, []byte(auditPolicy), 0o600)
}

// size returns how many bytes the log has.
func (l auditLog) size() (int64, error) {
	info, err := os.Stat(l.file)
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// requests returns the requests that were logged between two sizes of the log, by the name of the ServiceAccount.
func (l auditLog) requests(from, to int64) (map[string]counts, error) {
	file, err := os.Open(l.file)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	return parseAudit(io.NewSectionReader(file, from, to-from))
}

func parseAudit(r io.Reader) (map[string]counts, error) {
	all := map[string]counts{}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var event struct {
			Verb       string
			RequestURI string
			User       struct{ Username string }
			ObjectRef  struct{ Resource, Subresource string }
		}
		if err := json.Unmarshal(lines.Bytes(), &event); err != nil {
			return nil, err
		}
		what := request{verb: event.Verb, resource: event.ObjectRef.Resource}
		if sub := event.ObjectRef.Subresource; sub != "" {
			what.resource += "/" + sub
		}
		if what.resource == "" {
			what.resource = event.RequestURI
		}
		account := event.User.Username[strings.LastIndex(event.User.Username, ":")+1:]
		if all[account] == nil {
			all[account] = counts{}
		}
		all[account][what]++
	}
	return all, lines.Err()
}

// usageProxy passes the requests of the manager on to the verifier, and counts them.
type usageProxy struct {
	*httptest.Server

	mu   sync.Mutex
	seen counts
}

// newUsageProxy starts a proxy in front of the address at which a verifier serves reports.
func newUsageProxy(verifier string) (*usageProxy, error) {
	host, err := controlplane.ReachableAddress()
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(host, "0")) //nolint:noctx // it listens until it is closed
	if err != nil {
		return nil, err
	}
	forward := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "https", Host: verifier})
	forward.Transport = &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	forward.ErrorLog = log.New(io.Discard, "", 0)
	p := &usageProxy{seen: counts{}}
	p.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.count(r)
		forward.ServeHTTP(w, r)
	}))
	err = p.Listener.Close()
	p.Listener = listener
	p.StartTLS()
	return p, err
}

// endpoint returns the host and the port of the proxy.
func (p *usageProxy) endpoint() (host string, port int32, err error) {
	host, text, err := net.SplitHostPort(p.Listener.Addr().String())
	n, invalid := strconv.ParseInt(text, 10, 32)
	return host, int32(n), errors.Join(err, invalid)
}

// count counts a request as one for uses or as one for the propagation of changes.
func (p *usageProxy) count(r *http.Request) {
	what := request{r.Method, "uses"}
	if r.URL.Query().Get("keys") == "none" {
		what.resource = "propagation"
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen[what]++
}

func (p *usageProxy) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.seen)
}

func (p *usageProxy) counts() counts {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.seen)
}
