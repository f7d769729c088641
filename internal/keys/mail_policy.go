// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"math"
	"slices"
	"strings"
	"time"
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

// recipients are the addresses that a mail is still to go to, and may.
func (f *Facts) recipients(n v1alpha1.NotificationStatus) []string {
	list := n.Remaining
	if len(list) == 0 {
		list = f.effectiveNotification().Emails
	}
	return slices.DeleteFunc(slices.Clone(list), func(address string) bool { return !f.Settings.MailDomains.Allow(address) })
}

// remainingMails is how many mails the account may have sent today. An account that does not exist has nowhere to count them.
func (f *Facts) remainingMails() int {
	switch {
	case f.Settings.MaxMails == 0:
		return math.MaxInt
	case f.Account == nil:
		return 0
	}
	return max(0, int(f.Settings.MaxMails)-int(sentToday(f.Account, f.Now)))
}

// sentToday is how many of an account's mails count for today. A count of a later day, by a clock that is ahead, counts for
// today too: clocks that differ must not make it begin anew each time.
func sentToday(a *v1alpha1.Account, now time.Time) int32 {
	m := a.Status.Mail
	if m == nil || m.Sent == nil || m.Date < mailDay(now) {
		return 0
	}
	return *m.Sent
}

// CountMails returns an account's count with n more mails.
func CountMails(a *v1alpha1.Account, n int, now time.Time) *v1alpha1.MailStatus {
	date := mailDay(now)
	if m := a.Status.Mail; m != nil && m.Date > date {
		date = m.Date
	}
	sent := sentToday(a, now) + *count(n)
	return &v1alpha1.MailStatus{Date: date, Sent: &sent}
}

// UncountMails returns an account's count without n mails that were counted as before and not sent after all.
func UncountMails(a *v1alpha1.Account, before *v1alpha1.MailStatus, n int) *v1alpha1.MailStatus {
	m := a.Status.Mail.DeepCopy()
	if m == nil || m.Sent == nil || before == nil || m.Date != before.Date {
		return m
	}
	*m.Sent = max(0, *m.Sent-*count(n))
	return m
}

// CountUnreached is how many of a mail's recipients the mail server was not asked about.
func CountUnreached(deliveries []Delivery) int {
	n := 0
	for _, d := range deliveries {
		if d.Unreached {
			n++
		}
	}
	return n
}

func mailDay(now time.Time) string { return now.UTC().Format(time.DateOnly) }

func nextMailDay(now time.Time) time.Time {
	const day = 24 * time.Hour
	return now.UTC().Truncate(day).Add(day)
}
