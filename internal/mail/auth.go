// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package mail

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/textproto"
	"os"
	"slices"
	"strings"

	"github.com/wneessen/go-mail/smtp"
)

// mechanisms lists the supported SASL mechanisms in order of preference. SCRAM does not reveal the password to the
// server, and the -PLUS variants detect a man in the middle.
var mechanisms = []struct {
	name    string
	overTLS bool // requires TLS
	auth    func(user, password, host string, state *tls.ConnectionState) smtp.Auth
}{
	{"SCRAM-SHA-256-PLUS", true, func(user, password, _ string, state *tls.ConnectionState) smtp.Auth {
		return smtp.ScramSHA256PlusAuth(user, password, state)
	}},
	{"SCRAM-SHA-256", false, func(user, password, _ string, _ *tls.ConnectionState) smtp.Auth {
		return smtp.ScramSHA256Auth(user, password)
	}},
	{"SCRAM-SHA-1-PLUS", true, func(user, password, _ string, state *tls.ConnectionState) smtp.Auth {
		return smtp.ScramSHA1PlusAuth(user, password, state)
	}},
	{"SCRAM-SHA-1", false, func(user, password, _ string, _ *tls.ConnectionState) smtp.Auth {
		return smtp.ScramSHA1Auth(user, password)
	}},
	{"PLAIN", false, func(user, password, host string, state *tls.ConnectionState) smtp.Auth {
		return smtp.PlainAuth("", user, password, host, state == nil)
	}},
	{"LOGIN", false, func(user, password, host string, state *tls.ConnectionState) smtp.Auth {
		return smtp.LoginAuth(user, password, host, state == nil)
	}},
}

// authenticate uses the preferred mechanism among those the server offers. Its result contains no text of the server
// except a reply code, so that a server cannot make the sender log the password.
func (l *session) authenticate(ctx, within context.Context) *DeliveryStatus {
	password, err := l.sender.password()
	if err != nil {
		return failed(ReasonPasswordUnreadable, "read the password file", err)
	}
	state, err := l.client.GetTLSConnectionState()
	if err != nil && !l.isLocal() {
		return failed(ReasonAuthFailed, "AUTH", errors.New("refusing to send the password without TLS"))
	}
	_, offered := l.client.Extension("AUTH")
	for _, mechanism := range mechanisms {
		if !slices.Contains(strings.Fields(strings.ToUpper(offered)), mechanism.name) || (mechanism.overTLS && state == nil) {
			continue
		}
		auth := mechanism.auth(l.sender.options.Username, password, l.sender.options.Host, state)
		if err := l.client.Auth(auth); err != nil {
			return classify(ctx, within, ReasonAuthFailed, "AUTH "+mechanism.name, silent(err))
		}
		return nil
	}
	return failed(ReasonAuthFailed, "AUTH", errors.New("the server offers no supported mechanism"))
}

// password returns the content of the password file without trailing line breaks, which most editors add.
func (s *Sender) password() (string, error) {
	data, err := os.ReadFile(s.options.PasswordFile)
	if err != nil {
		return "", err
	}
	password := strings.TrimRight(string(data), "\r\n")
	if password == "" {
		return "", errors.New("the file is empty")
	}
	return password, nil
}

// isLocal reports whether the connection uses a loopback address without TLS. It checks the address of the connection,
// not the name of the host.
func (l *session) isLocal() bool {
	address, ok := l.conn.RemoteAddr().(*net.TCPAddr)
	return ok && l.sender.options.TLS == TLSNone && address.IP.IsLoopback()
}

// silent returns an error that retains the reply code and the kind of err, but none of its text.
func silent(err error) error {
	var reply *textproto.Error
	var network net.Error
	switch {
	case errors.As(err, &reply):
		return &textproto.Error{Code: reply.Code, Msg: "refused"}
	case errors.As(err, &network):
		return network
	}
	return errors.New("invalid response")
}
