// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package mail_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net"
	netmail "net/mail"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/google/go-cmp/cmp"

	"github.com/apikey-manager/apikey-manager/internal/mail"
)

var written = time.Date(2027, time.February, 21, 9, 0, 0, 0, time.FixedZone("", 3600))

func envelope(t *testing.T, to ...string) mail.Envelope {
	t.Helper()
	notice := dayNotice(t)
	return mail.Envelope{
		UID: "6f1c2a3e-uid", Day: "2027-02-21", Expiration: notice.Expiration,
		To: to, Message: compose(t, notice, "fr"), Date: written,
	}
}

// verdict is the expected Result of one recipient.
type verdict struct {
	To     string
	State  mail.State
	Reason mail.Reason
	Code   int
}

func wantOutcome(t *testing.T, got mail.Results, want ...verdict) {
	t.Helper()
	verdicts := make([]verdict, 0, len(got))
	for _, result := range got {
		verdicts = append(verdicts, verdict{result.To, result.State, result.Reason, result.Code})
		if (result.Err == nil) != (result.State == mail.Sent) {
			t.Errorf("%s is %s with error %v", result.To, result.State, result.Err)
		}
		wantNoSecrets(t, result)
	}
	if diff := cmp.Diff(want, verdicts); diff != "" {
		t.Errorf("outcome (-want +got):\n%s\n%v", diff, got)
	}
}

// wantNoSecrets checks that no formatting of a result contains a secret.
func wantNoSecrets(t *testing.T, result mail.Result) {
	t.Helper()
	printed := fmt.Sprintf("%+v %#v", result, result.Err)
	for _, secret := range []string{password, "Bonjour", "kubectl"} {
		if strings.Contains(printed, secret) {
			t.Errorf("receipt holds %q: %s", secret, printed)
		}
	}
	if strings.ContainsAny(fmt.Sprint(result.Err), "\r\n") {
		t.Errorf("error has several lines: %q", result.Err)
	}
}

func sent(to string) verdict { return verdict{To: to, State: mail.Sent} }

// within fails the test if do takes longer than limit.
func within(t *testing.T, limit time.Duration, do func()) {
	t.Helper()
	start := time.Now()
	do()
	if took := time.Since(start); took > limit {
		t.Errorf("took %s, more than %s", took, limit)
	}
}

// letter is a parsed mail.
type letter struct {
	header     netmail.Header
	text, html string
}

func parse(t *testing.T, raw string) letter {
	t.Helper()
	message, err := netmail.ReadMessage(strings.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	kind, params, err := mime.ParseMediaType(message.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/alternative" {
		t.Fatalf("content type %q: %v", kind, err)
	}
	l := letter{header: message.Header}
	parts := multipart.NewReader(message.Body, params["boundary"])
	l.text = part(t, parts, "text/plain")
	l.html = part(t, parts, "text/html")
	if _, err := parts.NextPart(); !errors.Is(err, io.EOF) {
		t.Errorf("more than two parts: %v", err)
	}
	return l
}

func part(t *testing.T, parts *multipart.Reader, want string) string {
	t.Helper()
	p, err := parts.NextPart() // decodes quoted-printable
	if err != nil {
		t.Fatal(err)
	}
	kind, params, err := mime.ParseMediaType(p.Header.Get("Content-Type"))
	if err != nil || kind != want || !strings.EqualFold(params["charset"], "utf-8") {
		t.Errorf("part %q %v: %v", kind, params, err)
	}
	body, err := io.ReadAll(p)
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(body), "\r\n", "\n")
}

func TestSend_StartTLS(t *testing.T) {
	t.Parallel()
	s := (&server{config: serverTLS(), utf8: true, mechanisms: []string{"PLAIN"}}).start(t)
	sender := newSender(t, mail.Options{
		Port: s.port, CAFile: caFile(t), Username: username, PasswordFile: writeFile(t, "password", []byte(password+"\n")),
	})
	e := envelope(t, "ana@example.com")
	results := sender.Send(t.Context(), e)
	wantOutcome(t, results, sent("ana@example.com"))
	inbox := s.inbox()
	if len(inbox) != 1 {
		t.Fatalf("%d mails", len(inbox))
	}
	got := inbox[0]
	if diff := cmp.Diff(received{From: "api-keys@example.com", To: "ana@example.com", TLS: true, Mechanism: "PLAIN", Raw: got.Raw}, got); diff != "" {
		t.Error(diff)
	}
	wantLetter(t, got.Raw, e, results[0].MessageID)
}

func wantLetter(t *testing.T, raw string, e mail.Envelope, id string) {
	t.Helper()
	for line := range strings.SplitSeq(raw, "\n") {
		if len(line) > 998 {
			t.Errorf("line of %d bytes", len(line))
		}
	}
	l := parse(t, raw)
	decoder := new(mime.WordDecoder)
	subject, err := decoder.DecodeHeader(l.header.Get("Subject"))
	if err != nil || subject != e.Message.Subject {
		t.Errorf("subject %q, want %q: %v", subject, e.Message.Subject, err)
	}
	if diff := cmp.Diff(e.Message.Text, l.text); diff != "" {
		t.Errorf("text:\n%s", diff)
	}
	if diff := cmp.Diff(e.Message.HTML, l.html); diff != "" {
		t.Errorf("HTML:\n%s", diff)
	}
	for name, want := range map[string]string{
		"From": `"API keys" <api-keys@example.com>`, "To": "<" + e.To[0] + ">", "Message-Id": id,
		"Auto-Submitted": "auto-generated", "Content-Language": "fr", "Mime-Version": "1.0",
		"Date": "Sun, 21 Feb 2027 09:00:00 +0100",
	} {
		if diff := cmp.Diff([]string{want}, l.header[name]); diff != "" {
			t.Errorf("header %s:\n%s", name, diff)
		}
	}
	for _, name := range []string{"X-Mailer", "User-Agent", "Bcc", "Cc"} {
		if l.header.Get(name) != "" {
			t.Errorf("header %s: %s", name, l.header.Get(name))
		}
	}
}

func TestSend_ImplicitTLS(t *testing.T) {
	t.Parallel()
	s := (&server{config: serverTLS(), implicit: true, mechanisms: []string{"LOGIN"}}).start(t)
	sender := newSender(t, mail.Options{
		Port: s.port, TLS: mail.TLSImplicit, CAFile: caFile(t),
		Username: username, PasswordFile: writeFile(t, "password", []byte(password+"\r\n")),
	})
	e := envelope(t, "ana@example.com")
	results := sender.Send(t.Context(), e)
	wantOutcome(t, results, sent("ana@example.com"))
	got := s.inbox()[0]
	if !got.TLS || got.Mechanism != "LOGIN" {
		t.Errorf("TLS %t, authenticated by %q", got.TLS, got.Mechanism)
	}
	wantLetter(t, got.Raw, e, results[0].MessageID)
}

func TestSend_ClearTextWhereAsked(t *testing.T) {
	t.Parallel()
	s := (&server{}).start(t)
	sender := newSender(t, mail.Options{Port: s.port, TLS: mail.TLSNone})
	wantOutcome(t, sender.Send(t.Context(), envelope(t, "ana@example.com")), sent("ana@example.com"))
	if s.inbox()[0].TLS {
		t.Error("clear text is TLS")
	}
}

// Sending the same envelope again sends the same bytes, so that the receiver can detect the duplicate.
func TestSend_AgainIsTheSameMail(t *testing.T) {
	t.Parallel()
	s := (&server{}).start(t)
	for range 2 {
		sender := newSender(t, mail.Options{Port: s.port, TLS: mail.TLSNone})
		wantOutcome(t, sender.Send(t.Context(), envelope(t, "ana@example.com")), sent("ana@example.com"))
	}
	inbox := s.inbox()
	if diff := cmp.Diff(inbox[0].Raw, inbox[1].Raw); diff != "" {
		t.Error(diff)
	}
}

func TestSend_EachRecipientGetsAMailOfTheirOwn(t *testing.T) {
	t.Parallel()
	s := (&server{config: serverTLS()}).start(t)
	to := []string{"ana@example.com", "bea@example.com", "carla@example.org"}
	results := newSender(t, mail.Options{Port: s.port, CAFile: caFile(t)}).Send(t.Context(), envelope(t, to...))
	wantOutcome(t, results, sent(to[0]), sent(to[1]), sent(to[2]))
	ids := map[string]bool{}
	for i, got := range s.inbox() {
		l := parse(t, got.Raw)
		if got.To != to[i] || l.header.Get("To") != "<"+to[i]+">" {
			t.Errorf("mail %d to %s says %s", i, got.To, l.header.Get("To"))
		}
		ids[l.header.Get("Message-Id")] = true
	}
	if len(ids) != 3 || s.connections() != 1 {
		t.Errorf("%d Message-IDs, %d connections", len(ids), s.connections())
	}
	if results.Worst().State != mail.Sent || len(results.To(mail.Sent)) != 3 {
		t.Errorf("worst %v, sent %v", results.Worst(), results.To(mail.Sent))
	}
}

func TestSend_ABadRecipientDoesNotStopTheOthers(t *testing.T) {
	t.Parallel()
	to := []string{"ana@example.com", "nobody@example.com", "carla@example.org"}
	refuse := func(code int) func(string) error {
		return func(to string) error {
			if to == "nobody@example.com" {
				return &smtp.SMTPError{Code: code, Message: "No such user\nor not now"}
			}
			return nil
		}
	}
	for name, tc := range map[string]struct {
		server *server
		want   verdict
	}{
		"RCPT refused for good": {&server{onRcpt: refuse(550)}, verdict{to[1], mail.Permanent, mail.ReasonRejected, 550}},
		"RCPT refused for now":  {&server{onRcpt: refuse(451)}, verdict{to[1], mail.Temporary, mail.ReasonDeferred, 451}},
		"DATA refused for good": {
			&server{onData: func(_ net.Conn, to string) error { return refuse(554)(to) }},
			verdict{to[1], mail.Permanent, mail.ReasonRejected, 554},
		},
		"DATA refused for now": {
			&server{onData: func(_ net.Conn, to string) error { return refuse(452)(to) }},
			verdict{to[1], mail.Temporary, mail.ReasonDeferred, 452},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := tc.server.start(t)
			results := newSender(t, mail.Options{Port: s.port, TLS: mail.TLSNone}).Send(t.Context(), envelope(t, to...))
			wantOutcome(t, results, sent(to[0]), tc.want, sent(to[2]))
			if len(s.inbox()) != 2 {
				t.Errorf("%d mails", len(s.inbox()))
			}
			if worst := results.Worst(); worst.State != tc.want.State || worst.Reason != tc.want.Reason {
				t.Errorf("worst is %v", worst)
			}
		})
	}
}

func TestSend_NoAddressDoesNotStopTheOthers(t *testing.T) {
	t.Parallel()
	s := (&server{}).start(t)
	bad := []string{"no address", "a@b\r\nRCPT TO:<thief@example.com>", ""}
	results := newSender(t, mail.Options{Port: s.port, TLS: mail.TLSNone}).Send(t.Context(), envelope(t, append(bad, "ana@example.com")...))
	invalid := verdict{State: mail.Permanent, Reason: mail.ReasonInvalidAddress}
	want := []verdict{invalid, invalid, invalid, sent("ana@example.com")}
	for i := range bad {
		want[i].To = bad[i]
	}
	wantOutcome(t, results, want...)
}

func TestSend_SenderRefused(t *testing.T) {
	t.Parallel()
	for code, want := range map[int]verdict{
		450: {"ana@example.com", mail.Temporary, mail.ReasonDeferred, 450},
		550: {"ana@example.com", mail.Permanent, mail.ReasonRejected, 550},
		530: {"ana@example.com", mail.Temporary, mail.ReasonAuthFailed, 530},
	} {
		message := strings.Repeat("no ", 500)
		s := (&server{onMail: func(net.Conn) error { return &smtp.SMTPError{Code: code, Message: message} }}).start(t)
		results := newSender(t, mail.Options{Port: s.port, TLS: mail.TLSNone}).Send(t.Context(), envelope(t, "ana@example.com"))
		wantOutcome(t, results, want)
		if text := results[0].Err.Error(); len(text) > 400 || !strings.Contains(text, message[:100]) {
			t.Errorf("%d bytes of error: %s", len(text), text)
		}
	}
}

// A server that rejects the DATA command leaves a transaction open, which must not affect the next mail.
func TestSend_DataCommandRefused(t *testing.T) {
	t.Parallel()
	at, heard := script(t, "220 hello", map[string]string{"DATA": "451 not now", "QUIT": "221 bye"})
	results := newSender(t, mail.Options{Port: at, TLS: mail.TLSNone}).Send(t.Context(), envelope(t, "ana@example.com", "bea@example.com"))
	deferred := verdict{"ana@example.com", mail.Temporary, mail.ReasonDeferred, 451}
	second := deferred
	second.To = "bea@example.com"
	wantOutcome(t, results, deferred, second)
	var verbs []string
	for _, line := range heard() {
		verb, _, _ := strings.Cut(line, " ")
		verbs = append(verbs, verb)
	}
	if diff := cmp.Diff([]string{"EHLO", "MAIL", "RCPT", "DATA", "RSET", "MAIL", "RCPT", "DATA", "QUIT"}, verbs); diff != "" {
		t.Error(diff)
	}
	if got := heard()[0]; got != "EHLO [127.0.0.1]" {
		t.Errorf("the sender calls itself %q", got)
	}
}

func TestSend_ServerRefusesToTalk(t *testing.T) {
	t.Parallel()
	for greeting, code := range map[string]int{"421 too busy": 421, "554 no mail here": 554} {
		at, _ := script(t, greeting, nil)
		results := newSender(t, mail.Options{Port: at, TLS: mail.TLSNone}).Send(t.Context(), envelope(t, "ana@example.com"))
		wantOutcome(t, results, verdict{"ana@example.com", mail.Temporary, mail.ReasonUnavailable, code})
	}
	at, _ := script(t, "220 hello", map[string]string{"EHLO": "550 no", "HELO": "550 no"})
	results := newSender(t, mail.Options{Port: at, TLS: mail.TLSNone}).Send(t.Context(), envelope(t, "ana@example.com"))
	wantOutcome(t, results, verdict{"ana@example.com", mail.Temporary, mail.ReasonUnavailable, 550})
}

func TestSend_NobodyListens(t *testing.T) {
	t.Parallel()
	listener := listen(t)
	at := port(listener)
	_ = listener.Close()
	for _, options := range []mail.Options{{Port: at}, {Port: at, TLS: mail.TLSImplicit}, {Port: at, Host: "no-such-host.invalid"}} {
		results := newSender(t, options).Send(t.Context(), envelope(t, "ana@example.com", "bea@example.com"))
		wantOutcome(t, results,
			verdict{"ana@example.com", mail.Temporary, mail.ReasonUnreachable, 0},
			verdict{"bea@example.com", mail.Temporary, mail.ReasonUnreachable, 0})
	}
}

func TestSend_ServerHangs(t *testing.T) {
	t.Parallel()
	for name, hang := range map[string]func(*server){
		"after EHLO": func(s *server) { s.onSession = func(net.Conn) error { return s.hang() } },
		"after MAIL": func(s *server) { s.onMail = func(net.Conn) error { return s.hang() } },
		"after RCPT": func(s *server) { s.onRcpt = func(string) error { return s.hang() } },
		"after DATA": func(s *server) { s.onData = func(net.Conn, string) error { return s.hang() } },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &server{}
			hang(s)
			s.start(t)
			wantTimeout(t, mail.Options{Port: s.port, TLS: mail.TLSNone})
			if s.connections() > 2 { // one for each of the four recipients would be too many
				t.Errorf("%d connections to a server that hangs", s.connections())
			}
		})
	}
	for _, protection := range []mail.TLS{mail.TLSNone, mail.TLSStart, mail.TLSImplicit} {
		t.Run("at connect, TLS "+string(protection), func(t *testing.T) {
			t.Parallel()
			wantTimeout(t, mail.Options{Port: port(listen(t)), TLS: protection}) // the kernel accepts the connection, but no server responds
		})
	}
	t.Run("within STARTTLS", func(t *testing.T) {
		t.Parallel()
		at, _ := script(t, "220 hello", map[string]string{"EHLO": "250-hello\r\n250 STARTTLS", "STARTTLS": "220 go ahead..."})
		wantTimeout(t, mail.Options{Port: at})
	})
}

func wantTimeout(t *testing.T, options mail.Options) {
	t.Helper()
	options.Timeout = 200 * time.Millisecond
	to := []string{"ana@example.com", "bea@example.com", "carla@example.org", "dora@example.org"}
	var want []verdict
	for _, recipient := range to {
		want = append(want, verdict{recipient, mail.Temporary, mail.ReasonTimedOut, 0})
	}
	within(t, 15*time.Second, func() {
		wantOutcome(t, newSender(t, options).Send(t.Context(), envelope(t, to...)), want...)
	})
}

func TestSend_OneRecipientHangsTheServer(t *testing.T) {
	t.Parallel()
	s := &server{}
	s.onRcpt = func(to string) error {
		if to == "slow@example.com" {
			return s.hang()
		}
		return nil
	}
	s.start(t)
	sender := newSender(t, mail.Options{Port: s.port, TLS: mail.TLSNone, Timeout: 2 * time.Second})
	results := sender.Send(t.Context(), envelope(t, "ana@example.com", "slow@example.com", "carla@example.org"))
	wantOutcome(t, results, sent("ana@example.com"),
		verdict{"slow@example.com", mail.Temporary, mail.ReasonTimedOut, 0}, sent("carla@example.org"))
}

// The server may have accepted the mail: it is sent again with the same Message-ID.
func TestSend_ConnectionLostAfterData(t *testing.T) {
	t.Parallel()
	for _, config := range []mail.TLS{mail.TLSNone, mail.TLSStart, mail.TLSImplicit} {
		t.Run(string(config), func(t *testing.T) {
			t.Parallel()
			s := &server{implicit: config == mail.TLSImplicit}
			if config != mail.TLSNone {
				s.config = serverTLS()
			}
			var cut atomic.Bool
			s.onData = func(conn net.Conn, _ string) error {
				if cut.CompareAndSwap(false, true) {
					_ = conn.Close()
				}
				return nil // the server keeps the mail
			}
			s.start(t)
			sender := newSender(t, mail.Options{Port: s.port, TLS: config, CAFile: caFile(t)})
			e := envelope(t, "ana@example.com", "bea@example.com")
			wantOutcome(t, sender.Send(t.Context(), e),
				verdict{"ana@example.com", mail.Temporary, mail.ReasonConnectionLost, 0}, sent("bea@example.com"))
			e.To = e.To[:1]
			wantOutcome(t, sender.Send(t.Context(), e), sent("ana@example.com"))
			toAna := s.awaitMails("ana@example.com", 2)
			if len(toAna) != 2 || toAna[0].Raw != toAna[1].Raw {
				t.Errorf("%d mails to ana@example.com, want two that are the same", len(toAna))
			}
		})
	}
}

// A server that closes the connection after it accepted a mail causes no failure.
func TestSend_ServerHangsUpAfterEachMail(t *testing.T) {
	t.Parallel()
	s := &server{onReset: func(conn net.Conn) { _ = conn.Close() }}
	s.start(t)
	to := []string{"ana@example.com", "bea@example.com", "carla@example.org"}
	results := newSender(t, mail.Options{Port: s.port, TLS: mail.TLSNone}).Send(t.Context(), envelope(t, to...))
	wantOutcome(t, results, sent(to[0]), sent(to[1]), sent(to[2]))
	if len(s.inbox()) != 3 || s.connections() != 3 {
		t.Errorf("%d mails in %d connections", len(s.inbox()), s.connections())
	}
}

func TestSend_CancelledEndsPromptly(t *testing.T) {
	t.Parallel()
	var reached chan struct{}
	var arrive func()
	for name, hang := range map[string]func(*server){
		"at EHLO": func(s *server) { s.onSession = func(net.Conn) error { arrive(); return s.hang() } },
		"at DATA": func(s *server) { s.onData = func(net.Conn, string) error { arrive(); return s.hang() } },
	} {
		reached = make(chan struct{})
		arrive = sync.OnceFunc(func() { close(reached) })
		s := &server{}
		hang(s)
		s.start(t)
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			<-reached
			cancel()
		}()
		sender := newSender(t, mail.Options{Port: s.port, TLS: mail.TLSNone, Timeout: time.Minute})
		within(t, 15*time.Second, func() {
			wantOutcome(t, sender.Send(ctx, envelope(t, "ana@example.com", "bea@example.com")),
				verdict{"ana@example.com", mail.Temporary, mail.ReasonCancelled, 0},
				verdict{"bea@example.com", mail.Temporary, mail.ReasonCancelled, 0})
		})
		if t.Failed() {
			t.Fatal(name)
		}
	}
	s := (&server{}).start(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	results := newSender(t, mail.Options{Port: s.port, TLS: mail.TLSNone}).Send(ctx, envelope(t, "ana@example.com"))
	wantOutcome(t, results, verdict{"ana@example.com", mail.Temporary, mail.ReasonCancelled, 0})
}

func TestSend_NeverFallsBackToClearText(t *testing.T) {
	t.Parallel()
	failed := verdict{"ana@example.com", mail.Temporary, mail.ReasonTLSFailed, 0}
	refused := failed
	refused.Code = 454
	ca := caFile(t)
	secret := writeFile(t, "password", []byte(password))
	plain, _ := script(t, "220 hello", map[string]string{"EHLO": "250-hello\r\n250 AUTH PLAIN LOGIN"})
	unwilling, heard := script(t, "220 hello", map[string]string{"EHLO": "250-hello\r\n250-STARTTLS\r\n250 AUTH PLAIN", "STARTTLS": "454 not now"})
	other := (&server{config: serverTLS()}).start(t)
	for name, tc := range map[string]struct {
		options mail.Options
		want    verdict
	}{
		"STARTTLS not offered":             {mail.Options{Port: plain, CAFile: ca}, failed},
		"STARTTLS refused":                 {mail.Options{Port: unwilling, CAFile: ca}, refused},
		"implicit TLS of a plain server":   {mail.Options{Port: plain, CAFile: ca, TLS: mail.TLSImplicit}, failed},
		"certificate of an unknown issuer": {mail.Options{Port: other.port}, failed},
		"certificate for another host":     {mail.Options{Port: other.port, CAFile: ca, Host: "127.0.0.1"}, failed},
		"no CA file":                       {mail.Options{Port: other.port, CAFile: ca + ".gone"}, failed},
		"CA file without certificates":     {mail.Options{Port: other.port, CAFile: secret}, failed},
	} {
		tc.options.Username, tc.options.PasswordFile = username, secret
		t.Run(name, func(t *testing.T) {
			wantOutcome(t, newSender(t, tc.options).Send(t.Context(), envelope(t, "ana@example.com")), tc.want)
		})
	}
	for _, line := range heard() {
		if strings.HasPrefix(line, "AUTH") || strings.HasPrefix(line, "MAIL") {
			t.Errorf("said in clear text: %s", line)
		}
	}
	if len(other.inbox()) > 0 {
		t.Error("mail was sent to a server without a trusted certificate")
	}
}

func TestSend_Auth(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		offered []string
		want    string
	}{
		"PLAIN":                          {[]string{"PLAIN"}, "PLAIN"},
		"LOGIN":                          {[]string{"LOGIN", "XOAUTH2"}, "LOGIN"},
		"SCRAM before PLAIN":             {[]string{"PLAIN", "LOGIN", "SCRAM-SHA-256"}, "SCRAM-SHA-256"},
		"SCRAM bound to the TLS channel": {[]string{"LOGIN", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"}, "SCRAM-SHA-256-PLUS"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := (&server{config: serverTLS(), mechanisms: tc.offered}).start(t)
			options := mail.Options{Port: s.port, CAFile: caFile(t), Username: username, PasswordFile: writeFile(t, "password", []byte("wrong"))}
			sender := newSender(t, options)
			e := envelope(t, "ana@example.com", "bea@example.com")
			wantOutcome(t, sender.Send(t.Context(), e),
				verdict{"ana@example.com", mail.Temporary, mail.ReasonAuthFailed, 535},
				verdict{"bea@example.com", mail.Temporary, mail.ReasonAuthFailed, 535})
			// A rotated password is used from the next connection on, without a restart.
			if err := os.WriteFile(options.PasswordFile, []byte(password+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			wantOutcome(t, sender.Send(t.Context(), e), sent("ana@example.com"), sent("bea@example.com"))
			for _, got := range s.inbox() {
				if got.Mechanism != tc.want {
					t.Errorf("authenticated by %s", got.Mechanism)
				}
			}
		})
	}
}

func TestSend_AuthImpossible(t *testing.T) {
	t.Parallel()
	to, secret := "ana@example.com", writeFile(t, "password", []byte(password))
	unknown := (&server{config: serverTLS(), mechanisms: []string{"XOAUTH2", "NTLM", "CRAM-MD5"}}).start(t)
	none := (&server{config: serverTLS()}).start(t)
	asking := (&server{config: serverTLS(), mechanisms: []string{"PLAIN"}}).start(t)
	for name, tc := range map[string]struct {
		options mail.Options
		want    verdict
	}{
		"no known mechanism":      {mail.Options{Port: unknown.port, Username: username, PasswordFile: secret}, verdict{to, mail.Temporary, mail.ReasonAuthFailed, 0}},
		"no AUTH at all":          {mail.Options{Port: none.port, Username: username, PasswordFile: secret}, verdict{to, mail.Temporary, mail.ReasonAuthFailed, 0}},
		"server asks, none given": {mail.Options{Port: asking.port}, verdict{to, mail.Temporary, mail.ReasonAuthFailed, 530}},
		"no password file":        {mail.Options{Port: asking.port, Username: username, PasswordFile: secret + ".gone"}, verdict{to, mail.Temporary, mail.ReasonPasswordUnreadable, 0}},
		"empty password file":     {mail.Options{Port: asking.port, Username: username, PasswordFile: writeFile(t, "empty", []byte("\n"))}, verdict{to, mail.Temporary, mail.ReasonPasswordUnreadable, 0}},
	} {
		tc.options.CAFile = caFile(t)
		t.Run(name, func(t *testing.T) {
			wantOutcome(t, newSender(t, tc.options).Send(t.Context(), envelope(t, to)), tc.want)
		})
	}
}

// A server cannot make the sender log the password by repeating it in a response.
func TestSend_ServerThatRepeatsThePassword(t *testing.T) {
	t.Parallel()
	for _, answer := range []string{"535 not " + password, "334 " + password, password} {
		at, _ := script(t, "220 hello", map[string]string{"EHLO": "250-hello\r\n250 AUTH PLAIN", "AUTH": answer})
		sender := newSender(t, mail.Options{
			Port: at, TLS: mail.TLSNone, Username: username, PasswordFile: writeFile(t, "password", []byte(password)),
		})
		results := sender.Send(t.Context(), envelope(t, "ana@example.com"))
		wantNoSecrets(t, results[0])
		if results[0].Reason != mail.ReasonAuthFailed {
			t.Errorf("%q: %v", answer, results[0])
		}
	}
}

func TestSend_PasswordInClearTextOnThisMachineOnly(t *testing.T) {
	t.Parallel()
	s := (&server{mechanisms: []string{"PLAIN", "SCRAM-SHA-256-PLUS"}}).start(t)
	secret := writeFile(t, "password", []byte(password))
	for _, host := range []string{"localhost", "127.0.0.1"} {
		sender := newSender(t, mail.Options{Host: host, Port: s.port, TLS: mail.TLSNone, Username: username, PasswordFile: secret})
		wantOutcome(t, sender.Send(t.Context(), envelope(t, "ana@example.com")), sent("ana@example.com"))
	}
	options := mail.Options{Host: "mail.example.com", From: "a@example.com", TLS: mail.TLSNone, Username: username, PasswordFile: secret}
	if _, err := mail.New(options); !errors.Is(err, mail.ErrOptions) {
		t.Errorf("a password in clear text over the network: %v", err)
	}
}

// SMTPUTF8 is requested only for addresses that need it.
func TestSend_UTF8Address(t *testing.T) {
	t.Parallel()
	s := (&server{utf8: true}).start(t)
	results := newSender(t, mail.Options{Port: s.port, TLS: mail.TLSNone}).Send(t.Context(), envelope(t, "josé@example.com", "ana@example.com"))
	wantOutcome(t, results, sent("josé@example.com"), sent("ana@example.com"))
	if inbox := s.inbox(); !inbox[0].UTF8 || inbox[1].UTF8 || inbox[0].To != "josé@example.com" {
		t.Errorf("%+v", inbox)
	}
}

func TestSend_UTF8AddressToAServerThatTakesNone(t *testing.T) {
	t.Parallel()
	s := (&server{}).start(t)
	results := newSender(t, mail.Options{Port: s.port, TLS: mail.TLSNone}).Send(t.Context(), envelope(t, "josé@example.com", "ana@example.com"))
	wantOutcome(t, results, verdict{"josé@example.com", mail.Permanent, mail.ReasonInvalidAddress, 0}, sent("ana@example.com"))
	if s.connections() != 1 {
		t.Errorf("%d connections", s.connections())
	}
}

func TestSend_SubjectCannotAddHeaders(t *testing.T) {
	t.Parallel()
	s := (&server{}).start(t)
	sender := newSender(t, mail.Options{Port: s.port, TLS: mail.TLSNone})
	for _, subject := range []string{"x\r\nBcc: thief@example.com\r\n\r\nbody", "é\nBcc: thief@example.com"} {
		e := envelope(t, "ana@example.com")
		e.Message.Subject = subject
		wantOutcome(t, sender.Send(t.Context(), e), sent("ana@example.com"))
	}
	notice := dayNotice(t)
	notice.Label = "x\r\nBcc: thief@example.com\r\n\r\nbody"
	e := envelope(t, "ana@example.com")
	e.Message = compose(t, notice, "de")
	wantOutcome(t, sender.Send(t.Context(), e), sent("ana@example.com"))
	for _, got := range s.inbox() {
		l := parse(t, got.Raw)
		if l.header.Get("Bcc") != "" || len(l.header["Subject"]) != 1 || l.text == "" {
			t.Errorf("headers %v", l.header)
		}
	}
}

func TestSend_ByManyAtOnce(t *testing.T) {
	t.Parallel()
	s := (&server{config: serverTLS(), mechanisms: []string{"PLAIN"}}).start(t)
	sender := newSender(t, mail.Options{
		Port: s.port, CAFile: caFile(t), Username: username, PasswordFile: writeFile(t, "password", []byte(password)),
	})
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			to := fmt.Sprintf("reader-%d@example.com", i)
			wantOutcome(t, sender.Send(t.Context(), envelope(t, to)), sent(to))
		})
	}
	group.Wait()
	if len(s.inbox()) != 8 {
		t.Errorf("%d mails", len(s.inbox()))
	}
}

func TestSend_LocalName(t *testing.T) {
	t.Parallel()
	at, heard := script(t, "220 hello", map[string]string{"DATA": "554 no", "QUIT": "221 bye"})
	sender := newSender(t, mail.Options{Port: at, TLS: mail.TLSNone, LocalName: "keys.example.com"})
	_ = sender.Send(t.Context(), envelope(t, "ana@example.com"))
	if heard()[0] != "EHLO keys.example.com" {
		t.Errorf("the sender calls itself %q", heard()[0])
	}
}

func TestMessageID(t *testing.T) {
	t.Parallel()
	sender := newSender(t, mail.Options{From: "API keys <no-reply@keys.example.com>"})
	expiration := dayNotice(t).Expiration
	id := sender.MessageID("uid", "2027-02-21", "ana@example.com", expiration)
	if !regexp.MustCompile(`^<[0-9a-f]{32}@keys\.example\.com>$`).MatchString(id) {
		t.Errorf("Message-ID %s", id)
	}
	if again := sender.MessageID("uid", "2027-02-21", "ana@example.com", expiration.In(dayNotice(t).Zone)); again != id {
		t.Errorf("the same mail is %s and %s", id, again)
	}
	others := []string{
		id,
		sender.MessageID("uid2", "2027-02-21", "ana@example.com", expiration),
		sender.MessageID("uid", "2027-02-27", "ana@example.com", expiration),
		sender.MessageID("uid", "2027-02-21", "bea@example.com", expiration),
		sender.MessageID("uid", "2027-02-21", "ana@example.com", expiration.Add(time.Second)),
	}
	slices.Sort(others)
	if len(slices.Compact(others)) != 5 {
		t.Errorf("different mails share a Message-ID: %v", others)
	}
}

func TestNew_RefusesOptions(t *testing.T) {
	t.Parallel()
	good := mail.Options{Host: "mail.example.com", From: "api-keys@example.com"}
	if _, err := mail.New(good); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*mail.Options){
		"no host":                   func(o *mail.Options) { o.Host = "" },
		"a URL for a host":          func(o *mail.Options) { o.Host = "smtp://mail.example.com" },
		"no sender":                 func(o *mail.Options) { o.From = "" },
		"a sender with a line end":  func(o *mail.Options) { o.From = "a@example.com\r\nBcc: b@example.com" },
		"a sender's domain in UTF8": func(o *mail.Options) { o.From = "a@bücher.example" },
		"a port too high":           func(o *mail.Options) { o.Port = 65536 },
		"unknown TLS":               func(o *mail.Options) { o.TLS = "maybe" },
		"a negative timeout":        func(o *mail.Options) { o.Timeout = -1 },
		"a username alone":          func(o *mail.Options) { o.Username = "me" },
		"a password alone":          func(o *mail.Options) { o.PasswordFile = "/run/password" },
		"a local name of two words": func(o *mail.Options) { o.LocalName = "a b" },
	} {
		options := good
		spoil(&options)
		if _, err := mail.New(options); !errors.Is(err, mail.ErrOptions) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
