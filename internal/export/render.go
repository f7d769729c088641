// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package export

import (
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/credential"
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
	// IssuedAt holds when the credential was issued. Older credentials take precedence.
	IssuedAt time.Time
	// Name and Value hold the name and the value of the entry. Value is printed as [redacted].
	Name  string
	Value credential.Material
}

// Render returns the entry of a credential of a key. material holds the credential itself under content Key, and is nil
// under content Digest. The message of an error is safe to publish; the credential is then withheld as InvalidEntry.
func (x *Export) Render(c Candidate, cred v1alpha1.Credential, material credential.Material) (Entry, error) {
	return Entry{}, nil
}
