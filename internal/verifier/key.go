// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"encoding/hex"
	"math"
	"strings"
	"time"
	"unique"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
)

// key is what a verdict needs to know of an APIKey. It is not changed once it is in an index: a changed APIKey gets another
// one.
type key struct {
	name, uid, label string
	// account and namespace are set by the index.
	account   *account
	namespace *namespace
	// scopes are the key's own, joined by commas; empty: the account's default scopes apply.
	scopes string
	// networks are where the key may be used from; nil: from anywhere.
	networks *networks
	// createdAt orders keys by age.
	createdAt int64
	// expiresAt is when the key expires, in seconds since the Unix epoch.
	expiresAt int64
	// expirationDay is on which day the key expires, in its account's zone; 0: the spec names no day.
	expirationDay day
	// specCode is Valid if the spec wants the key to be used, or else why not.
	specCode Code
	// statusCode is Valid if the manager lets the key be used, or else why not.
	statusCode Code
	// acceptedUnrestricted is whether the manager accepted the key without a whitelist.
	acceptedUnrestricted bool

	credentials []credential
}

// credential is one of the keys, by digest, that an APIKey had generated.
type credential struct {
	digest digest
	id     string
	key    *key
	// notAfter is when it stops being accepted, and revoked when it dies of a compromise: seconds since the Unix epoch.
	notAfter, revokedAt int64
	// issuedAt is when it was issued, which decides between two keys with the same digest.
	issuedAt int64
	// usage goes over to the next record of the same credential.
	usage *usageCounters
}

// never is later than any time.
const never = math.MaxInt64

// Entry is an APIKey as far as verdicts need it. It is a small part of the object: a list of all keys is one of these.
type Entry struct {
	*key

	// deleting is whether the APIKey is being deleted.
	deleting                   bool
	namespaceName, accountName string
	// undecodable is set for an APIKey that can't be decoded.
	undecodable *Undecodable
}

// NewEntry reads an APIKey. What the spec tightens holds at once; what it loosens holds when the status says that the manager
// accepted it.
func NewEntry(k *v1alpha1.APIKey) Entry {
	var allocated struct {
		key
		single [1]credential // most keys have one: a piece of memory less to look through for garbage
	}
	entry := &allocated.key
	*entry, entry.credentials = newKey(k), allocated.single[:0]
	revokeBefore := entry.revokeBefore(k.Spec.Rotation)
	for i := range k.Status.Credentials {
		if c, ok := newCredential(&k.Status.Credentials[i], revokeBefore); ok {
			c.key = entry
			entry.credentials = append(entry.credentials, c)
		}
	}
	entry.addRevoked(k.Status.RevokedCredentials)
	if len(k.Undecodable) > 0 {
		entry.deactivate()
	}
	entry.packStrings()
	return Entry{
		key: entry, deleting: !k.DeletionTimestamp.IsZero(), namespaceName: k.Namespace, accountName: k.Spec.Account, undecodable: undecodableKey(k),
	}
}

// addRevoked adds the credentials that were revoked. They are refused whatever else the status says of them.
func (k *key) addRevoked(list []v1alpha1.RevokedCredential) {
	for i := range list {
		parsed := credential{id: list[i].ID, key: k, notAfter: never, revokedAt: math.MinInt64, issuedAt: list[i].IssuedAt.Unix()}
		if !parsed.parseDigest(list[i].SHA256) {
			continue
		}
		if known := k.credentialByDigest(&parsed.digest); known != nil {
			*known = parsed
			continue
		}
		k.credentials = append(k.credentials, parsed)
	}
}

// packStrings puts the texts that live as long as the key into one piece of memory, for the same reason.
func (k *key) packStrings() {
	texts := []*string{&k.name, &k.uid, &k.label}
	for i := range k.credentials {
		texts = append(texts, &k.credentials[i].id)
	}
	var all strings.Builder
	size := 0
	for _, text := range texts {
		size += len(*text)
	}
	all.Grow(size)
	for _, text := range texts {
		all.WriteString(*text)
	}
	whole := all.String()
	for _, text := range texts {
		*text, whole = whole[:len(*text)], whole[len(*text):]
	}
}

func newKey(k *v1alpha1.APIKey) key {
	entry := key{
		name: k.Name, uid: string(k.UID), label: k.Spec.Label,
		scopes: unique.Make(strings.Join(k.Spec.Scopes, ",")).Value(), networks: parseNetworks(k.Spec.IPWhitelist),
		createdAt: k.CreationTimestamp.Unix(), expiresAt: unixSeconds(k.Status.ExpirationTime),
		specCode: specCodeOf(k), statusCode: statusCodeOf(k), acceptedUnrestricted: k.Status.IPRestriction == v1alpha1.IPUnrestricted,
	}
	entry.applySpecExpiration(k.Spec.Expiration)
	return entry
}

// applySpecExpiration takes the spec's expiration into account where it is earlier than the accepted one. A key with one that can't
// be read is refused, as the manager will: whoever wrote it wanted the key to end.
func (k *key) applySpecExpiration(expiration string) {
	if expiration == "" {
		return
	}
	if t, err := keys.ParseInstant(expiration); err == nil {
		k.expiresAt = min(k.expiresAt, t.Unix())
	} else if t, err := keys.ParseDate(expiration); err == nil {
		k.expirationDay = dayOf(t)
	} else {
		k.deactivate()
	}
}

// deactivate makes a key that would be used Inactive, since its object can't be read.
func (k *key) deactivate() {
	if k.specCode == Valid {
		k.specCode = Inactive
	}
}

// revokeBefore returns when credentials that were issued before that instant die. A key whose instant can't be read is refused,
// as the manager will refuse it.
func (k *key) revokeBefore(r *v1alpha1.Rotation) *metav1.Time {
	if r == nil || r.RevokeBefore == "" {
		return nil
	}
	t, err := keys.ParseInstant(string(r.RevokeBefore))
	if err != nil {
		k.deactivate()
		return nil
	}
	return &metav1.Time{Time: t}
}

func specCodeOf(k *v1alpha1.APIKey) Code {
	switch k.Spec.State {
	case "", v1alpha1.KeyStateActive:
		return Valid
	case v1alpha1.KeyStateRevoked:
		return Revoked
	case v1alpha1.KeyStateInactive:
	}
	return Inactive
}

func statusCodeOf(k *v1alpha1.APIKey) Code {
	switch k.Status.State {
	case v1alpha1.StateActive:
		return Valid
	case v1alpha1.StateExpired:
		return Expired
	case v1alpha1.StateRevoked:
		return Revoked
	case v1alpha1.StateSuspended:
		return AccountSuspended
	case v1alpha1.StatePending, v1alpha1.StateInactive:
	}
	return Inactive
}

// newCredential reads a credential of an APIKey, unless its digest can't be read.
func newCredential(c *v1alpha1.Credential, revokeBefore *metav1.Time) (parsed credential, ok bool) {
	parsed = credential{id: c.ID, notAfter: unixSeconds(c.NotAfter), revokedAt: never, issuedAt: c.IssuedAt.Unix()}
	if !parsed.parseDigest(c.SHA256) {
		return parsed, false
	}
	if revokeBefore != nil && c.IssuedAt.Before(revokeBefore) {
		parsed.revokedAt = revokeBefore.Unix()
	}
	return parsed, true
}

// parseDigest takes a digest over, and reports whether it can be read.
func (c *credential) parseDigest(sha256 string) bool {
	n, err := hex.Decode(c.digest[:], []byte(sha256))
	return err == nil && n == len(c.digest)
}

// precedes reports whether a digest was issued to the key of one credential before it was to that of another: by the time of
// issue, then by the keys' creation and UID. Of a credential that one key had revoked and another key got later, the revoked
// one counts, so it stays refused; one that a key got and revoked later does nothing to the key that had it first.
func (c *credential) precedes(other *credential) bool {
	switch {
	case c.issuedAt != other.issuedAt:
		return c.issuedAt < other.issuedAt
	case c.key.createdAt != other.key.createdAt:
		return c.key.createdAt < other.key.createdAt
	}
	return c.key.uid < other.key.uid
}

// isSameKey whether two records are of the same key, at two times.
func (k *key) isSameKey(other *key) bool {
	return k.namespace == other.namespace && k.name == other.name
}

// earliest and latest are the first and the last second that answers can tell, whose years have four digits.
const (
	earliest = -62135596800 // 0001-01-01T00:00:00Z
	latest   = 253402300799 // 9999-12-31T23:59:59Z
)

func unixSeconds(t *metav1.Time) int64 {
	if t == nil || t.Unix() > latest {
		return never
	}
	return max(t.Unix(), earliest)
}

// day is a day of the calendar, as the number 20270228. The zero day is none.
type day int32

func dayOf(t time.Time) day {
	year, month, d := t.Date()
	return day(year*10000 + int(month)*100 + d) //nolint:gosec // a year of a date that was parsed has four digits
}
