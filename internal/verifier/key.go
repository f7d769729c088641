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

// key holds what verdicts need of an APIKey. It is immutable once it is in an index: an update of the APIKey replaces
// it.
type key struct {
	name, uid, label string
	// account and namespace are set by the index.
	account   *account
	namespace *namespace
	// scopes holds the scopes of the key, separated by commas. If empty, the default scopes of the account apply.
	scopes unique.Handle[string]
	// networks holds the whitelist. A nil value allows any address.
	networks *networks
	// attributes is nil if the key has none of its own, as most keys.
	attributes *keyAttributes
	// createdAt orders keys by age.
	createdAt int64
	// expiresAt holds the time at which the key expires, in seconds since the Unix epoch.
	expiresAt int64
	// expirationDay holds the day on which the key expires, in the time zone of its account. Zero means that the spec
	// names no day.
	expirationDay day
	// specCode holds Valid if the spec enables the key, and the reason for refusing it otherwise.
	specCode Code
	// statusCode holds Valid if the status reports the key as active, and the reason for refusing it otherwise.
	statusCode Code
	// acceptedUnrestricted reports whether the manager accepted the key without a whitelist.
	acceptedUnrestricted bool

	credentials []credential
}

// credential holds the digest of one credential that was issued for an APIKey.
type credential struct {
	digest digest
	id     string
	key    *key
	// notAfter holds the end of the validity, revokedAt the time of the revocation, both in seconds since the Unix
	// epoch.
	notAfter, revokedAt int64
	// issuedAt holds the time of issue, which decides between two keys with the same digest.
	issuedAt int64
	// usage is shared with the next record of the same credential.
	usage *usageCounters
}

const (
	// never is later than any other time.
	never = math.MaxInt64
	// always is earlier than any other time. A credential that was revoked has it as the time of the revocation, which is not recorded.
	always = math.MinInt64
)

// Entry holds the part of an APIKey that verdicts need. A list of all keys holds one Entry per key, which is much
// smaller than the object.
type Entry struct {
	*key

	// deleting reports whether the APIKey has a deletionTimestamp.
	deleting                   bool
	namespaceName, accountName string
	// undecodable is set if the APIKey cannot be decoded completely.
	undecodable *Undecodable
}

// NewEntry returns the Entry of an APIKey. Restrictions in the spec apply immediately. Relaxations apply when the
// status shows that the manager accepted them.
func NewEntry(k *v1alpha1.APIKey) Entry {
	var allocated struct {
		key
		single [1]credential // most keys have one credential: this saves the garbage collector one allocation to scan
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
		key: entry, deleting: !k.DeletionTimestamp.IsZero(), namespaceName: k.Namespace, accountName: k.Spec.Account,
		undecodable: undecodableKey(k),
	}
}

// addRevoked adds the revoked credentials. They are refused regardless of the rest of the status.
func (k *key) addRevoked(list []v1alpha1.RevokedCredential) {
	for i := range list {
		parsed := credential{id: list[i].ID, key: k, notAfter: never, revokedAt: always, issuedAt: list[i].IssuedAt.Unix()}
		if !parsed.parseDigest(list[i].SHA256) {
			continue
		}
		if !k.revoke(&parsed) {
			k.credentials = append(k.credentials, parsed)
		}
	}
}

// revoke replaces all credentials that have the digest of a revoked one by it, and reports whether there were any.
func (k *key) revoke(revoked *credential) (found bool) {
	for i := range k.credentials {
		if k.credentials[i].digest == revoked.digest {
			k.credentials[i], found = *revoked, true
		}
	}
	return found
}

// packStrings copies the strings that live as long as the key into one allocation, which leaves the garbage collector
// less to scan.
func (k *key) packStrings() {
	texts := []*string{&k.name, &k.uid, &k.label}
	for i := range k.credentials {
		texts = append(texts, &k.credentials[i].id)
	}
	if k.attributes != nil {
		for i := range k.attributes.metadata {
			texts = append(texts, &k.attributes.metadata[i].Name, &k.attributes.metadata[i].Value)
		}
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
	packed := all.String()
	for _, text := range texts {
		*text, packed = packed[:len(*text)], packed[len(*text):]
	}
}

func newKey(k *v1alpha1.APIKey) key {
	entry := key{
		name: k.Name, uid: string(k.UID), label: k.Spec.Label,
		scopes: unique.Make(strings.Join(k.Spec.Scopes, ",")), networks: parseNetworks(k.Spec.IPWhitelist),
		attributes: newKeyAttributes(&k.Spec),
		createdAt:  k.CreationTimestamp.Unix(), expiresAt: unixSeconds(k.Status.ExpirationTime),
		specCode: specCodeOf(k), statusCode: statusCodeOf(k), acceptedUnrestricted: k.Status.IPRestriction == v1alpha1.IPUnrestricted,
	}
	entry.applySpecExpiration(k.Spec.Expiration)
	return entry
}

// applySpecExpiration applies the expiration in the spec if it is earlier than the accepted one. A key with an invalid
// expiration is refused, as the manager refuses it too.
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

// deactivate makes the key Inactive because its object is invalid, unless the spec already disables or revokes the key.
func (k *key) deactivate() {
	if k.specCode == Valid {
		k.specCode = Inactive
	}
}

// revokeBefore returns spec.rotation.revokeBefore: credentials that were issued before that time are revoked. A key
// with an invalid time is refused, as the manager refuses it too.
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

// newCredential converts a credential of an APIKey. ok is false if the digest is invalid.
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

// parseDigest decodes a digest and reports whether it is valid.
func (c *credential) parseDigest(sha256 string) bool {
	n, err := hex.Decode(c.digest[:], []byte(sha256))
	return err == nil && n == len(c.digest)
}

// precedes reports whether the digest was issued to the key of c before it was issued to the key of other: by time of
// issue, then by creation and UID of the keys. If one key revoked a credential that another key received later, the
// revoked one takes precedence and the credential stays refused. If a key received and revoked the credential of
// another key later, the first key is not affected.
func (c *credential) precedes(other *credential) bool {
	switch {
	case c.issuedAt != other.issuedAt:
		return c.issuedAt < other.issuedAt
	case c.key.createdAt != other.key.createdAt:
		return c.key.createdAt < other.key.createdAt
	}
	return c.key.uid < other.key.uid
}

// isSameKey reports whether two records describe the same APIKey at two points in time.
func (k *key) isSameKey(other *key) bool {
	return k.namespace == other.namespace && k.name == other.name
}

// earliest and latest bound the times that responses can express: years with four digits.
const (
	earliest = -62135596800 // 0001-01-01T00:00:00Z
	latest   = 253402300799 // 9999-12-31T23:59:59Z
)

// unixSeconds returns t in seconds since the Unix epoch, or never if t is nil or later than latest.
func unixSeconds(t *metav1.Time) int64 {
	if t == nil || t.Unix() > latest {
		return never
	}
	return max(t.Unix(), earliest)
}

// day represents a calendar day as a number, such as 20270228. Zero means no day.
type day int32

func dayOf(t time.Time) day {
	year, month, d := t.Date()
	return day(year*10000 + int(month)*100 + d) //nolint:gosec // a year of a date that was parsed has four digits
}
