// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Package restore_test restores etcd from a backup under a running manager and two running verifiers, and proves that what
// is switched off afterwards is refused, that condition Enforced says so when it is, and that limits hold.
package restore_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/test/controlplane"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

const service = "apikey-verifier"

// suite is a control plane with a manager and two verifiers.
type suite struct {
	plane     *controlplane.ControlPlane
	admin     client.Client
	options   controlplane.ManagerOptions
	manager   *controlplane.Manager
	verifiers []*controlplane.Verifier
}

func start(t *testing.T) *suite {
	t.Helper()
	plane := controlplanetest.Start(t, controlplane.Options{})
	s := &suite{plane: plane, admin: controlplanetest.Connect(t, plane.Config())}
	s.startVerifiers(t, 2)
	var err error
	s.options.Binary, err = controlplane.BuildManager(t.Context())
	must(t, err)
	s.options.Flags = []string{"--verifier-service=" + plane.Namespace() + "/" + service, "--verifier-token-file=" + s.managerTokenFile(t)}
	s.startManager(t)
	return s
}

func (s *suite) startManager(t *testing.T) {
	t.Helper()
	var err error
	s.manager, err = s.plane.StartManager(t.Context(), s.options)
	must(t, err)
}

// startVerifiers starts verifiers that an EndpointSlice each names, so that the manager finds them.
func (s *suite) startVerifiers(t *testing.T, count int) {
	t.Helper()
	host := controlplanetest.ReachableAddress(t)
	started, err := controlplanetest.NewVerifiers(t.Context(), s.plane)
	must(t, err)
	for i := range count {
		port, err := controlplane.FreePort()
		must(t, err)
		address := net.JoinHostPort(host, strconv.Itoa(port))
		v := started.Start(t, controlplane.VerifierOptions{Flags: []string{"--usage-bind-address=" + address}})
		s.verifiers = append(s.verifiers, v)
		must(t, s.admin.Create(t.Context(), &discoveryv1.EndpointSlice{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: s.plane.Namespace(), Name: fmt.Sprintf("%s-%d", service, i), Labels: map[string]string{discoveryv1.LabelServiceName: service},
			},
			AddressType: discoveryv1.AddressTypeIPv4,
			Ports:       []discoveryv1.EndpointPort{{Name: new("usage"), Port: new(int32(port))}},
			Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{host}, Conditions: discoveryv1.EndpointConditions{Ready: new(true)}}},
		}))
	}
}

// managerTokenFile returns the file with the token that the manager shows to verifiers.
func (s *suite) managerTokenFile(t *testing.T) string {
	t.Helper()
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: []string{"apikey-verifier"}}}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: s.plane.Namespace(), Name: "apikey-manager"}}
	must(t, s.admin.SubResource("token").Create(t.Context(), account, request))
	file := filepath.Join(s.plane.Dir(), "verifier-token")
	must(t, os.WriteFile(file, []byte(request.Status.Token), 0o600))
	return file
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// create declares a key.
func (s *suite) create(t *testing.T, account, name string) *v1alpha1.APIKey {
	t.Helper()
	k := &v1alpha1.APIKey{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: v1alpha1.APIKeySpec{Account: account, Label: name},
	}
	must(t, s.admin.Create(t.Context(), k))
	return k
}

// issue declares a key, waits until it is issued and every verifier accepts it, and returns it with its material.
func (s *suite) issue(t *testing.T, account, name string) (*v1alpha1.APIKey, string) {
	t.Helper()
	k := s.create(t, account, name)
	controlplanetest.Eventually(t, "APIKey "+name+" is issued", func() error {
		if err := s.admin.Get(t.Context(), client.ObjectKeyFromObject(k), k); err != nil {
			return err
		}
		return differs(string(k.Status.State), string(v1alpha1.StateActive))
	})
	secret := &corev1.Secret{}
	must(t, s.admin.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: keys.SecretName(k)}, secret))
	material := string(secret.Data[keys.EntryCurrent])
	s.awaitVerdict(t, material, "VALID")
	return k, material
}

func (s *suite) change(t *testing.T, k *v1alpha1.APIKey, change func(*v1alpha1.APIKeySpec)) {
	t.Helper()
	must(t, s.admin.Get(t.Context(), client.ObjectKeyFromObject(k), k))
	before := k.DeepCopy()
	change(&k.Spec)
	must(t, s.admin.Patch(t.Context(), k, client.MergeFrom(before)))
}

// awaitVerdict waits until every verifier gives a verdict.
func (s *suite) awaitVerdict(t *testing.T, material, want string) {
	t.Helper()
	for i, v := range s.verifiers {
		controlplanetest.Eventually(t, fmt.Sprintf("verifier %d says %s", i, want), func() error {
			got, err := controlplanetest.Verdict(t.Context(), v, material)
			return errors.Join(err, differs(got, want))
		})
	}
}

// verdicts returns what the verifiers say of a key.
func (s *suite) verdicts(t *testing.T, material string) []string {
	t.Helper()
	var list []string
	for _, v := range s.verifiers {
		got, err := controlplanetest.Verdict(t.Context(), v, material)
		must(t, err)
		list = append(list, got)
	}
	return list
}

// rollbacks returns apikey_verifier_store_rollbacks_total.
func rollbacks(t *testing.T, v *controlplane.Verifier) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+v.Metrics+"/metrics", http.NoBody)
	must(t, err)
	response, err := http.DefaultClient.Do(request)
	must(t, err)
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	must(t, err)
	for line := range strings.Lines(string(text)) {
		if value, found := strings.CutPrefix(strings.TrimSpace(line), "apikey_verifier_store_rollbacks_total "); found {
			return value
		}
	}
	return "absent"
}

func differs(got, want string) error {
	if got != want {
		return fmt.Errorf("it is %q, want %q", got, want)
	}
	return nil
}
