// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"io"
	"strings"
	"testing"

	"github.com/apikey-manager/apikey-manager/internal/credential"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
)

func TestReadKey(t *testing.T) {
	t.Parallel()
	const key = "ak_Zz0123456789_secret"
	for name, tc := range map[string]struct{ in, want, wantError string }{
		"without a line break":     {key, key, ""},
		"with a line break":        {key + "\n", key, ""},
		"from Windows":             {key + "\r\n", key, ""},
		"between blank lines":      {"\n\n " + key + " \n\n", key, ""},
		"nothing":                  {"", "", "standard input is empty"},
		"only white space":         {" \n\t\n", "", "standard input is empty"},
		"two keys":                 {key + "\n" + key, "", "more than one line"},
		"a line that is too long":  {strings.Repeat("k", maxKeyLine+1), "", "longer than 4096 bytes"},
		"as long as a line may be": {strings.Repeat("k", maxKeyLine), strings.Repeat("k", maxKeyLine), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := readKey(t.Context(), strings.NewReader(tc.in), io.Discard)
			if tc.wantError != "" {
				if err == nil || !strings.Contains(err.Error(), tc.wantError) || strings.Contains(err.Error(), key) {
					t.Fatalf("got error %v, want %q", err, tc.wantError)
				}
				return
			}
			if err != nil || string([]byte(got)) != tc.want {
				t.Fatalf("got %q, %v, want %q", []byte(got), err, tc.want)
			}
		})
	}
}

func TestEachKeyLine_LimitsLines(t *testing.T) {
	t.Parallel()
	for lines, want := range map[int]bool{maxKeyLines: true, maxKeyLines + 1: false} {
		read := 0
		err := eachKeyLine(strings.NewReader(strings.Repeat("k\n", lines)), func(int, credential.Material) error { read++; return nil })
		if (err == nil) != want || read != maxKeyLines {
			t.Errorf("of %d lines, %d were read, with error %v", lines, read, err)
		}
	}
}

func TestIsLikeKey(t *testing.T) {
	t.Parallel()
	token := string([]byte(keystest.MaterialOf("shop")))
	for argument, want := range map[string]bool{
		token:                                  true,
		"f47ac10b-58cc-4372-a567-0e02b2c3d479": true,
		"lg_3f9Kq2ZpW7xYvB1nTc8Rm5Ls":          true,
		"5d41402abc4b2a76b9719d911017c5920cc175b9c0f1b6a831c399e269772661": true,
		"v1ReF6fIcrOF":                  false, // a key ID
		"ak_v1ReF6fIcrOF":               false, // the hint of a Token
		"productionkeyxx1_v1ReF6fIcrOF": false, // the longest hint of a Token
		"f47a":                          false, // the hint of a UUID
		"shop-key":                      false,
		"":                              false,
	} {
		if got := isLikeKey(argument); got != want {
			t.Errorf("isLikeKey(%d characters, %.4s...) = %t, want %t", len(argument), argument, got, want)
		}
	}
}
