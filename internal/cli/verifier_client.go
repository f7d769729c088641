// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

const (
	verifierTimeout = 10 * time.Second
	// maxVerifierResponse limits what is read of a response.
	maxVerifierResponse = 64 << 10
)

// verifierClient asks one verifier over HTTP.
type verifierClient struct {
	base *url.URL
	http *http.Client
}

// verifierTLS determines how a connection to a verifier is protected.
type verifierTLS struct {
	CAFile       string
	ServerName   string
	InsecureHTTP bool
}

// verifierFlags holds the flags that say how to reach a verifier.
type verifierFlags struct {
	url string
	tls verifierTLS
	// namespace is the namespace of the verifier's Service, for a port-forward.
	namespace string
}

// bind adds the flags of a connection to a verifier.
func (f *verifierFlags) bind(cmd *cobra.Command) {
	flags, t := cmd.Flags(), &f.tls
	flags.StringVar(&f.url, "url", "", "the `URL` of a verifier to ask in place of a port-forward")
	flags.StringVar(&t.CAFile, "ca-file", "", "a `file` with the certificate authority of the verifier; defaults to those of the system")
	flags.StringVar(&t.ServerName, "verifier-server-name", "", "the `name` in the certificate of the verifier; defaults to its host name")
	flags.BoolVar(&t.InsecureHTTP, "insecure-http", false, "send the key unencrypted to a --url with http that is not on this machine")
}

// validate returns a usage error if the flags name no verifier.
func (f *verifierFlags) validate() error {
	if f.url == "" {
		return nil
	}
	if _, err := newVerifierClient(f.url, f.tls); err != nil {
		return usageErrorf("%w", err)
	}
	return nil
}

// connect returns a client for the verifier at --url, or behind a port-forward, and a function that ends it.
func (f *verifierFlags) connect(ctx context.Context, e *environment) (*verifierClient, func(), error) {
	if f.url != "" {
		asked, err := newVerifierClient(f.url, f.tls)
		return asked, func() {}, err
	}
	config, err := e.config()
	if err != nil {
		return nil, nil, err
	}
	c, err := e.client()
	if err != nil {
		return nil, nil, err
	}
	forwarded, err := forwardToVerifier(ctx, c, config, f.namespace)
	if err != nil {
		return nil, nil, err
	}
	options := f.tls
	options.ServerName = cmp.Or(options.ServerName, forwarded.ServerName)
	asked, err := newVerifierClient(forwarded.URL, options)
	if err != nil {
		forwarded.Close()
	}
	return asked, forwarded.Close, err
}

// newVerifierClient returns a client for the verifier at a URL.
func newVerifierClient(address string, options verifierTLS) (*verifierClient, error) {
	base, err := url.Parse(address)
	if err != nil || base.Host == "" || base.User != nil || base.RawQuery != "" || base.Scheme != "http" && base.Scheme != "https" {
		return nil, errors.New("invalid --url: must be the address of a verifier, such as https://verifier.example.com:8080")
	}
	if base.Scheme == "http" && !options.InsecureHTTP && !isLoopback(base.Hostname()) {
		return nil, errors.New("--url is not encrypted, and everyone on the way could read the key: use https, or a port-forward " +
			"by omitting --url, or accept the risk with --insecure-http")
	}
	roots, err := readRoots(options.CAFile)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots, ServerName: options.ServerName},
		TLSHandshakeTimeout: verifierTimeout,
	}
	return &verifierClient{base: base, http: &http.Client{
		Transport: transport, Timeout: verifierTimeout,
		// A redirect would send the key to another address.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

func isLoopback(host string) bool {
	address, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && address.Unmap().IsLoopback()
}

// readRoots reads a file of certificates. Without a file, it returns nil, which means those of the system.
func readRoots(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file) //nolint:gosec // the user names the file
	if err != nil {
		return nil, fmt.Errorf("read --ca-file: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("invalid --ca-file: %s has no certificate in PEM format", file)
	}
	return roots, nil
}

// verifyRequest is the body of a request to POST /v1/verify. The type of the key marshals to its bytes, unlike
// credential.Material.
type verifyRequest struct {
	Key     string   `json:"key"`
	IP      string   `json:"ip,omitempty"`
	Scopes  []string `json:"scopes,omitempty"`
	Account string   `json:"account,omitempty"`
}

// verifyResult is the response of the verifier, and what the command prints as JSON.
type verifyResult struct {
	Valid      bool                 `json:"valid"`
	Code       string               `json:"code"`
	KeyID      string               `json:"keyID,omitempty"`
	Name       string               `json:"name,omitempty"`
	UID        string               `json:"uid,omitempty"`
	Account    string               `json:"account,omitempty"`
	ExternalID string               `json:"externalID,omitempty"`
	Label      string               `json:"label,omitempty"`
	Scopes     []string             `json:"scopes,omitempty"`
	Plan       string               `json:"plan,omitempty"`
	Metadata   map[string]string    `json:"metadata,omitempty"`
	RateLimits []v1alpha1.RateLimit `json:"rateLimits,omitempty"`
	// AccountRateLimits holds the rate limits of the account, which no key changes.
	AccountRateLimits []v1alpha1.RateLimit `json:"accountRateLimits,omitempty"`
	ExpiresAt         *time.Time           `json:"expiresAt,omitempty"`
	// Explanation says what the code means and what to do.
	Explanation string `json:"explanation,omitempty"`
}

// verify asks the verifier about a key. Errors do not contain the key.
func (c *verifierClient) verify(ctx context.Context, question verifyRequest) (*verifyResult, error) {
	body, err := json.Marshal(question)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base.JoinPath("v1", "verify").String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := c.http.Do(request)
	if err != nil {
		return nil, fmt.Errorf("ask the verifier: %w", describeConnection(err))
	}
	defer response.Body.Close()
	return readVerifyResult(response)
}

// readVerifyResult reads a response of the verifier, or the problem that it reports (RFC 9457).
func readVerifyResult(response *http.Response) (*verifyResult, error) {
	body, err := io.ReadAll(io.LimitReader(response.Body, maxVerifierResponse))
	if err != nil {
		return nil, fmt.Errorf("read the response of the verifier: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		var problem struct {
			Detail string `json:"detail"`
		}
		if err := json.Unmarshal(body, &problem); err != nil || problem.Detail == "" {
			problem.Detail = "is this the address of a verifier?"
		}
		return nil, fmt.Errorf("the verifier answered %s: %s", response.Status, problem.Detail)
	}
	var result verifyResult
	if err := json.Unmarshal(body, &result); err != nil || result.Code == "" {
		return nil, errors.New("the response is not that of a verifier: check --url")
	}
	return &result, nil
}

// describeConnection adds what to do to errors of a connection.
func describeConnection(err error) error {
	_, isUnknown := errors.AsType[x509.UnknownAuthorityError](err)
	_, isNetwork := errors.AsType[*net.OpError](err)
	switch {
	case isUnknown:
		return fmt.Errorf("%w: name the certificate authority of the verifier with --ca-file", err)
	case strings.Contains(err.Error(), "HTTP response to HTTPS client"):
		return fmt.Errorf("%w: the verifier serves http", err)
	case isNetwork:
		return fmt.Errorf("%w: is a verifier running there?", err)
	}
	return err
}
