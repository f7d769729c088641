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

// mailTimeout bounds all conversations about one mail; it is shorter than the life of a claim in internal/keys.
const mailTimeout = 90 * time.Second

// mailer puts mails into words and sends them.
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
		logger.Error(err, "Could not compose a mail")
		return forEachRecipient(reminder.To, keys.Delivery{Reason: "NotComposed", Unreached: true})
	}
	if message.Fallback {
		logger.Info("Wrote a mail in English", "localeAskedFor", reminder.Locale)
	}
	results := m.sender.Send(ctx, mail.Envelope{
		UID: string(reminder.Key.UID), Day: reminder.Date, Expiration: reminder.Expiration, To: reminder.To, Message: message, Date: reminder.Now,
	})
	var list []keys.Delivery
	for _, result := range results {
		if result.Err != nil {
			logger.Info("Mail was not sent", "reason", result.Reason, "code", result.Code, "cause", result.Err.Error())
		}
		list = append(list, keys.Delivery{
			To: result.To, Sent: result.State == mail.Sent, Temporary: result.State == mail.Temporary, Reason: string(result.Reason),
			Unreached: result.Reason.Unreached(), Fallback: message.Fallback,
		})
	}
	return list
}

func forEachRecipient(to []string, d keys.Delivery) []keys.Delivery {
	list := make([]keys.Delivery, len(to))
	for i := range to {
		list[i] = d
		list[i].To = to[i]
	}
	return list
}

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

// parseMailDomains reads --smtp-allowed-domains: example.com, or *.example.com for any domain below it. International names
// are returned in both of their forms, since an address may have either.
func parseMailDomains(list []string) (keys.MailDomains, error) {
	var domains keys.MailDomains
	for _, text := range list {
		name, below := strings.CutPrefix(strings.TrimSuffix(text, "."), "*.")
		ascii, err := idna.Lookup.ToASCII(name)
		if err != nil || ascii == "" || strings.ContainsAny(ascii, "*@/: ") {
			return nil, fmt.Errorf("--smtp-allowed-domains has %q: give domains, such as example.com, or *.example.com for those below it", text)
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
