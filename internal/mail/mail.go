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

// Envelope holds a message and its recipients. Each recipient gets a separate mail and does not see the other
// addresses.
type Envelope struct {
	// UID is the UID of the APIKey, Day the day on which the message was due, and Expiration when the key expires.
	// Together with the recipient they determine the Message-ID, so that sending a mail twice uses the same Message-ID.
	UID, Day   string
	Expiration time.Time
	// To lists plain addresses.
	To []string
	// Message is the content of the mail.
	Message Message
	// Date is when the message was written.
	Date time.Time
}

// MessageID returns the Message-ID, including angle brackets, of the mail to a recipient about the expiration of a key.
func (s *Sender) MessageID(uid, day, recipient string, expiration time.Time) string {
	parts := []string{uid, day, recipient, expiration.UTC().Format(time.RFC3339)}
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return "<" + hex.EncodeToString(sum[:16]) + s.from.Address[strings.LastIndex(s.from.Address, "@"):] + ">"
}

// mail returns the mail to one recipient. The result is the same for the same envelope, byte for byte.
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
	m.SetGenHeader("Auto-Submitted", "auto-generated") // suppresses automatic replies (RFC 3834)
	m.SetGenHeader(gomail.HeaderXAutoResponseSuppress, "All")
	m.SetGenHeader(gomail.HeaderContentLang, envelope.Message.Locale)
	m.SetBodyString(gomail.TypeTextPlain, envelope.Message.Text)
	m.AddAlternativeString(gomail.TypeTextHTML, envelope.Message.HTML)
	return m, nil
}
