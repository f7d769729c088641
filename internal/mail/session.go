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

// session is a connection to a mail server that is ready to take mail.
type session struct {
	sender *Sender
	conn   net.Conn // beneath TLS: closing it ends whatever waits for the server
	client *smtp.Client
}

// connect goes the whole way to a server that takes mail: connection, TLS, greeting, authentication.
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
	if !stop() && failure == nil { // closed behind our back at the last moment
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

// greet hears the server's greeting and says EHLO, under TLS from the start if that is asked for.
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

// startTLS never goes on in clear text: a server that offers no TLS may be somebody in between who hides it.
func (l *session) startTLS(ctx, within context.Context) *DeliveryStatus {
	config, err := l.sender.tlsConfig()
	if err != nil {
		return failed(ReasonTLSFailed, "read the CA file", err)
	}
	if offered, _ := l.client.Extension("STARTTLS"); !offered {
		return failed(ReasonTLSFailed, "STARTTLS", errors.New("the server does not offer it"))
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
		return nil, errors.New("it holds no certificate")
	}
	return config, nil
}

// localName is an address literal unless the options know better: where this runs, the host's name means nothing outside.
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
	// SMTPUTF8 (RFC 6531) is for addresses that need it: asked for in vain, it makes some servers bounce the mail later.
	ascii := onlyASCII(m)
	if able, _ := l.client.Extension("SMTPUTF8"); !able && !ascii {
		return DeliveryStatus{State: Permanent, Reason: ReasonInvalidAddress, Err: errors.New("the server takes ASCII addresses only")}
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

// refused is the verdict on a mail that the server did not want.
func refused(code int, err error) DeliveryStatus {
	switch {
	case code == 530 || code == 534 || code == 535 || code == 538: // RFC 4954: it is the sender it does not want
		return DeliveryStatus{State: Temporary, Reason: ReasonAuthFailed, Code: code, Err: err}
	case code >= 500:
		return DeliveryStatus{State: Permanent, Reason: ReasonRejected, Code: code, Err: err}
	default:
		return DeliveryStatus{State: Temporary, Reason: ReasonDeferred, Code: code, Err: err}
	}
}

// reset ends what the last transaction may have left, and says whether the connection still holds.
func (l *session) reset(ctx context.Context) bool {
	within, cancel := context.WithTimeout(ctx, l.sender.options.Timeout)
	defer cancel()
	stop := context.AfterFunc(within, l.close)
	err := l.client.Reset()
	return stop() && err == nil
}

// quit takes leave, but waits for no answer longer than politeness asks.
func (l *session) quit(ctx context.Context) {
	within, cancel := context.WithTimeout(ctx, min(l.sender.options.Timeout, quitTimeout))
	defer cancel()
	stop := context.AfterFunc(within, l.close)
	defer stop()
	_ = l.client.Quit()
	l.close()
}

// close ends the connection, from wherever it is called. Whatever waits for the server gets an error.
func (l *session) close() { _ = l.conn.Close() }

// classify says why the way to the server ended. The server's own word counts most, then the caller's, then the clock's.
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

// plain is an error's text on one line and of some length only, without what else the error holds, such as the mail.
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
