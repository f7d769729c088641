// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/apikey-manager/apikey-manager/internal/verifier"
)

// Each code of the verifier has an explanation, and no other.
func TestExplainVerdict_AllCodes(t *testing.T) {
	t.Parallel()
	known := map[string]bool{}
	for _, code := range verifier.Codes() {
		if code.Passes() || code == verifier.Preflight {
			continue
		}
		known[code.String()] = true
		text := explainVerdict(&verifyResult{Code: code.String(), KeyID: "v1ReF6fIcrOF"})
		if explanations[code.String()] == "" || strings.Contains(text, "%") {
			t.Errorf("%s is explained as %q", code, text)
		}
	}
	for code := range explanations {
		if !known[code] {
			t.Errorf("%s is not a code of the verifier", code)
		}
	}
}

func TestExplainVerdict_Valid(t *testing.T) {
	t.Parallel()
	end := time.Date(2027, 2, 28, 0, 0, 0, 0, time.UTC)
	got := explainVerdict(&verifyResult{
		Valid: true, Code: "VALID", KeyID: "v1ReF6fIcrOF", Account: "acme", Plan: "pro", Label: "Almacén", Scopes: []string{"orders:read", "orders:write"}, ExpiresAt: &end,
	})
	const want = "The key v1ReF6fIcrOF (Almacén) of account acme (plan pro) is valid until 2027-02-28T00:00:00Z, with the scopes orders:read, orders:write."
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
