// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package mail

import (
	"errors"
	"fmt"
	"net/mail"
	"net/netip"
	"strings"
	"time"

	gomail "github.com/wneessen/go-mail"
)

// ErrOptions is returned for invalid Options.
var ErrOptions = errors.New("invalid mail server options")

// TLS determines how a connection to the mail server is protected.
type TLS string

// The ways to protect a connection.
const (
	// TLSStart upgrades a plain connection to TLS with STARTTLS before anything else is sent. If the server does not
	// offer STARTTLS, no mail is sent. This is the default.
	TLSStart TLS = "starttls"
	// TLSImplicit uses TLS from the start of the connection.
	TLSImplicit TLS = "implicit"
	// TLSNone does not use TLS. A password is sent only to a server on this machine.
	TLSNone TLS = "none"
)

// Default timeouts.
const (
	defaultTimeout = time.Minute
	quitTimeout    = 5 * time.Second
)

// Options determines how mail is sent.
type Options struct {
	// Host is the name or address of the mail server. The certificate of the server must be valid for it.
	Host string
	// Port is the port of the mail server. It defaults to 587 for TLSStart, 465 for TLSImplicit and 25 for TLSNone.
	Port int
	// Username and PasswordFile must be set together. If they are not set, the sender does not authenticate. The file
	// is read for each connection, so that the password can be rotated.
	Username, PasswordFile string
	// From is the sender's address, with or without a name: API keys <api-keys@example.com>.
	From string
	// TLS determines how the connection is protected. It defaults to TLSStart.
	TLS TLS
	// CAFile is a file with the trusted CA certificates in PEM format, read for each connection. It defaults to the CA
	// certificates of the system.
	CAFile string
	// LocalName is the name that the sender uses in EHLO. It defaults to the local address of the connection (RFC 5321,
	// 4.1.3).
	LocalName string
	// Timeout limits the time to connect and authenticate, and the time for each mail. It defaults to one minute.
	Timeout time.Duration
}

// Sender sends mail through one mail server. It is safe for concurrent use.
type Sender struct {
	options Options
	from    *mail.Address
	mailer  *gomail.Client
}

// New returns a Sender, or an error if the options are invalid. It does not connect to the server.
func New(options Options) (*Sender, error) {
	options = options.withDefaults()
	from, err := options.check()
	if err != nil {
		return nil, err
	}
	// go-mail is used for the transactions only. session.go establishes connections itself, to report a separate reason
	// for each failure, and limits the time of each transaction; the timeout of go-mail is longer, so that it has no
	// effect.
	mailer, err := gomail.NewClient(options.Host, gomail.WithoutNoop(), gomail.WithoutRset(), gomail.WithTimeout(2*options.Timeout))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrOptions, err)
	}
	return &Sender{options: options, from: from, mailer: mailer}, nil
}

func (o Options) withDefaults() Options {
	if o.TLS == "" {
		o.TLS = TLSStart
	}
	if o.Port == 0 {
		o.Port = map[TLS]int{TLSStart: 587, TLSImplicit: 465, TLSNone: 25}[o.TLS]
	}
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	return o
}

func (o Options) check() (*mail.Address, error) {
	from, err := mail.ParseAddress(o.From)
	switch {
	case err != nil, !isASCII(from.Address):
		return nil, fmt.Errorf("%w: from %q must be an address, such as api-keys@example.com", ErrOptions, o.From)
	case o.Host == "" || strings.ContainsAny(o.Host, " \t\r\n/"):
		return nil, fmt.Errorf("%w: host %q must be a host name or an IP address", ErrOptions, o.Host)
	case o.TLS != TLSStart && o.TLS != TLSImplicit && o.TLS != TLSNone:
		return nil, fmt.Errorf("%w: TLS %q must be %s, %s or %s", ErrOptions, o.TLS, TLSStart, TLSImplicit, TLSNone)
	case o.Port < 1 || o.Port > 65535:
		return nil, fmt.Errorf("%w: port %d must be between 1 and 65535", ErrOptions, o.Port)
	case o.Timeout < 0:
		return nil, fmt.Errorf("%w: timeout must not be negative", ErrOptions)
	case (o.Username == "") != (o.PasswordFile == ""):
		return nil, fmt.Errorf("%w: username and password file must be set together", ErrOptions)
	case o.TLS == TLSNone && o.Username != "" && !isLoopback(o.Host):
		return nil, fmt.Errorf("%w: a password requires TLS: use %s or %s", ErrOptions, TLSStart, TLSImplicit)
	case strings.ContainsAny(o.LocalName, " \t\r\n"):
		return nil, fmt.Errorf("%w: local name %q must be a host name", ErrOptions, o.LocalName)
	}
	return from, nil
}

func isLoopback(host string) bool {
	address, err := netip.ParseAddr(host)
	return host == "localhost" || (err == nil && address.Unmap().IsLoopback())
}

func isASCII(text string) bool {
	return strings.IndexFunc(text, func(r rune) bool { return r > '~' || r < ' ' }) < 0
}
