// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package export

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/types"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/credential"
	"github.com/apikey-manager/apikey-manager/internal/keys"
)

const (
	// maxEntryName is the limit of the API server for the name of an entry.
	maxEntryName = 253
	// maxEntryValue limits the length of a value in bytes, so that 100,000 of them fit into memory.
	maxEntryValue = 16 << 10
)

// Entry holds the entry of one credential in the objects of an export.
type Entry struct {
	// Key identifies the APIKey, and UID identifies it among all that had this name.
	Key types.NamespacedName
	UID types.UID
	// Account holds the name of the account of the key.
	Account string
	// KeyID holds the public ID of the credential, Digest its SHA-256 as hexadecimal digits.
	KeyID, Digest string
	// CreatedAt holds when the key was created, IssuedAt when the credential was issued.
	CreatedAt, IssuedAt time.Time
	// Name and Value hold the name and the value of the entry. Value is printed as [redacted].
	Name  string
	Value credential.Material
}

// precedence orders entries: those of older keys first, so that a key keeps its precedence when it is rotated. Keys that were created
// in the same second are ordered by UID, and the credentials of a key by their age.
func precedence(a, b *Entry) int {
	return cmp.Or(
		a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.UID, b.UID),
		a.IssuedAt.Compare(b.IssuedAt), cmp.Compare(a.KeyID, b.KeyID), cmp.Compare(a.Digest, b.Digest),
	)
}

var (
	errEntryName = fmt.Errorf("entry.name: must render to 1 to %d letters, digits and - _ . and not begin with two dots", maxEntryName)
	errNoDigest  = errors.New("entry.value: must contain {{ .Digest }} unchanged, so that no other text becomes a key that a gateway accepts")
	errNoKey     = errors.New("entry.value: must contain {{ .Key }} unchanged, so that no other text becomes a key that a gateway accepts")
	errForeign   = errors.New("entry.value: must not contain the digest of anything else than the key")
	errUTF8      = errors.New("entry.value: must render to valid UTF-8")
	errJSON      = errors.New("entry.value: must render to valid JSON without repeated names for every key: use quote for texts")
	errJSONKey   = errors.New("entry.value: the key has characters that JSON must escape, so the value can't contain it unchanged")
	errTooLong   = fmt.Errorf("entry.value: must render to at most %d bytes", maxEntryValue)
)

// Render returns the entry of a credential of a key. material holds the credential itself under content Key, and is nil
// under content Digest. The message of an error is safe to publish; the credential is then withheld as InvalidEntry.
func (x *Export) Render(c Candidate, cred v1alpha1.Credential, material credential.Material) (Entry, error) {
	name, value, err := x.template.Render(c.Key, c.Account, cred, material)
	if err != nil {
		return Entry{}, err
	}
	if err := x.checkEntry(name, value, cred.SHA256, material); err != nil {
		return Entry{}, err
	}
	if x.json && !x.isQuoted(c, cred, material, value) {
		return Entry{}, errJSON
	}
	return Entry{
		Key: types.NamespacedName{Namespace: c.Key.Namespace, Name: c.Key.Name}, UID: c.Key.UID, Account: c.Key.Spec.Account,
		KeyID: cred.ID, Digest: cred.SHA256, CreatedAt: c.Key.CreationTimestamp.Time, IssuedAt: cred.IssuedAt.Time, Name: name, Value: value,
	}, nil
}

// checkEntry returns an error if a gateway could misunderstand a rendered entry.
func (x *Export) checkEntry(name string, value []byte, digest string, material credential.Material) error {
	switch {
	case !isEntryName(name):
		return errEntryName
	case len(value) > maxEntryValue:
		return errTooLong
	case !utf8.Valid(value):
		return errUTF8
	case x.spec.Content == v1alpha1.ExportContentKey && !holdsKey(value, digest, material):
		return errNoKey
	case x.spec.Content == v1alpha1.ExportContentDigest && !bytes.Contains(value, []byte(keys.DigestPrefix+digest)):
		return errNoDigest
	case holdsOtherDigest(value, digest):
		return errForeign
	case x.json && !isPlainJSON(value):
		return errJSON
	case x.json && bytes.ContainsAny(material, `"\\`): // an imported key: it would change the structure
		return errJSONKey
	}
	return nil
}

// holdsKey reports whether a value contains a credential, which must have the digest.
func holdsKey(value []byte, digest string, material credential.Material) bool {
	return len(material) > 0 && material.SHA256() == digest && bytes.Contains(value, material)
}

// isEntryName reports whether the API server accepts a name as that of an entry.
func isEntryName(name string) bool {
	for i := range len(name) {
		if !isEntryNameCharacter(name[i]) {
			return false
		}
	}
	return name != "" && len(name) <= maxEntryName && name != "." && !strings.HasPrefix(name, "..")
}

func isEntryNameCharacter(c byte) bool {
	return '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' || c == '-' || c == '_' || c == '.'
}

// writtenDigest matches a digest as gateways read it.
var writtenDigest = regexp.MustCompile(`(?i)sha256:[0-9a-f]{64}`)

// holdsOtherDigest reports whether a value contains another digest than the given one. A user could put one into the
// label or the metadata of a key, to make a gateway accept a credential that does not belong to any key.
func holdsOtherDigest(value []byte, digest string) bool {
	for {
		i := writtenDigest.FindIndex(value)
		if i == nil {
			return false
		}
		if string(value[i[0]:i[1]]) != keys.DigestPrefix+digest {
			return true
		}
		value = value[i[1]:]
	}
}
