// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"

	"k8s.io/client-go/util/cert"
	"sigs.k8s.io/controller-runtime/pkg/certwatcher"
)

// TLSFiles holds the paths of PEM files. Files that change are reloaded.
type TLSFiles struct {
	// Cert and Key hold the certificate of the server. If empty, the server does not use TLS, except for /v1/usage,
	// which uses a self-signed certificate.
	Cert, Key string
	// ClientCA holds the certificates of the authorities that must have signed client certificates. If empty, no
	// client certificate is required.
	ClientCA string
}

// certificates provides TLS configurations with the current certificates.
type certificates struct {
	clientCA string
	watcher  *certwatcher.CertWatcher
}

func newCertificates(files TLSFiles) (*certificates, error) {
	c := &certificates{clientCA: files.ClientCA}
	if files.Cert == "" {
		return c, nil
	}
	watcher, err := certwatcher.New(files.Cert, files.Key)
	if err != nil {
		return nil, fmt.Errorf("--tls-cert-file, --tls-key-file: %w", err)
	}
	c.watcher = watcher
	if c.clientCA != "" {
		_, err = readCertPool(c.clientCA)
	}
	return c, err
}

func (c *certificates) run(ctx context.Context) error {
	if c.watcher == nil {
		<-ctx.Done()
		return nil
	}
	return c.watcher.Start(ctx)
}

// serverConfig returns the TLS configuration for gateways and applications, or nil if TLS is disabled.
func (c *certificates) serverConfig(protocols ...string) *tls.Config {
	if c.watcher == nil {
		return nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: protocols, GetCertificate: c.watcher.GetCertificate}
	if c.clientCA == "" {
		return config
	}
	config.ClientAuth = tls.RequireAndVerifyClientCert
	reloading := config.Clone()
	reloading.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		pool, err := readCertPool(c.clientCA)
		if err != nil {
			return nil, err
		}
		fresh := config.Clone()
		fresh.ClientCAs = pool
		return fresh, nil
	}
	return reloading
}

// usageConfig returns the TLS configuration for /v1/usage. TLS is mandatory there, because clients send a token.
func (c *certificates) usageConfig() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.watcher != nil {
		config.GetCertificate = c.watcher.GetCertificate
		return config, nil
	}
	certPEM, keyPEM, err := cert.GenerateSelfSignedCertKey("apikey-verifier", nil, nil)
	if err != nil {
		return nil, fmt.Errorf("generate a self-signed certificate: %w", err)
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("generate a self-signed certificate: %w", err)
	}
	config.Certificates = []tls.Certificate{pair}
	return config, nil
}

func readCertPool(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file) //nolint:gosec // the path comes from a flag
	if err != nil {
		return nil, fmt.Errorf("--tls-client-ca-file: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, errors.New("invalid --tls-client-ca-file: must contain at least one PEM certificate")
	}
	return pool, nil
}
