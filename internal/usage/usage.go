// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package usage

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// Path is where a replica of the verifier tells the manager how keys are used.
const Path = "/v1/usage"

// MaxReferences is how many keys a replica can be asked about at once whether it refuses them, and about how many credentials
// whether it knows them.
const MaxReferences = 200

// KeyReference names an APIKey, and tells it from another one of the same name before it.
type KeyReference struct {
	Namespace, Name string
	UID             types.UID
}

// String returns the reference as NAMESPACE/NAME/UID.
func (r KeyReference) String() string { return r.Namespace + "/" + r.Name + "/" + string(r.UID) }

// ParseKeyReference reads what String returns, and reports whether it could.
func ParseKeyReference(text string) (r KeyReference, ok bool) {
	parts := strings.Split(text, "/")
	if len(parts) != 3 || slices.Contains(parts, "") {
		return r, false
	}
	return KeyReference{Namespace: parts[0], Name: parts[1], UID: types.UID(parts[2])}, true
}

// CredentialReference names a credential of an APIKey by its public ID.
type CredentialReference struct {
	KeyReference
	ID string
}

// String returns the reference as NAMESPACE/NAME/UID/ID.
func (r CredentialReference) String() string { return r.KeyReference.String() + "/" + r.ID }

// MarshalText implements encoding.TextMarshaler.
func (r CredentialReference) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler: it reads what String returns.
func (r *CredentialReference) UnmarshalText(text []byte) error {
	key, id, _ := cutLast(string(text), "/")
	reference, ok := ParseKeyReference(key)
	if !ok || id == "" {
		return errors.New("no credential: must be NAMESPACE/NAME/UID/ID")
	}
	r.KeyReference, r.ID = reference, id
	return nil
}

// cutLast cuts a text around the last separator in it.
func cutLast(text, separator string) (before, after string, found bool) {
	if i := strings.LastIndex(text, separator); i >= 0 {
		return text[:i], text[i+len(separator):], true
	}
	return text, "", false
}

// Report is what it tells there, as JSON.
type Report struct {
	// Replica names the process that answers, anew with each start of it.
	Replica string `json:"replica"`
	// Synced is whether the replica gives verdicts. Before, it refuses every key.
	Synced bool `json:"synced"`
	// KeysVersion is the newest resourceVersion of APIKeys that the replica enforces.
	KeysVersion string `json:"keysVersion"`
	// Refused are those of the keys that were asked for (?refused=NAMESPACE/NAME/UID, up to MaxReferences times) of which
	// the replica refuses every credential now, by their UIDs. It also refuses a key that it does not know.
	Refused []types.UID `json:"refused,omitempty"`
	// Known are those of the credentials that were asked for (?known=NAMESPACE/NAME/UID/ID, up to MaxReferences times) that the
	// replica knows.
	Known []CredentialReference `json:"known,omitempty"`
	// Keys are the keys in use since the time that was asked for (?since=, RFC 3339), or all that were ever used; none if
	// nobody asked for them (?keys=none).
	Keys []KeyUsage `json:"keys,omitempty"`
}

// KeyUsage is how one key was used at one replica since that replica started.
type KeyUsage struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// UID tells the key from another one of the same name before it.
	UID string `json:"uid"`
	// Credentials are those that were presented.
	Credentials []CredentialUsage `json:"credentials"`
}

// CredentialUsage is how one credential was used at one replica since that replica started.
type CredentialUsage struct {
	// ID is the credential's, as in status.credentials.
	ID string `json:"id"`
	// LastUsed is when it was last accepted, to the minute, by the replica's clock; absent: never.
	LastUsed *time.Time `json:"lastUsed,omitempty"`
	// LastRefused is when it was last refused, to the minute, by the replica's clock; absent: never.
	LastRefused *time.Time `json:"lastRefused,omitempty"`
	// Counts are how often each verdict was given.
	Counts map[string]uint64 `json:"counts"`
}

// usageWriteInterval is how often, at most, the uses of a key are written: a key in steady use costs a write in that time, however
// many verifiers it is used at.
const usageWriteInterval = 5 * time.Minute

// Ledger has what replicas said of the uses of keys until it stands in the keys' statuses, so that what a replica said
// outlives it.
type Ledger struct {
	began   time.Time
	uses    map[types.UID]keyUses
	written map[types.UID]time.Time
}

// keyUses are when the credentials of a key were last used.
type keyUses struct {
	key  types.NamespacedName
	last map[string]time.Time
}

// NewLedger returns an empty ledger. Whoever kept one before may have written a moment ago.
func NewLedger(now time.Time) *Ledger {
	return &Ledger{began: now, uses: map[types.UID]keyUses{}, written: map[types.UID]time.Time{}}
}

// Observe enters what a replica reported now. Its clock may be off: behind is by how much it is behind ours, negative if it is
// ahead, and its times are taken for ours that much later. What was not yet by then is nothing that anybody did.
func (l *Ledger) Observe(now time.Time, behind time.Duration, report Report) {
	if behind.Abs() < time.Minute {
		behind = 0 // uses are told to the minute
	}
	for _, k := range report.Keys {
		for _, c := range k.Credentials {
			if c.LastUsed == nil || k.UID == "" {
				continue
			}
			if used := c.LastUsed.Add(behind); used.Before(now.Add(time.Minute)) {
				l.observe(k, c.ID, earlier(used, now))
			}
		}
	}
	maps.DeleteFunc(l.written, func(_ types.UID, t time.Time) bool { return now.Sub(t) >= usageWriteInterval })
}

func (l *Ledger) observe(k KeyUsage, id string, used time.Time) {
	entry, known := l.uses[types.UID(k.UID)]
	if !known {
		entry = keyUses{key: types.NamespacedName{Namespace: k.Namespace, Name: k.Name}, last: map[string]time.Time{}}
		l.uses[types.UID(k.UID)] = entry
	}
	if used = used.UTC().Truncate(time.Minute); used.After(entry.last[id]) {
		entry.last[id] = used
	}
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// Keys are those with uses that their statuses may not have, by UID.
func (l *Ledger) Keys() map[types.UID]types.NamespacedName {
	list := make(map[types.UID]types.NamespacedName, len(l.uses))
	for uid, entry := range l.uses {
		list[uid] = entry.key
	}
	return list
}

// Forget drops the uses of a key that is no more.
func (l *Ledger) Forget(uid types.UID) {
	delete(l.uses, uid)
	delete(l.written, uid)
}

// Record returns a key's status with its uses, and whether that is to be written now: the first use of a key or of a
// credential is, further ones wait for their window. Times never go backwards. The use of a credential that is no longer
// listed is one of the key all the same.
func (l *Ledger) Record(k *v1alpha1.APIKey, now time.Time) (after v1alpha1.APIKeyStatus, due bool) {
	after = k.Status
	after.Credentials = slices.Clone(k.Status.Credentials)
	changed, first := false, false
	advance := func(t **metav1.Time, used time.Time) {
		if used = earlier(used, now.UTC().Truncate(time.Minute)); *t == nil || (*t).Time.Before(used) {
			changed, first = true, first || *t == nil
			*t = &metav1.Time{Time: used}
		}
	}
	for id, used := range l.uses[k.UID].last {
		advance(&after.LastUsedTime, used)
		for i := range after.Credentials {
			if after.Credentials[i].ID == id {
				advance(&after.Credentials[i].LastUsedTime, used)
			}
		}
	}
	return after, first || changed && now.Sub(l.lastWrite(k.UID)) >= usageWriteInterval
}

func (l *Ledger) lastWrite(uid types.UID) time.Time {
	if t, ok := l.written[uid]; ok {
		return t
	}
	return l.began
}

// MarkWritten takes note that a key's status has the uses that Record returned at that time.
func (l *Ledger) MarkWritten(uid types.UID, now time.Time) { l.written[uid] = now }

// Prune forgets the uses of a key that stand in its status.
func (l *Ledger) Prune(k *v1alpha1.APIKey) {
	if l.isWritten(k) {
		delete(l.uses, k.UID)
	}
}

func (l *Ledger) isWritten(k *v1alpha1.APIKey) bool {
	stands := func(t *metav1.Time, used time.Time) bool { return t != nil && !t.Time.Before(used) }
	for id, used := range l.uses[k.UID].last {
		if !stands(k.Status.LastUsedTime, used) {
			return false
		}
		for _, c := range k.Status.Credentials {
			if c.ID == id && !stands(c.LastUsedTime, used) {
				return false
			}
		}
	}
	return true
}
