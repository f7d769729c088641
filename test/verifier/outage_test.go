// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package verifier_test

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
	"github.com/apikey-manager/apikey-manager/test/controlplane"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

// expirationSoon returns an expiration a few seconds from now.
func expirationSoon() time.Time { return time.Now().Add(4 * time.Second).Truncate(time.Second) }

func (w *suite) testWithoutManager(t *testing.T) {
	inactive, inactiveKey := w.issue(t, "inactive", v1alpha1.APIKeySpec{Account: "away", Label: "a"})
	revoked, revokedKey := w.issue(t, "revoked", v1alpha1.APIKeySpec{Account: "away", Label: "b"})
	compromised, compromisedKey := w.issue(t, "compromised", v1alpha1.APIKeySpec{Account: "away", Label: "c"})
	shortened, shortenedKey := w.issue(t, "shortened", v1alpha1.APIKeySpec{Account: "away", Label: "d"})
	deleted, deletedKey := w.issue(t, "deleted", v1alpha1.APIKeySpec{Account: "away", Label: "e"})
	_, suspendedKey := w.issue(t, "suspended", v1alpha1.APIKeySpec{Account: "suspended"})
	end := expirationSoon()
	_, expiringKey := w.issue(t, "expiring", v1alpha1.APIKeySpec{Account: "expiring", Expiration: end.UTC().Format(time.RFC3339)})
	controlplanetest.Must(t, w.manager.Stop(controlplanetest.Timeout))

	for _, material := range []string{inactiveKey, revokedKey, compromisedKey, shortenedKey, deletedKey, suspendedKey} {
		controlplanetest.AwaitVerdict(t, w.verifier, material, "VALID")
	}
	w.Change(t, inactive, func(s *v1alpha1.APIKeySpec) { s.State = v1alpha1.KeyStateInactive })
	controlplanetest.AwaitVerdict(t, w.verifier, inactiveKey, "INACTIVE")
	w.Change(t, revoked, func(s *v1alpha1.APIKeySpec) { s.State = v1alpha1.KeyStateRevoked })
	controlplanetest.AwaitVerdict(t, w.verifier, revokedKey, "REVOKED")
	w.Change(t, compromised, func(s *v1alpha1.APIKeySpec) {
		s.Rotation = &v1alpha1.Rotation{RevokeBefore: keystest.Instant(time.Now().Add(time.Second))}
	})
	controlplanetest.AwaitVerdict(t, w.verifier, compromisedKey, "REVOKED")
	controlplanetest.Must(t, w.admin.Delete(t.Context(), deleted))
	controlplanetest.AwaitVerdict(t, w.verifier, deletedKey, "UNKNOWN")
	account := &v1alpha1.Account{ObjectMeta: metav1.ObjectMeta{Name: "suspended"}}
	controlplanetest.Must(t, w.admin.Get(t.Context(), client.ObjectKeyFromObject(account), account))
	account.Spec.State = v1alpha1.AccountSuspended
	controlplanetest.Must(t, w.admin.Update(t.Context(), account))
	controlplanetest.AwaitVerdict(t, w.verifier, suspendedKey, "ACCOUNT_SUSPENDED")
	expectExpiry(t, w.verifier, expiringKey, end)

	end = expirationSoon()
	w.Change(t, shortened, func(s *v1alpha1.APIKeySpec) { s.Expiration = end.UTC().Format(time.RFC3339) })
	expectExpiry(t, w.verifier, shortenedKey, end)
	// A change that makes a key valid again has no effect until the manager has accepted it.
	w.Change(t, inactive, func(s *v1alpha1.APIKeySpec) { s.State = v1alpha1.KeyStateActive })
	w.Change(t, shortened, func(s *v1alpha1.APIKeySpec) { s.Expiration = "" })
	controlplanetest.AwaitVerdict(t, w.verifier, shortenedKey, "VALID") // the manager never heard of the shorter one
}

// expectExpiry polls until a key is EXPIRED, and checks that it is VALID before its expiration and EXPIRED from then on.
func expectExpiry(t *testing.T, v *controlplane.Verifier, material string, end time.Time) {
	t.Helper()
	controlplanetest.Eventually(t, "the key expires", func() error {
		before := time.Now()
		got, err := controlplanetest.Verdict(t.Context(), v, material)
		controlplanetest.Must(t, err)
		after := time.Now()
		switch {
		case got == "EXPIRED" && after.Before(end):
			t.Fatalf("the key has expired at %s, before its expiration at %s", after, end)
		case got == "VALID" && !before.Before(end):
			t.Fatalf("the key is valid at %s, after its expiration at %s", before, end)
		case got != "VALID" && got != "EXPIRED":
			t.Fatalf("the verifier returns %s", got)
		}
		return controlplanetest.Equal(got, "EXPIRED")
	})
}

func (w *suite) testWithoutAPIServer(t *testing.T) {
	// The manager does not run either: these keys have the status that it would write.
	_, lasting := w.createWithStatus(t, "lasting", "")
	end := expirationSoon().Add(4 * time.Second)
	_, expiring := w.createWithStatus(t, "ending", end.UTC().Format(time.RFC3339))
	controlplanetest.AwaitVerdict(t, w.verifier, lasting, "VALID")
	controlplanetest.AwaitVerdict(t, w.verifier, expiring, "VALID")
	if age := cacheAge(t, w.verifier); age != 0 {
		t.Errorf("while it receives changes, its cache is %gs old", age)
	}
	controlplanetest.Must(t, w.plane.StopAPIServer())

	controlplanetest.ExpectVerdict(t, w.verifier, lasting, "VALID")
	expectExpiry(t, w.verifier, expiring, end)
	controlplanetest.ExpectVerdict(t, w.verifier, lasting, "VALID")
	young := cacheAge(t, w.verifier)
	controlplanetest.Eventually(t, "the cache grows old", func() error {
		if age := cacheAge(t, w.verifier); age <= young || age == 0 {
			return errors.New("it does not")
		}
		return nil
	})

	fresh := w.verifiers.Start(t, controlplane.VerifierOptions{Unready: true})
	controlplanetest.AwaitVerdict(t, fresh, lasting, "NOT_SYNCED")
	if status, _ := controlplanetest.GetURL(t, "http://"+fresh.Probes+"/readyz"); status != http.StatusServiceUnavailable {
		t.Errorf("a verifier that has not synced answers %d on /readyz", status)
	}
	if status, _ := controlplanetest.GetURL(t, "http://"+fresh.HTTP+"/authz"); status != http.StatusServiceUnavailable {
		t.Errorf("a verifier that has not synced answers %d on /authz", status)
	}

	controlplanetest.Must(t, w.plane.StartAPIServer(t.Context()))
	controlplanetest.Must(t, fresh.AwaitReady(t.Context()))
	controlplanetest.AwaitVerdict(t, fresh, lasting, "VALID")
	k := &v1alpha1.APIKey{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "lasting"}}
	w.Change(t, k, func(s *v1alpha1.APIKeySpec) { s.State = v1alpha1.KeyStateInactive })
	for _, v := range []*controlplane.Verifier{w.verifier, fresh} {
		controlplanetest.AwaitVerdict(t, v, lasting, "INACTIVE")
		controlplanetest.Eventually(t, "the cache is young again", func() error {
			if age := cacheAge(t, v); age != 0 {
				return errors.New("it is not")
			}
			return nil
		})
	}
}

// createWithStatus creates a key with the status that the manager would write.
func (w *suite) createWithStatus(t *testing.T, name, expiration string) (*v1alpha1.APIKey, string) {
	t.Helper()
	material := "ak_" + name + strings.Repeat("0", 60)
	k := &v1alpha1.APIKey{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec:       v1alpha1.APIKeySpec{Account: "away", Label: name, Expiration: expiration},
	}
	controlplanetest.Must(t, w.admin.Create(t.Context(), k))
	k.Status = statusOf(name, material, expiration)
	controlplanetest.Must(t, w.admin.Status().Update(t.Context(), k))
	return k, material
}

// cacheAge returns apikey_verifier_cache_age_seconds.
func cacheAge(t *testing.T, v *controlplane.Verifier) float64 {
	t.Helper()
	age, err := strconv.ParseFloat(controlplanetest.Metric(t, v, "apikey_verifier_cache_age_seconds"), 64)
	controlplanetest.Must(t, err)
	return age
}
