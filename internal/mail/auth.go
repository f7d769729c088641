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

// The ways to authenticate, best first: SCRAM does not show the server the password, and -PLUS shows whether somebody
// sits in between.
var mechanisms = []struct {
	name    string
	overTLS bool // works over TLS only
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

// authenticate uses the best way that the server offers. What it reports is never more than a reply code, so that no
// server can make the sender log what it was told.
func (l *session) authenticate(ctx, within context.Context) *DeliveryStatus {
	password, err := l.sender.password()
	if err != nil {
		return failed(ReasonPasswordUnreadable, "password file", err)
	}
	state, err := l.client.GetTLSConnectionState()
	if err != nil && !l.isLocal() {
		return failed(ReasonAuthFailed, "AUTH", errors.New("a password must not travel in clear text"))
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
	return failed(ReasonAuthFailed, "AUTH", errors.New("the server offers no way that is known here"))
}

// password is the file's content without the line end that most editors leave.
func (s *Sender) password() (string, error) {
	data, err := os.ReadFile(s.options.PasswordFile)
	if err != nil {
		return "", err
	}
	password := strings.TrimRight(string(data), "\r\n")
	if password == "" {
		return "", errors.New("it is empty")
	}
	return password, nil
}

// isLocal is whether the connection really ends on this machine, whatever the host's name resolved to.
func (l *session) isLocal() bool {
	address, ok := l.conn.RemoteAddr().(*net.TCPAddr)
	return ok && l.sender.options.TLS == TLSNone && address.IP.IsLoopback()
}

// silent keeps a reply code and the kind of an error, and drops all text.
func silent(err error) error {
	var reply *textproto.Error
	var network net.Error
	switch {
	case errors.As(err, &reply):
		return &textproto.Error{Code: reply.Code, Msg: "refused"}
	case errors.As(err, &network):
		return network
	}
	return errors.New("no valid answer")
}
