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

// ErrOptions says that no Sender can be made of some Options.
var ErrOptions = errors.New("mail server options")

// TLS is how a connection to the mail server is protected.
type TLS string

// How a connection is protected.
const (
	// TLSStart begins in clear text and asks for TLS by STARTTLS before anything else is said. A server that does not
	// offer it gets no mail. This is the default.
	TLSStart TLS = "starttls"
	// TLSImplicit speaks TLS from the first byte on.
	TLSImplicit TLS = "implicit"
	// TLSNone protects nothing. A password is sent only to a server on this machine.
	TLSNone TLS = "none"
)

// Timeouts that Options leave unsaid.
const (
	defaultTimeout = time.Minute
	quitTimeout    = 5 * time.Second
)

// Options are where and how to send mail.
type Options struct {
	// Host is the name or address of the mail server; its certificate must be for it.
	Host string
	// Port is 587, 465 or 25 unless said, for TLSStart, TLSImplicit and TLSNone.
	Port int
	// Username and PasswordFile go together; without them there is no AUTH. The file is read anew for each connection,
	// so that a password can be rotated.
	Username, PasswordFile string
	// From is the sender's address, with or without a name: API keys <api-keys@example.com>.
	From string
	// TLS is TLSStart unless said.
	TLS TLS
	// CAFile holds the PEM certificates of who may vouch for the server, read anew for each connection. Left out, they
	// are the system's.
	CAFile string
	// LocalName is what the sender calls itself in EHLO: the address it connects from unless said (RFC 5321, 4.1.3).
	LocalName string
	// Timeout bounds the way to a server that takes mail, and then each mail: a minute unless said.
	Timeout time.Duration
}

// Sender sends mail through one mail server. Several goroutines may use it at once.
type Sender struct {
	options Options
	from    *mail.Address
	mailer  *gomail.Client
}

// New checks the options. It connects to nothing yet.
func New(options Options) (*Sender, error) {
	options = options.withDefaults()
	from, err := options.check()
	if err != nil {
		return nil, err
	}
	// The transactions are go-mail's; the way to them is in session.go, where each failure gets its own reason. The
	// timeout of a transaction is there too, and go-mail's is only there to be longer.
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
		return nil, fmt.Errorf("%w: from %q is not an address such as api-keys@example.com", ErrOptions, o.From)
	case o.Host == "" || strings.ContainsAny(o.Host, " \t\r\n/"):
		return nil, fmt.Errorf("%w: host %q is not the name or address of a server", ErrOptions, o.Host)
	case o.TLS != TLSStart && o.TLS != TLSImplicit && o.TLS != TLSNone:
		return nil, fmt.Errorf("%w: TLS %q is not %s, %s or %s", ErrOptions, o.TLS, TLSStart, TLSImplicit, TLSNone)
	case o.Port < 1 || o.Port > 65535:
		return nil, fmt.Errorf("%w: port %d is not between 1 and 65535", ErrOptions, o.Port)
	case o.Timeout < 0:
		return nil, fmt.Errorf("%w: timeout must not be negative", ErrOptions)
	case (o.Username == "") != (o.PasswordFile == ""):
		return nil, fmt.Errorf("%w: a username needs a password file, and a password file a username", ErrOptions)
	case o.TLS == TLSNone && o.Username != "" && !isLoopback(o.Host):
		return nil, fmt.Errorf("%w: without TLS a password would travel in clear text: use %s or %s", ErrOptions, TLSStart, TLSImplicit)
	case strings.ContainsAny(o.LocalName, " \t\r\n"):
		return nil, fmt.Errorf("%w: local name %q is not the name of a host", ErrOptions, o.LocalName)
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
