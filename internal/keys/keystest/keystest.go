// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Package keystest builds keys, accounts and what a Secret holds for tests, each in one expression:
//
//	keystest.Key("shop", keystest.Label("web"), keystest.Created(t))
//
// What is not said is what most tests want: an Active key of account acme in namespace default, created at Epoch, and an
// account with room for five. It is for tests. Nothing but tests may import it.
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

// Epoch is when everything begins, unless said otherwise.
var Epoch = time.Date(2026, 1, 10, 9, 0, 0, 0, time.UTC)

// Settings are a manager's flags as they come.
var Settings = keys.Settings{MaxKeys: 5, DeletionPolicy: v1alpha1.DeletionAllow}

// KeyOption says something about a key.
type KeyOption func(*v1alpha1.APIKey)

// Key is an APIKey as the API server would hand it out.
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

// Account says who owns the key.
func Account(name string) KeyOption { return func(k *v1alpha1.APIKey) { k.Spec.Account = name } }

// Namespace says where the key is.
func Namespace(name string) KeyOption { return func(k *v1alpha1.APIKey) { k.Namespace = name } }

// UID gives the key that UID.
func UID(uid string) KeyOption { return func(k *v1alpha1.APIKey) { k.UID = types.UID(uid) } }

// Created says when the key was created.
func Created(t time.Time) KeyOption {
	return func(k *v1alpha1.APIKey) { k.CreationTimestamp = metav1.NewTime(t) }
}

// BeingCreated takes away what the API server has yet to give: the key as a webhook sees it on CREATE.
func BeingCreated() KeyOption {
	return func(k *v1alpha1.APIKey) {
		k.UID, k.ResourceVersion, k.CreationTimestamp = "", "", metav1.Time{}
	}
}

// Deleting says that the key is being deleted since t.
func Deleting(t time.Time) KeyOption {
	return func(k *v1alpha1.APIKey) { k.DeletionTimestamp = &metav1.Time{Time: t} }
}

// Generation gives the key that generation.
func Generation(n int64) KeyOption { return func(k *v1alpha1.APIKey) { k.Generation = n } }

// Label is what a person calls the key.
func Label(label string) KeyOption { return func(k *v1alpha1.APIKey) { k.Spec.Label = label } }

// State is the state a person wants.
func State(s v1alpha1.KeyState) KeyOption { return func(k *v1alpha1.APIKey) { k.Spec.State = s } }

// Expiration is when the key shall expire, as the spec says it.
func Expiration(s string) KeyOption { return func(k *v1alpha1.APIKey) { k.Spec.Expiration = s } }

// Expiring is when the key shall expire, as an instant.
func Expiring(t time.Time) KeyOption { return Expiration(t.Format(time.RFC3339)) }

// Whitelist is where the key may be used from.
func Whitelist(entries ...string) KeyOption {
	return func(k *v1alpha1.APIKey) { k.Spec.IPWhitelist = entries }
}

// Scopes are what the key may do.
func Scopes(scopes ...string) KeyOption { return func(k *v1alpha1.APIKey) { k.Spec.Scopes = scopes } }

// Format is what the key's credentials look like.
func Format(f v1alpha1.Format) KeyOption { return func(k *v1alpha1.APIKey) { k.Spec.Format = &f } }

// SecretName is the name of the key's Secret.
func SecretName(name string) KeyOption {
	return func(k *v1alpha1.APIKey) { secretSpec(k).Name = name }
}

// Template is the shape of the key's Secret.
func Template(t v1alpha1.SecretTemplate) KeyOption {
	return func(k *v1alpha1.APIKey) { secretSpec(k).Template = &t }
}

// Data are the entries of the key's Secret, as templates.
func Data(entries map[string]string) KeyOption {
	return Template(v1alpha1.SecretTemplate{Data: entries})
}

// PreviousKey says whether the key's Secret holds the previous credential.
func PreviousKey(p v1alpha1.PreviousKeyPolicy) KeyOption {
	return func(k *v1alpha1.APIKey) { secretSpec(k).PreviousKey = p }
}

func secretSpec(k *v1alpha1.APIKey) *v1alpha1.SecretSpec {
	if k.Spec.Secret == nil {
		k.Spec.Secret = &v1alpha1.SecretSpec{}
	}
	return k.Spec.Secret
}

// Import names the credential that a name stands for, by its digest.
func Import(name string) KeyOption {
	return func(k *v1alpha1.APIKey) {
		c := CredentialOf(name)
		k.Spec.Import = &v1alpha1.Import{SHA256: c.SHA256, Hint: c.Hint}
	}
}

// Rotation is when the key gets its next credential: an interval and an overlap, each of which may be empty.
func Rotation(interval, overlap v1alpha1.Duration) KeyOption {
	return func(k *v1alpha1.APIKey) { rotation(k).Interval, rotation(k).Overlap = interval, overlap }
}

// Instant is t as a spec writes it; the zero time is no instant.
func Instant(t time.Time) v1alpha1.Instant {
	if t.IsZero() {
		return ""
	}
	return v1alpha1.Instant(t.UTC().Format(time.RFC3339))
}

// Time reads an instant of a spec; nil: there is none, or it can't be read.
func Time(s v1alpha1.Instant) *metav1.Time {
	t, err := keys.ParseInstant(string(s))
	if err != nil {
		return nil
	}
	return &metav1.Time{Time: t}
}

// Requested asks for a rotation at t.
func Requested(t time.Time) KeyOption {
	return func(k *v1alpha1.APIKey) { rotation(k).RequestedAt = Instant(t) }
}

// RevokedBefore kills every credential from before t.
func RevokedBefore(t time.Time) KeyOption {
	return func(k *v1alpha1.APIKey) { rotation(k).RevokeBefore = Instant(t) }
}

func rotation(k *v1alpha1.APIKey) *v1alpha1.Rotation {
	if k.Spec.Rotation == nil {
		k.Spec.Rotation = &v1alpha1.Rotation{}
	}
	return k.Spec.Rotation
}

// Notify is whom to tell before the key expires, and when.
func Notify(n v1alpha1.Notification) KeyOption {
	return func(k *v1alpha1.APIKey) { k.Spec.Notification = &n }
}

// WithCredential says that verifiers know the credential that a name stands for, in a role and since t.
func WithCredential(name string, role v1alpha1.CredentialRole, t time.Time) KeyOption {
	return func(k *v1alpha1.APIKey) {
		c := CredentialOf(name)
		c.Role, c.IssuedAt = role, metav1.NewTime(t)
		k.Status.Credentials = append(k.Status.Credentials, c)
	}
}

// Revoked says that the key had the credential that a name stands for since t, and that it was revoked.
func Revoked(name string, t time.Time) KeyOption {
	return func(k *v1alpha1.APIKey) {
		c := CredentialOf(name)
		k.Status.RevokedCredentials = append(k.Status.RevokedCredentials, v1alpha1.RevokedCredential{ID: c.ID, SHA256: c.SHA256, IssuedAt: metav1.NewTime(t)})
	}
}

// Issued says that the key got a credential at t, and was accepted and Active then.
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

// Observed is the state the key is in.
func Observed(s v1alpha1.ObservedState) KeyOption {
	return func(k *v1alpha1.APIKey) { k.Status.State = s }
}

// Released says which grant the key gave back.
func Released(grant string) KeyOption {
	return func(k *v1alpha1.APIKey) { k.Status.ReleasedGrant = grant }
}

// Status changes what was observed of the key.
func Status(change func(*v1alpha1.APIKeyStatus)) KeyOption {
	return func(k *v1alpha1.APIKey) { change(&k.Status) }
}

// AccountOption says something about an account.
type AccountOption func(*v1alpha1.Account)

// NewAccount is an Account as the API server would hand it out.
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

// Version gives the account that resourceVersion.
func Version(v string) AccountOption { return func(a *v1alpha1.Account) { a.ResourceVersion = v } }

// CreatedByManager marks the account as one that the manager created.
func CreatedByManager() AccountOption {
	return func(a *v1alpha1.Account) {
		a.Annotations = map[string]string{v1alpha1.CreatedByAnnotation: v1alpha1.CreatedByManager}
	}
}

// Written says that the account's spec is at a generation, and that the manager has observed one.
func Written(generation, observed int64) AccountOption {
	return func(a *v1alpha1.Account) { a.Generation, a.Status.ObservedGeneration = generation, observed }
}

// Suspended makes every key of the account invalid.
func Suspended() AccountOption {
	return func(a *v1alpha1.Account) { a.Spec.State = v1alpha1.AccountSuspended }
}

// Zone is the account's time zone.
func Zone(name string) AccountOption { return func(a *v1alpha1.Account) { a.Spec.TimeZone = name } }

// MaxKeys is how many keys may hold a slot.
func MaxKeys(n int32) AccountOption {
	return func(a *v1alpha1.Account) { limits(a).MaxKeys = &n }
}

// Unlimited lifts the limit.
func Unlimited() AccountOption {
	return func(a *v1alpha1.Account) { limits(a).MaxKeys, limits(a).Unlimited = nil, v1alpha1.SwitchEnabled }
}

// Counting is which keys count towards the limit.
func Counting(c v1alpha1.Counting) AccountOption {
	return func(a *v1alpha1.Account) { limits(a).Counting = c }
}

func limits(a *v1alpha1.Account) *v1alpha1.Limits {
	if a.Spec.Limits == nil {
		a.Spec.Limits = &v1alpha1.Limits{}
	}
	return a.Spec.Limits
}

// ImportAllowed lets the account's keys adopt Secrets.
func ImportAllowed() AccountOption {
	return func(a *v1alpha1.Account) { a.Spec.ImportPolicy = v1alpha1.ImportAllow }
}

// Policy changes the account's policy.
func Policy(change func(*v1alpha1.AccountSpec)) AccountOption {
	return func(a *v1alpha1.Account) { change(&a.Spec) }
}

// Slots records that keys hold a slot under grant g0, g1 and so on, each with its label.
func Slots(holders ...*v1alpha1.APIKey) AccountOption {
	return func(a *v1alpha1.Account) {
		for _, k := range holders {
			a.Status.Slots = append(a.Status.Slots, SlotOf(k, fmt.Sprint(len(a.Status.Slots)+1)))
		}
	}
}

// SlotOf is a key's slot under a grant, with its label.
func SlotOf(k *v1alpha1.APIKey, grant string) v1alpha1.Slot {
	return v1alpha1.Slot{Namespace: k.Namespace, Name: k.Name, UID: string(k.UID), Grant: grant, Label: k.Spec.Label}
}

// Token is the format of a key that asks for none.
var Token = keys.EffectiveFormat(&v1alpha1.APIKey{}, nil)

// CredentialOf is the Current credential that a name stands for, issued at Epoch.
func CredentialOf(name string) v1alpha1.Credential {
	m := NewCredential(name)
	return v1alpha1.Credential{
		ID: m.ID, Hint: m.Hint, SHA256: m.Material.SHA256(), IssuedAt: metav1.NewTime(Epoch), Role: v1alpha1.RoleCurrent,
	}
}

// NewCredential is the well-formed Token that a name stands for, with its identity.
func NewCredential(name string) credential.Credential {
	issued, err := Token.Generate(&Bytes{Seed: name})
	if err != nil {
		panic(err)
	}
	return issued
}

// MaterialOf is the well-formed key that a name stands for.
func MaterialOf(name string) credential.Material { return NewCredential(name).Material }

// ObservedCredential is the position of a Secret with the credential that a name stands for.
func ObservedCredential(name string) keys.ObservedCredential {
	c := CredentialOf(name)
	return keys.ObservedCredential{SHA256: c.SHA256, PublicPart: credential.PublicPart{ID: c.ID, Hint: c.Hint}}
}

// ObservedSecret is a Secret of the key's own with the credential that the name stands for.
func ObservedSecret(name string) keys.ObservedSecret {
	return keys.ObservedSecret{Ownership: keys.SecretOwned, ResourceVersion: "7", Current: ObservedCredential(name)}
}

// SecretOf is the Secret of an issued key as it should be.
func SecretOf(k *v1alpha1.APIKey) keys.ObservedSecret {
	return ObservedSecret(k.Namespace + "/" + k.Name)
}
