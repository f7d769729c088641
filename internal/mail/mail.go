// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package mail

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	gomail "github.com/wneessen/go-mail"
)

// Envelope is a message on its way to its recipients. Each gets a mail of their own, and sees no other's address.
type Envelope struct {
	// UID is the APIKey's, Day the day on which the message was due, and Expiration when the key expires. With the
	// recipient they make up the Message-ID, so that the same mail sent twice is the same mail.
	UID, Day   string
	Expiration time.Time
	// To are plain addresses.
	To []string
	// Message is what it says.
	Message Message
	// Date is when it was written.
	Date time.Time
}

// MessageID is the Message-ID, in its angle brackets, of the mail to a recipient about the expiration of a key.
func (s *Sender) MessageID(uid, day, recipient string, expiration time.Time) string {
	parts := []string{uid, day, recipient, expiration.UTC().Format(time.RFC3339)}
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return "<" + hex.EncodeToString(sum[:16]) + s.from.Address[strings.LastIndex(s.from.Address, "@"):] + ">"
}

// mail writes the mail to one recipient. The same envelope gives the same bytes.
func (s *Sender) mail(envelope Envelope, to, id string) (*gomail.Msg, error) {
	id = strings.Trim(id, "<>")
	boundary, _, _ := strings.Cut(id, "@")
	m := gomail.NewMsg(gomail.WithNoDefaultUserAgent(), gomail.WithBoundary("part-"+boundary))
	m.FromMailAddress(s.from)
	if err := m.To(to); err != nil {
		return nil, fmt.Errorf("recipient: %w", err)
	}
	m.Subject(oneLine(envelope.Message.Subject))
	m.SetMessageIDWithValue(id)
	m.SetDateWithValue(envelope.Date)
	m.SetGenHeader("Auto-Submitted", "auto-generated") // RFC 3834: nobody's holiday notice answers it
	m.SetGenHeader(gomail.HeaderXAutoResponseSuppress, "All")
	m.SetGenHeader(gomail.HeaderContentLang, envelope.Message.Locale)
	m.SetBodyString(gomail.TypeTextPlain, envelope.Message.Text)
	m.AddAlternativeString(gomail.TypeTextHTML, envelope.Message.HTML)
	return m, nil
}
