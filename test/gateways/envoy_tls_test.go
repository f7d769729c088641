// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package gateways_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/apikey-manager/apikey-manager/test/controlplane"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

// tlsBlock matches the lines of the sample that are to be used if the verifier uses TLS, commentMark what is to be removed from
// them, and clientCertificate those of them for a client certificate.
var (
	commentMark       = regexp.MustCompile(`(?m)^      # `)
	tlsBlock          = regexp.MustCompile(`(?m)^      # transport_socket:\n(?:      #.*\n)+`)
	clientCertificate = regexp.MustCompile(`(?m)^ +tls_certificates:\n.*\n`)
)

// writeCertificate writes a certificate for a name, which is its own CA, and its private key.
func writeCertificate(t *testing.T, dir, name string) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	controlplanetest.Must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	controlplanetest.Must(t, err)
	privateDER, err := x509.MarshalPKCS8PrivateKey(private)
	controlplanetest.Must(t, err)
	certificate, key = filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key")
	write(t, certificate, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	write(t, key, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: privateDER})))
	return certificate, key
}

// TestEnvoy_TLS uses the lines of the sample for TLS, with a verifier that requires client certificates.
func TestEnvoy_TLS(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	dir := t.TempDir()
	const name = "apikey-verifier.apikey-manager-system.svc"
	server, serverKey := writeCertificate(t, dir, name)
	other, otherKey := writeCertificate(t, dir, "other.svc")
	client, clientKey := writeCertificate(t, dir, "gateway")
	flags := func(certificate, key string) []string {
		return []string{"--tls-cert-file=" + certificate, "--tls-key-file=" + key, "--tls-client-ca-file=" + client}
	}
	root, err := controlplane.Root()
	controlplanetest.Must(t, err)
	text, err := os.ReadFile(filepath.Join(root, "config", "samples", "gateways", "envoy", "envoy.yaml"))
	controlplanetest.Must(t, err)
	commented := tlsBlock.FindString(string(text))
	if commented == "" {
		t.Fatal("the sample has no lines for TLS")
	}
	// change returns the change that removes the # from these lines, and that trusts a CA.
	change := func(ca, drop string) []string {
		used := commentMark.ReplaceAllString(commented, "      ")
		used = strings.NewReplacer("/etc/envoy/verifier-ca.crt", ca, "/etc/envoy/tls.crt", client, "/etc/envoy/tls.key", clientKey).Replace(used)
		return []string{commented, strings.ReplaceAll(used, drop, "")}
	}
	t.Run("a key is checked", func(t *testing.T) {
		f := w.serveEnvoy(t, flags(server, serverKey), change(server, "")...)
		f.expectAllowed(t, w.requestWithKey("full"), w.fullIdentity())
		f.expectDenied(t, w.requestWithKey("revoked"), http.StatusUnauthorized, "REVOKED")
	})
	for about, f := range map[string]func(*testing.T) *runningGateway{
		"the verifier has a certificate of another CA": func(t *testing.T) *runningGateway {
			return w.serveEnvoy(t, flags(server, serverKey), change(other, "")...)
		},
		"the verifier has a certificate for another name": func(t *testing.T) *runningGateway {
			return w.serveEnvoy(t, flags(other, otherKey), change(other, "")...)
		},
		"Envoy has no client certificate": func(t *testing.T) *runningGateway {
			without := change(server, clientCertificate.FindString(change(server, "")[1]))
			return w.serveEnvoy(t, flags(server, serverKey), without...)
		},
		"Envoy does not use TLS":       func(t *testing.T) *runningGateway { return w.serveEnvoy(t, flags(server, serverKey)) },
		"the verifier does not either": func(t *testing.T) *runningGateway { return w.serveEnvoy(t, nil, change(server, "")...) },
	} {
		t.Run(about, func(t *testing.T) { f(t).expectUnavailable(t, w.requestWithKey("full")) })
	}
}
