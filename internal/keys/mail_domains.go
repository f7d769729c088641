// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// MailDomains are the domains to which mail may go, in lower case: example.com is that domain alone, *.example.com any domain
// below it. Empty: any domain. An international name is there in both of its forms.
type MailDomains []string

// Allow reports whether mail may go to an address. An address whose domain can't be read for sure is not allowed.
func (d MailDomains) Allow(address string) bool {
	if len(d) == 0 {
		return true
	}
	domain := strings.ToLower(strings.TrimSuffix(address[strings.LastIndex(address, "@")+1:], "."))
	if strings.IndexFunc(domain, isNoDomainCharacter) >= 0 {
		return false
	}
	return slices.ContainsFunc(d, func(allowed string) bool {
		if parent, below := strings.CutPrefix(allowed, "*."); below {
			name, found := strings.CutSuffix(domain, "."+parent)
			return found && name != ""
		}
		return domain == allowed
	})
}

// isNoDomainCharacter reports whether a character is in no name of a domain: comments, quotes and literal addresses have
// such, and mean other domains to a mail server than the text ends in.
func isNoDomainCharacter(r rune) bool {
	if r < utf8.RuneSelf {
		return r != '-' && r != '.' && (r < '0' || r > '9') && (r < 'a' || r > 'z')
	}
	return !unicode.In(r, unicode.L, unicode.M, unicode.N)
}

// Forbidden returns the addresses to which no mail may go.
func (d MailDomains) Forbidden(addresses []string) []string {
	return slices.DeleteFunc(slices.Clone(addresses), d.Allow)
}

// CheckRecipients finds the addresses of a notification to which no mail may go, other than those that were there before.
// Only admission asks this: what got in all the same is not sent, and the status says so.
func (d MailDomains) CheckRecipients(was, is *v1alpha1.Notification, path *field.Path) field.ErrorList {
	if is == nil {
		return nil
	}
	var errs field.ErrorList
	for i, address := range is.Emails {
		if known := was != nil && slices.Contains(was.Emails, address); !known && !d.Allow(address) {
			errs = append(errs, field.Invalid(path.Child("emails").Index(i), address,
				"must be in a domain of the manager's --smtp-allowed-domains: use another address, or have its domain allowed"))
		}
	}
	return errs
}
