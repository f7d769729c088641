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
	// defaultDaysBefore is the number of days before the expiration on which a reminder is sent by default.
	defaultDaysBefore = 7
	// claimLifetime is how long a claimed mail is left to the manager that claimed it. It is longer than any SMTP session may
	// take.
	claimLifetime = 2 * time.Minute
	// firstRetry is the pause after the first failure. It doubles with every attempt, up to lastRetry.
	firstRetry = time.Minute
	lastRetry  = 6 * time.Hour
	// maxNotifications is the number of entries that the schema admits in status.notifications.
	maxNotifications = 16
)

// Mail describes one mail to send before a key expires. It has no field for key material.
type Mail struct {
	// Date names the entry in status.notifications, as YYYY-MM-DD.
	Date string
	// To lists the recipients.
	To []string
	// Later lists the recipients for which the account has no mail left today.
	Later []string
	// HasForbiddenRecipients reports whether the notification names addresses outside the allowed domains.
	HasForbiddenRecipients bool
	// Locale holds the requested language, as two letters (ISO 639-1).
	Locale string
	// Key and Account are the subject of the mail.
	Key     *v1alpha1.APIKey
	Account *v1alpha1.Account
	// Expiration is when the key expires, and Zone is the time zone of the account.
	Expiration time.Time
	Zone       *time.Location
	// Now is when the mail is composed.
	Now time.Time
}

// Delivery holds the result of a mail to one recipient.
type Delivery struct {
	To string
	// Sent reports whether the mail server accepted the mail, and Temporary whether another attempt may succeed.
	Sent, Temporary bool
	// Reason says in one word why the mail was not sent.
	Reason string
	// Unreached reports whether the mail server was not asked to accept the mail.
	Unreached bool
	// Fallback reports whether the mail was in English because the requested language is not available.
	Fallback bool
}

// facts adds the methods of this package to the facts of internal/keys. Reminders use the key, its account, the settings and
// the time.
type facts struct{ keys.Facts }

// Plan holds what to do about the reminders of a key.
type Plan struct {
	// Notifications is written to the status before anything is sent.
	Notifications []v1alpha1.NotificationStatus
	// Send is the mail that Notifications claims. It is nil if there is none to send now.
	Send *Mail
	// Next is when to decide again. It is zero if there is nothing left to decide.
	Next time.Time
}

// Decide returns the reminders of a key, the mail to send now, and when to decide again. A mail is claimed in the status before
// it is sent, and its result is recorded afterwards, so that it is sent at least once, and twice only if the manager crashes
// between the two. If several mails came due while no manager ran, only the most urgent one is sent.
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

// reminderDate holds a day on which a reminder is due, and the first instant of that day in the zone of the account.
type reminderDate struct {
	date string
	at   time.Time
}

// reminderDates returns the days on which reminders are due before the accepted expiration, earliest first.
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

// effectiveNotification returns the notification of the key, or else the default of its account. It is nil if there is neither.
func (f facts) effectiveNotification() *v1alpha1.Notification {
	if f.Key.Spec.Notification != nil {
		return f.Key.Spec.Notification
	}
	if f.Account != nil && f.Account.Spec.KeyDefaults != nil {
		return f.Account.Spec.KeyDefaults.Notification
	}
	return nil
}

// zone returns the time zone of the account. It is nil if the zone is unknown to this program.
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

// mostUrgent returns the date of the last reminder that is due.
func (f facts) mostUrgent(due []reminderDate) string {
	urgent := ""
	for _, d := range due {
		if !f.Now.Before(d.at) {
			urgent = d.date
		}
	}
	return urgent
}

// notification returns the entry of the status for a date, or a new one.
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

// retryAt returns when a mail may be tried again: at once if it was never tried, when the claim expires if its result was not
// recorded, and otherwise later with every failure. It is computed from the status alone, so it survives a restart.
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

// claimDelivery records in an entry that its mail is being sent, and returns the mail.
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

// keepSent adds the entries of mails that were sent for an expiration that has moved since, as far as there is room, so that
// they are not sent twice if the expiration moves back.
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

// RecordDeliveries returns the notifications with the results of a mail. Recipients with a temporary failure are tried again. The
// mail counts as sent once one recipient received it.
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
	told := n.SentAt != nil // an earlier attempt reached other recipients
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

// sentReason returns the reason of an entry whose mail was sent. It is empty if all recipients received the mail as requested.
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

// Events returns what changed in the notifications of a key.
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
		return keys.Event{
			Reason: v1alpha1.ReasonNotificationSent,
			Action: "Notify",
			Note:   "Sent a reminder that the key is about to expire",
		}, true
	case n.State == v1alpha1.NotificationSent && n.Reason == v1alpha1.ReasonLocaleNotAvailable:
		return keys.Event{
			Reason: v1alpha1.ReasonNotificationSent,
			Action: "Notify",
			Note:   "Sent a reminder that the key is about to expire, in English: notification.locale is none of en, de, es, pt, fr and it",
		}, true
	case n.State == v1alpha1.NotificationSent && n.Reason == v1alpha1.ReasonRecipientNotAllowed:
		failed.Note = "Sent a reminder that the key is about to expire, but not the addresses outside the domains of --smtp-allowed-domains"
	case n.State == v1alpha1.NotificationSent:
		failed.Note = "Sent a reminder that the key is about to expire, but some addresses were refused by their mail server"
	case n.State == v1alpha1.NotificationFailed:
		failed.Note = "Could not send a reminder that the key is about to expire: " + n.Reason
	case n.Reason == v1alpha1.ReasonMailLimitReached:
		failed.Reason = v1alpha1.ReasonMailLimitReached
		failed.Note = "The account has no mail left today: the remaining reminders that the key is about to expire are sent tomorrow"
	case n.Reason == v1alpha1.ReasonRecipientNotAllowed:
		failed.Note = "The key is about to expire, and no reminder was sent: no address of notification.emails is in a " +
			"domain of --smtp-allowed-domains"
	case n.Reason == v1alpha1.ReasonNoMailServer:
		failed.Note = "The key is about to expire, and no reminder was sent: the manager runs without --smtp-host"
	default:
		return keys.Event{}, false
	}
	return failed, true
}
