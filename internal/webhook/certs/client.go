// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"slices"
)

// RequireClient has a server accept clients only that show a certificate from the authorities in a file, which is read
// again for each connection, and, unless name is empty, one for that name.
func RequireClient(caFile, name string) func(*tls.Config) {
	return func(c *tls.Config) {
		c.ClientAuth = tls.RequireAnyClientCert // VerifyConnection verifies, also where a session is resumed
		c.VerifyConnection = func(state tls.ConnectionState) error { return verifyClient(state, caFile, name) }
	}
}

func verifyClient(state tls.ConnectionState, caFile, name string) error {
	pem, err := os.ReadFile(caFile) //nolint:gosec // the file is a flag's
	if err != nil {
		return fmt.Errorf("--webhook-client-ca-file: %w", err)
	}
	options := x509.VerifyOptions{
		Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if !options.Roots.AppendCertsFromPEM(pem) {
		return errors.New("--webhook-client-ca-file has no certificate: give one or more in PEM")
	}
	if len(state.PeerCertificates) == 0 {
		return errors.New("the client shows no certificate")
	}
	for _, certificate := range state.PeerCertificates[1:] {
		options.Intermediates.AddCert(certificate)
	}
	leaf := state.PeerCertificates[0]
	if _, err := leaf.Verify(options); err != nil {
		return fmt.Errorf("--webhook-client-ca-file: %w", err)
	}
	if name != "" && leaf.Subject.CommonName != name && !slices.Contains(leaf.DNSNames, name) {
		return errors.New("--webhook-client-name: the client's certificate is for another name")
	}
	return nil
}
