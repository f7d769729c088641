// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package verifier_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/credential"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/test/controlplane"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

const (
	service  = "apikey-verifier"
	audience = "apikey-verifier"
)

// managerTokenFile is the file with the token that the manager shows to verifiers.
func (w *suite) managerTokenFile(t *testing.T) string {
	t.Helper()
	file := filepath.Join(w.plane.Dir(), "verifier-token")
	must(t, os.WriteFile(file, []byte(w.token(t, w.plane.Namespace(), "apikey-manager", audience)), 0o600))
	return file
}

// token is one of a ServiceAccount for some audiences: the API server's unless said.
func (w *suite) token(t *testing.T, namespace, account string, audiences ...string) string {
	t.Helper()
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: audiences}}
	o := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: account}}
	must(t, w.admin.SubResource("token").Create(t.Context(), o, request))
	return request.Status.Token
}

func (w *suite) testReports(t *testing.T) {
	host := controlplanetest.ReachableAddress(t)
	var replicas []*controlplane.Verifier
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: w.plane.Namespace(), Name: service + "-test", Labels: map[string]string{discoveryv1.LabelServiceName: service},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
	}
	// Two replicas on one address: the second has a slice of its own, with another port.
	for i := range 2 {
		port, err := controlplane.FreePort()
		must(t, err)
		flags := []string{"--usage-bind-address=" + net.JoinHostPort(host, strconv.Itoa(port))}
		if i == 1 { // the second lags
			flags = append(flags, w.laggingFlags(t)...)
		}
		v := w.verifiers.Start(t, controlplane.VerifierOptions{Flags: flags})
		v.Usage = net.JoinHostPort(host, strconv.Itoa(port))
		replicas = append(replicas, v)
		s := slice.DeepCopy()
		s.Name = fmt.Sprintf("%s-%d", s.Name, i)
		name, number, ready := "usage", int32(port), true
		s.Ports = []discoveryv1.EndpointPort{{Name: &name, Port: &number}}
		s.Endpoints = []discoveryv1.Endpoint{{Addresses: []string{host}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}}}
		must(t, w.admin.Create(t.Context(), s))
	}
	t.Run("while keys are rotated", func(t *testing.T) { w.testRotations(t, replicas) })
	t.Run("to the manager alone", func(t *testing.T) { w.testUsageAccess(t, replicas[0]) })

	k, material := w.issue(t, "used", v1alpha1.APIKeySpec{Account: "reports"})
	began := time.Now().Truncate(time.Minute)
	for _, v := range replicas {
		awaitVerdict(t, v, material, "VALID")
	}
	controlplanetest.Eventually(t, "people see when the key was used", func() error {
		must(t, w.admin.Get(t.Context(), client.ObjectKeyFromObject(k), k))
		current := k.Status.Credentials[0].LastUsedTime
		if k.Status.LastUsedTime == nil || current == nil {
			return errors.New("no time")
		}
		if used := k.Status.LastUsedTime.Time; used.Before(began) || used.After(time.Now()) || !current.Time.Equal(used) {
			return fmt.Errorf("used at %s and %s, it is after %s", used, current, began)
		}
		return nil
	})

	w.change(t, k, func(s *v1alpha1.APIKeySpec) { s.State = v1alpha1.KeyStateInactive })
	controlplanetest.Eventually(t, "people see that every verifier refuses the key", func() error {
		must(t, w.admin.Get(t.Context(), client.ObjectKeyFromObject(k), k))
		c := meta.FindStatusCondition(k.Status.Conditions, v1alpha1.ConditionEnforced)
		if c == nil || c.Status != metav1.ConditionTrue || c.ObservedGeneration != k.Generation {
			return fmt.Errorf("condition %v", c)
		}
		return nil
	})
	for _, v := range replicas {
		expectVerdict(t, v, material, "INACTIVE")
	}
	w.change(t, k, func(s *v1alpha1.APIKeySpec) { s.State = v1alpha1.KeyStateActive })
	controlplanetest.Eventually(t, "an active key has nothing to enforce", func() error {
		must(t, w.admin.Get(t.Context(), client.ObjectKeyFromObject(k), k))
		if c := meta.FindStatusCondition(k.Status.Conditions, v1alpha1.ConditionEnforced); c != nil || k.Status.State != v1alpha1.StateActive {
			return fmt.Errorf("state %s, condition %v", k.Status.State, c)
		}
		return nil
	})
}

// testUsageAccess tries whoever might want to.
func (w *suite) testUsageAccess(t *testing.T, v *controlplane.Verifier) {
	must(t, w.admin.Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "stranger"}}))
	namespace := w.plane.Namespace()
	for name, tc := range map[string]struct {
		token string
		want  int
	}{
		"nobody":                            {"", http.StatusUnauthorized},
		"nonsense":                          {"nonsense", http.StatusUnauthorized},
		"the manager":                       {w.token(t, namespace, "apikey-manager", audience), http.StatusOK},
		"the manager, for the API server":   {w.token(t, namespace, "apikey-manager"), http.StatusUnauthorized},
		"the manager, for somebody else":    {w.token(t, namespace, "apikey-manager", "other"), http.StatusUnauthorized},
		"a stranger":                        {w.token(t, "default", "stranger", audience), http.StatusForbidden},
		"the verifier, who serves it":       {w.token(t, namespace, "apikey-verifier", audience), http.StatusForbidden},
		"the manager, for several, with us": {w.token(t, namespace, "apikey-manager", "other", audience), http.StatusOK},
	} {
		t.Run(name, func(t *testing.T) {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+v.Usage+"/v1/usage", http.NoBody)
			must(t, err)
			if tc.token != "" {
				request.Header.Set("Authorization", "Bearer "+tc.token)
			}
			client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} // each replica makes its own certificate
			response, err := client.Do(request)
			must(t, err)
			defer func() { _ = response.Body.Close() }()
			if response.StatusCode != tc.want {
				t.Errorf("got %s, want %d", response.Status, tc.want)
			}
		})
	}
}

// statusOf is what the manager says of a key that it issued.
func statusOf(name, material, expiration string) v1alpha1.APIKeyStatus {
	now := metav1.NewTime(time.Now().Truncate(time.Second))
	id := strings.ToUpper(name)
	s := v1alpha1.APIKeyStatus{
		State: v1alpha1.StateActive, KeyID: id, IPRestriction: v1alpha1.IPUnrestricted, ObservedGeneration: 1,
		Credentials: []v1alpha1.Credential{{ID: id, Hint: "ak_" + id, SHA256: credential.Material(material).SHA256(), IssuedAt: now, Role: v1alpha1.RoleCurrent}},
	}
	if end, err := keys.ResolveExpiration(expiration, "UTC"); err == nil && end != nil {
		s.ExpirationTime = &metav1.Time{Time: *end}
	}
	return s
}
