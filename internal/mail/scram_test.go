// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package mail_test

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"net"
	"strings"

	"github.com/emersion/go-smtp"
)

// scramServer implements the server side of SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (RFC 5802, 7677, 9266), which go-sasl
// does not provide.
type scramServer struct {
	conn        net.Conn
	plus        bool
	step        int
	binding     string // what the client must repeat in its last message
	first       string
	firstAnswer string
}

const (
	scramSalt   = "salt of the test"
	scramRounds = 4096
)

func newSCRAMServer(mechanism string, conn net.Conn) *scramServer {
	return &scramServer{conn: conn, plus: strings.HasSuffix(mechanism, "-PLUS")}
}

func (s *scramServer) Next(response []byte) (challenge []byte, done bool, err error) {
	s.step++
	switch s.step {
	case 1:
		return nil, false, nil
	case 2:
		return s.begin(string(response))
	case 3:
		return s.check(string(response))
	default:
		return nil, true, nil
	}
}

func (s *scramServer) begin(message string) (challenge []byte, done bool, err error) {
	header := "n,,"
	s.binding = header
	if s.plus {
		state := s.conn.(*tls.Conn).ConnectionState()
		data, err := state.ExportKeyingMaterial("EXPORTER-Channel-Binding", nil, 32)
		if err != nil {
			return nil, false, err
		}
		header = "p=tls-exporter,,"
		s.binding = header + string(data)
	}
	bare, found := strings.CutPrefix(message, header)
	if !found || !strings.HasPrefix(bare, "n="+username+",r=") {
		return nil, false, smtp.ErrAuthFailed
	}
	s.first = bare
	nonce := bare[strings.Index(bare, ",r=")+3:] + "server"
	s.firstAnswer = "r=" + nonce + ",s=" + base64.StdEncoding.EncodeToString([]byte(scramSalt)) + ",i=4096"
	return []byte(s.firstAnswer), false, nil
}

func (s *scramServer) check(message string) (challenge []byte, done bool, err error) {
	bare, proof, found := strings.Cut(message, ",p=")
	nonce, _, _ := strings.Cut(s.firstAnswer, ",s=")
	if !found || bare != "c="+base64.StdEncoding.EncodeToString([]byte(s.binding))+","+nonce {
		return nil, false, smtp.ErrAuthFailed
	}
	salted, err := pbkdf2.Key(sha256.New, password, []byte(scramSalt), scramRounds, sha256.Size)
	if err != nil {
		return nil, false, err
	}
	exchange := s.first + "," + s.firstAnswer + "," + bare
	clientKey := sign(salted, "Client Key")
	stored := sha256.Sum256(clientKey)
	want := sign(stored[:], exchange)
	for i := range want {
		want[i] ^= clientKey[i]
	}
	if proof != base64.StdEncoding.EncodeToString(want) {
		return nil, false, smtp.ErrAuthFailed
	}
	return []byte("v=" + base64.StdEncoding.EncodeToString(sign(sign(salted, "Server Key"), exchange))), false, nil
}

func sign(key []byte, message string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(message))
	return mac.Sum(nil)
}
