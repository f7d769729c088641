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
	// maxUsageBytes limits the size of a response with the uses of keys, which is enough for some hundred thousand
	// keys. maxStateBytes limits the size of a response without them.
	maxUsageBytes = 32 << 20
	maxStateBytes = 64 << 10
	// maxReportObjects limits the number of JSON objects in a response.
	maxReportObjects = 1 << 20
	// idleConnTimeout is longer than the time between two polls while keys are used, so that connections are reused.
	idleConnTimeout = 2 * time.Minute
)

// UsageClientOptions defines how to connect to the replicas of the verifier.
type UsageClientOptions struct {
	// TokenFile contains the bearer token that authenticates the manager. It is read for each request, because the
	// kubelet renews it.
	TokenFile string
	// CAFile contains the certificate authorities of the verifiers. It is read for each connection. If it is empty,
	// any certificate is accepted: verifiers generate their own, and the token grants access only to verifiers.
	CAFile string
	// ServerName is the host name that a certificate must be valid for if CAFile is set.
	ServerName string
	// Cluster is the name that the verifier gives the cluster of the manager. It is empty if the verifier gives none.
	Cluster string
}

// UsageClient requests reports from replicas of the verifier over HTTPS.
type UsageClient struct {
	options UsageClientOptions
	http    *http.Client
}

// NewUsageClient returns a client that follows no redirects and uses no proxy, so that only replicas receive the
// token.
func NewUsageClient(options UsageClientOptions) *UsageClient {
	c := &UsageClient{options: options}
	c.http = &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			TLSClientConfig: &tls.Config{
				MinVersion: tls.VersionTLS12, ServerName: options.ServerName,
				InsecureSkipVerify: true, //nolint:gosec // verifyConnection verifies the certificate
				VerifyConnection:   c.verifyConnection,
			},
			IdleConnTimeout: idleConnTimeout,
		},
	}
	return c
}

// GetUsage implements ReplicaClient.
func (c *UsageClient) GetUsage(ctx context.Context, address string, q UsageRequest) (UsageResponse, error) {
	request, err := c.request(ctx, address, q)
	if err != nil {
		return UsageResponse{}, err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return UsageResponse{}, fmt.Errorf("request a report: %w", err)
	}
	defer response.Body.Close() //nolint:errcheck // the body was read
	if response.StatusCode != http.StatusOK {
		return UsageResponse{}, fmt.Errorf("request a report: %s responded with %s", request.URL, response.Status)
	}
	var report UsageResponse
	if err := readReport(http.MaxBytesReader(nil, response.Body, q.maxResponseBytes()), &report.Report); err != nil {
		return UsageResponse{}, fmt.Errorf("read the response of %s: %w", request.URL, err)
	}
	report.SentAt, _ = http.ParseTime(response.Header.Get("Date")) // zero if it is left out
	return report, nil
}

func (c *UsageClient) request(ctx context.Context, address string, q UsageRequest) (*http.Request, error) {
	token, err := os.ReadFile(c.options.TokenFile)
	if err != nil {
		return nil, fmt.Errorf("--verifier-token-file: %w", err)
	}
	target := url.URL{Scheme: "https", Host: address, Path: usage.Path, RawQuery: q.query(c.options.Cluster)}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("request a report: %w", err)
	}
	request.Header.Set("Authorization", "Bearer "+string(bytes.TrimSpace(token)))
	return request, nil
}

// readReport reads the report of a verifier, and refuses anything else. It counts objects because a short text may
// become a large report: "{}" is one key.
func readReport(from io.Reader, report *usage.Report) error {
	text, err := io.ReadAll(from)
	if err != nil {
		return err
	}
	if bytes.Count(text, []byte("{")) > maxReportObjects {
		return errors.New("report is too large")
	}
	if err := json.Unmarshal(text, report); err != nil {
		return err
	}
	if report.Replica == "" {
		return errors.New("invalid report: replica must not be empty")
	}
	return nil
}

// query returns the query parameters of the request of the manager of a cluster.
func (q UsageRequest) query(cluster string) string {
	values := url.Values{}
	if cluster != "" {
		values.Set(usage.ClusterParameter, cluster)
	}
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

// verifyConnection verifies the certificate like crypto/tls, with the current content of the CA file.
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
		return errors.New("invalid --verifier-ca-file: must contain at least one certificate in PEM")
	}
	for _, certificate := range state.PeerCertificates[1:] {
		options.Intermediates.AddCert(certificate)
	}
	_, err = state.PeerCertificates[0].Verify(options)
	return err
}
