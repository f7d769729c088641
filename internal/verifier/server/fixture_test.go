// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package server_test

import (
	"crypto/sha256"
	"encoding/hex"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/verifier"
	"github.com/apikey-manager/apikey-manager/internal/verifier/server"
)

// The keys in the index of newIndex, and one that is not in it. None is a substring of another one.
const (
	goodKey      = "sk_good_0123456789abcdefghijklmn"
	plainKey     = "sk_plain_0123456789abcdefghijklm"
	listedKey    = "sk_listed_0123456789abcdefghijkl"
	inactiveKey  = "sk_inactive_0123456789abcdefghij"
	expiredKey   = "sk_expired_0123456789abcdefghijk"
	revokedKey   = "sk_revoked_0123456789abcdefghijk"
	leakedKey    = "sk_leaked_0123456789abcdefghijkl"
	suspendedKey = "sk_suspended_0123456789abcdefghi"
	oddKey       = "sk_odd_0123456789abcdefghijklmno"
	borrowedKey  = "sk_borrowed_0123456789abcdefghij"
	unknownKey   = "sk_unknown_0123456789abcdefghijk"
)

var knownKeys = []string{goodKey, plainKey, listedKey, inactiveKey, expiredKey, revokedKey, leakedKey, suspendedKey, oddKey, borrowedKey}

// oddID is an external ID with characters that are invalid in a header.
const oddID = " 50%\r\nX-Apikey-Account: root\u00e9"

var now = time.Date(2027, 2, 28, 12, 0, 0, 0, time.UTC)

// newIndex returns an index with the keys above.
func newIndex() *verifier.Index {
	x := verifier.NewIndex()
	x.PutNamespace("shops", nil)
	for name, spec := range map[string]v1alpha1.AccountSpec{
		"acme": {ExternalID: "ext-1", Plan: "pro"}, "bare": {}, "odd": {ExternalID: oddID}, "ext-1": {}, // its name equals the external ID of another account
		"late": {ExternalID: "ext-2", State: v1alpha1.AccountSuspended},
	} {
		x.PutAccount(&v1alpha1.Account{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: spec})
	}
	expiration := metav1.NewTime(now.Add(time.Hour))
	past := metav1.NewTime(now.Add(-time.Hour))
	good := newKey("good", goodKey, v1alpha1.APIKeySpec{Account: "acme", Label: "Shop", Scopes: []string{"orders:read", "orders:write"}})
	good.Status.ExpirationTime = &expiration
	x.PutKey(good)
	x.PutKey(newKey("plain", plainKey, v1alpha1.APIKeySpec{Account: "bare"}))
	x.PutKey(newKey("borrowed", borrowedKey, v1alpha1.APIKeySpec{Account: "ext-1"}))
	x.PutKey(newKey("odd", oddKey, v1alpha1.APIKeySpec{Account: "odd"}))
	x.PutKey(newKey("listed", listedKey, v1alpha1.APIKeySpec{Account: "acme", IPWhitelist: []string{"192.0.2.0/24", "2001:db8::/32"}}))
	x.PutKey(newKey("inactive", inactiveKey, v1alpha1.APIKeySpec{Account: "acme", State: v1alpha1.KeyStateInactive}))
	x.PutKey(newKey("revoked", revokedKey, v1alpha1.APIKeySpec{Account: "acme", State: v1alpha1.KeyStateRevoked}))
	leaked := newKey("leaked", leakedKey, v1alpha1.APIKeySpec{Account: "acme"}) // its credential was revoked by rotation.revokeBefore
	leaked.Status.RevokedCredentials = []v1alpha1.RevokedCredential{{ID: "idleaked", SHA256: leaked.Status.Credentials[0].SHA256, IssuedAt: past}}
	leaked.Status.Credentials = nil
	x.PutKey(leaked)
	x.PutKey(newKey("suspended", suspendedKey, v1alpha1.APIKeySpec{Account: "late"}))
	expired := newKey("expired", expiredKey, v1alpha1.APIKeySpec{Account: "acme"})
	expired.Status.ExpirationTime = &past
	x.PutKey(expired)
	return x
}

func newKey(name, key string, spec v1alpha1.APIKeySpec) *v1alpha1.APIKey {
	digest := sha256.Sum256([]byte(key))
	return &v1alpha1.APIKey{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "shops", Name: name, UID: types.UID(name),
			CreationTimestamp: metav1.NewTime(now.Add(-24 * time.Hour)),
		},
		Spec: spec,
		Status: v1alpha1.APIKeyStatus{State: v1alpha1.StateActive, Credentials: []v1alpha1.Credential{{
			ID: "id" + name, SHA256: hex.EncodeToString(digest[:]), IssuedAt: metav1.NewTime(now.Add(-24 * time.Hour)),
		}}},
	}
}

// setup configures the Authorizer of a test.
type setup struct {
	sources, trusted []string
	options          server.AuthorizerOptions
	// unsynced leaves the index incomplete.
	unsynced bool
	// index defaults to newIndex.
	index *verifier.Index
}

func accountNamed(name, externalID string) *v1alpha1.Account {
	return &v1alpha1.Account{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.AccountSpec{ExternalID: externalID}}
}

// accountHeader parses a value of --account-header.
func accountHeader(text string) server.AccountHeader {
	h, err := server.ParseAccountHeader(text)
	if err != nil {
		panic(err)
	}
	return h
}

func (s setup) authorizer(t testing.TB) *server.Authorizer {
	t.Helper()
	if s.sources == nil {
		s.sources = verifier.DefaultSources
	}
	extractor, err := verifier.NewKeyExtractor(s.sources)
	if err != nil {
		t.Fatal(err)
	}
	resolver, err := verifier.NewClientIPResolver(s.trusted)
	if err != nil {
		t.Fatal(err)
	}
	o := s.options
	if s.index == nil {
		s.index = newIndex()
	}
	o.Extractor, o.ClientIP, o.Clusters = extractor, resolver, verifier.NewClusters(s.index)
	if o.Clock == nil {
		o.Clock = clocktesting.NewFakePassiveClock(now)
	}
	if o.Realm == "" {
		o.Realm = "tests"
	}
	if !s.unsynced {
		s.index.SetComplete()
	}
	authorizer, err := server.NewAuthorizer(o)
	if err != nil {
		t.Fatal(err)
	}
	return authorizer
}
