// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package mail

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/textproto"
	"os"
	"strconv"
	"strings"

	gomail "github.com/wneessen/go-mail"
	"github.com/wneessen/go-mail/smtp"
)

// session holds a connection to a mail server that is ready to accept mail.
type session struct {
	sender *Sender
	conn   net.Conn // below TLS; closing it unblocks pending reads and writes
	client *smtp.Client
}

// connect returns a session that is ready to accept mail, after connecting, TLS, greeting and authentication.
func (s *Sender) connect(ctx context.Context) (*session, *DeliveryStatus) {
	within, cancel := context.WithTimeout(ctx, s.options.Timeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(within, "tcp", net.JoinHostPort(s.options.Host, strconv.Itoa(s.options.Port)))
	if err != nil {
		return nil, classify(ctx, within, ReasonUnreachable, "connect", err)
	}
	c := &session{sender: s, conn: conn}
	stop := context.AfterFunc(within, c.close)
	failure := c.open(ctx, within)
	if !stop() && failure == nil { // the timeout closed the connection in the meantime
		failure = classify(ctx, within, ReasonConnectionLost, "connect", within.Err())
	}
	if failure != nil {
		c.close()
		return nil, failure
	}
	return c, nil
}

func (l *session) open(ctx, within context.Context) *DeliveryStatus {
	if failure := l.greet(ctx, within); failure != nil {
		return failure
	}
	if l.sender.options.TLS == TLSStart {
		if failure := l.startTLS(ctx, within); failure != nil {
			return failure
		}
	}
	if l.sender.options.Username != "" {
		return l.authenticate(ctx, within)
	}
	return nil
}

// greet reads the greeting of the server and sends EHLO. With TLSImplicit it starts TLS first.
func (l *session) greet(ctx, within context.Context) *DeliveryStatus {
	conn := l.conn
	if l.sender.options.TLS == TLSImplicit {
		config, err := l.sender.tlsConfig()
		if err != nil {
			return failed(ReasonTLSFailed, "read the CA file", err)
		}
		protected := tls.Client(conn, config)
		if err := protected.HandshakeContext(within); err != nil {
			return classify(ctx, within, ReasonTLSFailed, "TLS", err)
		}
		conn = protected
	}
	client, err := smtp.NewClient(conn, l.sender.options.Host)
	if err != nil {
		return classify(ctx, within, ReasonConnectionLost, "greeting", err)
	}
	l.client = client
	if err := client.Hello(l.localName()); err != nil {
		return classify(ctx, within, ReasonConnectionLost, "EHLO", err)
	}
	return nil
}

// startTLS upgrades the connection to TLS. It never continues without TLS: a man in the middle could hide that the
// server offers it.
func (l *session) startTLS(ctx, within context.Context) *DeliveryStatus {
	config, err := l.sender.tlsConfig()
	if err != nil {
		return failed(ReasonTLSFailed, "read the CA file", err)
	}
	if offered, _ := l.client.Extension("STARTTLS"); !offered {
		return failed(ReasonTLSFailed, "STARTTLS", errors.New("not offered by the server"))
	}
	if err := l.client.StartTLS(config); err != nil {
		return classify(ctx, within, ReasonTLSFailed, "STARTTLS", err)
	}
	if _, err := l.client.GetTLSConnectionState(); err != nil {
		return failed(ReasonTLSFailed, "STARTTLS", err)
	}
	return nil
}

func (s *Sender) tlsConfig() (*tls.Config, error) {
	config := &tls.Config{ServerName: s.options.Host, MinVersion: tls.VersionTLS12}
	if s.options.CAFile == "" {
		return config, nil
	}
	data, err := os.ReadFile(s.options.CAFile)
	if err != nil {
		return nil, err
	}
	config.RootCAs = x509.NewCertPool()
	if !config.RootCAs.AppendCertsFromPEM(data) {
		return nil, errors.New("the file contains no certificate")
	}
	return config, nil
}

// localName returns the name for EHLO. It defaults to an address literal, because the host name of a Pod cannot be
// resolved by the server.
func (l *session) localName() string {
	if l.sender.options.LocalName != "" {
		return l.sender.options.LocalName
	}
	host, _, _ := net.SplitHostPort(l.conn.LocalAddr().String())
	host, _, _ = strings.Cut(host, "%")
	if strings.Contains(host, ":") {
		return "[IPv6:" + host + "]"
	}
	return "[" + host + "]"
}

// transact sends one mail.
func (l *session) transact(ctx context.Context, m *gomail.Msg) DeliveryStatus {
	within, cancel := context.WithTimeout(ctx, l.sender.options.Timeout)
	defer cancel()
	stop := context.AfterFunc(within, l.close)
	defer stop()
	// SMTPUTF8 (RFC 6531) is requested only for addresses that need it, because some servers would otherwise bounce the
	// mail later.
	ascii := onlyASCII(m)
	if able, _ := l.client.Extension("SMTPUTF8"); !able && !ascii {
		return DeliveryStatus{State: Permanent, Reason: ReasonInvalidAddress, Err: errors.New("the server supports ASCII addresses only")}
	}
	l.client.SkipSMTPUTF8(ascii)
	err := l.sender.mailer.SendWithSMTPClient(l.client, m)
	if err == nil || m.IsDelivered() {
		return DeliveryStatus{State: Sent}
	}
	var refusal *gomail.SendError
	if errors.As(err, &refusal) && refusal.ErrorCode() != 0 {
		return refused(refusal.ErrorCode(), plain(refusal))
	}
	return *classify(ctx, within, ReasonConnectionLost, "send", plain(err))
}

// refused returns the status of a mail that the server rejected.
func refused(code int, err error) DeliveryStatus {
	switch {
	case code == 530 || code == 534 || code == 535 || code == 538: // RFC 4954: the server rejects the sender, not the mail
		return DeliveryStatus{State: Temporary, Reason: ReasonAuthFailed, Code: code, Err: err}
	case code >= 500:
		return DeliveryStatus{State: Permanent, Reason: ReasonRejected, Code: code, Err: err}
	default:
		return DeliveryStatus{State: Temporary, Reason: ReasonDeferred, Code: code, Err: err}
	}
}

// reset aborts a transaction that the last mail may have left open. It reports whether the connection is still usable.
func (l *session) reset(ctx context.Context) bool {
	within, cancel := context.WithTimeout(ctx, l.sender.options.Timeout)
	defer cancel()
	stop := context.AfterFunc(within, l.close)
	err := l.client.Reset()
	return stop() && err == nil
}

// quit ends the session. It waits at most quitTimeout for the response of the server.
func (l *session) quit(ctx context.Context) {
	within, cancel := context.WithTimeout(ctx, min(l.sender.options.Timeout, quitTimeout))
	defer cancel()
	stop := context.AfterFunc(within, l.close)
	defer stop()
	_ = l.client.Quit()
	l.close()
}

// close closes the connection. It may be called from any goroutine; pending reads and writes then return an error.
func (l *session) close() { _ = l.conn.Close() }

// classify returns the status of a failed attempt to connect. A reply of the server takes precedence over a cancelled
// context, and that over a timeout.
func classify(ctx, within context.Context, reason Reason, what string, err error) *DeliveryStatus {
	verdict := failed(reason, what, plain(err))
	var reply *textproto.Error
	var slow net.Error
	switch {
	case errors.As(err, &reply):
		verdict.Code = reply.Code
		if reason == ReasonConnectionLost {
			verdict.Reason = ReasonUnavailable
		}
	case errors.Is(ctx.Err(), context.Canceled):
		verdict.Reason = ReasonCancelled
	case within.Err() != nil, errors.As(err, &slow) && slow.Timeout():
		verdict.Reason = ReasonTimedOut
	}
	return verdict
}

// plain returns an error with the text of err on one line and of limited length. It does not retain what else err
// holds, such as the mail.
func plain(err error) error {
	const enough = 300
	text := []rune(oneLine(err.Error()))
	if len(text) > enough {
		text = append(text[:enough], '…')
	}
	return errors.New(string(text))
}

func onlyASCII(m *gomail.Msg) bool {
	recipients, err := m.GetRecipients()
	return err == nil && isASCII(strings.Join(recipients, ""))
}
