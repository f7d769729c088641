// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package reminder

import (
	"cmp"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
)

const (
	// defaultDaysBefore is when to tell people unless the spec says otherwise.
	defaultDaysBefore = 7
	// claimLifetime is how long a mail that was begun is left to whoever began it. It is longer than any conversation with a
	// mail server may take.
	claimLifetime = 2 * time.Minute
	// firstRetry doubles with every attempt, up to lastRetry.
	firstRetry = time.Minute
	lastRetry  = 6 * time.Hour
	// maxNotifications is how many entries a status has room for.
	maxNotifications = 16
)

// Mail is one mail to send before a key expires. It has no field for key material.
type Mail struct {
	// Date is its entry in status.notifications.
	Date string
	// To are the addresses to tell.
	To []string
	// Later are those for which the account has no mail left today.
	Later []string
	// HasForbiddenRecipients is whether there are addresses to which no mail may go.
	HasForbiddenRecipients bool
	// Locale is the language asked for, two letters.
	Locale string
	// Key and Account are what it speaks of.
	Key     *v1alpha1.APIKey
	Account *v1alpha1.Account
	// Expiration is when the key expires, and Zone the account's time zone.
	Expiration time.Time
	Zone       *time.Location
	// Now is when the mail is written.
	Now time.Time
}

// Delivery is what came of a mail to one address.
type Delivery struct {
	To string
	// Sent means that the mail server took it; Temporary that it may take it later.
	Sent, Temporary bool
	// Reason is why not: one word.
	Reason string
	// Unreached means that the mail server was not asked to take the mail.
	Unreached bool
	// Fallback means that the language asked for is not available, and the mail was in English.
	Fallback bool
}

// facts are those of internal/keys. Reminders use the key, its account, the settings and the time.
type facts struct{ keys.Facts }

// Plan is what to do about the mails of a key.
type Plan struct {
	// Notifications is what the status is to say before anything is sent.
	Notifications []v1alpha1.NotificationStatus
	// Send is the mail that Notifications claims; nil: there is none to send now.
	Send *Mail
	// Next is when to look again; zero: never.
	Next time.Time
}

// Decide says which mails a key has, which of them to send now, and when to look again. A mail is claimed in the
// status before it is sent, and settled after, so that it is sent at least once whatever crashes, and twice only if a
// crash falls between the two. Of several that came due while nobody was there only the most urgent is sent.
func Decide(in keys.Facts, withServer bool) Plan {
	f, plan := facts{in}, Plan{}
	due := f.reminderDates()
	urgent := f.mostUrgent(due)
	for _, d := range due {
		entry := f.notification(d.date)
		switch {
		case isFinal(entry):
		case f.Now.Before(d.at):
			plan.sooner(d.at)
		case d.date != urgent:
			skipReminder(&entry, v1alpha1.ReasonSuperseded)
		case f.Key.Status.ExpirationTime == nil || !f.Now.Before(f.Key.Status.ExpirationTime.Time):
			skipReminder(&entry, v1alpha1.ReasonAfterExpiration)
		case f.Key.Status.State != v1alpha1.StateActive: // not now; a key that comes back is told of then
		case !withServer:
			skipReminder(&entry, v1alpha1.ReasonNoMailServer)
		case len(f.recipients(entry)) == 0:
			skipReminder(&entry, v1alpha1.ReasonRecipientNotAllowed)
		case f.Now.Before(retryAt(entry)):
			plan.sooner(retryAt(entry))
		case f.remainingMails() == 0:
			entry.Reason = v1alpha1.ReasonMailLimitReached
			plan.sooner(nextMailDay(f.Now))
		default:
			plan.Send = f.claimDelivery(&entry)
		}
		plan.Notifications = append(plan.Notifications, entry)
	}
	plan.Notifications = f.keepSent(plan.Notifications)
	return plan
}

func (p *Plan) sooner(t time.Time) {
	if p.Next.IsZero() || t.Before(p.Next) {
		p.Next = t
	}
}

// reminderDate is a day on which people are to be told, and its first instant in the account's zone.
type reminderDate struct {
	date string
	at   time.Time
}

// reminderDates are the days on which people are to be told before the accepted expiration, earliest first.
func (f facts) reminderDates() []reminderDate {
	n, zone := f.effectiveNotification(), f.zone()
	if n == nil || len(n.Emails) == 0 || f.Key.Status.ExpirationTime == nil || zone == nil {
		return nil
	}
	if n.Date != "" {
		if day, err := keys.ParseDate(n.Date); err == nil {
			return []reminderDate{{date: n.Date, at: keys.StartOfDay(day, zone)}}
		}
		return nil
	}
	days := n.DaysBefore
	if len(days) == 0 {
		days = []int32{defaultDaysBefore}
	}
	end := f.Key.Status.ExpirationTime.In(zone)
	var list []reminderDate
	for _, before := range days {
		day := time.Date(end.Year(), end.Month(), end.Day()-int(before), 0, 0, 0, 0, time.UTC)
		list = append(list, reminderDate{date: day.Format(time.DateOnly), at: keys.StartOfDay(day, zone)})
	}
	slices.SortFunc(list, func(a, b reminderDate) int { return a.at.Compare(b.at) })
	return slices.CompactFunc(list, func(a, b reminderDate) bool { return a.date == b.date })
}

// effectiveNotification is the key's own, else its account's default; nil: nobody is to be told.
func (f facts) effectiveNotification() *v1alpha1.Notification {
	if f.Key.Spec.Notification != nil {
		return f.Key.Spec.Notification
	}
	if f.Account != nil && f.Account.Spec.KeyDefaults != nil {
		return f.Account.Spec.KeyDefaults.Notification
	}
	return nil
}

// zone is the account's time zone; nil: it is not known here.
func (f facts) zone() *time.Location {
	name := ""
	if f.Account != nil {
		name = f.Account.Spec.TimeZone
	}
	zone, err := keys.LoadZone(name)
	if err != nil {
		return nil
	}
	return zone
}

// mostUrgent is the date of the last mail that is due.
func (f facts) mostUrgent(due []reminderDate) string {
	urgent := ""
	for _, d := range due {
		if !f.Now.Before(d.at) {
			urgent = d.date
		}
	}
	return urgent
}

// notification is the status's entry for a date, or a new one.
func (f facts) notification(date string) v1alpha1.NotificationStatus {
	for _, n := range f.Key.Status.Notifications {
		if n.Date == date {
			return *n.DeepCopy()
		}
	}
	return v1alpha1.NotificationStatus{Date: date, State: v1alpha1.NotificationPending}
}

func isFinal(n v1alpha1.NotificationStatus) bool { return n.State != v1alpha1.NotificationPending }

func skipReminder(n *v1alpha1.NotificationStatus, reason string) {
	n.State, n.Reason, n.Remaining = v1alpha1.NotificationSkipped, reason, nil
}

// retryAt is when a mail may be tried again: at once for one that was never tried, when the claim has run out for one
// whose end nobody recorded, and later with every failure for the rest. It is computed from the status alone, so it
// survives a restart.
func retryAt(n v1alpha1.NotificationStatus) time.Time {
	if n.LastAttemptTime == nil || n.Attempts == nil {
		return time.Time{}
	}
	if n.Reason == v1alpha1.ReasonSending {
		return n.LastAttemptTime.Add(claimLifetime)
	}
	const maxDoublings = 10
	pause := firstRetry << min(max(*n.Attempts-1, 0), maxDoublings)
	return n.LastAttemptTime.Add(min(pause, lastRetry))
}

// claimDelivery records that a mail is being sent, and says which.
func (f facts) claimDelivery(n *v1alpha1.NotificationStatus) *Mail {
	attempts := int32(1)
	if n.Attempts != nil {
		attempts = *n.Attempts + 1
	}
	now := metav1.NewTime(f.Now)
	n.Attempts, n.LastAttemptTime, n.Reason = &attempts, &now, v1alpha1.ReasonSending
	wanted, to := f.effectiveNotification(), f.recipients(*n)
	today := min(f.remainingMails(), len(to))
	return &Mail{
		Date: n.Date, To: to[:today:today], Later: to[today:], HasForbiddenRecipients: len(f.Settings.MailDomains.Forbidden(wanted.Emails)) > 0,
		Locale: cmp.Or(wanted.Locale, "en"), Key: f.Key, Account: f.Account,
		Expiration: f.Key.Status.ExpirationTime.UTC(), Zone: f.zone(), Now: f.Now,
	}
}

// keepSent keeps the record of mails that were sent, to all or to some, for an expiration that has moved since, as far as there is room: if
// it moves back, they are not sent twice.
func (f facts) keepSent(list []v1alpha1.NotificationStatus) []v1alpha1.NotificationStatus {
	for _, old := range slices.Backward(f.Key.Status.Notifications) {
		listed := slices.ContainsFunc(list, func(n v1alpha1.NotificationStatus) bool { return n.Date == old.Date })
		if told := old.State == v1alpha1.NotificationSent || old.SentAt != nil; !listed && told && len(list) < maxNotifications {
			list = append(list, *old.DeepCopy())
		}
	}
	slices.SortFunc(list, func(a, b v1alpha1.NotificationStatus) int { return cmp.Compare(a.Date, b.Date) })
	return list
}

// RecordDeliveries records what came of a mail. Addresses that may yet take it are tried again; that the rest refused it does
// not keep those who got it from counting as told.
func RecordDeliveries(list []v1alpha1.NotificationStatus, m Mail, deliveries []Delivery, now time.Time) []v1alpha1.NotificationStatus {
	list = slices.Clone(list)
	for i := range list {
		if list[i].Date == m.Date {
			recordDeliveries(&list[i], m, deliveries, now)
		}
	}
	return list
}

func recordDeliveries(n *v1alpha1.NotificationStatus, m Mail, deliveries []Delivery, now time.Time) {
	told := n.SentAt != nil // others were told at an earlier try
	var remaining []string
	refusal, delay := "", v1alpha1.ReasonMailLimitReached
	for _, d := range deliveries {
		switch {
		case d.Sent:
			told = true
		case d.Temporary:
			remaining, delay = append(remaining, d.To), d.Reason
		default:
			refusal = d.Reason
		}
	}
	remaining = append(remaining, m.Later...)
	n.Remaining = nil
	if at := metav1.NewTime(now); told && (n.SentAt == nil || len(remaining) == 0) {
		n.SentAt = &at
	}
	switch {
	case len(remaining) > 0:
		n.Reason, n.Remaining = delay, remaining
	case told:
		n.State, n.Reason = v1alpha1.NotificationSent, sentReason(m, deliveries, refusal)
	default:
		n.State, n.Reason = v1alpha1.NotificationFailed, refusal
	}
}

// sentReason is what there is to say of a mail that was sent; empty: nothing.
func sentReason(m Mail, deliveries []Delivery, refusal string) string {
	switch {
	case refusal != "":
		return v1alpha1.ReasonSomeRejected
	case m.HasForbiddenRecipients:
		return v1alpha1.ReasonRecipientNotAllowed
	case slices.ContainsFunc(deliveries, func(d Delivery) bool { return d.Fallback }):
		return v1alpha1.ReasonLocaleNotAvailable
	}
	return ""
}

// Events are what changed in the mails of a key.
func Events(before, after []v1alpha1.NotificationStatus) []keys.Event {
	was := map[string]v1alpha1.NotificationStatus{}
	for _, n := range before {
		was[n.Date] = n
	}
	var list []keys.Event
	for _, n := range after {
		limited := n.Reason == v1alpha1.ReasonMailLimitReached && was[n.Date].Reason != n.Reason
		if was[n.Date].State == n.State && !limited {
			continue
		}
		if e, ok := mailEvent(n); ok {
			list = append(list, e)
		}
	}
	return list
}

func mailEvent(n v1alpha1.NotificationStatus) (keys.Event, bool) {
	failed := keys.Event{Warning: true, Reason: v1alpha1.ReasonNotificationFailed, Action: "Notify"}
	switch {
	case n.State == v1alpha1.NotificationSent && n.Reason == "":
		return keys.Event{Reason: v1alpha1.ReasonNotificationSent, Action: "Notify", Note: "Told people by mail that the key is about to expire"}, true
	case n.State == v1alpha1.NotificationSent && n.Reason == v1alpha1.ReasonLocaleNotAvailable:
		return keys.Event{Reason: v1alpha1.ReasonNotificationSent, Action: "Notify", Note: "Told people by mail that the key is about to expire, in English: notification.locale is none of en, de, es, pt, fr and it"}, true
	case n.State == v1alpha1.NotificationSent && n.Reason == v1alpha1.ReasonRecipientNotAllowed:
		failed.Note = "Told people by mail that the key is about to expire, but not the addresses outside the domains of --smtp-allowed-domains"
	case n.State == v1alpha1.NotificationSent:
		failed.Note = "Told people by mail that the key is about to expire, but some addresses were refused by their mail server"
	case n.State == v1alpha1.NotificationFailed:
		failed.Note = "Could not tell anybody that the key is about to expire: " + n.Reason
	case n.Reason == v1alpha1.ReasonMailLimitReached:
		failed.Reason = v1alpha1.ReasonMailLimitReached
		failed.Note = "The account has no mail left today: those that are told that the key is about to expire are told tomorrow"
	case n.Reason == v1alpha1.ReasonRecipientNotAllowed:
		failed.Note = "The key is about to expire, and nobody was told: no address of notification.emails is in a domain of --smtp-allowed-domains"
	case n.Reason == v1alpha1.ReasonNoMailServer:
		failed.Note = "The key is about to expire, and nobody was told: the manager runs without --smtp-host"
	default:
		return keys.Event{}, false
	}
	return failed, true
}
