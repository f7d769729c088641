// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Package keystest builds keys, accounts and observed Secrets for tests, each in one expression:
//
//	keystest.Key("shop", keystest.Label("web"), keystest.Created(t))
//
// The defaults suit most tests: an Active key of account acme in namespace default, created at Epoch, and an account with a
// limit of five keys. Only tests may import this package.
package keystest

import (
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/credential"
	"github.com/apikey-manager/apikey-manager/internal/keys"
)

// Epoch is the default creation time of keys and accounts.
var Epoch = time.Date(2026, 1, 10, 9, 0, 0, 0, time.UTC)

// Settings holds settings that suit most tests.
var Settings = keys.Settings{MaxKeys: 5, DeletionPolicy: v1alpha1.DeletionAllow}

// KeyOption changes a key.
type KeyOption func(*v1alpha1.APIKey)

// Key returns an APIKey as the API server would return it.
func Key(name string, options ...KeyOption) *v1alpha1.APIKey {
	k := &v1alpha1.APIKey{
		TypeMeta: metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "APIKey"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: name, UID: types.UID("uid-" + name), ResourceVersion: "1", Generation: 1,
			CreationTimestamp: metav1.NewTime(Epoch),
		},
		Spec: v1alpha1.APIKeySpec{Account: "acme", State: v1alpha1.KeyStateActive},
	}
	for _, option := range options {
		option(k)
	}
	return k
}

// Account sets spec.account.
func Account(name string) KeyOption { return func(k *v1alpha1.APIKey) { k.Spec.Account = name } }

// Namespace sets the namespace of the key.
func Namespace(name string) KeyOption { return func(k *v1alpha1.APIKey) { k.Namespace = name } }

// UID sets the UID of the key.
func UID(uid string) KeyOption { return func(k *v1alpha1.APIKey) { k.UID = types.UID(uid) } }

// Created sets the creation time of the key.
func Created(t time.Time) KeyOption {
	return func(k *v1alpha1.APIKey) { k.CreationTimestamp = metav1.NewTime(t) }
}

// BeingCreated removes the metadata that the API server sets, so that the key is as a webhook receives it on CREATE.
func BeingCreated() KeyOption {
	return func(k *v1alpha1.APIKey) {
		k.UID, k.ResourceVersion, k.CreationTimestamp = "", "", metav1.Time{}
	}
}

// Deleting marks the key as being deleted since t.
func Deleting(t time.Time) KeyOption {
	return func(k *v1alpha1.APIKey) { k.DeletionTimestamp = &metav1.Time{Time: t} }
}

// Generation sets the generation of the key.
func Generation(n int64) KeyOption { return func(k *v1alpha1.APIKey) { k.Generation = n } }

// Label sets spec.label.
func Label(label string) KeyOption { return func(k *v1alpha1.APIKey) { k.Spec.Label = label } }

// State sets spec.state.
func State(s v1alpha1.KeyState) KeyOption { return func(k *v1alpha1.APIKey) { k.Spec.State = s } }

// Expiration sets spec.expiration.
func Expiration(s string) KeyOption { return func(k *v1alpha1.APIKey) { k.Spec.Expiration = s } }

// Expiring sets spec.expiration to an instant.
func Expiring(t time.Time) KeyOption { return Expiration(t.Format(time.RFC3339)) }

// Whitelist sets spec.ipWhitelist.
func Whitelist(entries ...string) KeyOption {
	return func(k *v1alpha1.APIKey) { k.Spec.IPWhitelist = entries }
}

// Scopes sets spec.scopes.
func Scopes(scopes ...string) KeyOption { return func(k *v1alpha1.APIKey) { k.Spec.Scopes = scopes } }

// Metadata sets spec.metadata.
func Metadata(entries map[string]v1alpha1.MetadataValue) KeyOption {
	return func(k *v1alpha1.APIKey) { k.Spec.Metadata = entries }
}

// RateLimits sets spec.rateLimits.
func RateLimits(list ...v1alpha1.RateLimit) KeyOption {
	return func(k *v1alpha1.APIKey) { k.Spec.RateLimits = list }
}

// RateLimit returns a rate limit.
func RateLimit(name string, requests int32, unit v1alpha1.RateLimitUnit) v1alpha1.RateLimit {
	return v1alpha1.RateLimit{Name: name, Requests: &requests, Unit: unit}
}

// Format sets spec.format.
func Format(f v1alpha1.Format) KeyOption { return func(k *v1alpha1.APIKey) { k.Spec.Format = &f } }

// SecretName sets spec.secret.name.
func SecretName(name string) KeyOption {
	return func(k *v1alpha1.APIKey) { secretSpec(k).Name = name }
}

// Template sets spec.secret.template.
func Template(t v1alpha1.SecretTemplate) KeyOption {
	return func(k *v1alpha1.APIKey) { secretSpec(k).Template = &t }
}

// Data sets the entries of spec.secret.template.
func Data(entries map[string]string) KeyOption {
	return Template(v1alpha1.SecretTemplate{Data: entries})
}

// PreviousKey sets spec.secret.previousKey.
func PreviousKey(p v1alpha1.PreviousKeyPolicy) KeyOption {
	return func(k *v1alpha1.APIKey) { secretSpec(k).PreviousKey = p }
}

func secretSpec(k *v1alpha1.APIKey) *v1alpha1.SecretSpec {
	if k.Spec.Secret == nil {
		k.Spec.Secret = &v1alpha1.SecretSpec{}
	}
	return k.Spec.Secret
}

// Import sets spec.import to the digest and the hint of CredentialOf(name).
func Import(name string) KeyOption {
	return func(k *v1alpha1.APIKey) {
		c := CredentialOf(name)
		k.Spec.Import = &v1alpha1.Import{SHA256: c.SHA256, Hint: c.Hint}
	}
}

// Rotation sets the interval and the overlap of spec.rotation, each of which may be empty.
func Rotation(interval, overlap v1alpha1.Duration) KeyOption {
	return func(k *v1alpha1.APIKey) { rotation(k).Interval, rotation(k).Overlap = interval, overlap }
}

// Instant returns t in the notation of a spec, or "" for the zero time.
func Instant(t time.Time) v1alpha1.Instant {
	if t.IsZero() {
		return ""
	}
	return v1alpha1.Instant(t.UTC().Format(time.RFC3339))
}

// Time parses an instant of a spec. It returns nil if there is none or it is invalid.
func Time(s v1alpha1.Instant) *metav1.Time {
	t, err := keys.ParseInstant(string(s))
	if err != nil {
		return nil
	}
	return &metav1.Time{Time: t}
}

// Requested sets spec.rotation.requestedAt.
func Requested(t time.Time) KeyOption {
	return func(k *v1alpha1.APIKey) { rotation(k).RequestedAt = Instant(t) }
}

// RevokedBefore sets spec.rotation.revokeBefore.
func RevokedBefore(t time.Time) KeyOption {
	return func(k *v1alpha1.APIKey) { rotation(k).RevokeBefore = Instant(t) }
}

func rotation(k *v1alpha1.APIKey) *v1alpha1.Rotation {
	if k.Spec.Rotation == nil {
		k.Spec.Rotation = &v1alpha1.Rotation{}
	}
	return k.Spec.Rotation
}

// Notify sets spec.notification.
func Notify(n v1alpha1.Notification) KeyOption {
	return func(k *v1alpha1.APIKey) { k.Spec.Notification = &n }
}

// WithCredential adds CredentialOf(name) to status.credentials, in a role and issued at t.
func WithCredential(name string, role v1alpha1.CredentialRole, t time.Time) KeyOption {
	return func(k *v1alpha1.APIKey) {
		c := CredentialOf(name)
		c.Role, c.IssuedAt = role, metav1.NewTime(t)
		k.Status.Credentials = append(k.Status.Credentials, c)
	}
}

// Revoked adds CredentialOf(name) to status.revokedCredentials, issued at t.
func Revoked(name string, t time.Time) KeyOption {
	return func(k *v1alpha1.APIKey) {
		c := CredentialOf(name)
		k.Status.RevokedCredentials = append(
			k.Status.RevokedCredentials,
			v1alpha1.RevokedCredential{ID: c.ID, SHA256: c.SHA256, IssuedAt: metav1.NewTime(t)},
		)
	}
}

// Issued sets the status of a key that got its credential at t, and was accepted and became Active then.
func Issued(t time.Time) KeyOption {
	return func(k *v1alpha1.APIKey) {
		c := CredentialOf(k.Namespace + "/" + k.Name)
		c.IssuedAt = metav1.NewTime(t)
		k.Status.Credentials = append(k.Status.Credentials, c)
		k.Status.State, k.Status.KeyID, k.Status.IPRestriction = v1alpha1.StateActive, c.ID, v1alpha1.IPUnrestricted
		if len(k.Spec.IPWhitelist) > 0 {
			k.Status.IPRestriction = v1alpha1.IPRestricted
		}
		if end, err := keys.ResolveExpiration(k.Spec.Expiration, "UTC"); err == nil && end != nil {
			k.Status.ExpirationTime = &metav1.Time{Time: *end}
		}
	}
}

// Observed sets status.state.
func Observed(s v1alpha1.ObservedState) KeyOption {
	return func(k *v1alpha1.APIKey) { k.Status.State = s }
}

// Released sets status.releasedGrant.
func Released(grant string) KeyOption {
	return func(k *v1alpha1.APIKey) { k.Status.ReleasedGrant = grant }
}

// Status changes the status of the key.
func Status(change func(*v1alpha1.APIKeyStatus)) KeyOption {
	return func(k *v1alpha1.APIKey) { change(&k.Status) }
}

// AccountOption changes an account.
type AccountOption func(*v1alpha1.Account)

// NewAccount returns an Account as the API server would return it.
func NewAccount(name string, options ...AccountOption) *v1alpha1.Account {
	a := &v1alpha1.Account{
		TypeMeta: metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "Account"},
		ObjectMeta: metav1.ObjectMeta{
			Name: name, UID: types.UID("uid-" + name), ResourceVersion: "100", Generation: 1, CreationTimestamp: metav1.NewTime(Epoch),
		},
	}
	for _, option := range options {
		option(a)
	}
	return a
}

// Version sets the resourceVersion of the account.
func Version(v string) AccountOption { return func(a *v1alpha1.Account) { a.ResourceVersion = v } }

// CreatedByManager marks the account as one that the manager created.
func CreatedByManager() AccountOption {
	return func(a *v1alpha1.Account) {
		a.Annotations = map[string]string{v1alpha1.CreatedByAnnotation: v1alpha1.CreatedByManager}
	}
}

// Written sets the generation of the account and the generation that the manager has observed.
func Written(generation, observed int64) AccountOption {
	return func(a *v1alpha1.Account) { a.Generation, a.Status.ObservedGeneration = generation, observed }
}

// Suspended suspends the account.
func Suspended() AccountOption {
	return func(a *v1alpha1.Account) { a.Spec.State = v1alpha1.AccountSuspended }
}

// Zone sets spec.timeZone.
func Zone(name string) AccountOption { return func(a *v1alpha1.Account) { a.Spec.TimeZone = name } }

// MaxKeys sets spec.limits.maxKeys.
func MaxKeys(n int32) AccountOption {
	return func(a *v1alpha1.Account) { limits(a).MaxKeys = &n }
}

// Unlimited removes the limit of the account.
func Unlimited() AccountOption {
	return func(a *v1alpha1.Account) { limits(a).MaxKeys, limits(a).Unlimited = nil, v1alpha1.SwitchEnabled }
}

// Counting sets spec.limits.counting.
func Counting(c v1alpha1.Counting) AccountOption {
	return func(a *v1alpha1.Account) { limits(a).Counting = c }
}

func limits(a *v1alpha1.Account) *v1alpha1.Limits {
	if a.Spec.Limits == nil {
		a.Spec.Limits = &v1alpha1.Limits{}
	}
	return a.Spec.Limits
}

// ImportAllowed allows the account's keys to adopt Secrets and to import credentials.
func ImportAllowed() AccountOption {
	return func(a *v1alpha1.Account) { a.Spec.ImportPolicy = v1alpha1.ImportAllow }
}

// Policy changes the spec of the account.
func Policy(change func(*v1alpha1.AccountSpec)) AccountOption {
	return func(a *v1alpha1.Account) { change(&a.Spec) }
}

// Slots records a slot for each key, with its label, and with grants 1, 2 and so on.
func Slots(holders ...*v1alpha1.APIKey) AccountOption {
	return func(a *v1alpha1.Account) {
		for _, k := range holders {
			a.Status.Slots = append(a.Status.Slots, SlotOf(k, fmt.Sprint(len(a.Status.Slots)+1)))
		}
	}
}

// SlotOf returns the slot of a key with a grant, and with its label.
func SlotOf(k *v1alpha1.APIKey, grant string) v1alpha1.Slot {
	return v1alpha1.Slot{Namespace: k.Namespace, Name: k.Name, UID: string(k.UID), Grant: grant, Label: k.Spec.Label}
}

// Token is the format of a key whose spec and account specify none.
var Token = keys.EffectiveFormat(&v1alpha1.APIKey{}, nil)

// CredentialOf returns the status entry of NewCredential(name) as the current credential, issued at Epoch.
func CredentialOf(name string) v1alpha1.Credential {
	m := NewCredential(name)
	return v1alpha1.Credential{
		ID: m.ID, Hint: m.Hint, SHA256: m.Material.SHA256(), IssuedAt: metav1.NewTime(Epoch), Role: v1alpha1.RoleCurrent,
	}
}

// NewCredential returns a well-formed Token that depends only on the name, with its public part.
func NewCredential(name string) credential.Credential {
	issued, err := Token.Generate(&Bytes{Seed: name})
	if err != nil {
		panic(err)
	}
	return issued
}

// MaterialOf returns the key material of NewCredential(name).
func MaterialOf(name string) credential.Material { return NewCredential(name).Material }

// ObservedCredential returns the description of NewCredential(name) in a Secret.
func ObservedCredential(name string) keys.ObservedCredential {
	c := CredentialOf(name)
	return keys.ObservedCredential{SHA256: c.SHA256, PublicPart: credential.PublicPart{ID: c.ID, Hint: c.Hint}}
}

// ObservedSecret returns the description of a Secret that the key owns and that holds NewCredential(name).
func ObservedSecret(name string) keys.ObservedSecret {
	return keys.ObservedSecret{Ownership: keys.SecretOwned, ResourceVersion: "7", Current: ObservedCredential(name)}
}

// SecretOf returns the description of the Secret of an issued key, without drift.
func SecretOf(k *v1alpha1.APIKey) keys.ObservedSecret {
	return ObservedSecret(k.Namespace + "/" + k.Name)
}
