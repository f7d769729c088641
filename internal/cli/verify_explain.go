// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"strings"
	"time"
)

// explanations says for each code of the verifier what it means and what to do. %s is the ID of the key.
var explanations = map[string]string{
	"NOT_SYNCED": "The verifier has not read all keys yet, or it has lost its connection to the API server. Ask again in a few " +
		"seconds. If that does not help: kubectl apikey check",
	"MISSING":   "The request has no key. Pass one on standard input.",
	"AMBIGUOUS": "The request has more than one key. Pass one key.",
	"UNKNOWN": "No APIKey of this cluster has this key. Check that it is complete and that it belongs to this cluster. If it was " +
		"deleted, create a new one: kubectl apikey create",
	"TOO_MANY_FAILURES": "No APIKey of this cluster has this key, and too many requests with unknown keys came from this address " +
		"(--max-failures-per-client of the verifier). Keys of the cluster are accepted from it all the same.",
	"REVOKED": "This key was revoked for good. Use the current key of the application, or create a new one: kubectl apikey create. " +
		"To see which key it was: kubectl apikey find %s -A",
	"INACTIVE": "The key is deactivated, or its account does not accept it. kubectl apikey find %s -A finds it, " +
		"kubectl apikey describe shows the reason, and kubectl apikey activate activates it.",
	"ACCOUNT_SUSPENDED": "The account of the key is suspended, and with it all its keys. To accept them again, set spec.state of the " +
		"Account to Active.",
	"EXPIRED": "The key has expired, or it is the previous key of a rotation whose overlap has ended. Use the current key, or extend " +
		"it: kubectl apikey find %s -A finds it, kubectl apikey expire sets a later time.",
	"IP_NOT_ALLOWED": "The key may be used from some addresses only. Pass the address of the client with --client-ip, or add it to " +
		"spec.ipWhitelist: kubectl apikey find %s -A finds the key.",
	"SCOPE_MISSING": "The key lacks a scope that was required with --scope. Add it to spec.scopes: kubectl apikey find %s -A finds the " +
		"key.",
	"ACCOUNT_MISMATCH": "The key does not belong to the account that was required with --account.",
}

// explainVerdict returns a sentence for users that says what a result means and what to do.
func explainVerdict(r *verifyResult) string {
	if r.Valid {
		return explainValid(r)
	}
	text, known := explanations[r.Code]
	if !known {
		return "The verifier rejects the key."
	}
	return strings.ReplaceAll(text, "%s", r.KeyID)
}

func explainValid(r *verifyResult) string {
	text := "The key " + r.KeyID
	if r.Label != "" {
		text += " (" + r.Label + ")"
	}
	text += " of account " + r.Account
	if r.Plan != "" {
		text += " (plan " + r.Plan + ")"
	}
	text += " is valid"
	if r.ExpiresAt != nil {
		text += " until " + r.ExpiresAt.Format(time.RFC3339)
	}
	if len(r.Scopes) > 0 {
		text += ", with the scopes " + strings.Join(r.Scopes, ", ")
	}
	return text + "."
}
