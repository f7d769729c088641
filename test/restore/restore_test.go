// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package restore_test

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

const (
	// changes is the number of changes after the backup. It is higher than the number of writes of the manager after the
	// restore.
	changes = 600
	// limit is spec.limits.maxKeys of account limited.
	limit = 2
)

// TestRestore restores etcd twice: while the API server is stopped, as Kubernetes requires, and while it runs.
func TestRestore(t *testing.T) {
	s := start(t)
	maxKeys := int32(limit)
	controlplanetest.Must(t, s.admin.Create(t.Context(), &v1alpha1.Account{
		ObjectMeta: metav1.ObjectMeta{Name: "limited"},
		Spec:       v1alpha1.AccountSpec{Limits: &v1alpha1.Limits{MaxKeys: &maxKeys, Enforcement: v1alpha1.EnforcementQueue}},
	}))
	_, before := s.issue(t, "limited", "before")
	kept, keptKey := s.issue(t, "acme", "kept")
	later, laterKey := s.issue(t, "acme", "later")
	backup, err := s.plane.BackUpEtcd(t.Context())
	controlplanetest.Must(t, err)
	_, lost := s.issue(t, "limited", "lost")
	newest := s.makeChanges(t)

	t.Run("with the API server stopped", func(t *testing.T) {
		controlplanetest.Must(t, s.plane.StopAPIServer())
		controlplanetest.Must(t, s.plane.RestoreEtcd(backup))
		controlplanetest.Must(t, s.plane.StartAPIServer(t.Context()))
		s.disable(t, kept, newest)
		s.awaitDisabled(t, kept, keptKey)
		s.awaitVerdict(t, lost, "UNKNOWN")
		s.awaitVerdict(t, before, "VALID")
		s.awaitManagerExit(t)
		for i, v := range s.verifiers {
			if got := controlplanetest.Metric(t, v, "apikey_verifier_store_rollbacks_total"); got != "1" {
				t.Errorf("verifier %d noticed %s rollbacks, want 1", i, got)
			}
		}
		s.startManager(t)
		s.awaitEnforced(t, kept, keptKey)
		s.expectLimitKept(t)
	})
	t.Run("with the API server left running", func(t *testing.T) {
		newest := s.makeChanges(t)
		controlplanetest.Must(t, s.plane.RestoreEtcd(backup))
		controlplanetest.Must(t, s.plane.AwaitReady(t.Context()))
		s.disable(t, later, newest)
		s.awaitNotAccepted(t, later, laterKey)
		// Kubernetes requires a restart of API servers after a restore.
		controlplanetest.Must(t, s.plane.StopAPIServer())
		controlplanetest.Must(t, s.plane.StartAPIServer(t.Context()))
		s.awaitDisabled(t, later, laterKey)
		s.awaitManagerExit(t)
		s.startManager(t)
		s.awaitEnforced(t, later, laterKey)
		s.awaitVerdict(t, keptKey, "VALID") // as in the backup
	})
}

// makeChanges makes changes that verifiers observe, and returns a resourceVersion that they have reached.
func (s *suite) makeChanges(t *testing.T) int {
	t.Helper()
	k := newKey("busy", "busy-"+strconv.Itoa(int(time.Now().UnixNano())))
	s.Create(t, k)
	for i := range changes {
		s.Change(t, k, func(spec *v1alpha1.APIKeySpec) { spec.Label = fmt.Sprintf("change %d", i) })
	}
	_, material := s.issue(t, "busy", "last-"+strconv.Itoa(int(time.Now().UnixNano())))
	s.awaitVerdict(t, material, "VALID")
	return version(t, k)
}

func version(t *testing.T, o client.Object) int {
	t.Helper()
	number, err := strconv.Atoi(o.GetResourceVersion())
	controlplanetest.Must(t, err)
	return number
}

// disable sets a key to Inactive, at a resourceVersion below one that verifiers had.
func (s *suite) disable(t *testing.T, k *v1alpha1.APIKey, newest int) {
	t.Helper()
	s.Change(t, k, func(spec *v1alpha1.APIKeySpec) { spec.State = v1alpha1.KeyStateInactive })
	if at := version(t, k); at >= newest {
		t.Fatalf("switched off at %d, which is not below %d: the test proves nothing", at, newest)
	}
	t.Logf("switched off at %d, verifiers were at %d or later", version(t, k), newest)
}

// awaitDisabled waits until every verifier returns INACTIVE for a key, and logs how long that takes.
func (s *suite) awaitDisabled(t *testing.T, k *v1alpha1.APIKey, material string) {
	t.Helper()
	began := time.Now()
	s.awaitVerdict(t, material, "INACTIVE")
	t.Logf("%s is refused by every verifier %s after the API server was back", k.Name, time.Since(began).Round(time.Millisecond))
}

// awaitManagerExit waits until the manager has exited because of the rollback.
func (s *suite) awaitManagerExit(t *testing.T) {
	t.Helper()
	began := time.Now()
	select {
	case <-s.manager.Done():
	case <-time.After(controlplanetest.Timeout):
		t.Fatal("the manager goes on with what it knows")
	}
	if err := s.manager.Err(); err == nil || !strings.Contains(err.Error(), "rolled back") {
		t.Fatalf("the manager ended for another reason: %v", err)
	}
	t.Logf("the manager had ended, or ended after %s", time.Since(began).Round(time.Millisecond))
}

func enforced(k *v1alpha1.APIKey) bool {
	c := meta.FindStatusCondition(k.Status.Conditions, v1alpha1.ConditionEnforced)
	return c != nil && c.Status == metav1.ConditionTrue && c.ObservedGeneration == k.Generation
}

func (s *suite) awaitEnforced(t *testing.T, k *v1alpha1.APIKey, material string) {
	t.Helper()
	controlplanetest.Eventually(t, "the status says that every verifier refuses the key", func() error {
		if err := s.admin.Get(t.Context(), client.ObjectKeyFromObject(k), k); err != nil {
			return err
		}
		if !enforced(k) {
			return fmt.Errorf("conditions %v", k.Status.Conditions)
		}
		return nil
	})
	for i, got := range s.verdicts(t, material) {
		if got != "INACTIVE" {
			t.Errorf("Enforced is True, and verifier %d says %s", i, got)
		}
	}
}

// awaitNotAccepted waits until no verifier accepts a key, although the API server sends none of them the change. Until then
// condition Enforced must not be True.
func (s *suite) awaitNotAccepted(t *testing.T, k *v1alpha1.APIKey, material string) {
	t.Helper()
	began, said := time.Now(), []string(nil)
	controlplanetest.Eventually(t, "no verifier accepts the key", func() error {
		if err := s.admin.Get(t.Context(), client.ObjectKeyFromObject(k), k); err != nil {
			return err
		}
		if said = s.verdicts(t, material); !slices.Contains(said, "VALID") {
			return nil
		}
		if enforced(k) {
			t.Errorf("Enforced is True, and the verifiers say %v", said)
		}
		return fmt.Errorf("they say %v", said)
	})
	ended := false
	select {
	case <-s.manager.Done():
		ended = true
	default:
	}
	t.Logf("with the API server left running, the verifiers say %v after %s; the manager has ended: %t", said, time.Since(began).Round(time.Millisecond), ended)
}

// expectLimitKept creates more keys than the limit allows, and checks that the limit is kept.
func (s *suite) expectLimitKept(t *testing.T) {
	t.Helper()
	for i := range 2 * limit {
		s.Create(t, newKey("limited", fmt.Sprintf("more-%d", i)))
	}
	controlplanetest.Eventually(t, "as many keys are issued as the limit allows", func() error {
		active, err := s.issuedKeys(t)
		if err != nil || active != limit {
			return errors.Join(err, fmt.Errorf("%d keys", active))
		}
		return nil
	})
	controlplanetest.Consistently(t, "no more keys are issued than the limit allows", func() error {
		if active, err := s.issuedKeys(t); err != nil || active > limit {
			return errors.Join(err, fmt.Errorf("%d keys are issued", active))
		}
		return nil
	})
}

// issuedKeys returns the number of keys of account limited that have a Secret.
func (s *suite) issuedKeys(t *testing.T) (int, error) {
	t.Helper()
	var list v1alpha1.APIKeyList
	if err := s.admin.List(t.Context(), &list, client.InNamespace("default")); err != nil {
		return 0, err
	}
	count := 0
	for i := range list.Items {
		k := &list.Items[i]
		err := s.admin.Get(t.Context(), client.ObjectKey{Namespace: k.Namespace, Name: keys.SecretName(k)}, &corev1.Secret{})
		if k.Spec.Account == "limited" && err == nil {
			count++
		}
	}
	return count, nil
}
