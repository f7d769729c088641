// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package verifier_test

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/usage"
	"github.com/apikey-manager/apikey-manager/test/controlplane"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

// clusters holds two control planes, and the verifier that follows both.
type clusters struct {
	eu, us   *suite
	verifier *controlplane.Verifier
	limited  *controlplane.Verifier // with --max-staleness
}

// TestClusters runs its parts in order: the second stops the API server of us.
func TestClusters(t *testing.T) {
	c := &clusters{eu: startCluster(t), us: startCluster(t)}
	both := []string{"--kubeconfig=eu=" + c.eu.plane.VerifierKubeconfig(), "--kubeconfig=us=" + c.us.plane.VerifierKubeconfig()}
	c.verifier = c.eu.verifiers.StartReplica(t, c.eu.admin, both...)
	c.limited = c.eu.verifiers.Start(t, controlplane.VerifierOptions{Flags: append([]string{"--max-staleness=5s"}, both...)})
	t.Run("keys, accounts and duplicates", c.testKeys)
	t.Run("reports for the manager of each cluster", c.testReports)
	t.Run("an outage of one", func(t *testing.T) { c.testOutage(t, both) })
	t.Run("a manager polls the reports of its cluster", c.testManager)
}

// startCluster starts a control plane without a manager: tests write the statuses of its keys.
func startCluster(t *testing.T) *suite {
	t.Helper()
	plane := controlplanetest.Start(t, controlplane.Options{WithoutControllers: true})
	admin := controlplanetest.Connect(t, plane.Config())
	w := &suite{Objects: controlplanetest.NewObjects(admin), plane: plane, admin: admin}
	var err error
	w.verifiers, err = controlplanetest.NewVerifiers(t.Context(), plane)
	controlplanetest.Must(t, err)
	w.Create(t, controlplanetest.NewAccount("away"))
	return w
}

// issuedAt changes when the credentials of a key were issued.
func (w *suite) issuedAt(t *testing.T, k *v1alpha1.APIKey, at time.Time) {
	t.Helper()
	k.Status.Credentials[0].IssuedAt = metav1.NewTime(at)
	controlplanetest.Must(t, w.admin.Status().Update(t.Context(), k))
}

func (w *suite) suspend(t *testing.T, account string, state v1alpha1.AccountState) {
	t.Helper()
	a := &v1alpha1.Account{ObjectMeta: metav1.ObjectMeta{Name: account}}
	w.Read(t, a)
	a.Spec.State = state
	controlplanetest.Must(t, w.admin.Update(t.Context(), a))
}

func (c *clusters) testKeys(t *testing.T) {
	_, euKey := c.eu.createWithStatus(t, "one", "")
	_, usKey := c.us.createWithStatus(t, "two", "")
	awaitAccount(t, c.verifier, euKey, "VALID", "away@eu")
	awaitAccount(t, c.verifier, usKey, "VALID", "away@us")

	// The accounts have the same name.
	c.us.suspend(t, "away", v1alpha1.AccountSuspended)
	awaitAccount(t, c.verifier, usKey, "ACCOUNT_SUSPENDED", "away@us")
	awaitAccount(t, c.verifier, euKey, "VALID", "away@eu")
	c.us.suspend(t, "away", v1alpha1.AccountActive)
	awaitAccount(t, c.verifier, usKey, "VALID", "away@us")

	// Both clusters have the same key, with the same namespace, name and ID.
	older, material := c.eu.createWithStatus(t, "twice", "")
	younger, _ := c.us.createWithStatus(t, "twice", "")
	c.eu.issuedAt(t, older, time.Now().Add(-2*time.Hour))
	c.us.issuedAt(t, younger, time.Now().Add(-time.Hour))
	awaitAccount(t, c.verifier, material, "VALID", "away@eu")
	c.eu.Change(t, older, func(s *v1alpha1.APIKeySpec) { s.State = v1alpha1.KeyStateRevoked })
	awaitAccount(t, c.verifier, material, "REVOKED", "away@eu")
	controlplanetest.Must(t, c.eu.admin.Delete(t.Context(), older))
	awaitAccount(t, c.verifier, material, "VALID", "away@us")
}

// awaitAccount waits until the verdict on a key has a code and an account.
func awaitAccount(t *testing.T, v *controlplane.Verifier, material, code, account string) {
	t.Helper()
	controlplanetest.Eventually(t, "the verdict is "+code+" of "+account, func() error {
		got, err := verdictAndAccount(t, v, material)
		controlplanetest.Must(t, err)
		return controlplanetest.Equal(got, code+" "+account)
	})
}

func verdictAndAccount(t *testing.T, v *controlplane.Verifier, material string) (string, error) {
	t.Helper()
	body := strings.NewReader(`{"key":"` + material + `"}`)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+v.HTTP+"/v1/explain", body)
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	var verdict struct{ Code, Account string }
	err = json.NewDecoder(response.Body).Decode(&verdict)
	return verdict.Code + " " + verdict.Account, err
}

// testReports checks that each manager is told about the keys of its cluster only, and that a token counts in its cluster only.
func (c *clusters) testReports(t *testing.T) {
	euKey, euMaterial := c.eu.createWithStatus(t, "reported", "")
	usKey, usMaterial := c.us.createWithStatus(t, "other", "")
	awaitAccount(t, c.verifier, euMaterial, "VALID", "away@eu")
	awaitAccount(t, c.verifier, usMaterial, "VALID", "away@us")
	tokens := map[string]string{}
	for name, w := range map[string]*suite{"eu": c.eu, "us": c.us} {
		tokens[name] = controlplanetest.Token(t, w.admin, w.plane.Namespace(), "apikey-manager", controlplanetest.VerifierService)
	}
	for _, tc := range []struct {
		query, token string
		status       int
		key, other   *v1alpha1.APIKey
	}{
		{"?cluster=eu", "eu", http.StatusOK, euKey, usKey},
		{"?cluster=us", "us", http.StatusOK, usKey, euKey},
		{"?cluster=us", "eu", http.StatusUnauthorized, nil, nil},
		{"?cluster=eu", "us", http.StatusUnauthorized, nil, nil},
		{"", "eu", http.StatusBadRequest, nil, nil},
		{"?cluster=ap", "eu", http.StatusBadRequest, nil, nil},
	} {
		if tc.key != nil {
			tc.query += "&refused=" + reference(tc.key) + "&refused=" + reference(tc.other)
		}
		status, report := c.report(t, tc.query, tokens[tc.token])
		if status != tc.status {
			t.Errorf("%s with the token of %s: status %d, want %d", tc.query, tc.token, status, tc.status)
		}
		if tc.key == nil {
			continue
		}
		used := fmt.Sprint(report.Keys)
		if !report.Synced || !strings.Contains(used, string(tc.key.UID)) || strings.Contains(used, string(tc.other.UID)) {
			t.Errorf("%s: the report is %+v", tc.query, report)
		}
		if len(report.Refused) != 1 || report.Refused[0] != tc.other.UID { // unknown in this cluster
			t.Errorf("%s: refused are %v, want %s", tc.query, report.Refused, tc.other.UID)
		}
	}
}

func reference(k *v1alpha1.APIKey) string {
	return usage.KeyReference{Namespace: k.Namespace, Name: k.Name, UID: k.UID}.String()
}

func (c *clusters) report(t *testing.T, query, token string) (status int, report usage.Report) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+c.verifier.Usage+usage.Path+query, http.NoBody)
	controlplanetest.Must(t, err)
	request.Header.Set("Authorization", "Bearer "+token)
	unverified := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} // each replica makes its own certificate
	defer unverified.CloseIdleConnections()
	response, err := unverified.Do(request)
	controlplanetest.Must(t, err)
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode == http.StatusOK {
		controlplanetest.Must(t, json.NewDecoder(response.Body).Decode(&report))
	}
	return response.StatusCode, report
}

// testManager runs a real manager, which handles the keys of the other parts as well.
func (c *clusters) testManager(t *testing.T) {
	flags := append(controlplanetest.VerifierFlags(t, c.eu.plane, c.eu.admin), "--verifier-cluster=eu")
	manager, err := controlplanetest.StartManager(t.Context(), c.eu.plane, controlplane.ManagerOptions{Flags: flags})
	controlplanetest.Must(t, err)
	defer manager.Kill()
	k, material := c.eu.issue(t, "managed", v1alpha1.APIKeySpec{Account: "away"})
	awaitAccount(t, c.verifier, material, "VALID", "away@eu")
	c.eu.AwaitStatus(t, k, "the key is reported as used", func() error {
		if k.Status.LastUsedTime == nil {
			return errors.New("no time")
		}
		return nil
	})
	c.eu.Change(t, k, func(s *v1alpha1.APIKeySpec) { s.State = v1alpha1.KeyStateInactive })
	c.eu.AwaitStatus(t, k, "the verifier is reported to refuse the key", func() error {
		if !meta.IsStatusConditionTrue(k.Status.Conditions, v1alpha1.ConditionEnforced) {
			return fmt.Errorf("conditions %v", k.Status.Conditions)
		}
		return nil
	})
}

func (c *clusters) testOutage(t *testing.T, both []string) {
	euKey, euMaterial := c.eu.createWithStatus(t, "staying", "")
	_, usMaterial := c.us.createWithStatus(t, "leaving", "")
	unknown := "ak_unknown" + strings.Repeat("0", 60)
	for _, v := range []*controlplane.Verifier{c.verifier, c.limited} {
		awaitAccount(t, v, euMaterial, "VALID", "away@eu")
		awaitAccount(t, v, usMaterial, "VALID", "away@us")
		awaitAccount(t, v, unknown, "UNKNOWN", "")
	}
	controlplanetest.Must(t, c.us.plane.StopAPIServer())

	// Without --max-staleness, keys of the lost cluster are verified from memory. With it, they and unknown keys are refused.
	awaitAccount(t, c.limited, usMaterial, "NOT_SYNCED", "")
	awaitAccount(t, c.limited, unknown, "NOT_SYNCED", "")
	awaitAccount(t, c.limited, euMaterial, "VALID", "away@eu")
	awaitAccount(t, c.verifier, usMaterial, "VALID", "away@us")
	awaitAccount(t, c.verifier, unknown, "UNKNOWN", "")
	for _, v := range []*controlplane.Verifier{c.verifier, c.limited} {
		if status, body := controlplanetest.GetURL(t, "http://"+v.Probes+"/readyz"); status != http.StatusOK {
			t.Errorf("without one cluster, /readyz is %d %s", status, body)
		}
	}
	for name, want := range map[string]string{`apikey_verifier_synced{cluster="eu"}`: "1", `apikey_verifier_synced{cluster="us"}`: "0"} {
		if got := controlplanetest.Metric(t, c.limited, name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}

	// A replica that starts now cannot tell unknown keys from those of the lost cluster.
	fresh := c.eu.verifiers.Start(t, controlplane.VerifierOptions{Unready: true, Flags: both})
	controlplanetest.Eventually(t, "the other cluster is synced", func() error {
		return controlplanetest.Equal(controlplanetest.Metric(t, fresh, `apikey_verifier_synced{cluster="eu"}`), "1")
	})
	awaitAccount(t, fresh, euMaterial, "NOT_SYNCED", "")
	if status, _ := controlplanetest.GetURL(t, "http://"+fresh.Probes+"/readyz"); status != http.StatusServiceUnavailable {
		t.Errorf("before it has synced all clusters, /readyz is %d", status)
	}

	c.eu.Change(t, euKey, func(s *v1alpha1.APIKeySpec) { s.State = v1alpha1.KeyStateInactive })
	for _, v := range []*controlplane.Verifier{c.verifier, c.limited} {
		awaitAccount(t, v, euMaterial, "INACTIVE", "away@eu")
	}
	controlplanetest.Must(t, c.us.plane.StartAPIServer(t.Context()))
	controlplanetest.Must(t, fresh.AwaitReady(t.Context()))
	leaving := &v1alpha1.APIKey{}
	controlplanetest.Must(t, c.us.admin.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: "leaving"}, leaving))
	for _, v := range []*controlplane.Verifier{c.verifier, c.limited, fresh} {
		awaitAccount(t, v, usMaterial, "VALID", "away@us")
		awaitAccount(t, v, unknown, "UNKNOWN", "")
	}
	c.us.Change(t, leaving, func(s *v1alpha1.APIKeySpec) { s.State = v1alpha1.KeyStateRevoked })
	for _, v := range []*controlplane.Verifier{c.verifier, c.limited, fresh} {
		awaitAccount(t, v, usMaterial, "REVOKED", "away@us")
	}
}
