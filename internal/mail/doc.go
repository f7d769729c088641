// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Package mail is the voice of apikey-manager: what to say to whom in which language, and how a mail server gets it.
//
// It has two halves that know nothing of each other but the Message between them:
//
//	Compose   a Notice about a key that will expire, and a locale, give a Message: subject, plain text and HTML
//	Sender    a Message in an Envelope goes to a mail server over SMTP; the Outcome says what became of each recipient
//
// What it never does: decide whether, when or how often to tell somebody. When a mail is due, how long to wait before
// the next try and what is written to a status are rules, and rules live in internal/keys. It holds no key material: no
// field of a Notice has room for it. It reads no clock and no environment, and it logs nothing: whoever calls it logs
// the Outcome, in which neither a password nor the text of a mail can be found.
//
// Texts are in locales, one file a language (Portuguese is Brazilian, as in CLDR), and the shape of a mail is in
// templates. After a change of either, look at `go test ./internal/mail -update` and its difference.
package mail
