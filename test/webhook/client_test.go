// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Package webhook_test checks that the manager's webhook can require a client certificate from a real API server.
package webhook_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/test/controlplane"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

const clientName = "kube-apiserver"

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// files holds the paths of the API server's client certificate, its key and the configuration that refers to them.
type files struct{ certificate, key, configuration string }

// newFiles writes a self-signed certificate for a name, and the configuration with which the API server presents it to
// webhooks.
func newFiles(t *testing.T, name string) files {
	t.Helper()
	dir := t.TempDir()
	f := files{filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key"), filepath.Join(dir, name+".yaml")}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	must(t, err)
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	must(t, os.WriteFile(f.certificate, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	must(t, os.WriteFile(f.key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded}), 0o600))
	kubeconfig := filepath.Join(dir, "kubeconfig.yaml")
	must(t, os.WriteFile(kubeconfig, fmt.Appendf(nil, `apiVersion: v1
kind: Config
users:
- name: '*'
  user: {client-certificate: %s, client-key: %s}
`, f.certificate, f.key), 0o600))
	must(t, os.WriteFile(f.configuration, fmt.Appendf(nil, `apiVersion: apiserver.config.k8s.io/v1
kind: AdmissionConfiguration
plugins:
- name: ValidatingAdmissionWebhook
  configuration: {apiVersion: apiserver.config.k8s.io/v1, kind: WebhookAdmissionConfiguration, kubeConfigFile: %s}
`, kubeconfig), 0o600))
	return f
}

func TestWebhook_RequiresClientCertificate(t *testing.T) {
	server := newFiles(t, clientName)
	port, err := controlplane.FreePort()
	must(t, err)
	plane := controlplanetest.Start(t, controlplane.Options{
		WebhookPort: port, WithoutControllers: true, APIServerFlags: map[string]string{"admission-control-config-file": server.configuration},
	})
	_, err = controlplanetest.StartManager(t.Context(), plane, controlplane.ManagerOptions{WebhookPort: port, Flags: []string{
		"--webhook-client-ca-file=" + server.certificate, "--webhook-client-name=" + clientName,
	}})
	must(t, err)

	admin := controlplanetest.Connect(t, plane.Config())
	account := &v1alpha1.Account{ObjectMeta: metav1.ObjectMeta{Name: "acme"}, Spec: v1alpha1.AccountSpec{DeletionPolicy: v1alpha1.DeletionForbid}}
	key := &v1alpha1.APIKey{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "kept"}, Spec: v1alpha1.APIKeySpec{Account: "acme"}}
	must(t, admin.Create(t.Context(), account))
	must(t, admin.Create(t.Context(), key))
	controlplanetest.Eventually(t, "the key is issued", func() error {
		if err := admin.Get(t.Context(), client.ObjectKeyFromObject(key), key); err != nil || key.Status.State != v1alpha1.StateActive {
			return fmt.Errorf("state %s, %w", key.Status.State, err)
		}
		return nil
	})
	if err := admin.Delete(t.Context(), key); err == nil || !strings.Contains(err.Error(), "forbids the deletion") {
		t.Errorf("the API server cannot call the webhook with its certificate: %v", err)
	}

	stranger := newFiles(t, "stranger")
	for name, shows := range map[string]*files{"none": nil, "a stranger's": &stranger} {
		if err := ask(t, port, shows); err == nil {
			t.Errorf("a client with certificate %s gets a response", name)
		}
	}
	must(t, ask(t, port, &server))
}

// ask sends a request to the webhook with the given client certificate, or without one.
func ask(t *testing.T, port int, shows *files) error {
	t.Helper()
	config := &tls.Config{InsecureSkipVerify: true}
	if shows != nil {
		pair, err := tls.LoadX509KeyPair(shows.certificate, shows.key)
		must(t, err)
		config.Certificates = []tls.Certificate{pair}
	}
	url := "https://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) + "/validate-apikey-manager-io-v1alpha1-apikey"
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader("{}"))
	must(t, err)
	response, err := (&http.Client{Transport: &http.Transport{TLSClientConfig: config}}).Do(request)
	if err == nil {
		return response.Body.Close()
	}
	return err
}
