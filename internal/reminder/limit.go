// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package reminder

import (
	"math"
	"slices"
	"time"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// recipients returns the allowed addresses that a mail has not reached yet.
func (f facts) recipients(n v1alpha1.NotificationStatus) []string {
	list := n.Remaining
	if len(list) == 0 {
		list = f.effectiveNotification().Emails
	}
	return slices.DeleteFunc(slices.Clone(list), func(address string) bool { return !f.Settings.MailDomains.Allow(address) })
}

// remainingMails returns how many mails may still be sent for the account today. It is zero for an account that does not exist,
// since the mails could not be counted.
func (f facts) remainingMails() int {
	switch {
	case f.Settings.MaxMails == 0:
		return math.MaxInt
	case f.Account == nil:
		return 0
	}
	return max(0, int(f.Settings.MaxMails)-int(sentToday(f.Account, f.Now)))
}

// sentToday returns how many mails of an account count for today. A count of a later day, by a clock that is ahead, counts for
// today too, so that two clocks that differ do not reset the count in turn.
func sentToday(a *v1alpha1.Account, now time.Time) int32 {
	m := a.Status.Mail
	if m == nil || m.Sent == nil || m.Date < mailDay(now) {
		return 0
	}
	return *m.Sent
}

// CountMails returns the mail count of an account after n more mails.
func CountMails(a *v1alpha1.Account, n int, now time.Time) *v1alpha1.MailStatus {
	date := mailDay(now)
	if m := a.Status.Mail; m != nil && m.Date > date {
		date = m.Date
	}
	sent := sentToday(a, now) + int32(n) //nolint:gosec // n is at most the number of recipients
	return &v1alpha1.MailStatus{Date: date, Sent: &sent}
}

// UncountMails returns the mail count of an account without n mails that were counted in before and were not sent.
func UncountMails(a *v1alpha1.Account, before *v1alpha1.MailStatus, n int) *v1alpha1.MailStatus {
	m := a.Status.Mail.DeepCopy()
	if m == nil || m.Sent == nil || before == nil || m.Date != before.Date {
		return m
	}
	*m.Sent = max(0, *m.Sent-int32(n)) //nolint:gosec // n is at most the number of recipients
	return m
}

// CountUnreached returns the number of recipients that the mail server was not asked about.
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
