// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"encoding/hex"
	"math"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
)

// key holds what verdicts need of an APIKey. It is the first part of a record, which is immutable once it is in an index
// (except for counters): an update of the APIKey replaces the record.
type key struct {
	// createdAt orders keys by age.
	createdAt instant
	// expiresAt holds the time at which the key expires.
	expiresAt instant
	// uuid holds the UID if hasUUID is set. Otherwise the text of the record contains the UID.
	uuid uuid
	// These lengths describe the rest of the record.
	nameLength, uidLength                   uint8
	labelLength, idsLength, credentialCount uint16
	// word and position locate the record and its owners in its chunk.
	word uint16
	// expirationDay holds the day on which the key expires, in the time zone of its account. Zero means that the spec
	// names no day.
	expirationDay day
	position      uint8
	// specCode holds Valid if the spec enables the key, and the reason for refusing it otherwise.
	specCode Code
	// statusCode holds Valid if the status reports the key as active, and the reason for refusing it otherwise.
	statusCode Code
	// acceptedUnrestricted reports whether the manager accepted the key without a whitelist.
	acceptedUnrestricted bool
	hasUUID              bool

	// Verdicts do not read the following fields, which change under the lock of the index. isLive reports whether the
	// record is in the index, isListed whether the key is in the list that is being applied.
	isLive, isListed bool
}

// credential holds the digest of one credential that was issued for an APIKey.
type credential struct {
	// accepted counts the verdicts with the code VALID since the start of this process, refused those with each other code
	// from Revoked on. lastAccepted and lastRefused hold the minute of the last such verdict since the Unix epoch. Zero
	// means never. Concurrent requests update all of them without a lock: see record.
	accepted                  atomic.Uint64
	refused                   [Valid - Revoked]atomic.Uint32
	lastAccepted, lastRefused atomic.Uint32

	credentialContent
}

// credentialContent holds everything of a credential but its counters.
type credentialContent struct {
	digest digest
	// notAfter holds the end of the validity, revokedAt the time of the revocation.
	notAfter, revokedAt instant
	// issuedAt holds the time of issue, which decides between two keys with the same digest.
	issuedAt instant
	idLength uint8
	// position counts the credentials of the key before this one.
	position uint16
}

// parsedCredential holds a credential before it is part of a record.
type parsedCredential struct {
	digest                        digest
	id                            string
	notAfter, revokedAt, issuedAt int64
}

// set writes the credential at a position of a record.
func (c *credential) set(position int, parsed *parsedCredential) {
	c.credentialContent = credentialContent{
		digest: parsed.digest, notAfter: newInstant(parsed.notAfter), revokedAt: newInstant(parsed.revokedAt),
		issuedAt: newInstant(parsed.issuedAt), idLength: uint8(len(parsed.id)), position: uint16(position), //nolint:gosec // see recordText.fits
	}
}

// Entry holds the part of an APIKey that verdicts need. A list of all keys holds one Entry per key, which is much
// smaller than the object.
type Entry struct {
	// record is outside of a chunk unless isStaged is set.
	record *key
	// accountName and namespaceName hold names. The staged entries of a list share them.
	accountName, namespaceName string
	settings
	// undecodable is set if the APIKey cannot be decoded completely.
	undecodable *Undecodable
	// deleting reports whether the APIKey has a deletionTimestamp.
	deleting, isStaged bool
}

// NewEntry returns the Entry of an APIKey. Restrictions in the spec apply immediately. Relaxations apply when the
// status shows that the manager accepted them.
func NewEntry(k *v1alpha1.APIKey) Entry {
	header := newKey(k)
	t := recordText{name: k.Name, label: k.Spec.Label, uid: string(k.UID)}
	revokeBefore := header.revokeBefore(k.Spec.Rotation)
	for i := range k.Status.Credentials {
		if c, ok := newCredential(&k.Status.Credentials[i], revokeBefore); ok {
			t.credentials = append(t.credentials, c)
		}
	}
	t.addRevoked(k.Status.RevokedCredentials)
	if len(k.Undecodable) > 0 {
		header.deactivate()
	}
	if !t.fits() { // without credentials, no request matches the key
		t = recordText{name: k.Name[:min(len(k.Name), math.MaxUint8)]}
	}
	return Entry{
		record: newRecord(header, &t), accountName: k.Spec.Account, namespaceName: k.Namespace,
		settings: newSettings(&k.Spec), deleting: !k.DeletionTimestamp.IsZero(), undecodable: undecodableKey(k),
	}
}

// addRevoked adds the revoked credentials. They are refused regardless of the rest of the status.
func (t *recordText) addRevoked(list []v1alpha1.RevokedCredential) {
	for i := range list {
		parsed := parsedCredential{id: list[i].ID, notAfter: never, revokedAt: always, issuedAt: list[i].IssuedAt.Unix()}
		if !parsed.parseDigest(list[i].SHA256) {
			continue
		}
		if !t.revoke(&parsed) {
			t.credentials = append(t.credentials, parsed)
		}
	}
}

// revoke replaces all credentials that have the digest of a revoked one by it, and reports whether there were any.
func (t *recordText) revoke(revoked *parsedCredential) (found bool) {
	for i := range t.credentials {
		if t.credentials[i].digest == revoked.digest {
			t.credentials[i], found = *revoked, true
		}
	}
	return found
}

func newKey(k *v1alpha1.APIKey) key {
	entry := key{
		createdAt: newInstant(k.CreationTimestamp.Unix()), expiresAt: newInstant(unixSeconds(k.Status.ExpirationTime)),
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
		k.expiresAt = newInstant(min(k.expiresAt.seconds(), t.Unix()))
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
func newCredential(c *v1alpha1.Credential, revokeBefore *metav1.Time) (parsed parsedCredential, ok bool) {
	parsed = parsedCredential{id: c.ID, notAfter: unixSeconds(c.NotAfter), revokedAt: never, issuedAt: c.IssuedAt.Unix()}
	if !parsed.parseDigest(c.SHA256) {
		return parsed, false
	}
	if revokeBefore != nil && c.IssuedAt.Before(revokeBefore) {
		parsed.revokedAt = revokeBefore.Unix()
	}
	return parsed, true
}

// parseDigest decodes a digest and reports whether it is valid.
func (c *parsedCredential) parseDigest(sha256 string) bool {
	if len(sha256) != hex.EncodedLen(len(c.digest)) {
		return false
	}
	_, err := hex.Decode(c.digest[:], []byte(sha256))
	return err == nil
}

// precedes reports whether the digest was issued to the key of c before it was issued to the key of other: by time of
// issue, then by creation and UID of the keys. If one key revoked a credential that another key received later, the
// revoked one takes precedence and the credential stays refused. If a key received and revoked the credential of
// another key later, the first key is not affected.
func (c *credential) precedes(other *credential) bool {
	k, otherKey := c.key(), other.key()
	switch {
	case c.issuedAt != other.issuedAt:
		return c.issuedAt.seconds() < other.issuedAt.seconds()
	case k.createdAt != otherKey.createdAt:
		return k.createdAt.seconds() < otherKey.createdAt.seconds()
	}
	return k.uid() < otherKey.uid()
}

// isSameKey reports whether two records describe the same APIKey at two points in time.
func (k *key) isSameKey(other *key) bool {
	return k.name() == other.name() && k.namespace() == other.namespace()
}

// day represents a calendar day as a number, such as 20270228. Zero means no day.
type day int32

func dayOf(t time.Time) day {
	year, month, d := t.Date()
	return day(year*10000 + int(month)*100 + d) //nolint:gosec // a year of a date that was parsed has four digits
}
