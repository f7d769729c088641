// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package conformance_test

import (
	"context"
	"errors"
	"io"
	"log"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"strings"
	"sync"
	"testing"

	"github.com/emersion/go-smtp"
)

// mailbox is an SMTP server that stores the mails that it receives.
type mailbox struct {
	port   int
	server *smtp.Server
	done   chan struct{}

	mu    sync.Mutex
	mails []receivedMail
}

// receivedMail is a mail as it was received.
type receivedMail struct{ to, raw string }

func startMailbox() (*mailbox, error) {
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	m := &mailbox{port: listener.Addr().(*net.TCPAddr).Port, done: make(chan struct{})}
	m.server = smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &session{mailbox: m}, nil }))
	m.server.Domain = "mail.example.com"
	m.server.ErrorLog = log.New(io.Discard, "", 0)
	go func() {
		defer close(m.done)
		_ = m.server.Serve(listener)
	}()
	return m, nil
}

func (m *mailbox) stop() error {
	err := m.server.Close()
	<-m.done
	return err
}

// mailsTo returns the mails to an address, in order.
func (m *mailbox) mailsTo(address string) []receivedMail {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []receivedMail
	for _, l := range m.mails {
		if l.to == address {
			list = append(list, l)
		}
	}
	return list
}

// session is one SMTP session.
type session struct {
	mailbox *mailbox
	to      []string
}

func (s *session) Reset()                                    { s.to = nil }
func (s *session) Logout() error                             { return nil }
func (s *session) Mail(string, *smtp.MailOptions) error      { return nil }
func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error { s.to = append(s.to, to); return nil }

func (s *session) Data(r io.Reader) error {
	raw, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	s.mailbox.mu.Lock()
	defer s.mailbox.mu.Unlock()
	for _, to := range s.to {
		s.mailbox.mails = append(s.mailbox.mails, receivedMail{to: to, raw: string(raw)})
	}
	return nil
}

// reading is a decoded mail.
type reading struct{ subject, text, html string }

// read decodes a mail.
func (l receivedMail) read(t *testing.T) reading {
	t.Helper()
	message, err := mail.ReadMessage(strings.NewReader(l.raw))
	if err != nil {
		t.Fatal(err)
	}
	var r reading
	if r.subject, err = new(mime.WordDecoder).DecodeHeader(message.Header.Get("Subject")); err != nil {
		t.Fatal(err)
	}
	kind, params, err := mime.ParseMediaType(message.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/alternative" {
		t.Fatalf("the mail is %s (%v), not multipart/alternative", kind, err)
	}
	parts := multipart.NewReader(message.Body, params["boundary"])
	for {
		part, err := parts.NextRawPart()
		if errors.Is(err, io.EOF) {
			return r
		}
		if err != nil {
			t.Fatal(err)
		}
		var body io.Reader = part
		if part.Header.Get("Content-Transfer-Encoding") == "quoted-printable" {
			body = quotedprintable.NewReader(part)
		}
		text, err := io.ReadAll(body)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(part.Header.Get("Content-Type"), "text/html") {
			r.html = string(text)
		} else {
			r.text = string(text)
		}
	}
}
