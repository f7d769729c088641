// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package gateways_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

// exportTest runs a gateway that reads the keys of an account from a KeyExport.
type exportTest struct {
	*suite
	controlplanetest.Objects

	f       *runningGateway
	export  *v1alpha1.KeyExport
	account *v1alpha1.Account
}

// startExport runs a gateway with the sample of a KeyExport. The KeyExport is restricted to an account of the test.
func startExport(t *testing.T, w *suite, g *gateway, export string) *exportTest {
	t.Helper()
	own := &suite{plane: w.plane, admin: w.admin, keys: map[string]issued{}, installEnvoyGatewayCRDs: w.installEnvoyGatewayCRDs}
	account := controlplanetest.NewAccount(controlplanetest.UniqueName("exported"), func(s *v1alpha1.AccountSpec) {
		s.ExportPolicy, s.Limits = v1alpha1.ExportKey, &v1alpha1.Limits{Unlimited: v1alpha1.SwitchEnabled}
	})
	e := &exportTest{
		suite: own, Objects: controlplanetest.NewObjects(w.admin), account: account,
		export: &v1alpha1.KeyExport{ObjectMeta: metav1.ObjectMeta{Namespace: exportNamespace, Name: export}},
	}
	e.Create(t, account)
	e.f = own.serve(t, g, "")
	own.kubectl(t, "patch", "keyexport", export, "-n", exportNamespace, "--type=merge", "-p", `{"spec":{"accounts":["`+account.Name+`"]}}`)
	return e
}

// newKey issues a key of the account, and waits until the gateway accepts it.
func (e *exportTest) newKey(t *testing.T, name string, changes ...func(*v1alpha1.APIKeySpec)) (k *v1alpha1.APIKey, material string) {
	t.Helper()
	k = controlplanetest.NewKey("default", e.account.Name+"-"+name, e.account.Name, changes...)
	e.Issue(t, k)
	material = e.Material(t, k)
	e.keys[name] = issued{material: material, id: k.Status.KeyID}
	e.f.awaitStatus(t, material, http.StatusOK)
	return k, material
}

// expectRefused makes a change after which the gateway must refuse a key, and logs how long that takes.
func (e *exportTest) expectRefused(t *testing.T, material string, change func()) {
	t.Helper()
	controlplanetest.Must(t, e.f.expectStatus(t, material, http.StatusOK))
	began := time.Now()
	change()
	patched := time.Since(began)
	e.f.awaitStatus(t, material, http.StatusUnauthorized)
	t.Logf("refused %d ms after the change was sent, which took %d ms", time.Since(began).Milliseconds(), patched.Milliseconds())
}

// testEnforcement checks that the gateway accepts the keys that a verifier would accept from any address, and no others.
func (e *exportTest) testEnforcement(t *testing.T) {
	t.Run("a valid key is replaced by its ID", e.testIdentity)
	t.Run("a key that is not one is denied", e.testStrangers)
	t.Run("an inactive key is refused until it is active again", func(t *testing.T) {
		k, material := e.newKey(t, "inactive")
		e.expectRefused(t, material, func() { e.Change(t, k, func(s *v1alpha1.APIKeySpec) { s.State = v1alpha1.KeyStateInactive }) })
		e.Change(t, k, func(s *v1alpha1.APIKeySpec) { s.State = v1alpha1.KeyStateActive })
		e.f.awaitStatus(t, material, http.StatusOK)
	})
	t.Run("a revoked key is refused", func(t *testing.T) {
		k, material := e.newKey(t, "revoked")
		e.expectRefused(t, material, func() { e.Change(t, k, func(s *v1alpha1.APIKeySpec) { s.State = v1alpha1.KeyStateRevoked }) })
	})
	t.Run("a deleted key is refused", func(t *testing.T) {
		k, material := e.newKey(t, "deleted")
		e.expectRefused(t, material, func() { controlplanetest.Must(t, e.admin.Delete(t.Context(), k)) })
	})
	t.Run("a key expires at its second", e.testExpiration)
	t.Run("a key with an address is refused, because the gateway cannot check it", e.testAddress)
	t.Run("a rotation refuses no request", e.testRotation)
	t.Run("the keys of a suspended account are refused", func(t *testing.T) {
		_, material := e.newKey(t, "suspended")
		e.expectRefused(t, material, func() { e.changeAccount(t, `{"spec":{"state":"Suspended"}}`) })
		e.changeAccount(t, `{"spec":{"state":"Active"}}`)
		e.f.awaitStatus(t, material, http.StatusOK)
	})
	t.Run("the keys of an account that forbids their export are refused", func(t *testing.T) {
		_, material := e.newKey(t, "forbidden")
		e.expectRefused(t, material, func() { e.changeAccount(t, `{"spec":{"exportPolicy":"Digest"}}`) })
		e.changeAccount(t, `{"spec":{"exportPolicy":"Key"}}`)
		e.f.awaitStatus(t, material, http.StatusOK)
	})
}

func (e *exportTest) testIdentity(t *testing.T) {
	k, material := e.newKey(t, "valid")
	header := http.Header{"X-API-Key": {material}}
	for _, name := range []string{"X-Apikey-Id", "x-apikey-id", "X_Apikey_Id", "X.Apikey.Id", "X-Apikey-Account"} {
		header[name] = []string{"forged", "forged again"}
	}
	received := e.f.expectAllowed(t, clientRequest{header: header}, map[string]string{"x-apikey-id": k.Status.KeyID})
	if places := received.placesOfKey(material); len(places) != 0 {
		t.Errorf("the application sees the key in %v", places)
	}
}

func (e *exportTest) testStrangers(t *testing.T) {
	k, material := e.newKey(t, "known")
	for about, key := range map[string]string{
		"none": "", "unknown": strings.Repeat("x", 60), "the key ID": k.Status.KeyID, "the digest": controlplanetest.Digest(material),
		"the beginning of a key": material[:len(material)-1], "the key and more": material + "0", "the placeholder": "no client", "escaped": `no\nclient`,
	} {
		t.Run(about, func(t *testing.T) {
			if a := e.f.request(t, key); a.status != http.StatusUnauthorized || len(a.received) != 0 {
				t.Errorf("it was answered %d and reached the application %d times", a.status, len(a.received))
			}
		})
	}
}

func (e *exportTest) testExpiration(t *testing.T) {
	k, material := e.newKey(t, "expiring")
	at := time.Now().Add(4 * time.Second).Truncate(time.Second)
	e.Change(t, k, func(s *v1alpha1.APIKeySpec) { s.Expiration = at.UTC().Format(time.RFC3339) })
	var refused time.Time
	controlplanetest.Until(t, "the key is accepted", func() bool {
		status, err := statusOf(t.Context(), e.f.url, material)
		refused = time.Now()
		return err == nil && status == http.StatusUnauthorized
	})
	if refused.Before(at) {
		t.Errorf("it was refused %s early", at.Sub(refused))
	}
	t.Logf("refused %d ms after its second", refused.Sub(at).Milliseconds())
	e.f.awaitStatus(t, material, http.StatusUnauthorized)
}

func (e *exportTest) testAddress(t *testing.T) {
	k, material := e.newKey(t, "near")
	e.expectRefused(t, material, func() { e.Change(t, k, func(s *v1alpha1.APIKeySpec) { s.IPWhitelist = []string{"127.0.0.0/8"} }) })
	controlplanetest.Eventually(t, "the status of the KeyExport has the reason", func() error {
		e.Read(t, e.export)
		if list := e.export.Status.Withheld; len(list) != 1 || list[0].Name != k.Name || list[0].Reason != "AddressRestricted" {
			return fmt.Errorf("it has %v", list)
		}
		return nil
	})
	e.Change(t, k, func(s *v1alpha1.APIKeySpec) { s.IPWhitelist = nil })
	e.f.awaitStatus(t, material, http.StatusOK)
}

// testRotation rotates two keys at the same time, while applications send requests with the keys in their Secrets.
func (e *exportTest) testRotation(t *testing.T) {
	long, longBefore := e.newKey(t, "rotating-long")
	short, shortBefore := e.newKey(t, "rotating-short")
	finish := e.startApplications(t, long, short)
	for k, overlap := range map[*v1alpha1.APIKey]v1alpha1.Duration{long: "1h", short: "3s"} {
		e.Change(t, k, func(s *v1alpha1.APIKeySpec) {
			s.Rotation = &v1alpha1.Rotation{RequestedAt: keystest.Instant(time.Now()), Overlap: overlap}
		})
	}
	controlplanetest.Until(t, "the Secrets have the same keys", func() bool { return e.Material(t, long) != longBefore && e.Material(t, short) != shortBefore })
	for _, material := range []string{longBefore, e.Material(t, long), e.Material(t, short)} {
		controlplanetest.Must(t, e.f.expectStatus(t, material, http.StatusOK))
	}
	e.f.awaitStatus(t, shortBefore, http.StatusUnauthorized) // at the end of its overlap
	controlplanetest.Must(t, e.f.expectStatus(t, longBefore, http.StatusOK))
	sent := finish()
	t.Logf("%d requests, all of them accepted", sent)
	if sent < 50 {
		t.Errorf("only %d requests were sent", sent)
	}
}

// startApplications reads the Secrets of keys and sends requests with what they hold, again and again, until the returned function is
// called, which returns the number of requests. Any refusal fails the test.
func (e *exportTest) startApplications(t *testing.T, list ...*v1alpha1.APIKey) (finish func() int32) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var sent atomic.Int32
	var applications sync.WaitGroup
	for _, k := range list {
		k := k.DeepCopy() // the test changes the key meanwhile
		applications.Go(func() {
			for ctx.Err() == nil {
				if err := e.useSecret(t.Context(), k); err != nil {
					t.Errorf("after %d requests: %s: %v", sent.Load(), k.Name, err)
				}
				sent.Add(1)
			}
		})
	}
	finish = func() int32 {
		cancel()
		applications.Wait()
		return sent.Load()
	}
	t.Cleanup(func() { finish() })
	return finish
}

// useSecret sends a request with the key that the Secret of an APIKey holds.
func (e *exportTest) useSecret(ctx context.Context, k *v1alpha1.APIKey) error {
	secret, err := controlplanetest.SecretOf(ctx, e.admin, k)
	if err != nil {
		return err
	}
	status, err := statusOf(ctx, e.f.url, string(secret.Data[keys.EntryCurrent]))
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("the key in its Secret was answered %d", status)
	}
	return err
}

func (e *exportTest) changeAccount(t *testing.T, patch string) {
	t.Helper()
	controlplanetest.Must(t, e.admin.Patch(t.Context(), e.account, controlplanetest.MergePatch(patch)))
}
