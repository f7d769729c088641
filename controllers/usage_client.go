// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/apikey-manager/apikey-manager/internal/usage"
)

const (
	// maxUsageBytes bounds what is read of an answer with the uses of keys: of some hundred thousand; maxStateBytes of one without.
	maxUsageBytes = 32 << 20
	maxStateBytes = 64 << 10
	// maxReportObjects bounds what is made of it.
	maxReportObjects = 1 << 20
	// idleConnTimeout outlives the pause between two polls.
	idleConnTimeout = 2 * time.Minute
)

// UsageClientOptions say how to reach the replicas of the verifier.
type UsageClientOptions struct {
	// TokenFile has the token that tells them who asks, read anew for each question: the kubelet renews it.
	TokenFile string
	// CAFile has the certificates that may vouch for them, read anew for each connection. Left out, any certificate will
	// do: verifiers make their own, and the token opens nothing but them.
	CAFile string
	// ServerName is what a certificate must be for, if CAFile is given.
	ServerName string
}

// UsageClient asks replicas of the verifier over HTTPS.
type UsageClient struct {
	options UsageClientOptions
	http    *http.Client
}

// NewUsageClient returns a client that follows no redirect and asks no proxy, so that the token goes to replicas alone.
func NewUsageClient(options UsageClientOptions) *UsageClient {
	c := &UsageClient{options: options}
	c.http = &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			TLSClientConfig: &tls.Config{
				MinVersion: tls.VersionTLS12, ServerName: options.ServerName,
				InsecureSkipVerify: true, //nolint:gosec // verifyConnection verifies, with a CA file that may change
				VerifyConnection:   c.verifyConnection,
			},
			IdleConnTimeout: idleConnTimeout,
		},
	}
	return c
}

// GetUsage implements Asker.
func (c *UsageClient) GetUsage(ctx context.Context, address string, q UsageRequest) (UsageResponse, error) {
	request, err := c.request(ctx, address, q)
	if err != nil {
		return UsageResponse{}, err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return UsageResponse{}, fmt.Errorf("ask a verifier: %w", err)
	}
	defer response.Body.Close() //nolint:errcheck // what was needed of it was read
	if response.StatusCode != http.StatusOK {
		return UsageResponse{}, fmt.Errorf("ask a verifier: %s answered %s", request.URL, response.Status)
	}
	var answer UsageResponse
	if err := readReport(http.MaxBytesReader(nil, response.Body, q.maxResponseBytes()), &answer.Report); err != nil {
		return UsageResponse{}, fmt.Errorf("read the answer of %s: %w", request.URL, err)
	}
	answer.SentAt, _ = http.ParseTime(response.Header.Get("Date")) // zero if it is left out
	return answer, nil
}

func (c *UsageClient) request(ctx context.Context, address string, q UsageRequest) (*http.Request, error) {
	token, err := os.ReadFile(c.options.TokenFile)
	if err != nil {
		return nil, fmt.Errorf("--verifier-token-file: %w", err)
	}
	target := url.URL{Scheme: "https", Host: address, Path: usage.Path, RawQuery: q.query()}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("ask a verifier: %w", err)
	}
	request.Header.Set("Authorization", "Bearer "+string(bytes.TrimSpace(token)))
	return request, nil
}

// readReport reads what a verifier says of itself, and nothing else. A short text may be a large report: "{}" is one key.
func readReport(from io.Reader, report *usage.Report) error {
	text, err := io.ReadAll(from)
	if err != nil {
		return err
	}
	if bytes.Count(text, []byte("{")) > maxReportObjects {
		return errors.New("it is too large")
	}
	if err := json.Unmarshal(text, report); err != nil {
		return err
	}
	if report.Replica == "" {
		return errors.New("it is no verifier's")
	}
	return nil
}

// query asks for no more than is wanted: most questions are asked while somebody waits.
func (q UsageRequest) query() string {
	values := url.Values{}
	switch {
	case !q.IncludeUsage:
		values.Set("keys", "none")
	case !q.Since.IsZero():
		values.Set("since", q.Since.UTC().Format(time.RFC3339))
	}
	for _, key := range q.Refused {
		values.Add("refused", key.String())
	}
	for _, credential := range q.Known {
		values.Add("known", credential.String())
	}
	return values.Encode()
}

func (q UsageRequest) maxResponseBytes() int64 {
	if q.IncludeUsage {
		return maxUsageBytes
	}
	return maxStateBytes
}

// verifyConnection is what crypto/tls does by itself, with the CA file as it is now.
func (c *UsageClient) verifyConnection(state tls.ConnectionState) error {
	if c.options.CAFile == "" {
		return nil
	}
	pem, err := os.ReadFile(c.options.CAFile)
	if err != nil {
		return fmt.Errorf("--verifier-ca-file: %w", err)
	}
	options := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), DNSName: c.options.ServerName}
	if !options.Roots.AppendCertsFromPEM(pem) {
		return errors.New("--verifier-ca-file has no certificate: give one or more in PEM")
	}
	for _, certificate := range state.PeerCertificates[1:] {
		options.Intermediates.AddCert(certificate)
	}
	_, err = state.PeerCertificates[0].Verify(options)
	return err
}
