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
	"github.com/apikey-manager/apikey-manager/internal/notify"
)

// mailTimeout bounds all conversations about one mail; it is shorter than the life of a claim in internal/keys.
const mailTimeout = 90 * time.Second

// mailer puts mails into words and sends them.
type mailer struct {
	sender *notify.Sender
}

// Send implements controllers.Mailer.
func (m mailer) Send(ctx context.Context, mail keys.Mail) []keys.Delivery {
	ctx, cancel := context.WithTimeout(ctx, mailTimeout)
	defer cancel()
	logger := log.FromContext(ctx)
	message, err := notify.Compose(notice(mail), mail.Locale)
	if err != nil {
		logger.Error(err, "Could not compose a mail")
		return toAll(mail.To, keys.Delivery{Reason: "NotComposed", Unreached: true})
	}
	if message.Fallback {
		logger.Info("Wrote a mail in English", "localeAskedFor", mail.Locale)
	}
	outcome := m.sender.Send(ctx, notify.Envelope{
		UID: string(mail.Key.UID), Day: mail.Date, Expiration: mail.Expiration, To: mail.To, Message: message, Date: mail.Now,
	})
	var list []keys.Delivery
	for _, receipt := range outcome {
		if receipt.Err != nil {
			logger.Info("Mail was not sent", "reason", receipt.Reason, "code", receipt.Code, "cause", receipt.Err.Error())
		}
		list = append(list, keys.Delivery{
			To: receipt.To, Sent: receipt.State == notify.Sent, Temporary: receipt.State == notify.Temporary, Reason: string(receipt.Reason),
			Unreached: receipt.Reason.Unreached(), Fallback: message.Fallback,
		})
	}
	return list
}

func toAll(to []string, d keys.Delivery) []keys.Delivery {
	list := make([]keys.Delivery, len(to))
	for i := range to {
		list[i] = d
		list[i].To = to[i]
	}
	return list
}

func notice(mail keys.Mail) notify.Notice {
	const day = 24 * time.Hour
	n := notify.Notice{
		Account: mail.Key.Spec.Account, Label: mail.Key.Spec.Label, KeyID: mail.Key.Status.KeyID,
		Namespace: mail.Key.Namespace, Name: mail.Key.Name, Expiration: mail.Expiration, Zone: mail.Zone,
		DateOnly: len(mail.Key.Spec.Expiration) == len(time.DateOnly), DaysLeft: int(mail.Expiration.Sub(mail.Now) / day),
	}
	if mail.Account != nil {
		n.AccountDisplayName = mail.Account.Spec.DisplayName
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
