// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys_test

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
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
		k.Status.ExpirationTime = at(parsed("2026-10-30T23:00:00Z"))
	}}, options...)
	return keys.Facts{Key: keystest.Key("shop", options...), Account: keystest.NewAccount("acme", keystest.Zone("Europe/Madrid")), Now: parsed(now)}
}

func entry(date string, state v1alpha1.NotificationState, reason string) v1alpha1.NotificationStatus {
	return v1alpha1.NotificationStatus{Date: date, State: state, Reason: reason}
}

func tried(n v1alpha1.NotificationStatus, attempts int32, last string) v1alpha1.NotificationStatus {
	n.Attempts, n.LastAttemptTime = &attempts, at(parsed(last))
	return n
}

func listed(list ...v1alpha1.NotificationStatus) keystest.KeyOption {
	return keystest.Status(func(s *v1alpha1.APIKeyStatus) { s.Notifications = list })
}

func TestDecideMail(t *testing.T) {
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
			plan := keys.DecideMail(tc.facts, !tc.noServer)
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

func TestSettleMail(t *testing.T) {
	t.Parallel()
	sent := func(to string) keys.Delivery { return keys.Delivery{To: to, Sent: true} }
	later := func(to string) keys.Delivery { return keys.Delivery{To: to, Temporary: true, Reason: "Delayed"} }
	never := func(to string) keys.Delivery { return keys.Delivery{To: to, Reason: "Refused"} }
	for name, tc := range map[string]struct {
		tries     [][]keys.Delivery
		state     v1alpha1.NotificationState
		reason    string
		remaining []string
		events    []string
	}{
		"all took it":                         {[][]keys.Delivery{{sent("a"), sent("b")}}, v1alpha1.NotificationSent, "", nil, []string{v1alpha1.ReasonNotificationSent}},
		"in English instead":                  {[][]keys.Delivery{{{To: "a", Sent: true, Fallback: true}}}, v1alpha1.NotificationSent, v1alpha1.ReasonLocaleNotAvailable, nil, []string{v1alpha1.ReasonNotificationSent}},
		"one was refused":                     {[][]keys.Delivery{{sent("a"), never("b")}}, v1alpha1.NotificationSent, v1alpha1.ReasonSomeRejected, nil, []string{v1alpha1.ReasonNotificationFailed}},
		"all were refused":                    {[][]keys.Delivery{{never("a"), never("b")}}, v1alpha1.NotificationFailed, "Refused", nil, []string{v1alpha1.ReasonNotificationFailed}},
		"one has to wait":                     {[][]keys.Delivery{{sent("a"), later("b")}}, v1alpha1.NotificationPending, "Delayed", []string{"b"}, nil},
		"one had to wait":                     {[][]keys.Delivery{{sent("a"), later("b")}, {sent("b")}}, v1alpha1.NotificationSent, "", nil, []string{v1alpha1.ReasonNotificationSent}},
		"one had to wait, and was refused":    {[][]keys.Delivery{{sent("a"), later("b")}, {never("b")}}, v1alpha1.NotificationSent, v1alpha1.ReasonSomeRejected, nil, []string{v1alpha1.ReasonNotificationFailed}},
		"all had to wait, and were refused":   {[][]keys.Delivery{{later("a"), later("b")}, {never("a"), never("b")}}, v1alpha1.NotificationFailed, "Refused", nil, []string{v1alpha1.ReasonNotificationFailed}},
		"one was refused, the other later on": {[][]keys.Delivery{{never("a"), later("b")}, {never("b")}}, v1alpha1.NotificationFailed, "Refused", nil, []string{v1alpha1.ReasonNotificationFailed}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before := []v1alpha1.NotificationStatus{entry("2026-10-01", v1alpha1.NotificationPending, ""), tried(entry("2026-10-24", v1alpha1.NotificationPending, v1alpha1.ReasonSending), 1, "2026-10-24T00:00:00Z")}
			list := before
			for _, deliveries := range tc.tries {
				list = keys.RecordDeliveries(list, keys.Mail{Date: "2026-10-24"}, deliveries, parsed("2026-10-24T00:00:09Z"))
			}
			if got := list[1]; got.State != tc.state || got.Reason != tc.reason || !slices.Equal(got.Remaining, tc.remaining) || (got.State == v1alpha1.NotificationSent) != (got.SentAt != nil && len(got.Remaining) == 0) {
				t.Errorf("got %+v", got)
			}
			if !reflect.DeepEqual(list[0], before[0]) || before[1].State != v1alpha1.NotificationPending {
				t.Errorf("another entry, or the one that was given, has changed: %+v", list)
			}
			var events []string
			for _, e := range keys.MailEvents(before, list) {
				events = append(events, e.Reason)
				if e.Warning != (e.Reason == v1alpha1.ReasonNotificationFailed) || e.Note == "" || len(e.Note) > 256 {
					t.Errorf("event %+v", e)
				}
			}
			if !slices.Equal(events, tc.events) || len(keys.MailEvents(list, list)) > 0 {
				t.Errorf("events %v, want %v", events, tc.events)
			}
		})
	}
}

// TestMail_NeverTwice: whatever the mail server answers, however the expiration moves and whenever the manager is away,
// nobody gets the mail of a date twice unless a crash falls between claim and settle.
func TestMail_NeverTwice(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := chanceOf(t)
		to := []string{"a@example.com", "b@example.com", "c@example.com"}
		f := mailFacts("2026-09-01T00:00:00Z", v1alpha1.Notification{Emails: to, DaysBefore: []int32{7, 3, 1}})
		got := map[string]int{}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch c(8, "what") {
			case 0:
				f.Key.Status.ExpirationTime = at(parsed(pick(c, "expiration", "2026-10-30T23:00:00Z", "2026-10-29T23:00:00Z", "2026-12-01T00:00:00Z")))
			case 1:
				f.Key.Status.State = pick(c, "state", v1alpha1.StateActive, v1alpha1.StateInactive)
			}
			f.Now = f.Now.Add(pick(c, "pause", time.Minute, time.Hour, 20*time.Hour, 100*time.Hour))
			plan := keys.DecideMail(f, true)
			f.Key.Status.Notifications = plan.Notifications
			if plan.Send == nil {
				continue
			}
			if again := keys.DecideMail(f, true); again.Send != nil || !reflect.DeepEqual(again.Notifications, plan.Notifications) {
				t.Fatalf("claimed, and claimed again: %+v", again)
			}
			var deliveries []keys.Delivery
			for _, address := range plan.Send.To {
				d := pick(c, "answer", keys.Delivery{Sent: true}, keys.Delivery{Temporary: true, Reason: "Delayed"}, keys.Delivery{Reason: "Refused"})
				d.To = address
				if d.Sent {
					got[plan.Send.Date+" "+address]++
				}
				deliveries = append(deliveries, d)
			}
			f.Key.Status.Notifications = keys.RecordDeliveries(plan.Notifications, *plan.Send, deliveries, f.Now)
		}
		for what, n := range got {
			if n > 1 {
				t.Fatalf("%s was sent %d times", what, n)
			}
		}
	})
}

func TestRemember_KeepsTheLastTwenty(t *testing.T) {
	t.Parallel()
	var history []v1alpha1.Transition
	for i := range 50 {
		before := slices.Clone(history)
		next := keys.AppendHistory(history, []keys.Event{{Reason: "R", Note: fmt.Sprint(i)}, {Reason: "R", Note: fmt.Sprint(i, "b")}}, keystest.Epoch.Add(time.Duration(i)))
		if !reflect.DeepEqual(before, history) {
			t.Fatal("the history that was given has changed")
		}
		history = next
	}
	if len(history) != 20 || history[0].Message != "40" || history[19].Message != "49b" {
		t.Errorf("%d entries from %q to %q", len(history), history[0].Message, history[len(history)-1].Message)
	}
}
