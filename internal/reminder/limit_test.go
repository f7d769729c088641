// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package reminder_test

import (
	"reflect"
	"slices"
	"testing"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/reminder"
)

// limited are the facts about a key with three recipients in an account that has sent some of its five mails.
func limited(now, date string, sent int32, entries ...v1alpha1.NotificationStatus) keys.Facts {
	f := mailFacts(now, v1alpha1.Notification{Emails: []string{"a@example.com", "b@example.com", "c@example.com"}}, listed(entries...))
	f.Settings.MaxMails = 5
	if date != "" {
		f.Account.Status.Mail = &v1alpha1.MailStatus{Date: date, Sent: &sent}
	}
	return f
}

func TestDecide_Limit(t *testing.T) {
	t.Parallel()
	const today = "2026-10-24T12:00:00Z"
	waiting := entry("2026-10-24", v1alpha1.NotificationPending, v1alpha1.ReasonMailLimitReached)
	partly := tried(waiting, 1, "2026-10-24T11:00:00Z")
	partly.Remaining = []string{"c@example.com"}
	for name, tc := range map[string]struct {
		facts     keys.Facts
		to, later []string
		next      string
	}{
		"none sent ever":              {facts: limited(today, "", 0), to: []string{"a@example.com", "b@example.com", "c@example.com"}},
		"used up yesterday":           {facts: limited(today, "2026-10-23", 5), to: []string{"a@example.com", "b@example.com", "c@example.com"}},
		"room for all":                {facts: limited(today, "2026-10-24", 2), to: []string{"a@example.com", "b@example.com", "c@example.com"}},
		"room for one":                {facts: limited(today, "2026-10-24", 4), to: []string{"a@example.com"}, later: []string{"b@example.com", "c@example.com"}},
		"used up":                     {facts: limited(today, "2026-10-24", 5), next: "2026-10-25T00:00:00Z"},
		"more than used up":           {facts: limited(today, "2026-10-24", 500), next: "2026-10-25T00:00:00Z"},
		"used up by a clock ahead":    {facts: limited(today, "2026-10-25", 5), next: "2026-10-25T00:00:00Z"},
		"waiting, and it is tomorrow": {facts: limited("2026-10-25T00:00:00Z", "2026-10-24", 5, waiting), to: []string{"a@example.com", "b@example.com", "c@example.com"}},
		"waiting for the rest":        {facts: limited("2026-10-25T00:00:00Z", "2026-10-24", 5, partly), to: []string{"c@example.com"}},
	} {
		plan := reminder.Decide(tc.facts, true)
		if tc.next != "" {
			if plan.Send != nil || !plan.Next.Equal(parsed(tc.next)) || plan.Notifications[0].Reason != v1alpha1.ReasonMailLimitReached || plan.Notifications[0].Attempts != nil {
				t.Errorf("%s: got %+v", name, plan)
			}
			continue
		}
		if plan.Send == nil || !slices.Equal(plan.Send.To, tc.to) || !slices.Equal(plan.Send.Later, tc.later) {
			t.Errorf("%s: sends %+v", name, plan.Send)
		}
	}
	f := limited(today, "", 0)
	f.Account = nil
	if plan := reminder.Decide(f, true); plan.Send != nil {
		t.Error("mail is sent where nothing can count it")
	}
}

func TestDecide_RecipientsOutside(t *testing.T) {
	t.Parallel()
	f := mailFacts("2026-10-24T12:00:00Z", v1alpha1.Notification{Emails: []string{"a@example.com", "b@evil.net"}})
	f.Settings.MailDomains = keys.MailDomains{"example.com"}
	plan := reminder.Decide(f, true)
	if plan.Send == nil || !slices.Equal(plan.Send.To, []string{"a@example.com"}) {
		t.Fatalf("sends %+v", plan.Send)
	}
	list := reminder.RecordDeliveries(plan.Notifications, *plan.Send, []reminder.Delivery{{To: "a@example.com", Sent: true}}, f.Now)
	if n := list[0]; n.State != v1alpha1.NotificationSent || n.Reason != v1alpha1.ReasonRecipientNotAllowed {
		t.Errorf("settled as %+v", n)
	}
	if events := reminder.Events(plan.Notifications, list); len(events) != 1 || !events[0].Warning {
		t.Errorf("events %+v", events)
	}
	f.Settings.MailDomains = keys.MailDomains{"example.net"}
	plan = reminder.Decide(f, true)
	if n := plan.Notifications[0]; plan.Send != nil || n.State != v1alpha1.NotificationSkipped || n.Reason != v1alpha1.ReasonRecipientNotAllowed {
		t.Errorf("sends %+v, and says %+v", plan.Send, n)
	}
	if events := reminder.Events(nil, plan.Notifications); len(events) != 1 || !events[0].Warning {
		t.Errorf("events %+v", events)
	}
}

func TestRecordDeliveries_TheRestIsForTomorrow(t *testing.T) {
	t.Parallel()
	f := limited("2026-10-24T12:00:00Z", "2026-10-24", 4)
	plan := reminder.Decide(f, true)
	list := reminder.RecordDeliveries(plan.Notifications, *plan.Send, []reminder.Delivery{{To: "a@example.com", Sent: true}}, f.Now)
	if n := list[0]; n.State != v1alpha1.NotificationPending || n.Reason != v1alpha1.ReasonMailLimitReached || !slices.Equal(n.Remaining, []string{"b@example.com", "c@example.com"}) {
		t.Errorf("settled as %+v", n)
	}
	events := reminder.Events(plan.Notifications, list)
	if len(events) != 1 || events[0].Reason != v1alpha1.ReasonMailLimitReached || len(reminder.Events(list, list)) > 0 {
		t.Errorf("events %+v", events)
	}
}

func TestCountMails(t *testing.T) {
	t.Parallel()
	today := parsed("2026-10-24T23:59:59Z")
	status := func(date string, sent int32) *v1alpha1.MailStatus {
		return &v1alpha1.MailStatus{Date: date, Sent: &sent}
	}
	for name, tc := range map[string]struct {
		was, want, back *v1alpha1.MailStatus
	}{
		"the first":        {nil, status("2026-10-24", 3), status("2026-10-24", 1)},
		"further ones":     {status("2026-10-24", 2), status("2026-10-24", 5), status("2026-10-24", 3)},
		"of another day":   {status("2026-10-23", 2), status("2026-10-24", 3), status("2026-10-24", 1)},
		"by a clock ahead": {status("2026-10-25", 2), status("2026-10-25", 5), status("2026-10-25", 3)},
	} {
		f := limited("2026-10-24T12:00:00Z", "", 0)
		f.Account.Status.Mail = tc.was
		counted := reminder.CountMails(f.Account, 3, today)
		if !reflect.DeepEqual(counted, tc.want) {
			t.Errorf("%s: got %s %d", name, counted.Date, *counted.Sent)
		}
		f.Account.Status.Mail = counted
		if back := reminder.UncountMails(f.Account, counted, 2); !reflect.DeepEqual(back, tc.back) || !reflect.DeepEqual(counted, tc.want) {
			t.Errorf("%s: taken back to %s %d", name, back.Date, *back.Sent)
		}
	}
	f := limited("2026-10-24T12:00:00Z", "2026-10-25", 4)
	if got := reminder.UncountMails(f.Account, status("2026-10-24", 5), 3); !reflect.DeepEqual(got, status("2026-10-25", 4)) {
		t.Errorf("mails of yesterday were taken back from today's: %+v", got)
	}
}
