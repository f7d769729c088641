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
)

// mailTimeout limits the time for sending one mail to all recipients. It is shorter than the lifetime of a claim in
// internal/keys.
const mailTimeout = 90 * time.Second

// mailer composes and sends mails.
type mailer struct {
	sender *mail.Sender
}

// Send implements controllers.Mailer.
func (m mailer) Send(ctx context.Context, reminder keys.Mail) []keys.Delivery {
	ctx, cancel := context.WithTimeout(ctx, mailTimeout)
	defer cancel()
	logger := log.FromContext(ctx)
	message, err := mail.Compose(newNotice(reminder), reminder.Locale)
	if err != nil {
		logger.Error(err, "Failed to compose a mail")
		return forEachRecipient(reminder.To, keys.Delivery{Reason: "NotComposed", Unreached: true})
	}
	if message.Fallback {
		logger.Info("No template for the requested locale, sent the mail in English", "requestedLocale", reminder.Locale)
	}
	results := m.sender.Send(ctx, mail.Envelope{
		UID: string(reminder.Key.UID), Day: reminder.Date, Expiration: reminder.Expiration, To: reminder.To, Message: message, Date: reminder.Now,
	})
	var list []keys.Delivery
	for _, result := range results {
		if result.Err != nil {
			logger.Info("Failed to send a mail", "reason", result.Reason, "code", result.Code, "cause", result.Err.Error())
		}
		list = append(list, keys.Delivery{
			To: result.To, Sent: result.State == mail.Sent, Temporary: result.State == mail.Temporary, Reason: string(result.Reason),
			Unreached: result.Reason.Unreached(), Fallback: message.Fallback,
		})
	}
	return list
}

// forEachRecipient returns a copy of d for each recipient.
func forEachRecipient(to []string, d keys.Delivery) []keys.Delivery {
	list := make([]keys.Delivery, len(to))
	for i := range to {
		list[i] = d
		list[i].To = to[i]
	}
	return list
}

// newNotice returns the content of a reminder.
func newNotice(reminder keys.Mail) mail.Notice {
	const day = 24 * time.Hour
	n := mail.Notice{
		Account: reminder.Key.Spec.Account, Label: reminder.Key.Spec.Label, KeyID: reminder.Key.Status.KeyID,
		Namespace: reminder.Key.Namespace, Name: reminder.Key.Name, Expiration: reminder.Expiration, Zone: reminder.Zone,
		DateOnly: len(reminder.Key.Spec.Expiration) == len(time.DateOnly), DaysLeft: int(reminder.Expiration.Sub(reminder.Now) / day),
	}
	if reminder.Account != nil {
		n.AccountDisplayName = reminder.Account.Spec.DisplayName
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
