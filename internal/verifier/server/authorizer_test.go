// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package server_test

import (
	"strings"
	"testing"

	"github.com/apikey-manager/apikey-manager/internal/verifier"
	"github.com/apikey-manager/apikey-manager/internal/verifier/server"
)

func TestNewAuthorizer_RejectsIdentityHeaders(t *testing.T) {
	t.Parallel()
	for want, sources := range map[string][]string{
		"invalid key source header:x-apikey-id: must not be an identity header": {"header:X-API-Key", "header:x-apikey-id"},
		"invalid key source header:x-apikey-scopes":                             {"header:X-Apikey-Scopes:Bearer"},
	} {
		extractor, err := verifier.NewKeyExtractor(sources)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := server.NewAuthorizer(server.AuthorizerOptions{Extractor: extractor}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
