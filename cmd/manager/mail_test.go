// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/controllers"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
	"github.com/apikey-manager/apikey-manager/internal/mail"
	"github.com/apikey-manager/apikey-manager/test/mailbox"
)

func TestOptions_Mail(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		arguments []string
		domains   keys.MailDomains
		max       int32
		refused   string
	}{
		"defaults": {max: 100},
		"domains": {
			arguments: []string{"--smtp-allowed-domains=Example.com,*.example.org.", "--smtp-max-per-account=7"},
			domains:   keys.MailDomains{"example.com", "*.example.org"}, max: 7,
		},
		"an international one": {
			arguments: []string{"--smtp-allowed-domains=*.Bücher.example"},
			domains:   keys.MailDomains{"*.xn--bcher-kva.example", "*.bücher.example"}, max: 100,
		},
		"an address": {arguments: []string{"--smtp-allowed-domains=a@example.com"}, refused: "invalid --smtp-allowed-domains"},
		"a star in the middle": {
			arguments: []string{"--smtp-allowed-domains=mail.*.example.com"},
			refused:   "invalid --smtp-allowed-domains",
		},
		"a wildcard without a domain": {arguments: []string{"--smtp-allowed-domains=*"}, refused: "invalid --smtp-allowed-domains"},
		"an empty domain":             {arguments: []string{"--smtp-allowed-domains=example.com,"}, refused: "invalid --smtp-allowed-domains"},
		"no mail at all":              {arguments: []string{"--smtp-max-per-account=0"}, refused: "invalid --smtp-max-per-account"},
		"more than can be meant":      {arguments: []string{"--smtp-max-per-account=1000001"}, refused: "invalid --smtp-max-per-account"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o, err := parseOptions(t, tc.arguments...)
			if tc.refused != "" {
				if err == nil || !strings.HasPrefix(err.Error(), tc.refused) {
					t.Errorf("got %v", err)
				}
				return
			}
			if d := o.settings(); err != nil || !slices.Equal(d.MailDomains, tc.domains) || d.MaxMails != tc.max {
				t.Errorf("got %v, %+v", err, d)
			}
		})
	}
}

// mailFixture holds a mail server on a socket, and two managers that send mail through it concurrently.
type mailFixture struct {
	box      *mailbox.Server
	api      client.WithWatch
	clock    *clocktesting.FakeClock
	managers []*controllers.MailReconciler
}

func newMailFixture(t *testing.T, settings keys.Settings, port int, objects ...client.Object) *mailFixture {
	t.Helper()
	scheme, err := controllers.NewScheme()
	if err != nil {
		t.Fatal(err)
	}
	p := &mailFixture{clock: clocktesting.NewFakeClock(time.Date(2026, 10, 24, 12, 0, 0, 0, time.UTC))}
	p.api = fake.NewClientBuilder().WithScheme(scheme).WithStatusSubresource(&v1alpha1.APIKey{},
		&v1alpha1.Account{}).WithObjects(objects...).Build()
	if p.box, err = mailbox.Start(""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.box.Close() })
	if port == 0 {
		port = p.box.Port()
	}
	sender, err := mail.New(mail.Options{Host: "127.0.0.1", Port: port, From: "keys@example.com", TLS: mail.TLSNone})
	if err != nil {
		t.Fatal(err)
	}
	const recorded = 1000
	for range 2 {
		p.managers = append(p.managers, &controllers.MailReconciler{
			Client: p.api, APIReader: p.api, Clock: p.clock, Settings: settings, Mailer: mailer{sender: sender},
			Events: controllers.EventEmitter{Recorder: events.NewFakeRecorder(recorded)},
		})
	}
	return p
}

// run reconciles all keys with both managers concurrently and repeatedly, until no mail is due on that day.
func (p *mailFixture) run(t *testing.T) {
	t.Helper()
	const rounds = 30
	for range rounds {
		var group sync.WaitGroup
		for _, m := range p.managers {
			for _, key := range p.keys(t) {
				group.Go(func() {
					if _, err := m.Reconcile(context.Background(), &key); err != nil {
						t.Error(err)
					}
				})
			}
		}
		group.Wait()
		p.clock.Step(10 * time.Minute)
	}
}

func (p *mailFixture) keys(t *testing.T) []v1alpha1.APIKey {
	t.Helper()
	var list v1alpha1.APIKeyList
	if err := p.api.List(t.Context(), &list); err != nil {
		t.Fatal(err)
	}
	return list.Items
}

func (p *mailFixture) count(t *testing.T) *v1alpha1.MailStatus {
	t.Helper()
	var account v1alpha1.Account
	if err := p.api.Get(t.Context(), client.ObjectKey{Name: "acme"}, &account); err != nil {
		t.Fatal(err)
	}
	return account.Status.Mail
}

func expiring(name string, emails ...string) *v1alpha1.APIKey {
	end := metav1.NewTime(time.Date(2026, 10, 31, 0, 0, 0, 0, time.UTC))
	return keystest.Key(name, keystest.Label("Your invoice is overdue"), keystest.Expiring(end.Time), keystest.Issued(keystest.Epoch),
		keystest.Notify(v1alpha1.Notification{Emails: emails}), keystest.Status(func(s *v1alpha1.APIKeyStatus) { s.ExpirationTime = &end }))
}

func TestMail_LimitsMailsPerAccount(t *testing.T) {
	t.Parallel()
	const most, each, many = 7, 3, 4
	var objects []client.Object
	for i := range many {
		var to []string
		for j := range each {
			to = append(to, fmt.Sprintf("%d-%d@example.com", i, j))
		}
		objects = append(objects, expiring(fmt.Sprint("key-", i), to...))
	}
	p := newMailFixture(t, keys.Settings{MaxMails: most}, 0, append(objects, keystest.NewAccount("acme"))...)
	p.run(t)
	if got := len(p.box.Mails()); got != most {
		t.Errorf("%d mails were sent on the first day, want %d", got, most)
	}
	if m := p.count(t); m == nil || m.Date != "2026-10-24" || *m.Sent != most {
		t.Errorf("the mail status of the account is %+v", m)
	}
	waiting := 0
	for _, key := range p.keys(t) {
		if key.Status.Notifications[0].Reason == v1alpha1.ReasonMailLimitReached {
			waiting++
		}
	}
	if waiting == 0 {
		t.Error("no key reports that the limit was reached")
	}
	for _, o := range objects[:many-1] { // a key that is deleted and created again causes no further mails
		if err := p.api.Delete(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		o.SetResourceVersion("")
		o.SetUID("")
		if err := p.api.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	p.run(t)
	if got := len(p.box.Mails()); got != most {
		t.Errorf("%d mails were sent after keys were created again, want %d", got, most)
	}
	p.clock.SetTime(time.Date(2026, 10, 25, 0, 0, 0, 0, time.UTC))
	p.run(t)
	if got := len(p.box.Mails()); got != 2*most {
		t.Errorf("%d mails were sent on two days, want %d", got, 2*most)
	}
	for _, m := range p.box.Mails() {
		if strings.Contains(m.Subject, "invoice") || !strings.Contains(m.Text, "invoice") {
			t.Errorf("the subject is %q, and the text %q", m.Subject, m.Text)
		}
	}
}

func TestMail_RejectsOtherDomains(t *testing.T) {
	t.Parallel()
	p := newMailFixture(t, keys.Settings{MailDomains: keys.MailDomains{"example.com"}, MaxMails: 100}, 0,
		expiring("some", "a@example.com", "b@evil.net"), expiring("none", "c@evil.net"), keystest.NewAccount("acme"))
	p.run(t)
	if mails := p.box.Mails(); len(mails) != 1 || mails[0].To != "a@example.com" {
		t.Errorf("sent %+v", mails)
	}
	for _, key := range p.keys(t) {
		if n := key.Status.Notifications[0]; n.Reason != v1alpha1.ReasonRecipientNotAllowed {
			t.Errorf("the notifications of %s are %+v", key.Name, n)
		}
	}
}

// A mail that never reached the mail server does not count.
func TestMail_UnreachableServerUsesNoQuota(t *testing.T) {
	t.Parallel()
	const closed = 1 // no server listens on this port
	p := newMailFixture(t, keys.Settings{MaxMails: 100}, closed, expiring("shop", "a@example.com", "b@example.com"),
		keystest.NewAccount("acme"))
	p.run(t)
	if m := p.count(t); m == nil || *m.Sent != 0 {
		t.Errorf("the mail status of the account is %+v", m)
	}
}

// A mail is sent once, although the API server does not answer for a moment after it was sent.
func TestMail_RecordsResultsAfterLostWrites(t *testing.T) {
	t.Parallel()
	p := newMailFixture(t, keys.Settings{MaxMails: 100}, 0, expiring("shop", "a@example.com"), keystest.NewAccount("acme"))
	var lost atomic.Int32
	api := interceptor.NewClient(p.api, interceptor.Funcs{SubResourceUpdate: func(
		ctx context.Context, c client.Client, sub string, o client.Object, options ...client.SubResourceUpdateOption,
	) error {
		if _, isKey := o.(*v1alpha1.APIKey); isKey && len(p.box.Mails()) > 0 && lost.Add(1) <= 2 {
			return errors.New("connection refused")
		}
		return c.SubResource(sub).Update(ctx, o, options...)
	}})
	for _, m := range p.managers {
		m.Client, m.APIReader = api, api
	}
	p.run(t)
	if mails := p.box.Mails(); len(mails) != 1 || lost.Load() < 2 {
		t.Errorf("%d mails were sent, and %d writes failed or succeeded after that", len(mails), lost.Load())
	}
	if n := p.keys(t)[0].Status.Notifications; len(n) != 1 || n[0].State != v1alpha1.NotificationSent {
		t.Errorf("the status says %+v", n)
	}
}

// Each recipient gets a separate mail.
func TestMail_HidesOtherRecipients(t *testing.T) {
	t.Parallel()
	p := newMailFixture(t, keys.Settings{MaxMails: 100}, 0, expiring("shop", "a@example.com", "b@example.net"), keystest.NewAccount("acme"))
	p.run(t)
	mails := p.box.Mails()
	if len(mails) != 2 {
		t.Fatalf("%d mails", len(mails))
	}
	for i, other := range []string{"b@example.net", "a@example.com"} {
		if text := fmt.Sprintf("%+v", mails[i]); strings.Contains(text, other) {
			t.Errorf("the mail to %s names %s: %s", mails[i].To, other, text)
		}
	}
}
