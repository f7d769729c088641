// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package credential_test

import (
	"bytes"
	"errors"
	"hash/crc32"
	"io"
	"math/big"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/credential"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
)

const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// The format is fixed: keys that customers have must stay valid.
func TestToken_KnownAnswer(t *testing.T) {
	t.Parallel()
	issued, err := keystest.Token.Generate(bytes.NewReader(make([]byte, 1000)))
	if err != nil {
		t.Fatal(err)
	}
	want := "ak_000000000000_" + strings.Repeat("0", 43) + "33JfSA"
	if got := string([]byte(issued.Material)); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if issued.ID != "000000000000" || issued.Hint != "ak_000000000000" {
		t.Errorf("it goes by %+v", issued.PublicPart)
	}
}

// base62CRC computes the checksum independently of the code under test.
func base62CRC(body string) string {
	sum := new(big.Int).SetUint64(uint64(crc32.ChecksumIEEE([]byte(body)))).Text(62)
	pairs := make([]string, 0, 104)
	for c := 'a'; c <= 'z'; c++ { // big.Int puts lower case before upper case
		pairs = append(pairs, string(c), strings.ToUpper(string(c)), strings.ToUpper(string(c)), string(c))
	}
	return strings.Repeat("0", 6-len(sum)) + strings.NewReplacer(pairs...).Replace(sum)
}

// A Token uses as many bytes as its entropy needs, all of them, and no other source.
func TestToken_UsesExactlyTheBytesOfItsSource(t *testing.T) {
	t.Parallel()
	source := &countingReader{source: &keystest.Bytes{Seed: "entropy"}}
	first, err1 := keystest.Token.Generate(source)
	second, err2 := keystest.Token.Generate(iotest.OneByteReader(source))
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	if source.n < 2*55 {
		t.Errorf("two keys took %d bytes", source.n)
	}
	if bytes.Equal(first.Material, second.Material) || first.ID == second.ID {
		t.Error("two keys are the same")
	}
	again, err := keystest.Token.Generate(&keystest.Bytes{Seed: "entropy"})
	if err != nil || !bytes.Equal(first.Material, again.Material) {
		t.Errorf("the same bytes give another key (%v)", err)
	}
	if _, err := keystest.Token.Generate(bytes.NewReader(make([]byte, 54))); err == nil {
		t.Error("a key was made of too few bytes")
	}
}

type countingReader struct {
	source io.Reader
	n      int
}

func (r *countingReader) Read(p []byte) (int, error) {
	n, err := r.source.Read(p)
	r.n += n
	return n, err
}

func TestToken_Parse(t *testing.T) {
	t.Parallel()
	good := string([]byte(keystest.MaterialOf("parse")))
	with := func(prefix string) string {
		body := prefix + good[2:len(good)-6]
		return body + base62CRC(body)
	}
	for name, tc := range map[string]struct {
		token string
		bad   bool
	}{
		"a key":                                 {token: good},
		"another prefix":                        {token: with("live")},
		"the longest prefix":                    {token: with("abcdefghijklmno9")},
		"nothing":                               {token: "", bad: true},
		"garbage":                               {token: "garbage", bad: true},
		"underscores only":                      {token: "__", bad: true},
		"a prefix too long":                     {token: with("abcdefghijklmnop9"), bad: true},
		"a prefix in upper case":                {token: with("Ak"), bad: true},
		"a prefix that begins with a digit":     {token: with("9k"), bad: true},
		"no prefix":                             {token: with(""), bad: true},
		"a prefix with a bad character inside":  {token: with("a-k"), bad: true},
		"a part too many":                       {token: good + "_", bad: true},
		"a newline at the end":                  {token: good + "\n", bad: true},
		"a space before":                        {token: " " + good, bad: true},
		"a character short":                     {token: good[:len(good)-1], bad: true},
		"a character long":                      {token: good + "0", bad: true},
		"a character outside base62":            {token: strings.Replace(good, good[20:21], "-", 1), bad: true},
		"a character outside ASCII, same bytes": {token: good[:30] + "é" + good[32:], bad: true},
		"a wrong checksum":                      {token: good[:len(good)-1] + other(good[len(good)-1]), bad: true},
		"id and secret exchanged":               {token: "ak_" + good[16:28] + "_" + good[3:15] + good[28:], bad: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			id, err := keystest.Token.Parse(credential.Material(tc.token))
			if tc.bad && (!errors.Is(err, credential.ErrMalformed) || id != (credential.PublicPart{})) {
				t.Errorf("got %v, %v", id, err)
			}
			if parts := strings.Split(tc.token, "_"); !tc.bad && (err != nil || id.ID != parts[1] || id.Hint != parts[0]+"_"+parts[1]) {
				t.Errorf("got %v, %v", id, err)
			}
			if err != nil && strings.Contains(err.Error(), good[20:30]) {
				t.Error("the error shows the key")
			}
		})
	}
}

// other returns a digit other than the given one.
func other(digit byte) string {
	return string(digits[(strings.IndexByte(digits, digit)+1)%len(digits)])
}

// TestToken_ChecksumDetectsTypos replaces each character of a key with every other one.
func TestToken_ChecksumDetectsTypos(t *testing.T) {
	t.Parallel()
	good := []byte(keystest.MaterialOf("typo"))
	for i := range good {
		for c := range 256 {
			typo := bytes.Clone(good)
			typo[i] = byte(c)
			if id, err := keystest.Token.Parse(typo); err == nil && !bytes.Equal(typo, good) {
				t.Fatalf("%s passes as %v", typo, id)
			}
		}
	}
}

func TestToken_ParsesEveryPrefix(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		f := formatOf(&v1alpha1.Format{Prefix: rapid.StringMatching(`[a-z][a-z0-9]{0,15}`).Draw(t, "prefix")})
		issued, err := f.Generate(&keystest.Bytes{Seed: rapid.String().Draw(t, "seed")})
		if err != nil {
			t.Fatal(err)
		}
		got, err := keystest.Token.Parse(issued.Material) // whatever the prefix was when it was made
		if err != nil || got != issued.PublicPart {
			t.Fatalf("generated as %v, parsed as %v, %v", issued.PublicPart, got, err)
		}
		if strings.Contains(string([]byte(issued.Material))[len(issued.Hint):], issued.Hint) || len(issued.Hint) > 64 || len(issued.ID) != 12 {
			t.Fatalf("the hint %s is no hint", issued.Hint)
		}
	})
}

func FuzzToken_Parse(f *testing.F) {
	f.Add([]byte(keystest.MaterialOf("fuzz")))
	f.Add([]byte("ak__"))
	f.Fuzz(func(t *testing.T, token []byte) {
		id, err := keystest.Token.Parse(token)
		switch {
		case err != nil && (id != credential.PublicPart{} || !errors.Is(err, credential.ErrMalformed)):
			t.Errorf("%v, %v", id, err)
		case err == nil && (!bytes.HasPrefix(token, []byte(id.Hint+"_")) || base62CRC(string(token[:len(token)-6])) != string(token[len(token)-6:])):
			t.Errorf("%s passes as %v", token, id)
		}
	})
}
