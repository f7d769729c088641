// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"slices"
	"time"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// KeyDigests returns the digests of all credentials that a key has or has revoked. They are the values of the key in
// IndexDigest.
func KeyDigests(k *v1alpha1.APIKey) []string {
	list := make([]string, 0, len(k.Status.Credentials)+len(k.Status.RevokedCredentials))
	for _, c := range k.Status.Credentials {
		list = append(list, c.SHA256)
	}
	for _, c := range k.Status.RevokedCredentials {
		list = append(list, c.SHA256)
	}
	return list
}

// Digests returns the digests that no other key may have: those of the key's credentials and of the credential to be
// imported or adopted.
func (f *Facts) Digests() []string {
	var list []string
	for _, c := range f.Key.Status.Credentials {
		list = append(list, c.SHA256)
	}
	if digest := f.newDigest(); digest != "" {
		list = append(list, digest)
	}
	return list
}

// newDigest returns the digest of the externally generated credential that becomes the key's first one, or "" if there
// is none.
func (f *Facts) newDigest() string {
	switch {
	case f.importsCredential():
		return f.Key.Spec.Import.SHA256
	case f.offersCredential():
		return f.Secret.Current.SHA256
	}
	return ""
}

// offersCredential reports whether the Secret offers a credential that the key may adopt as its first.
func (f *Facts) offersCredential() bool {
	return f.Secret.IsOffered && !Issued(f.Key) && (f.Secret.Ownership == SecretOwned || f.Secret.Ownership == SecretOffered)
}

// checkDuplicate refuses a key whose credential was issued to another key first, and one that would adopt a credential which
// any key has or has revoked.
func checkDuplicate(f Facts) *Violation {
	for _, c := range f.Key.Status.Credentials {
		for _, other := range f.Duplicates {
			if precedes(other, f.Key, c.SHA256) {
				return violationf(
					v1alpha1.ReasonDuplicateKey,
					"The credential was issued to %s first: delete this APIKey, and create it again to get one of its own",
					f.describeOther(other),
				)
			}
		}
	}
	digest := f.newDigest()
	for _, other := range append(slices.Clone(f.Duplicates), f.Key) {
		switch {
		case digest == "" || !slices.Contains(KeyDigests(other), digest):
		case f.importsCredential():
			return violationf(
				v1alpha1.ReasonDuplicateKey,
				"spec.import names a key that %s has or has revoked: delete this APIKey, and create it again without spec.import "+
					"to get a key of its own",
				f.describeOther(other),
			)
		default:
			return violationf(
				v1alpha1.ReasonDuplicateKey,
				"Secret %s holds a key that %s has or has revoked: put another key into it, or delete it to have one generated",
				SecretName(f.Key),
				f.describeOther(other),
			)
		}
	}
	return nil
}

// describeOther returns a description of another key. It does not name a key in another namespace, because users must
// not learn what other namespaces contain.
func (f *Facts) describeOther(other *v1alpha1.APIKey) string {
	switch {
	case other.UID == f.Key.UID:
		return "this APIKey"
	case other.Namespace == f.Key.Namespace:
		return "APIKey " + other.Name
	}
	return "another APIKey"
}

// precedes reports whether a digest was issued to another key first: by the time of issue, then by the creation time
// and UID of the keys. Verifiers use the same order.
func precedes(other, k *v1alpha1.APIKey, digest string) bool {
	theirs, ok := issueTime(other, digest)
	if !ok || !other.DeletionTimestamp.IsZero() {
		return false
	}
	ours, _ := issueTime(k, digest)
	if c := theirs.Compare(ours); c != 0 {
		return c < 0
	}
	if c := other.CreationTimestamp.Compare(k.CreationTimestamp.Time); c != 0 {
		return c < 0
	}
	return other.UID < k.UID
}

func issueTime(k *v1alpha1.APIKey, digest string) (time.Time, bool) {
	for _, c := range k.Status.RevokedCredentials {
		if c.SHA256 == digest {
			return c.IssuedAt.Time, true
		}
	}
	for _, c := range k.Status.Credentials {
		if c.SHA256 == digest {
			return c.IssuedAt.Time, true
		}
	}
	return time.Time{}, false
}
