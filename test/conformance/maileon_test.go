// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package conformance_test

import (
	"encoding/base64"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

// Maileon: a description, an expiration date that means the start of that day, mails before it in the reader's language,
// and an IP whitelist. The key comes as HTTP Basic authentication.

var uuidVersion4 = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)

// maileonZone is the time zone of the accounts. It has daylight saving time.
const maileonZone = "Europe/Berlin"

// maileon creates an account with the settings of Maileon.
func (w *suite) maileon(t *testing.T) *v1alpha1.Account {
	t.Helper()
	return w.newAccount(t, v1alpha1.AccountSpec{
		TimeZone: maileonZone, KeyDefaults: &v1alpha1.KeyDefaults{Format: &v1alpha1.Format{Type: v1alpha1.FormatUUID}},
	})
}

// day returns the start of a day in the time zone, a number of days from today.
func day(t *testing.T, days int) time.Time {
	t.Helper()
	zone, err := time.LoadLocation(maileonZone)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().In(zone)
	return time.Date(now.Year(), now.Month(), now.Day()+days, 0, 0, 0, 0, zone)
}

func date(t *testing.T, days int) string {
	t.Helper()
	return day(t, days).Format(time.DateOnly)
}

func TestMaileon_KeyIsUUIDAndExpiresAtStartOfDay(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	account, namespace := w.maileon(t), w.newNamespace(t)
	for name, tc := range map[string]struct{ date, want string }{
		"winter": {date: "2099-02-28", want: "2099-02-28T00:00:00+01:00"},
		"summer": {date: "2099-07-01", want: "2099-07-01T00:00:00+02:00"},
	} {
		k := newKey(namespace, name, v1alpha1.APIKeySpec{Account: account.Name, Label: "Newsletter " + name, Expiration: tc.date})
		w.Issue(t, k)
		if material := w.Material(t, k); !uuidVersion4.MatchString(material) {
			t.Errorf("%s: the key is no UUID", name)
		}
		want, err := time.Parse(time.RFC3339, tc.want)
		if err != nil {
			t.Fatal(err)
		}
		if got := k.Status.ExpirationTime; got == nil || !got.Time.Equal(want) {
			t.Errorf("%s: %s became %v, want %s", name, tc.date, got, tc.want)
		}
	}
	for _, bad := range []string{"2099-02-30", "28.02.2099", "2099-2-28"} {
		k := newKey(namespace, controlplanetest.UniqueName("bad"), v1alpha1.APIKeySpec{Account: account.Name, Expiration: bad})
		expectDenied(t, w.Admin.Create(t.Context(), k), "spec.expiration")
	}
}

func TestMaileon_ExpirationCanBeExtended(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	k := newKey(w.newNamespace(t), "newsletter", v1alpha1.APIKeySpec{Account: w.maileon(t).Name, Expiration: date(t, 2)})
	w.Issue(t, k)
	material, verifier := w.Material(t, k), w.verifiers.With(t, maileonFlags...)
	w.awaitVerdict(t, "VALID", verifier, "", basic(material, ""))
	w.Change(t, k, func(s *v1alpha1.APIKeySpec) { s.Expiration = date(t, 0) }) // today began already
	w.Become(t, v1alpha1.StateExpired, k)
	w.awaitVerdict(t, "401 EXPIRED", verifier, "", basic(material, ""))
	if valid(k) {
		t.Error("an expired key is accepted")
	}
	w.Change(t, k, func(s *v1alpha1.APIKeySpec) { s.Expiration = date(t, 30) })
	w.Become(t, v1alpha1.StateActive, k)
	if w.Material(t, k) != material {
		t.Error("it is another key")
	}
	w.awaitVerdict(t, "VALID", verifier, "", basic(material, ""))
}

// maileonFlags make a verifier read keys as Maileon's clients send them, and trust the gateway on this machine.
var maileonFlags = []string{"--key-source=basic", "--trusted-proxy=127.0.0.1"}

// basic returns the headers of a request with a key as HTTP Basic authentication, forwarded for an address.
func basic(material, from string) map[string]string {
	headers := map[string]string{"Authorization": "Basic " + base64.StdEncoding.EncodeToString([]byte(material))}
	if from != "" {
		headers["X-Forwarded-For"] = from
	}
	return headers
}

func TestMaileon_OtherAddressesAreDenied(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	k := newKey(w.newNamespace(t), "newsletter", v1alpha1.APIKeySpec{Account: w.maileon(t).Name, IPWhitelist: []string{"192.0.2.7", "10.0.0.0/8", "2001:db8::/32"}})
	w.Issue(t, k)
	material, verifier := w.Material(t, k), w.verifiers.With(t, maileonFlags...)
	w.awaitVerdict(t, "VALID", verifier, "", basic(material, "192.0.2.7"))
	for from, want := range map[string]string{
		"10.255.0.1": "VALID", "2001:db8::1": "VALID", "::ffff:10.0.0.1": "VALID", "192.0.2.7:4711": "VALID",
		"192.0.2.8": "403 IP_NOT_ALLOWED", "2001:db9::1": "403 IP_NOT_ALLOWED", "": "403 IP_NOT_ALLOWED",
		"192.0.2.7, 192.0.2.8":           "403 IP_NOT_ALLOWED", // what the client made up, then what the gateway saw
		"192.0.2.7, nonsense, 127.0.0.1": "403 IP_NOT_ALLOWED",
	} {
		expectVerdict(t, want, verifier, "", basic(material, from))
	}
	// Without --trusted-proxy the verifier uses the address of the gateway.
	w.awaitVerdict(t, "403 IP_NOT_ALLOWED", w.verifiers.With(t, "--key-source=basic"), "", basic(material, "192.0.2.7"))
	w.Change(t, k, func(s *v1alpha1.APIKeySpec) { s.IPWhitelist = []string{"198.51.100.0/24"} })
	w.awaitVerdict(t, "403 IP_NOT_ALLOWED", verifier, "", basic(material, "192.0.2.7"))
	expectVerdict(t, "VALID", verifier, "", basic(material, "198.51.100.9"))
}

func TestMaileon_MailArrivesOnceInItsLocale(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	account, namespace := w.maileon(t), w.newNamespace(t)
	for locale, subject := range map[string]string{
		"de": "läuft", "en": "expires", "es": "caduca", "fr": "expire", "it": "scade", "pt": "expira",
	} {
		t.Run(locale, func(t *testing.T) {
			t.Parallel()
			to := []string{"ops-" + locale + "@example.com", "ana-" + locale + "@example.com"}
			k := newKey(namespace, "newsletter-"+locale, v1alpha1.APIKeySpec{
				Account: account.Name, Label: "Newsletter " + locale, Expiration: date(t, 10),
				Notification: &v1alpha1.Notification{Emails: to, Date: date(t, 0), Locale: locale},
			})
			if locale == "it" || locale == "pt" { // more than the default limit of five holds
				k.Spec.Account = w.maileon(t).Name
			}
			w.Issue(t, k)
			w.awaitSent(t, k, date(t, 0), "")
			w.expectMails(t, map[string]int{to[0]: 1, to[1]: 1})
			for _, address := range to {
				letters := w.mail.mailsTo(address)
				if len(letters) != 1 {
					t.Fatalf("%d mails came to %s, want one", len(letters), address)
				}
				w.checkMail(t, k, letters[0], subject)
			}
			// Later changes of the key do not send the mail of the same date again.
			w.Change(t, k, func(s *v1alpha1.APIKeySpec) { s.Label += " 2" })
			w.Become(t, v1alpha1.StateActive, k)
			w.expectMails(t, map[string]int{to[0]: 1})
		})
	}
}

// TestMaileon_MailsAreLimited checks that an account sends at most 100 mails a day, which is the default of the flag, and none
// to other domains than the allowed ones.
func TestMaileon_MailsAreLimited(t *testing.T) {
	t.Parallel()
	const limit, each, many = 100, 20, 6
	w := shared.Get(t)
	account, namespace := w.newAccount(t, v1alpha1.AccountSpec{
		TimeZone: maileonZone, Limits: &v1alpha1.Limits{Unlimited: v1alpha1.SwitchEnabled},
	}), w.newNamespace(t)
	var all []string
	for i := range many {
		var to []string
		for j := range each {
			to = append(to, fmt.Sprintf("%s-%d-%d@example.com", account.Name, i, j))
		}
		all = append(all, to...)
		k := newKey(namespace, fmt.Sprint("many-", i), v1alpha1.APIKeySpec{
			Account: account.Name, Expiration: date(t, 10), Notification: &v1alpha1.Notification{Emails: to, Date: date(t, 0)},
		})
		w.Issue(t, k)
	}
	err := controlplanetest.Await(t.Context(), func() error {
		if err := w.Admin.Get(t.Context(), client.ObjectKeyFromObject(account), account); err != nil {
			return err
		}
		if m := account.Status.Mail; m == nil || *m.Sent < limit {
			return fmt.Errorf("the account says %+v", m)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	received := func() (n int) {
		for _, address := range all {
			n += len(w.mail.mailsTo(address))
		}
		return n
	}
	controlplanetest.Until(t, "not all mails below the limit have arrived", func() bool { return received() >= limit })
	controlplanetest.Consistently(t, "no more mails arrive than the limit allows", func() error {
		return controlplanetest.Equal(fmt.Sprint(received()), fmt.Sprint(limit))
	})
	outside := newKey(namespace, "outside", v1alpha1.APIKeySpec{Account: account.Name, Notification: &v1alpha1.Notification{Emails: []string{"a@example.com.evil.net"}}})
	if err := w.Admin.Create(t.Context(), outside); err == nil || !strings.Contains(err.Error(), v1alpha1.ReasonRecipientNotAllowed) {
		t.Errorf("got %v for an address outside", err)
	}
}

// checkMail checks that a mail names the key and the commands, and does not contain the key material.
func (w *suite) checkMail(t *testing.T, k *v1alpha1.APIKey, l receivedMail, subject string) {
	t.Helper()
	r, material := l.read(t), w.Material(t, k)
	if !strings.Contains(r.subject, subject) || !strings.Contains(r.subject, k.Status.KeyID) || strings.Contains(r.subject, k.Spec.Label) {
		t.Errorf("the subject is %q, without %q or the key's ID, or with the label", r.subject, subject)
	}
	for _, text := range []string{r.text, r.html} {
		for _, want := range []string{k.Spec.Account, k.Spec.Label, k.Status.KeyID, k.Namespace, k.Name, "kubectl"} {
			if !strings.Contains(text, want) {
				t.Errorf("the mail does not say %q", want)
			}
		}
	}
	if strings.Contains(l.raw+r.text+r.html, material) {
		t.Error("the mail holds the key")
	}
}

// awaitSent waits until the status reports the mail of a date as sent.
func (w *suite) awaitSent(t *testing.T, k *v1alpha1.APIKey, on, reason string) {
	t.Helper()
	w.AwaitStatus(t, k, "the mail of "+on+" is sent", func() error {
		for _, n := range k.Status.Notifications {
			if n.Date == on && n.State == v1alpha1.NotificationSent && n.Reason == reason && n.SentAt != nil {
				return nil
			}
		}
		return fmt.Errorf("notifications are %+v", k.Status.Notifications)
	})
}

func TestMaileon_DaysBeforeDetermineMailDate(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	account, namespace := w.maileon(t), w.newNamespace(t)
	notification := func(to string, days ...int32) *v1alpha1.Notification {
		return &v1alpha1.Notification{Emails: []string{to}, DaysBefore: days}
	}
	seven := newKey(namespace, "seven", v1alpha1.APIKeySpec{Account: account.Name, Expiration: date(t, 7), Notification: notification("seven@example.com")})
	far := newKey(namespace, "far", v1alpha1.APIKeySpec{Account: account.Name, Expiration: date(t, 9), Notification: notification("far@example.com")})
	both := newKey(namespace, "both", v1alpha1.APIKeySpec{Account: account.Name, Expiration: date(t, 3), Notification: notification("both@example.com", 7, 5, 1)})
	w.Issue(t, seven, far, both)

	w.awaitSent(t, seven, date(t, 0), "") // seven days are the default
	w.awaitSent(t, both, date(t, -2), "") // of two that were due, the more urgent
	w.AwaitStatus(t, both, "the rest is in the status", func() error {
		var got []string
		for _, n := range both.Status.Notifications {
			got = append(got, n.Date+" "+string(n.State)+" "+n.Reason)
		}
		want := []string{date(t, -4) + " Skipped " + v1alpha1.ReasonSuperseded, date(t, -2) + " Sent ", date(t, 2) + " Pending "}
		if !slices.Equal(got, want) {
			return fmt.Errorf("notifications are %q, want %q", got, want)
		}
		return nil
	})
	w.expectMails(t, map[string]int{"seven@example.com": 1, "far@example.com": 0, "both@example.com": 1})
	controlplanetest.Eventually(t, "an Event tells", func() error {
		if _, ok := w.events(t, seven)[v1alpha1.ReasonNotificationSent]; !ok {
			return fmt.Errorf("no Event is %s", v1alpha1.ReasonNotificationSent)
		}
		return nil
	})
}

func TestMaileon_InactiveOrExtendedKeySendsNoMail(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	account, namespace := w.maileon(t), w.newNamespace(t)
	extended := newKey(namespace, "extended", v1alpha1.APIKeySpec{
		Account: account.Name, Expiration: date(t, 60), Notification: &v1alpha1.Notification{Emails: []string{"extended@example.com"}},
	})
	inactive := newKey(namespace, "inactive", v1alpha1.APIKeySpec{
		Account: account.Name, State: v1alpha1.KeyStateInactive, Expiration: date(t, 3), Notification: &v1alpha1.Notification{Emails: []string{"inactive@example.com"}},
	})
	w.Issue(t, extended)
	w.Create(t, inactive)
	w.Become(t, v1alpha1.StateInactive, inactive)
	w.Change(t, extended, func(s *v1alpha1.APIKeySpec) { s.Expiration = "" })
	w.Become(t, v1alpha1.StateActive, extended)
	w.expectMails(t, map[string]int{"extended@example.com": 0, "inactive@example.com": 0})
}

func TestMaileon_UnknownLocaleFallsBackToEnglish(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	k := newKey(w.newNamespace(t), "newsletter", v1alpha1.APIKeySpec{
		Account: w.maileon(t).Name, Label: "Newsletter", Expiration: date(t, 5),
		Notification: &v1alpha1.Notification{Emails: []string{"fallback@example.com"}, Locale: "eo"},
	})
	w.Issue(t, k)
	w.awaitSent(t, k, date(t, -2), v1alpha1.ReasonLocaleNotAvailable)
	w.checkMail(t, k, w.mail.mailsTo("fallback@example.com")[0], "expires")
}

func TestMaileon_WhitelistMustNotBeEmptied(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	account, namespace := w.maileon(t), w.newNamespace(t)
	k := newKey(namespace, "newsletter", v1alpha1.APIKeySpec{Account: account.Name, IPWhitelist: []string{"192.0.2.7", "10.0.0.0/8", "2001:db8::/32"}})
	w.Issue(t, k)
	if k.Status.IPRestriction != v1alpha1.IPRestricted {
		t.Errorf("the key is %s", k.Status.IPRestriction)
	}
	out, err := w.kubectl(t, "patch", "apikey", k.Name, "-n", namespace, "--type=merge", "-p", `{"spec":{"ipWhitelist":[]}}`)
	if err == nil || !strings.Contains(out, "ipWhitelist must not be empty") {
		t.Errorf("emptying the whitelist was answered %q", out)
	}
	for _, bad := range []string{"10.0.0.1/8", "::ffff:192.0.2.7", "example.com"} {
		other := newKey(namespace, controlplanetest.UniqueName("bad"), v1alpha1.APIKeySpec{Account: account.Name, IPWhitelist: []string{bad}})
		expectDenied(t, w.Admin.Create(t.Context(), other), "spec.ipWhitelist")
	}
	if keys.SecretName(k) != "newsletter" {
		t.Error("the Secret is not where the key is")
	}
}

// expectMails waits until as many mails as wanted have arrived at each address, and expects no more to follow.
func (w *suite) expectMails(t *testing.T, want map[string]int) {
	t.Helper()
	for address, n := range want {
		controlplanetest.Until(t, "too few mails have arrived at "+address, func() bool { return len(w.mail.mailsTo(address)) >= n })
	}
	controlplanetest.Consistently(t, "no more mails arrive", func() error {
		for address, n := range want {
			if got := len(w.mail.mailsTo(address)); got != n {
				return fmt.Errorf("%d mails arrived at %s, want %d", got, address, n)
			}
		}
		return nil
	})
}

func TestMaileon_PluginCreatesAKeyInOneCommand(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	account, namespace := w.maileon(t), w.newNamespace(t)
	w.mustAPIKey(t, "create", "newsletter", "-n", namespace, "--account", account.Name, "--label", "Newsletter", "--expiration", "2099-02-28",
		"--email", "ops@example.com", "--email", "dev@example.com", "--notification-date", "2099-02-21", "--locale", "de",
		"--ip", "192.0.2.7,10.0.0.0/8")
	k := newKey(namespace, "newsletter", v1alpha1.APIKeySpec{})
	w.Read(t, k)
	if !uuidVersion4.MatchString(w.Material(t, k)) || k.Status.State != v1alpha1.StateActive {
		t.Errorf("the key is %s, or no UUID", k.Status.State)
	}
	want := &v1alpha1.Notification{Emails: []string{"ops@example.com", "dev@example.com"}, Date: "2099-02-21", Locale: "de"}
	if n := k.Spec.Notification; n == nil || !slices.Equal(n.Emails, want.Emails) || n.Date != want.Date || n.Locale != want.Locale {
		t.Errorf("the notification is %+v, want %+v", k.Spec.Notification, want)
	}
	if !slices.Equal(k.Spec.IPWhitelist, []string{"192.0.2.7", "10.0.0.0/8"}) || k.Spec.Label != "Newsletter" {
		t.Errorf("the spec is %+v", k.Spec)
	}
	if end := k.Status.ExpirationTime; end == nil || end.UTC().Format(time.RFC3339) != "2099-02-27T23:00:00Z" {
		t.Errorf("it expires at %v", end)
	}
}
