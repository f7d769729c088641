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

// TLSFiles are those of the certificates, in PEM. Those that change are read again.
type TLSFiles struct {
	// Cert and Key are the server's own; empty: the faces speak without TLS, and /v1/usage with a certificate of its own.
	Cert, Key string
	// ClientCA has the certificates that must vouch for whoever asks the faces; empty: anybody may ask.
	ClientCA string
}

// certificates is the server's certificate, kept fresh.
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

// serverConfig is how the faces speak TLS; nil: they don't.
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

// usageConfig is how /v1/usage speaks TLS: whoever asks there shows a token, which must not travel in the clear.
func (c *certificates) usageConfig() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.watcher != nil {
		config.GetCertificate = c.watcher.GetCertificate
		return config, nil
	}
	certPEM, keyPEM, err := cert.GenerateSelfSignedCertKey("apikey-verifier", nil, nil)
	if err != nil {
		return nil, fmt.Errorf("make a certificate: %w", err)
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("make a certificate: %w", err)
	}
	config.Certificates = []tls.Certificate{pair}
	return config, nil
}

func readCertPool(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file) //nolint:gosec // the file is a flag's
	if err != nil {
		return nil, fmt.Errorf("--tls-client-ca-file: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, errors.New("--tls-client-ca-file has no certificate: give one or more in PEM")
	}
	return pool, nil
}
