// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/usage"
	"github.com/apikey-manager/apikey-manager/internal/version"
	"github.com/apikey-manager/apikey-manager/test/controlplane"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

// timeout limits how long a test waits for a condition.
const timeout = time.Minute

// secret is the key that the tests present.
const secret = "sk_test_0123456789abcdefghijklmnop"

// TestVerifier runs the command like main does, with a real API server.
func TestVerifier(t *testing.T) {
	plane := controlplanetest.Start(t, controlplane.Options{WithoutControllers: true})
	s := &suite{plane: plane, admin: controlplanetest.Connect(t, plane.Config())}
	s.issue(t)
	s.start(t)
	t.Run("allows a valid key", func(t *testing.T) { s.expect(t, http.StatusOK, s.newAuthzRequest(t)) })
	t.Run("reports usage to authorized clients", s.usage)
	t.Run("serves metrics", s.metrics)
	t.Run("refuses a revoked key", func(t *testing.T) {
		s.revoke(t)
		s.expect(t, http.StatusUnauthorized, s.newAuthzRequest(t))
	})
}

// suite holds a control plane that the subtests share. They run in sequence.
type suite struct {
	plane     *controlplane.ControlPlane
	admin     client.Client
	addresses map[string]string
}

// issue acts as the manager: it creates an account and a key, and writes the status of an accepted key.
func (s *suite) issue(t *testing.T) {
	t.Helper()
	digest := sha256.Sum256([]byte(secret))
	k := &v1alpha1.APIKey{
		ObjectMeta: metav1.ObjectMeta{Namespace: corev1.NamespaceDefault, Name: "shop"},
		Spec:       v1alpha1.APIKeySpec{Account: "acme", Scopes: []string{"orders:read"}},
	}
	for _, o := range []client.Object{&v1alpha1.Account{ObjectMeta: metav1.ObjectMeta{Name: "acme"}}, k} {
		if err := s.admin.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	k.Status.State = v1alpha1.StateActive
	k.Status.Credentials = []v1alpha1.Credential{{
		ID: "0123456789ab", SHA256: hex.EncodeToString(digest[:]), Hint: "mnop", Role: v1alpha1.RoleCurrent, IssuedAt: metav1.Now(),
	}}
	if err := s.admin.Status().Update(t.Context(), k); err != nil {
		t.Fatal(err)
	}
}

func (s *suite) usage(t *testing.T) {
	s.allow(t, "manager", "/v1/usage")
	ask := func(account string, audiences ...string) *http.Request {
		return s.newUsageRequest(t, "/v1/usage?since=2027-01-01T00:00:00Z", s.token(t, account, audiences...))
	}
	s.expect(t, http.StatusUnauthorized, s.newUsageRequest(t, "/v1/usage", ""))
	s.expect(t, http.StatusUnauthorized, s.newUsageRequest(t, "/v1/usage", "no-token"))
	s.expect(t, http.StatusUnauthorized, ask("manager"))
	s.expect(t, http.StatusForbidden, ask("stranger", "apikey-verifier"))
	s.expect(t, http.StatusBadRequest, s.newUsageRequest(t, "/v1/usage?since=yesterday", s.token(t, "manager", "apikey-verifier")))
	var report usage.Report
	r := s.newUsageRequest(t, "/v1/usage", s.token(t, "manager", "apikey-verifier"))
	if err := json.Unmarshal([]byte(s.expect(t, http.StatusOK, r)), &report); err != nil {
		t.Fatal(err)
	}
	if !report.Synced || report.KeysVersion == "" || report.Replica == "" {
		t.Errorf("the report is %+v", report)
	}
	if len(report.Keys) != 1 || report.Keys[0].Name != "shop" || report.Keys[0].Credentials[0].Counts["VALID"] == 0 {
		t.Errorf("the keys in use are %+v, want default/shop with some VALID", report.Keys)
	}
	r = s.newUsageRequest(t, "/v1/usage?keys=none", s.token(t, "manager", "apikey-verifier"))
	if answer := s.expect(t, http.StatusOK, r); strings.Contains(answer, "keys\"") || !strings.Contains(answer, report.Replica) {
		t.Errorf("with keys=none, the report is %s", answer)
	}
}

func (s *suite) metrics(t *testing.T) {
	answer := s.expect(t, http.StatusOK, s.to(t, "metrics-bind-address", "/metrics"))
	build := version.Get()
	for _, line := range []string{
		"apikey_verifier_synced 1", "apikey_verifier_keys 1", "apikey_verifier_credentials 1",
		"apikey_verifier_accounts 1",
		fmt.Sprintf("apikey_verifier_build_info{commit=%q,goversion=%q,version=%q} 1", build.Commit, build.GoVersion, build.Version),
	} {
		if !strings.Contains(answer, "\n"+line+"\n") {
			t.Errorf("the metrics lack %q", line)
		}
	}
	if !strings.Contains(answer, `apikey_verifier_checks_total{code="VALID",protocol="forward_auth"}`) || strings.Contains(answer, secret) {
		t.Errorf("the metrics are %s", answer)
	}
}

// allow grants a ServiceAccount the right to get a path of the verifier.
func (s *suite) allow(t *testing.T, account, path string) {
	t.Helper()
	meta := metav1.ObjectMeta{Name: "test-" + account}
	for _, o := range []client.Object{
		&rbacv1.ClusterRole{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{{Verbs: []string{"get"}, NonResourceURLs: []string{path}}}},
		&rbacv1.ClusterRoleBinding{
			ObjectMeta: meta, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: meta.Name},
			Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: corev1.NamespaceDefault, Name: account}},
		},
	} {
		if err := s.admin.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
}

// token returns a token of a ServiceAccount, which it creates if necessary.
func (s *suite) token(t *testing.T, account string, audiences ...string) string {
	t.Helper()
	o := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: corev1.NamespaceDefault, Name: account}}
	if err := client.IgnoreAlreadyExists(s.admin.Create(t.Context(), o)); err != nil {
		t.Fatal(err)
	}
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: audiences}}
	if err := s.admin.SubResource("token").Create(t.Context(), o, request); err != nil {
		t.Fatal(err)
	}
	return request.Status.Token
}

func (s *suite) newUsageRequest(t *testing.T, path, token string) *http.Request {
	t.Helper()
	r := s.to(t, "usage-bind-address", path)
	r.URL.Scheme = "https"
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return r
}

func (s *suite) revoke(t *testing.T) {
	t.Helper()
	k := &v1alpha1.APIKey{}
	if err := s.admin.Get(t.Context(), client.ObjectKey{Namespace: corev1.NamespaceDefault, Name: "shop"}, k); err != nil {
		t.Fatal(err)
	}
	k.Spec.State = v1alpha1.KeyStateRevoked
	if err := s.admin.Update(t.Context(), k); err != nil {
		t.Fatal(err)
	}
}

// start runs the verifier until the test ends, and waits until it is ready.
func (s *suite) start(t *testing.T) {
	t.Helper()
	s.addresses = map[string]string{}
	args := []string{"--drain-delay=0s", "--kubeconfig=" + s.plane.Kubeconfig()}
	for _, flag := range []string{
		"grpc-bind-address", "http-bind-address", "usage-bind-address", "metrics-bind-address",
		"health-probe-bind-address",
	} {
		port, err := controlplane.FreePort()
		if err != nil {
			t.Fatal(err)
		}
		s.addresses[flag] = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		args = append(args, "--"+flag+"="+s.addresses[flag])
	}
	cmd := newCommand()
	cmd.SetArgs(args)
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- cmd.ExecuteContext(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	s.expect(t, http.StatusOK, s.to(t, "health-probe-bind-address", "/readyz"))
}

func (s *suite) to(t *testing.T, flag, path string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.addresses[flag]+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (s *suite) newAuthzRequest(t *testing.T) *http.Request {
	t.Helper()
	r := s.to(t, "http-bind-address", "/authz")
	r.Header.Set("X-Api-Key", secret)
	return r
}

// expect repeats a request until the response has the given status, and returns its body.
func (s *suite) expect(t *testing.T, status int, r *http.Request) string {
	t.Helper()
	last := ""
	for end := time.Now().Add(timeout); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		response, err := unverified.Do(r)
		if err != nil {
			last = err.Error()
			continue
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if response.StatusCode == status && err == nil {
			return string(body)
		}
		last = response.Status + ": " + string(body)
	}
	t.Fatalf("%s: want %d, got %s", r.URL, status, last)
	return ""
}

// unverified asks the verifier, whose certificate is its own.
var unverified = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
