// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package reminder_test

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
	"github.com/apikey-manager/apikey-manager/internal/reminder"
)

func parsed(s string) time.Time {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		panic(err)
	}
	return t
}

// mailFacts is a key of a Madrid account that expires on 31 October 2026, days after the clocks go back.
func mailFacts(now string, n v1alpha1.Notification, options ...keystest.KeyOption) keys.Facts {
	options = append([]keystest.KeyOption{keystest.Expiration("2026-10-31"), keystest.Notify(n), keystest.Issued(keystest.Epoch), func(k *v1alpha1.APIKey) {
		k.Status.ExpirationTime = timePtr(parsed("2026-10-30T23:00:00Z"))
	}}, options...)
	return keys.Facts{Key: keystest.Key("shop", options...), Account: keystest.NewAccount("acme", keystest.Zone("Europe/Madrid")), Now: parsed(now)}
}

func entry(date string, state v1alpha1.NotificationState, reason string) v1alpha1.NotificationStatus {
	return v1alpha1.NotificationStatus{Date: date, State: state, Reason: reason}
}

func tried(n v1alpha1.NotificationStatus, attempts int32, last string) v1alpha1.NotificationStatus {
	n.Attempts, n.LastAttemptTime = &attempts, timePtr(parsed(last))
	return n
}

func listed(list ...v1alpha1.NotificationStatus) keystest.KeyOption {
	return keystest.Status(func(s *v1alpha1.APIKeyStatus) { s.Notifications = list })
}

func TestDecide(t *testing.T) {
	t.Parallel()
	to := []string{"a@example.com", "b@example.com"}
	days := func(list ...int32) v1alpha1.Notification { return v1alpha1.Notification{Emails: to, DaysBefore: list} }
	sending := func(n int32, last string) v1alpha1.NotificationStatus {
		return tried(entry("2026-10-24", v1alpha1.NotificationPending, v1alpha1.ReasonSending), n, last)
	}
	delayed := func(n int32, last string) v1alpha1.NotificationStatus {
		return tried(entry("2026-10-24", v1alpha1.NotificationPending, "Delayed"), n, last)
	}
	pending, noServer := v1alpha1.NotificationPending, true
	for name, tc := range map[string]struct {
		facts    keys.Facts
		noServer bool
		want     []v1alpha1.NotificationStatus
		sends    string
		to       []string
		next     string
	}{
		"seven days before unless said, at the start of the day before the clocks go back": {
			facts: mailFacts("2026-10-01T00:00:00Z", days()), want: []v1alpha1.NotificationStatus{entry("2026-10-24", pending, "")}, next: "2026-10-23T22:00:00Z",
		},
		"five days before is after they went back": {
			facts: mailFacts("2026-10-01T00:00:00Z", days(5)), want: []v1alpha1.NotificationStatus{entry("2026-10-26", pending, "")}, next: "2026-10-25T23:00:00Z",
		},
		"on a date": {
			facts: mailFacts("2026-10-01T00:00:00Z", v1alpha1.Notification{Emails: to, Date: "2026-10-26"}),
			want:  []v1alpha1.NotificationStatus{entry("2026-10-26", pending, "")}, next: "2026-10-25T23:00:00Z",
		},
		"a second before it is due": {
			facts: mailFacts("2026-10-23T21:59:59Z", days()), want: []v1alpha1.NotificationStatus{entry("2026-10-24", pending, "")}, next: "2026-10-23T22:00:00Z",
		},
		"due: claimed and sent": {
			facts: mailFacts("2026-10-23T22:00:00Z", days()), want: []v1alpha1.NotificationStatus{sending(1, "2026-10-23T22:00:00Z")}, sends: "2026-10-24", to: to,
		},
		"claimed by somebody who is at it": {
			facts: mailFacts("2026-10-23T22:01:59Z", days(), listed(sending(1, "2026-10-23T22:00:00Z"))),
			want:  []v1alpha1.NotificationStatus{sending(1, "2026-10-23T22:00:00Z")}, next: "2026-10-23T22:02:00Z",
		},
		"claimed by somebody who is gone": {
			facts: mailFacts("2026-10-23T22:02:00Z", days(), listed(sending(1, "2026-10-23T22:00:00Z"))),
			want:  []v1alpha1.NotificationStatus{sending(2, "2026-10-23T22:02:00Z")}, sends: "2026-10-24", to: to,
		},
		"delayed: a minute after the first try": {
			facts: mailFacts("2026-10-23T22:00:30Z", days(), listed(delayed(1, "2026-10-23T22:00:00Z"))),
			want:  []v1alpha1.NotificationStatus{delayed(1, "2026-10-23T22:00:00Z")}, next: "2026-10-23T22:01:00Z",
		},
		"delayed: eight minutes after the fourth": {
			facts: mailFacts("2026-10-23T22:00:30Z", days(), listed(delayed(4, "2026-10-23T22:00:00Z"))),
			want:  []v1alpha1.NotificationStatus{delayed(4, "2026-10-23T22:00:00Z")}, next: "2026-10-23T22:08:00Z",
		},
		"delayed: six hours at most": {
			facts: mailFacts("2026-10-23T22:00:30Z", days(), listed(delayed(500, "2026-10-23T22:00:00Z"))),
			want:  []v1alpha1.NotificationStatus{delayed(500, "2026-10-23T22:00:00Z")}, next: "2026-10-24T04:00:00Z",
		},
		"after an outage only the most urgent": {
			facts: mailFacts("2026-10-29T12:00:00Z", days(30, 7, 2, 1)),
			want: []v1alpha1.NotificationStatus{
				entry("2026-10-01", v1alpha1.NotificationSkipped, v1alpha1.ReasonSuperseded),
				entry("2026-10-24", v1alpha1.NotificationSkipped, v1alpha1.ReasonSuperseded),
				tried(entry("2026-10-29", pending, v1alpha1.ReasonSending), 1, "2026-10-29T12:00:00Z"), entry("2026-10-30", pending, ""),
			},
			sends: "2026-10-29", to: to, next: "2026-10-29T23:00:00Z",
		},
		"expired meanwhile": {
			facts: mailFacts("2026-10-31T12:00:00Z", days()), want: []v1alpha1.NotificationStatus{entry("2026-10-24", v1alpha1.NotificationSkipped, v1alpha1.ReasonAfterExpiration)},
		},
		"switched off": {
			facts: mailFacts("2026-10-24T12:00:00Z", days(), keystest.Observed(v1alpha1.StateInactive)), want: []v1alpha1.NotificationStatus{entry("2026-10-24", pending, "")},
		},
		"revoked": {
			facts: mailFacts("2026-10-24T12:00:00Z", days(), keystest.Observed(v1alpha1.StateRevoked)), want: []v1alpha1.NotificationStatus{entry("2026-10-24", pending, "")},
		},
		"extended: the mail that was sent is remembered": {
			facts: mailFacts("2026-10-24T12:00:00Z", days(), listed(entry("2026-07-01", v1alpha1.NotificationSent, ""), entry("2026-08-01", pending, ""))),
			want:  []v1alpha1.NotificationStatus{entry("2026-07-01", v1alpha1.NotificationSent, ""), sending(1, "2026-10-24T12:00:00Z")}, sends: "2026-10-24", to: to,
		},
		"never expires": {
			facts: mailFacts("2026-10-24T12:00:00Z", days(), func(k *v1alpha1.APIKey) { k.Status.ExpirationTime = nil }),
		},
		"nobody to tell": {facts: mailFacts("2026-10-24T12:00:00Z", v1alpha1.Notification{})},
		"no mail server": {
			facts: mailFacts("2026-10-24T12:00:00Z", days()), noServer: noServer,
			want: []v1alpha1.NotificationStatus{entry("2026-10-24", v1alpha1.NotificationSkipped, v1alpha1.ReasonNoMailServer)},
		},
		"sent": {
			facts: mailFacts("2026-10-24T12:00:00Z", days(), listed(entry("2026-10-24", v1alpha1.NotificationSent, ""))),
			want:  []v1alpha1.NotificationStatus{entry("2026-10-24", v1alpha1.NotificationSent, "")},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			plan := reminder.Decide(tc.facts, !tc.noServer)
			if diff := cmp.Diff(tc.want, plan.Notifications); diff != "" {
				t.Errorf("entries (-want +got):\n%s", diff)
			}
			var next time.Time
			if tc.next != "" {
				next = parsed(tc.next)
			}
			if !plan.Next.Equal(next) {
				t.Errorf("next %s, want %s", plan.Next, next)
			}
			if (plan.Send != nil) != (tc.sends != "") {
				t.Fatalf("sends %v, want %q", plan.Send, tc.sends)
			}
			if m := plan.Send; m != nil && (m.Date != tc.sends || !slices.Equal(m.To, tc.to) || m.Locale != "en" || m.Zone.String() != "Europe/Madrid" || !m.Expiration.Equal(parsed("2026-10-30T23:00:00Z"))) {
				t.Errorf("sends %+v", m)
			}
		})
	}
}

func TestRecordDeliveries(t *testing.T) {
	t.Parallel()
	sent := func(to string) reminder.Delivery { return reminder.Delivery{To: to, Sent: true} }
	later := func(to string) reminder.Delivery {
		return reminder.Delivery{To: to, Temporary: true, Reason: "Delayed"}
	}
	never := func(to string) reminder.Delivery { return reminder.Delivery{To: to, Reason: "Refused"} }
	for name, tc := range map[string]struct {
		tries     [][]reminder.Delivery
		state     v1alpha1.NotificationState
		reason    string
		remaining []string
		events    []string
	}{
		"all took it":                         {[][]reminder.Delivery{{sent("a"), sent("b")}}, v1alpha1.NotificationSent, "", nil, []string{v1alpha1.ReasonNotificationSent}},
		"in English instead":                  {[][]reminder.Delivery{{{To: "a", Sent: true, Fallback: true}}}, v1alpha1.NotificationSent, v1alpha1.ReasonLocaleNotAvailable, nil, []string{v1alpha1.ReasonNotificationSent}},
		"one was refused":                     {[][]reminder.Delivery{{sent("a"), never("b")}}, v1alpha1.NotificationSent, v1alpha1.ReasonSomeRejected, nil, []string{v1alpha1.ReasonNotificationFailed}},
		"all were refused":                    {[][]reminder.Delivery{{never("a"), never("b")}}, v1alpha1.NotificationFailed, "Refused", nil, []string{v1alpha1.ReasonNotificationFailed}},
		"one has to wait":                     {[][]reminder.Delivery{{sent("a"), later("b")}}, v1alpha1.NotificationPending, "Delayed", []string{"b"}, nil},
		"one had to wait":                     {[][]reminder.Delivery{{sent("a"), later("b")}, {sent("b")}}, v1alpha1.NotificationSent, "", nil, []string{v1alpha1.ReasonNotificationSent}},
		"one had to wait, and was refused":    {[][]reminder.Delivery{{sent("a"), later("b")}, {never("b")}}, v1alpha1.NotificationSent, v1alpha1.ReasonSomeRejected, nil, []string{v1alpha1.ReasonNotificationFailed}},
		"all had to wait, and were refused":   {[][]reminder.Delivery{{later("a"), later("b")}, {never("a"), never("b")}}, v1alpha1.NotificationFailed, "Refused", nil, []string{v1alpha1.ReasonNotificationFailed}},
		"one was refused, the other later on": {[][]reminder.Delivery{{never("a"), later("b")}, {never("b")}}, v1alpha1.NotificationFailed, "Refused", nil, []string{v1alpha1.ReasonNotificationFailed}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before := []v1alpha1.NotificationStatus{entry("2026-10-01", v1alpha1.NotificationPending, ""), tried(entry("2026-10-24", v1alpha1.NotificationPending, v1alpha1.ReasonSending), 1, "2026-10-24T00:00:00Z")}
			list := before
			for _, deliveries := range tc.tries {
				list = reminder.RecordDeliveries(list, reminder.Mail{Date: "2026-10-24"}, deliveries, parsed("2026-10-24T00:00:09Z"))
			}
			if got := list[1]; got.State != tc.state || got.Reason != tc.reason || !slices.Equal(got.Remaining, tc.remaining) || (got.State == v1alpha1.NotificationSent) != (got.SentAt != nil && len(got.Remaining) == 0) {
				t.Errorf("got %+v", got)
			}
			if !reflect.DeepEqual(list[0], before[0]) || before[1].State != v1alpha1.NotificationPending {
				t.Errorf("another entry, or the one that was given, has changed: %+v", list)
			}
			var events []string
			for _, e := range reminder.Events(before, list) {
				events = append(events, e.Reason)
				if e.Warning != (e.Reason == v1alpha1.ReasonNotificationFailed) || e.Note == "" || len(e.Note) > 256 {
					t.Errorf("event %+v", e)
				}
			}
			if !slices.Equal(events, tc.events) || len(reminder.Events(list, list)) > 0 {
				t.Errorf("events %v, want %v", events, tc.events)
			}
		})
	}
}

// TestReminder_IsSentOnce: whatever the mail server answers, however the expiration moves and however long the manager is
// away, no recipient gets the mail of a date twice unless the manager crashes between claim and record.
func TestReminder_IsSentOnce(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		to := []string{"a@example.com", "b@example.com", "c@example.com"}
		f := mailFacts("2026-09-01T00:00:00Z", v1alpha1.Notification{Emails: to, DaysBefore: []int32{7, 3, 1}})
		got := map[string]int{}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 7).Draw(t, "what") {
			case 0:
				f.Key.Status.ExpirationTime = timePtr(parsed(rapid.SampledFrom([]string{"2026-10-30T23:00:00Z", "2026-10-29T23:00:00Z", "2026-12-01T00:00:00Z"}).Draw(t, "expiration")))
			case 1:
				f.Key.Status.State = rapid.SampledFrom([]v1alpha1.ObservedState{v1alpha1.StateActive, v1alpha1.StateInactive}).Draw(t, "state")
			}
			f.Now = f.Now.Add(rapid.SampledFrom([]time.Duration{time.Minute, time.Hour, 20 * time.Hour, 100 * time.Hour}).Draw(t, "pause"))
			plan := reminder.Decide(f, true)
			f.Key.Status.Notifications = plan.Notifications
			if plan.Send == nil {
				continue
			}
			if again := reminder.Decide(f, true); again.Send != nil || !reflect.DeepEqual(again.Notifications, plan.Notifications) {
				t.Fatalf("claimed, and claimed again: %+v", again)
			}
			var deliveries []reminder.Delivery
			for _, address := range plan.Send.To {
				d := rapid.SampledFrom([]reminder.Delivery{{Sent: true}, {Temporary: true, Reason: "Delayed"}, {Reason: "Refused"}}).Draw(t, "answer")
				d.To = address
				if d.Sent {
					got[plan.Send.Date+" "+address]++
				}
				deliveries = append(deliveries, d)
			}
			f.Key.Status.Notifications = reminder.RecordDeliveries(plan.Notifications, *plan.Send, deliveries, f.Now)
		}
		for what, n := range got {
			if n > 1 {
				t.Fatalf("%s was sent %d times", what, n)
			}
		}
	})
}

func timePtr(t time.Time) *metav1.Time { return &metav1.Time{Time: t} }
