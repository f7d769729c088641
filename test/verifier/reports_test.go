// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package verifier_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/credential"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/test/controlplane"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

func (w *suite) testReports(t *testing.T) {
	replicas := []*controlplane.Verifier{
		w.verifiers.StartReplica(t, w.admin), w.verifiers.StartReplica(t, w.admin, w.laggingFlags(t)...),
	}
	t.Run("keys are rotated without rejected requests", func(t *testing.T) { w.testRotations(t, replicas) })
	t.Run("only the manager may read reports", func(t *testing.T) { w.testUsageAccess(t, replicas[0]) })

	k, material := w.issue(t, "used", v1alpha1.APIKeySpec{Account: "reports"})
	began := time.Now().Truncate(time.Minute)
	for _, v := range replicas {
		controlplanetest.AwaitVerdict(t, v, material, "VALID")
	}
	controlplanetest.Eventually(t, "the status has the time of the last use", func() error {
		controlplanetest.Must(t, w.admin.Get(t.Context(), client.ObjectKeyFromObject(k), k))
		current := k.Status.Credentials[0].LastUsedTime
		if k.Status.LastUsedTime == nil || current == nil {
			return errors.New("no time")
		}
		if used := k.Status.LastUsedTime.Time; used.Before(began) || used.After(time.Now()) || !current.Time.Equal(used) {
			return fmt.Errorf("used at %s and %s, it is after %s", used, current, began)
		}
		return nil
	})

	w.Change(t, k, func(s *v1alpha1.APIKeySpec) { s.State = v1alpha1.KeyStateInactive })
	controlplanetest.Eventually(t, "condition Enforced is True", func() error {
		controlplanetest.Must(t, w.admin.Get(t.Context(), client.ObjectKeyFromObject(k), k))
		c := meta.FindStatusCondition(k.Status.Conditions, v1alpha1.ConditionEnforced)
		if c == nil || c.Status != metav1.ConditionTrue || c.ObservedGeneration != k.Generation {
			return fmt.Errorf("condition %v", c)
		}
		return nil
	})
	for _, v := range replicas {
		controlplanetest.ExpectVerdict(t, v, material, "INACTIVE")
	}
	w.Change(t, k, func(s *v1alpha1.APIKeySpec) { s.State = v1alpha1.KeyStateActive })
	controlplanetest.Eventually(t, "an active key has nothing to enforce", func() error {
		controlplanetest.Must(t, w.admin.Get(t.Context(), client.ObjectKeyFromObject(k), k))
		if c := meta.FindStatusCondition(k.Status.Conditions, v1alpha1.ConditionEnforced); c != nil || k.Status.State != v1alpha1.StateActive {
			return fmt.Errorf("state %s, condition %v", k.Status.State, c)
		}
		return nil
	})
}

// testUsageAccess checks which tokens may read usage reports.
func (w *suite) testUsageAccess(t *testing.T, v *controlplane.Verifier) {
	controlplanetest.Must(t, w.admin.Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "stranger"}}))
	namespace := w.plane.Namespace()
	for name, tc := range map[string]struct {
		token string
		want  int
	}{
		"no token":                          {"", http.StatusUnauthorized},
		"nonsense":                          {"nonsense", http.StatusUnauthorized},
		"the manager":                       {controlplanetest.Token(t, w.admin, namespace, "apikey-manager", controlplanetest.VerifierService), http.StatusOK},
		"the manager, for the API server":   {controlplanetest.Token(t, w.admin, namespace, "apikey-manager"), http.StatusUnauthorized},
		"the manager, for another audience": {controlplanetest.Token(t, w.admin, namespace, "apikey-manager", "other"), http.StatusUnauthorized},
		"a stranger":                        {controlplanetest.Token(t, w.admin, "default", "stranger", controlplanetest.VerifierService), http.StatusForbidden},
		"the verifier, who serves it":       {controlplanetest.Token(t, w.admin, namespace, "apikey-verifier", controlplanetest.VerifierService), http.StatusForbidden},
		"the manager, for several, with us": {controlplanetest.Token(t, w.admin, namespace, "apikey-manager", "other", controlplanetest.VerifierService), http.StatusOK},
	} {
		t.Run(name, func(t *testing.T) {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+v.Usage+"/v1/usage", http.NoBody)
			controlplanetest.Must(t, err)
			if tc.token != "" {
				request.Header.Set("Authorization", "Bearer "+tc.token)
			}
			client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} // each replica makes its own certificate
			response, err := client.Do(request)
			controlplanetest.Must(t, err)
			defer func() { _ = response.Body.Close() }()
			if response.StatusCode != tc.want {
				t.Errorf("got %s, want %d", response.Status, tc.want)
			}
		})
	}
}

// statusOf returns the status that the manager would write for an issued key.
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
