// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package certs

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

const (
	authorityLifetime   = 5 * 365 * 24 * time.Hour
	certificateLifetime = 90 * 24 * time.Hour
	// clockSkew is how far the clock of an API server may be behind ours.
	clockSkew = time.Hour
	// settlePeriod is how long the webhook configuration must have held an authority, unchanged, before a certificate of
	// that authority replaces one that works: each API server learns of the new caBundle from its own watch.
	settlePeriod = time.Minute
	// retirePeriod is how long the authorities before the current one stay trusted after the last certificate of theirs
	// was replaced: by then every replica has read the Secret many times.
	retirePeriod = 24 * time.Hour
)

// Entries of the Secret, named as cert-manager names them.
const (
	entryCertificate    = corev1.TLSCertKey
	entryKey            = corev1.TLSPrivateKeyKey
	entryAuthorities    = "ca.crt"
	entryAuthoritiesKey = "ca.key"
)

const (
	pemCertificate = "CERTIFICATE"
	pemPrivateKey  = "PRIVATE KEY"
)

// material is the usable part of what the Secret holds.
type material struct {
	authorities bundle            // whom the API server shall trust, newest first
	signer      *x509.Certificate // the authority whose key is held; nil: none
	signerKey   crypto.Signer
	serving     *tls.Certificate // valid now and of one of the authorities; nil: none
}

// parseMaterial reads the entries of the Secret. What can't be used is left out, and so replaced. When the authority is
// lost, those of the webhook configuration are carried over, because other replicas still serve certificates of theirs.
func parseMaterial(data map[string][]byte, configured bundle, now time.Time) material {
	m := material{authorities: parseBundle(data[entryAuthorities]), signerKey: parseKey(data[entryAuthoritiesKey])}
	m.signer = m.authorities.ofKey(m.signerKey, now)
	if m.signer == nil {
		m.authorities = m.authorities.union(configured)
	}
	pair, err := tls.X509KeyPair(data[entryCertificate], data[entryKey])
	if err == nil && m.authorities.verify(pair.Leaf, now) {
		m.serving = &pair
	}
	return m
}

// encode returns the entries of the Secret.
func (m material) encode() (map[string][]byte, error) {
	signerKey, err := encodeKey(m.signerKey)
	if err != nil {
		return nil, err
	}
	key, err := encodeKey(m.serving.PrivateKey)
	if err != nil {
		return nil, err
	}
	return map[string][]byte{
		entryAuthorities:    m.authorities.encode(),
		entryAuthoritiesKey: signerKey,
		entryCertificate:    bundle{m.serving.Leaf}.encode(),
		entryKey:            key,
	}, nil
}

// withNewAuthority puts a new authority in front of those that are still valid. The serving certificate stays.
func (m material) withNewAuthority(random io.Reader, now time.Time) (material, error) {
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "apikey-manager webhook CA"},
		NotBefore:             now.Add(-clockSkew),
		NotAfter:              now.Add(authorityLifetime),
		KeyUsage:              x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), random)
	if err != nil {
		return material{}, fmt.Errorf("generate the key of the authority: %w", err)
	}
	authority, err := sign(random, template, template, key.Public(), key)
	if err != nil {
		return material{}, fmt.Errorf("sign the authority: %w", err)
	}
	m.authorities = append(bundle{authority}, m.authorities.valid(now)...)
	m.signer, m.signerKey = authority, key
	return m, nil
}

// withNewCertificate replaces the serving certificate by one of the current authority.
func (m material) withNewCertificate(random io.Reader, hosts []string, now time.Time) (material, error) {
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "apikey-manager webhook"},
		NotBefore:             now.Add(-clockSkew),
		NotAfter:              now.Add(certificateLifetime),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), random)
	if err != nil {
		return material{}, fmt.Errorf("generate the key of the serving certificate: %w", err)
	}
	leaf, err := sign(random, template, m.signer, key.Public(), m.signerKey)
	if err != nil {
		return material{}, fmt.Errorf("sign the serving certificate: %w", err)
	}
	m.serving = &tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}
	return m, nil
}

// ofSigner says whether the serving certificate is one of the current authority.
func (m material) ofSigner() bool {
	return m.serving.Leaf.CheckSignatureFrom(m.signer) == nil
}

// retirable reports whether no replica can still be serving a certificate of an authority before the current one.
func (m material) retirable(now time.Time) bool {
	return len(m.authorities) > 1 && m.ofSigner() && now.Sub(m.serving.Leaf.NotBefore) >= clockSkew+retirePeriod
}

func sign(random io.Reader, template, parent *x509.Certificate, pub crypto.PublicKey, key crypto.Signer) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(random, template, parent, pub, key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// due says whether two thirds of the certificate's life are over.
func due(cert *x509.Certificate, now time.Time) bool {
	life := cert.NotAfter.Sub(cert.NotBefore)
	return now.Sub(cert.NotBefore) >= life/3*2
}

func covers(cert *x509.Certificate, hosts []string) bool {
	return !slices.ContainsFunc(hosts, func(host string) bool { return cert.VerifyHostname(host) != nil })
}

func hostsOf(cert *x509.Certificate) []string {
	hosts := slices.Clone(cert.DNSNames)
	for _, ip := range cert.IPAddresses {
		hosts = append(hosts, ip.String())
	}
	return hosts
}

func parseKey(data []byte) crypto.Signer {
	block, _ := pem.Decode(data)
	if block == nil {
		return nil
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil
	}
	signer, _ := key.(crypto.Signer)
	return signer
}

func encodeKey(key crypto.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode a private key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemPrivateKey, Bytes: der}), nil
}

// bundle is a list of authorities without duplicates.
type bundle []*x509.Certificate

func parseBundle(data []byte) bundle {
	var found bundle
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		cert, err := x509.ParseCertificate(block.Bytes)
		if err == nil && cert.IsCA {
			found = found.union(bundle{cert})
		}
	}
	return found
}

func (b bundle) encode() []byte {
	var out bytes.Buffer
	for _, cert := range b {
		out.Write(pem.EncodeToMemory(&pem.Block{Type: pemCertificate, Bytes: cert.Raw}))
	}
	return out.Bytes()
}

func (b bundle) contains(cert *x509.Certificate) bool {
	return slices.ContainsFunc(b, cert.Equal)
}

func (b bundle) union(other bundle) bundle {
	all := slices.Clone(b)
	for _, cert := range other {
		if !all.contains(cert) {
			all = append(all, cert)
		}
	}
	return all
}

func (b bundle) intersection(other bundle) bundle {
	return slices.DeleteFunc(slices.Clone(b), func(cert *x509.Certificate) bool { return !other.contains(cert) })
}

// valid returns the authorities that are valid at the given time.
func (b bundle) valid(now time.Time) bundle {
	return slices.DeleteFunc(slices.Clone(b), func(cert *x509.Certificate) bool {
		return now.Before(cert.NotBefore) || now.After(cert.NotAfter)
	})
}

// ofKey returns the valid authority that has the given key, or nil.
func (b bundle) ofKey(key crypto.Signer, now time.Time) *x509.Certificate {
	if key == nil {
		return nil
	}
	for _, cert := range b.valid(now) {
		if public, ok := cert.PublicKey.(interface{ Equal(crypto.PublicKey) bool }); ok && public.Equal(key.Public()) {
			return cert
		}
	}
	return nil
}

// verify reports whether a client that trusts only these authorities accepts the serving certificate.
func (b bundle) verify(leaf *x509.Certificate, now time.Time) bool {
	roots := x509.NewCertPool()
	for _, cert := range b {
		roots.AddCert(cert)
	}
	_, err := leaf.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	return err == nil
}
