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

// Path is the HTTP path at which a replica of the verifier serves its Report to the manager.
const Path = "/v1/usage"

// ClusterParameter is the query parameter that names the cluster of the manager to a verifier that follows several.
const ClusterParameter = "cluster"

// MaxReferences limits the keys, and the credentials, about which one request can ask.
const MaxReferences = 200

// KeyReference identifies an APIKey, and distinguishes it from an earlier one of the same name.
type KeyReference struct {
	Namespace, Name string
	UID             types.UID
}

// String returns the reference as NAMESPACE/NAME/UID.
func (r KeyReference) String() string { return r.Namespace + "/" + r.Name + "/" + string(r.UID) }

// ParseKeyReference parses the output of String. ok reports whether the text was valid.
func ParseKeyReference(text string) (r KeyReference, ok bool) {
	parts := strings.Split(text, "/")
	if len(parts) != 3 || slices.Contains(parts, "") {
		return r, false
	}
	return KeyReference{Namespace: parts[0], Name: parts[1], UID: types.UID(parts[2])}, true
}

// CredentialReference identifies a credential of an APIKey by its public ID.
type CredentialReference struct {
	KeyReference
	ID string
}

// String returns the reference as NAMESPACE/NAME/UID/ID.
func (r CredentialReference) String() string { return r.KeyReference.String() + "/" + r.ID }

// MarshalText implements encoding.TextMarshaler.
func (r CredentialReference) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler. It parses the output of String.
func (r *CredentialReference) UnmarshalText(text []byte) error {
	key, id, _ := cutLast(string(text), "/")
	reference, ok := ParseKeyReference(key)
	if !ok || id == "" {
		return errors.New("invalid credential reference: must be NAMESPACE/NAME/UID/ID")
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

// Report is the response of a replica, in JSON.
type Report struct {
	// Replica identifies the process that responds. It changes when the process restarts.
	Replica string `json:"replica"`
	// Synced reports whether the replica has synced its caches. Until then, it refuses every key.
	Synced bool `json:"synced"`
	// KeysVersion holds the newest resourceVersion of APIKeys that the replica has observed.
	KeysVersion string `json:"keysVersion"`
	// Refused lists the UIDs of the requested keys (?refused=NAMESPACE/NAME/UID, up to MaxReferences times) of which
	// the replica refuses every credential now. It also refuses a key that it does not know.
	Refused []types.UID `json:"refused,omitempty"`
	// Known lists the requested credentials (?known=NAMESPACE/NAME/UID/ID, up to MaxReferences times) that the replica
	// knows.
	Known []CredentialReference `json:"known,omitempty"`
	// Keys lists the keys used since the requested time (?since=, RFC 3339), or all keys ever used without it. It is
	// empty if the request excludes it (?keys=none).
	Keys []KeyUsage `json:"keys,omitempty"`
}

// KeyUsage describes how one key was used at one replica since that replica started.
type KeyUsage struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// UID distinguishes the key from an earlier one of the same name.
	UID string `json:"uid"`
	// Credentials lists the credentials that were presented.
	Credentials []CredentialUsage `json:"credentials"`
}

// CredentialUsage describes how one credential was used at one replica since that replica started.
type CredentialUsage struct {
	// ID holds the ID of the credential, as in status.credentials.
	ID string `json:"id"`
	// LastUsed holds the time when the credential was last accepted, in whole minutes of the replica's clock. It is
	// absent if it never was.
	LastUsed *time.Time `json:"lastUsed,omitempty"`
	// LastRefused holds the time when the credential was last refused, in whole minutes of the replica's clock. It is
	// absent if it never was.
	LastRefused *time.Time `json:"lastRefused,omitempty"`
	// Counts holds the number of requests for each verdict.
	Counts map[string]uint64 `json:"counts"`
}

// usageWriteInterval limits how often the usage of a key is written to its status: a key in steady use costs one write
// in this time, however many verifiers accept it.
const usageWriteInterval = 5 * time.Minute

// Ledger collects the usage that replicas reported until it is written to the statuses of the keys, so that it is not
// lost when a replica ends.
type Ledger struct {
	began   time.Time
	uses    map[types.UID]keyUses
	written map[types.UID]time.Time
}

// keyUses holds the times when the credentials of a key were last used.
type keyUses struct {
	key  types.NamespacedName
	last map[string]time.Time
}

// NewLedger returns an empty ledger. It assumes that an earlier manager may have written the usage of every key just
// now.
func NewLedger(now time.Time) *Ledger {
	return &Ledger{began: now, uses: map[types.UID]keyUses{}, written: map[types.UID]time.Time{}}
}

// Observe records a usage report. behind is how far the clock of the replica is behind the clock of the manager,
// negative if it is ahead, and is added to the timestamps of the report. Timestamps that are still in the future are
// ignored.
func (l *Ledger) Observe(now time.Time, behind time.Duration, report Report) {
	if behind.Abs() < time.Minute {
		behind = 0 // reported times are whole minutes
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

// Keys returns the keys whose usage may not have been written to their statuses, by UID.
func (l *Ledger) Keys() map[types.UID]types.NamespacedName {
	list := make(map[types.UID]types.NamespacedName, len(l.uses))
	for uid, entry := range l.uses {
		list[uid] = entry.key
	}
	return list
}

// Forget discards the usage of a key that no longer exists.
func (l *Ledger) Forget(uid types.UID) {
	delete(l.uses, uid)
	delete(l.written, uid)
}

// Record returns a key's status with its usage, and whether it should be written now: the first use of a key or of a
// credential is written at once, later uses at most once per usageWriteInterval. Times never go backwards. The use of a
// credential that is no longer listed counts as a use of the key.
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

// MarkWritten records that the usage that Record returned at that time was written to the key's status.
func (l *Ledger) MarkWritten(uid types.UID, now time.Time) { l.written[uid] = now }

// Prune discards the usage of a key that its status already contains.
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
