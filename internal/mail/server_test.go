// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package mail_test

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"github.com/apikey-manager/apikey-manager/internal/mail"
)

const (
	username = "api-keys"
	password = "pass-word-that-nobody-else-says"
)

// received is a mail that the server accepted.
type received struct {
	From, To, Raw string
	UTF8, TLS     bool
	Mechanism     string // SASL mechanism that the client used
}

// server is an SMTP server on a local port. Its hooks, if set, can fail, block or break its operations.
type server struct {
	onSession func(net.Conn) error
	onMail    func(net.Conn) error
	onRcpt    func(to string) error
	onData    func(conn net.Conn, to string) error
	onReset   func(net.Conn)

	config     *tls.Config
	implicit   bool
	utf8       bool
	mechanisms []string

	mu       sync.Mutex
	mails    []received
	sessions int
	release  chan struct{} // closed when the test ends, to unblock hooks
	port     int
}

// start starts the server. It is stopped when the test ends.
func (s *server) start(t *testing.T) *server {
	t.Helper()
	s.release = make(chan struct{})
	backend := smtp.NewServer(smtp.BackendFunc(s.newSession))
	backend.Domain, backend.AllowInsecureAuth = "mail.example.com", s.config == nil
	backend.ErrorLog = log.New(io.Discard, "", 0)
	backend.EnableSMTPUTF8 = s.utf8
	listener := listen(t)
	s.port = port(listener)
	if s.implicit {
		listener = tls.NewListener(listener, s.config)
	} else {
		backend.TLSConfig = s.config
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = backend.Serve(listener)
	}()
	t.Cleanup(func() {
		close(s.release)
		_ = backend.Close()
		_ = listener.Close() // the backend may not have closed it yet
		<-done
	})
	return s
}

// hang blocks until the test ends.
func (s *server) hang() error {
	<-s.release
	return errors.New("the test has ended")
}

// awaitMails waits until the server has stored n mails to a recipient. A server whose connection is closed may store
// the mail with a delay.
func (s *server) awaitMails(to string, n int) []received {
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		list := slices.DeleteFunc(s.inbox(), func(m received) bool { return m.To != to })
		if len(list) >= n || time.Since(began) > 10*time.Second {
			return list
		}
	}
}

func (s *server) inbox() []received {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.mails)
}

func (s *server) connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sessions
}

func (s *server) newSession(c *smtp.Conn) (smtp.Session, error) {
	_, protected := c.TLSConnectionState()
	if protected || s.config == nil {
		s.mu.Lock()
		s.sessions++
		s.mu.Unlock()
	}
	if s.onSession != nil {
		if err := s.onSession(c.Conn()); err != nil {
			return nil, err
		}
	}
	return &visit{server: s, conn: c.Conn(), mail: received{TLS: protected}}, nil
}

// visit is one session with a client.
type visit struct {
	server *server
	conn   net.Conn
	mail   received
}

func (v *visit) Logout() error { return nil }

func (v *visit) Reset() {
	if v.server.onReset != nil {
		v.server.onReset(v.conn)
	}
}

func (v *visit) AuthMechanisms() []string { return v.server.mechanisms }

func (v *visit) Auth(mechanism string) (sasl.Server, error) {
	v.mail.Mechanism = mechanism
	check := func(user, pass string) error {
		if user != username || pass != password {
			return smtp.ErrAuthFailed
		}
		return nil
	}
	switch {
	case mechanism == sasl.Plain:
		return sasl.NewPlainServer(func(_, user, pass string) error { return check(user, pass) }), nil
	case mechanism == sasl.Login:
		return &loginServer{check: check}, nil
	case strings.HasPrefix(mechanism, "SCRAM-SHA-256"):
		return newSCRAMServer(mechanism, v.conn), nil
	}
	return nil, smtp.ErrAuthUnknownMechanism
}

func (v *visit) Mail(from string, options *smtp.MailOptions) error {
	v.mail.From, v.mail.UTF8 = from, options.UTF8
	if v.server.onMail != nil {
		return v.server.onMail(v.conn)
	}
	if len(v.server.mechanisms) > 0 && v.mail.Mechanism == "" {
		return &smtp.SMTPError{Code: 530, Message: "Authentication required"}
	}
	return nil
}

func (v *visit) Rcpt(to string, _ *smtp.RcptOptions) error {
	v.mail.To = to
	if v.server.onRcpt != nil {
		return v.server.onRcpt(to)
	}
	return nil
}

func (v *visit) Data(r io.Reader) error {
	raw, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if v.server.onData != nil {
		if err := v.server.onData(v.conn, v.mail.To); err != nil {
			return err
		}
	}
	v.mail.Raw = string(raw)
	v.server.mu.Lock()
	defer v.server.mu.Unlock()
	v.server.mails = append(v.server.mails, v.mail)
	return nil
}

// loginServer implements AUTH LOGIN, for which go-sasl provides the client side only.
type loginServer struct {
	check func(user, pass string) error
	user  string
	step  int
}

func (l *loginServer) Next(response []byte) (challenge []byte, done bool, err error) {
	l.step++
	switch l.step {
	case 1:
		return []byte("Username:"), false, nil
	case 2:
		l.user = string(response)
		return []byte("Password:"), false, nil
	default:
		return nil, true, l.check(l.user, string(response))
	}
}

// script starts a server that sends fixed responses, to test responses that a correct server does not send. It sends
// the greeting, and then the response for the verb of each command. An empty response closes the connection, a missing
// one is "250 fine", and after a response that ends in "..." the server sends nothing more.
func script(t *testing.T, greeting string, answers map[string]string) (at int, heard func() []string) {
	t.Helper()
	listener := listen(t)
	var mu sync.Mutex
	var lines []string
	var group sync.WaitGroup
	group.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			group.Go(func() {
				defer func() { _ = conn.Close() }()
				_, _ = fmt.Fprintf(conn, "%s\r\n", greeting)
				for scanner := bufio.NewScanner(conn); scanner.Scan(); {
					mu.Lock()
					lines = append(lines, scanner.Text())
					mu.Unlock()
					verb, _, _ := strings.Cut(scanner.Text(), " ")
					answer, found := answers[verb]
					switch {
					case !found:
						answer = "250 fine"
					case answer == "":
						return
					}
					_, _ = fmt.Fprintf(conn, "%s\r\n", answer)
					if strings.HasSuffix(answer, "...") {
						_, _ = io.Copy(io.Discard, conn)
					}
				}
			})
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		group.Wait()
	})
	return port(listener), func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(lines)
	}
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	return listener
}

func port(listener net.Listener) int { return listener.Addr().(*net.TCPAddr).Port }

// authority returns a TLS configuration with a certificate for localhost, and the PEM of the CA certificate that signed
// it.
var authority = sync.OnceValues(func() (*tls.Config, []byte) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS12}
	return config, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
})

func serverTLS() *tls.Config {
	config, _ := authority()
	return config.Clone()
}

func writeFile(t *testing.T, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func caFile(t *testing.T) string {
	t.Helper()
	_, data := authority()
	return writeFile(t, "ca.crt", data)
}

func newSender(t *testing.T, options mail.Options) *mail.Sender {
	t.Helper()
	if options.Host == "" {
		options.Host = "localhost"
	}
	if options.From == "" {
		options.From = "API keys <api-keys@example.com>"
	}
	if options.Timeout == 0 {
		options.Timeout = 10 * time.Second
	}
	sender, err := mail.New(options)
	if err != nil {
		t.Fatal(err)
	}
	return sender
}
