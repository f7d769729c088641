// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"regexp"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/credential"
)

// This file implements keys whose first credential is imported by its digest alone. Such a key has no Secret until its
// first rotation.

var (
	importDigest = regexp.MustCompile(`^[0-9a-f]{64}$`)
	// importHint matches the public part of a Token, or otherwise so few characters that the rest of the key can't be
	// guessed.
	importHint = regexp.MustCompile(`^([A-Za-z0-9._-]{1,8}|[a-z][a-z0-9]{0,15}_[A-Za-z0-9]{12})$`)
)

func validateImport(i *v1alpha1.Import, path *field.Path) field.ErrorList {
	if i == nil {
		return nil
	}
	var errs field.ErrorList
	if !importDigest.MatchString(i.SHA256) {
		errs = append(
			errs,
			field.Invalid(
				path.Child("sha256"),
				"[redacted]",
				"must be a SHA-256 digest of 64 lower-case hexadecimal digits, as printed by sha256sum",
			),
		)
	}
	if !importHint.MatchString(i.Hint) {
		errs = append(
			errs,
			field.Invalid(
				path.Child("hint"),
				"[redacted]",
				"must be the first characters of the key: at most 8 letters, digits and . _ -, or the prefix and the id of a "+
					"Token, such as ak_8GkQ2vLx0RtW",
			),
		)
	}
	return errs
}

// checkImport refuses spec.import if the account does not allow it. It does not affect keys that were imported already.
func checkImport(f Facts) *Violation {
	if f.Key.Spec.Import == nil || f.Account == nil || Issued(f.Key) || f.Account.Spec.ImportPolicy == v1alpha1.ImportAllow {
		return nil
	}
	return violationf(
		v1alpha1.ReasonImportNotAllowed,
		"Account %s does not allow imported keys: set spec.importPolicy of the account to Allow, or create the APIKey without spec.import",
		f.Account.Name,
	)
}

// importsCredential reports whether the first credential of the key is the one that its spec names by its digest.
func (f *Facts) importsCredential() bool {
	return f.Key.Spec.Import != nil && !Issued(f.Key) && f.Key.Spec.State != v1alpha1.KeyStateRevoked
}

// importedCredential returns the status entry for the credential that the spec names.
func (a *assessment) importedCredential() v1alpha1.Credential {
	i := a.Key.Spec.Import
	id := i.SHA256[:credential.IDLength]
	if _, tokenID, isToken := strings.Cut(i.Hint, "_"); isToken && len(tokenID) == credential.IDLength {
		id = tokenID
	}
	return v1alpha1.Credential{ID: id, Hint: i.Hint, SHA256: i.SHA256, IssuedAt: metav1.NewTime(a.Now), Role: v1alpha1.RoleCurrent}
}

// isImported reports whether the current credential of a status is the one that the spec names by its digest. Such a
// credential needs no Secret.
func (f *Facts) isImported(s *v1alpha1.APIKeyStatus) bool {
	i, is := f.Key.Spec.Import, current(s)
	return i != nil && is != nil && is.SHA256 == i.SHA256
}

// replaceImported returns the next step of the first rotation of an imported key, which has no Secret yet. It is an
// ordinary rotation, except that it creates the Secret with the staged credential. If the maximum number of staged
// credentials is reached and all of them are lost, it creates the Secret with a credential that was not staged, after
// which no process can create the Secret with a lost one.
func (a *assessment) replaceImported(name string, format credential.Format) ([]Step, string) {
	switch {
	case a.canPromote():
		return []Step{PromoteStaged{Name: name}}, "verifiers have observed the staged credential"
	case a.stagingDue() && len(staged(&a.Key.Status)) >= maxStaged:
		return []Step{CreateSecret{Name: name, Format: format}}, "the staged credentials are lost"
	case a.stagingDue():
		return []Step{StageCredential{Name: name, Format: format}}, "the next credential is due"
	}
	return nil, "the key was imported by its digest, and has no Secret until its first rotation"
}
