// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"golang.org/x/net/idna"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/mail"
	"github.com/apikey-manager/apikey-manager/internal/reminder"
)

// mailTimeout limits the time for sending one mail to all recipients. It is shorter than the lifetime of a claim in
// internal/keys.
const mailTimeout = 90 * time.Second

// mailer composes and sends mails.
type mailer struct {
	sender *mail.Sender
}

// Send implements controllers.Mailer.
func (s mailer) Send(ctx context.Context, m reminder.Mail) []reminder.Delivery {
	ctx, cancel := context.WithTimeout(ctx, mailTimeout)
	defer cancel()
	logger := log.FromContext(ctx)
	message, err := mail.Compose(newNotice(m), m.Locale)
	if err != nil {
		logger.Error(err, "Failed to compose a mail")
		return forEachRecipient(m.To, reminder.Delivery{Reason: "NotComposed", Unreached: true})
	}
	if message.Fallback {
		logger.Info("No template for the requested locale, sent the mail in English", "requestedLocale", m.Locale)
	}
	results := s.sender.Send(ctx, mail.Envelope{
		UID: string(m.Key.UID), Day: m.Date, Expiration: m.Expiration, To: m.To, Message: message, Date: m.Now,
	})
	var list []reminder.Delivery
	for _, result := range results {
		if result.Err != nil {
			logger.Info("Failed to send a mail", "reason", result.Reason, "code", result.Code, "cause", result.Err.Error())
		}
		list = append(list, reminder.Delivery{
			To: result.To, Sent: result.State == mail.Sent, Temporary: result.State == mail.Temporary, Reason: string(result.Reason),
			Unreached: result.Reason.Unreached(), Fallback: message.Fallback,
		})
	}
	return list
}

// forEachRecipient returns a copy of d for each recipient.
func forEachRecipient(to []string, d reminder.Delivery) []reminder.Delivery {
	list := make([]reminder.Delivery, len(to))
	for i := range to {
		list[i] = d
		list[i].To = to[i]
	}
	return list
}

// newNotice returns the content of a reminder.
func newNotice(m reminder.Mail) mail.Notice {
	const day = 24 * time.Hour
	n := mail.Notice{
		Account: m.Key.Spec.Account, Label: m.Key.Spec.Label, KeyID: m.Key.Status.KeyID,
		Namespace: m.Key.Namespace, Name: m.Key.Name, Expiration: m.Expiration, Zone: m.Zone,
		DateOnly: len(m.Key.Spec.Expiration) == len(time.DateOnly), DaysLeft: int(m.Expiration.Sub(m.Now) / day),
	}
	if m.Account != nil {
		n.AccountDisplayName = m.Account.Spec.DisplayName
	}
	return n
}

// parseMailDomains parses --smtp-allowed-domains: example.com, or *.example.com for its subdomains. It returns
// international names in both forms, because an address may use either.
func parseMailDomains(list []string) (keys.MailDomains, error) {
	var domains keys.MailDomains
	for _, text := range list {
		name, below := strings.CutPrefix(strings.TrimSuffix(text, "."), "*.")
		ascii, err := idna.Lookup.ToASCII(name)
		if err != nil || ascii == "" || strings.ContainsAny(ascii, "*@/: ") {
			return nil, fmt.Errorf("invalid --smtp-allowed-domains %q: must be a domain such as example.com, or *.example.com for its subdomains",
				text)
		}
		prefix := ""
		if below {
			prefix = "*."
		}
		domains = append(domains, prefix+ascii)
		if unicode, err := idna.Lookup.ToUnicode(ascii); err == nil && unicode != ascii {
			domains = append(domains, prefix+unicode)
		}
	}
	return domains, nil
}
