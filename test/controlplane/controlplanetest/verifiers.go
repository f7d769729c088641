// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controlplanetest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/test/controlplane"
)

// Verifiers holds the verifiers of a control plane, one for each set of flags. They are stopped with the control plane.
type Verifiers struct {
	plane  *controlplane.ControlPlane
	binary string

	mu      sync.Mutex
	running map[string]*controlplane.Verifier
}

// NewVerifiers builds the verifier and returns an empty Verifiers.
func NewVerifiers(ctx context.Context, plane *controlplane.ControlPlane) (*Verifiers, error) {
	binary, err := controlplane.BuildVerifier(ctx)
	if err != nil {
		return nil, err
	}
	return &Verifiers{plane: plane, binary: binary, running: map[string]*controlplane.Verifier{}}, nil
}

// With returns the verifier that runs with these flags. It starts it at the first call; all tests share it.
func (v *Verifiers) With(t *testing.T, flags ...string) *controlplane.Verifier {
	t.Helper()
	v.mu.Lock()
	defer v.mu.Unlock()
	id := strings.Join(flags, " ")
	if v.running[id] == nil {
		v.running[id] = v.Start(t, controlplane.VerifierOptions{Flags: flags})
	}
	return v.running[id]
}

// Start starts a verifier that is not shared.
func (v *Verifiers) Start(t *testing.T, o controlplane.VerifierOptions) *controlplane.Verifier {
	t.Helper()
	o.Binary = v.binary
	started, err := v.plane.StartVerifier(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return started
}

// Verdict returns the code in the response of a verifier to POST /v1/verify for a key.
func Verdict(ctx context.Context, v *controlplane.Verifier, material string) (string, error) {
	question, err := json.Marshal(map[string]string{"key": material})
	if err != nil {
		return "", err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+v.HTTP+"/v1/verify", bytes.NewReader(question))
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	var answer struct {
		Code string `json:"code"`
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil || response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("POST /v1/verify: status %d, %w", response.StatusCode, err)
	}
	return answer.Code, nil
}

// ExpectVerdict fails the test unless a verifier returns a verdict on a key.
func ExpectVerdict(t *testing.T, v *controlplane.Verifier, material, want string) {
	t.Helper()
	got, err := Verdict(t.Context(), v, material)
	Must(t, err)
	if got != want {
		t.Errorf("the verifier returns %s, want %s", got, want)
	}
}

// AwaitVerdict waits until a verifier returns a verdict on a key.
func AwaitVerdict(t *testing.T, v *controlplane.Verifier, material, want string) {
	t.Helper()
	Eventually(t, "the verifier returns "+want, func() error {
		got, err := Verdict(t.Context(), v, material)
		return errors.Join(err, Equal(got, want))
	})
}

// GetURL returns the status and the body of the response to a GET request.
func GetURL(t *testing.T, url string) (status int, body string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	Must(t, err)
	response, err := http.DefaultClient.Do(request)
	Must(t, err)
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	Must(t, err)
	return response.StatusCode, string(text)
}

// Metric returns the value of a metric without labels, as a verifier exposes it, or "absent".
func Metric(t *testing.T, v *controlplane.Verifier, name string) string {
	t.Helper()
	_, text := GetURL(t, "http://"+v.Metrics+"/metrics")
	for line := range strings.Lines(text) {
		if value, found := strings.CutPrefix(strings.TrimSpace(line), name+" "); found {
			return value
		}
	}
	return "absent"
}

// VerifierService is the name of the Service to which NewEndpointSlice adds verifiers, and the audience of their tokens.
const VerifierService = "apikey-verifier"

// Token returns a token of a ServiceAccount. Without audiences it is one for the API server.
func Token(t *testing.T, c client.Client, namespace, account string, audiences ...string) string {
	t.Helper()
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: audiences}}
	o := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: account}}
	Must(t, c.SubResource("token").Create(t.Context(), o, request))
	return request.Status.Token
}

// VerifierFlags returns the flags with which a manager polls the verifiers of VerifierService, with a token of its ServiceAccount.
func VerifierFlags(t *testing.T, plane *controlplane.ControlPlane, c client.Client) []string {
	t.Helper()
	file := filepath.Join(plane.Dir(), "verifier-token")
	Must(t, os.WriteFile(file, []byte(Token(t, c, plane.Namespace(), "apikey-manager", VerifierService)), 0o600))
	return []string{"--verifier-service=" + plane.Namespace() + "/" + VerifierService, "--verifier-token-file=" + file}
}

// StartReplica starts a verifier whose usage endpoint listens on an address that EndpointSlices may name, and creates an
// EndpointSlice of VerifierService for it, so that a manager polls it.
func (v *Verifiers) StartReplica(t *testing.T, c client.Client, flags ...string) *controlplane.Verifier {
	t.Helper()
	host := ReachableAddress(t)
	port, err := controlplane.FreePort()
	Must(t, err)
	address := net.JoinHostPort(host, strconv.Itoa(port))
	started := v.Start(t, controlplane.VerifierOptions{Flags: append([]string{"--usage-bind-address=" + address}, flags...)})
	started.Usage = address
	Must(t, c.Create(t.Context(), &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: v.plane.Namespace(),
			Name:      UniqueName(VerifierService),
			Labels:    map[string]string{discoveryv1.LabelServiceName: VerifierService},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: new("usage"), Port: new(int32(port))}},
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{host}, Conditions: discoveryv1.EndpointConditions{Ready: new(true)}}},
	}))
	return started
}

// ReachableAddress returns an IPv4 address of this machine that EndpointSlices may name. It skips the test if there is none.
func ReachableAddress(t *testing.T) string {
	t.Helper()
	address, err := controlplane.ReachableAddress()
	if err != nil {
		t.Skip("SKIPPED: " + err.Error())
	}
	return address
}
