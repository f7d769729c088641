// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package server_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/apikey-manager/apikey-manager/internal/verifier/server"
)

// authority is a certificate authority.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	pem         []byte
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	a := &authority{key: newPrivateKey(t)}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour),
		IsCA:     true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a.certificate, a.pem = a.sign(t, template, template, &a.key.PublicKey)
	return a
}

func newPrivateKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (a *authority) sign(t *testing.T, template, parent *x509.Certificate, public any) (*x509.Certificate, []byte) {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, a.key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return certificate, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// issue returns a PEM certificate and private key for local servers and clients.
func (a *authority) issue(t *testing.T, serial int64) (certificate, key []byte) {
	t.Helper()
	private := newPrivateKey(t)
	_, certificate = a.sign(t, &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter:    time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a.certificate, &private.PublicKey)
	der, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return certificate, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
}

// config returns a TLS configuration that trusts one authority and presents a client certificate of another one, or
// none.
func config(t *testing.T, trusts, client *authority) *tls.Config {
	t.Helper()
	c := &tls.Config{RootCAs: x509.NewCertPool()}
	c.RootCAs.AddCert(trusts.certificate)
	if client != nil {
		pair, err := tls.X509KeyPair(client.issue(t, 77))
		if err != nil {
			t.Fatal(err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c
}

func write(t *testing.T, file string, content []byte) {
	t.Helper()
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// askTLS sends a request over a new connection, and returns the serial number of the server certificate.
func askTLS(t *testing.T, at *endpoints, c *tls.Config) (int64, error) {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: c, DisableKeepAlives: true}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+at.http+"/authz", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Api-Key", goodKey)
	answer, err := transport.RoundTrip(r)
	if err != nil {
		return 0, err
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		t.Errorf("a valid key gets %s", answer.Status)
	}
	return answer.TLS.PeerCertificates[0].SerialNumber.Int64(), nil
}

// checkTLS sends a gRPC request.
func checkTLS(t *testing.T, at *endpoints, c *tls.Config) error {
	t.Helper()
	connection, err := grpc.NewClient(at.grpc, grpc.WithTransportCredentials(credentials.NewTLS(c)))
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	_, err = authv3.NewAuthorizationClient(connection).Check(t.Context(), &authv3.CheckRequest{})
	return err
}

func TestTLS_ReloadsFiles(t *testing.T) {
	t.Parallel()
	servers, clients, others := newAuthority(t, "servers"), newAuthority(t, "clients"), newAuthority(t, "others")
	dir := t.TempDir()
	files := server.TLSFiles{Cert: filepath.Join(dir, "tls.crt"), Key: filepath.Join(dir, "tls.key"), ClientCA: filepath.Join(dir, "ca.crt")}
	install := func(serial int64) {
		certificate, key := servers.issue(t, serial)
		write(t, files.Cert, certificate)
		write(t, files.Key, key)
	}
	install(10)
	write(t, files.ClientCA, clients.pem)
	at := serve(t, setup{}, server.Options{TLS: files})

	known, other := config(t, servers, clients), config(t, servers, others)
	if serial, err := askTLS(t, at, known); err != nil || serial != 10 {
		t.Fatalf("got certificate %d, %v", serial, err)
	}
	if err := checkTLS(t, at, known); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]*tls.Config{"no certificate": config(t, servers, nil), "a stranger's": other} {
		if _, err := askTLS(t, at, c); err == nil {
			t.Errorf("a client with %s was accepted over HTTP", name)
		}
		if err := checkTLS(t, at, c); err == nil {
			t.Errorf("a client with %s was accepted over gRPC", name)
		}
	}

	write(t, files.ClientCA, others.pem)
	if _, err := askTLS(t, at, known); err == nil {
		t.Error("a client of a removed authority was accepted")
	}
	if err := checkTLS(t, at, other); err != nil {
		t.Errorf("a client of the new authority was refused: %v", err)
	}
	install(11)
	eventually(t, "the server does not show its new certificate", func() bool {
		serial, err := askTLS(t, at, other)
		return err == nil && serial == 11
	})
	write(t, files.ClientCA, []byte("nothing"))
	if _, err := askTLS(t, at, other); err == nil {
		t.Error("without a valid CA file, a client was accepted")
	}
}

func TestTLS_ReportsInvalidFiles(t *testing.T) {
	t.Parallel()
	servers := newAuthority(t, "servers")
	dir := t.TempDir()
	certificate, key := servers.issue(t, 10)
	crt, keyFile, empty := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"), filepath.Join(dir, "empty")
	write(t, crt, certificate)
	write(t, keyFile, key)
	write(t, empty, nil)
	for name, tc := range map[string]struct {
		files server.TLSFiles
		want  string
	}{
		"no such file":      {server.TLSFiles{Cert: filepath.Join(dir, "none"), Key: keyFile}, "--tls-cert-file, --tls-key-file: "},
		"no certificate":    {server.TLSFiles{Cert: empty, Key: keyFile}, "--tls-cert-file, --tls-key-file: "},
		"no such authority": {server.TLSFiles{Cert: crt, Key: keyFile, ClientCA: filepath.Join(dir, "none")}, "--tls-client-ca-file: "},
		"a CA file without certificates": {
			server.TLSFiles{Cert: crt, Key: keyFile, ClientCA: empty},
			"invalid --tls-client-ca-file: must contain",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := server.New(t.Context(), setup{}.authorizer(t),
				server.Options{GRPCAddress: "0", HTTPAddress: "0", ProbeAddress: "0", TLS: tc.files})
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %s", err, tc.want)
			}
		})
	}
}
