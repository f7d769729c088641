// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Package mail composes and sends the mails that notify users before a key expires.
//
// It has two parts that share only the type Message:
//
//	Compose   converts a Notice about a key and a locale to a Message: subject, plain text and HTML
//	Sender    sends a Message in an Envelope to a mail server over SMTP and returns Results, one for each recipient
//
// The package does not decide whether, when or how often to notify: internal/keys decides when a mail is due, how long to
// wait before the next attempt, and what is written to the status. The package holds no key material, reads neither the
// clock nor the environment, and does not log. Callers log the Results, which contain neither a password nor the text of a
// mail.
//
// The texts are in locales, one file for each language (Portuguese is Brazilian, as in CLDR), and the layout of a mail is
// in templates. After changing either, run `go test ./internal/mail -update` and review the diff.
package mail
