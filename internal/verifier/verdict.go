// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"crypto/sha256"
	"net/netip"
	"strings"
	"time"

	"github.com/apikey-manager/apikey-manager/internal/keys"
)

// Input is what a verdict is asked about a request.
type Input struct {
	// Key is the key in the request, and Found what the search for it came to: Valid, Missing or Ambiguous.
	Key           string
	ExtractResult Code
	// Client is who sent the request, unmapped and without zone; the zero address: that can't be told.
	Client netip.Addr
	// Scopes are those that the route requires, separated by commas; empty: none.
	Scopes string
	// Account is the name of the only account that the route is for, ExternalID its external ID; empty: any account. Names
	// and external IDs are two spaces: a name is chosen by the author of a key, an external ID by the author of the Account.
	Account, ExternalID string
	// Claim is what the request itself says of its account in the header that --account-header asks for.
	Claim Claim
}

// Claim is what a request says about the account it comes from.
type Claim struct {
	Kind ClaimKind
	// Value is the account's name or external ID; empty: the request has none, or more than one.
	Value string
}

// ClaimKind says what a Claim holds.
type ClaimKind uint8

// The kinds of claims.
const (
	// ClaimNone requires no claim.
	ClaimNone ClaimKind = iota
	// ClaimName requires the name of the key's account.
	ClaimName
	// ClaimExternalID requires the external ID of the key's account.
	ClaimExternalID
)

// Verdict is the answer to a question. It says more than its code only about a key that matched.
type Verdict struct {
	Code Code
	// Check is the check that decided.
	Check Check

	credential *credential
	policy     *policy
}

// Check is one of the checks that lead to a verdict, in this order.
type Check uint8

// The steps.
const (
	// CheckSynced: the index is complete.
	CheckSynced Check = iota
	// CheckKey: the request has one key, and it is known.
	CheckKey
	// CheckState: the key is neither switched off nor revoked.
	CheckState
	// CheckAccount: the account is known, active, and lets the key be used.
	CheckAccount
	// CheckExpiry: neither the credential nor the key has come to its end.
	CheckExpiry
	// CheckAdmitted: the manager lets the key be used.
	CheckAdmitted
	// CheckAddress: the client is in the key's whitelist.
	CheckAddress
	// CheckScopes: the key has the scopes that the route requires.
	CheckScopes
	// CheckClaim: the key belongs to the account that the route and the request name.
	CheckClaim

	checkCount
)

var checkNames = [checkCount]string{
	"synced", "key", "state", "account", "expiry", "admitted", "address", "scopes", "claim",
}

// String is the step's name, such as expiry.
func (c Check) String() string { return checkNames[c] }

// Checks are all steps, in order.
func Checks() []Check {
	list := make([]Check, checkCount)
	for i := range list {
		list[i] = Check(i)
	}
	return list
}

// maxKeyLength is well beyond the longest key that can be generated.
const maxKeyLength = 512

// Choose returns the key among the candidates of a request, and the places that hold it. Only what some APIKey has counts:
// exactly one such key decides, two are Ambiguous. If there is none, the first candidate stands for all.
func (x *Index) Choose(c *Candidates) (key string, places Places, found Code) {
	switch {
	case c.ambiguous:
		return "", 0, Ambiguous
	case c.count == 0:
		return "", 0, Missing
	case c.count == 1:
		return c.list[0].key, c.list[0].places, Valid
	}
	chosen := -1
	for i := range c.count {
		switch {
		case x.lookUp(c.list[i].key) == nil:
		case chosen >= 0:
			return "", 0, Ambiguous
		default:
			chosen = i
		}
	}
	if chosen < 0 {
		return c.list[0].key, 0, Valid // which Decide does not know
	}
	return c.list[chosen].key, c.list[chosen].places, Valid
}

// lookUp returns the credential that a key is; nil: there is none.
func (x *Index) lookUp(key string) *credential {
	if len(key) > maxKeyLength {
		return nil
	}
	var whole [maxKeyLength]byte
	d := digest(sha256.Sum256(whole[:copy(whole[:], key)]))
	return x.table.find(&d)
}

// Check gives the verdict on a request at a time, and remembers the use of the key. It allocates nothing.
func (x *Index) Check(in *Input, now time.Time) Verdict {
	switch {
	case !x.Complete():
		return Verdict{Code: NotSynced, Check: CheckSynced}
	case in.ExtractResult != Valid:
		return Verdict{Code: in.ExtractResult, Check: CheckKey}
	}
	c := x.lookUp(in.Key)
	if c == nil {
		return Verdict{Code: Unknown, Check: CheckKey}
	}
	v := Verdict{Code: Valid, Check: CheckClaim, credential: c, policy: c.key.account.policy.Load()}
	for check := CheckState; check < checkCount; check++ {
		if code := c.check(check, v.policy, in, now); code != Valid {
			v.Code, v.Check = code, check
			break
		}
	}
	c.usage.record(v.Code, now.Unix())
	return v
}

// check is Valid if a credential passes a step, or else what stands against it.
func (c *credential) check(check Check, p *policy, in *Input, now time.Time) Code {
	switch check {
	case CheckState:
		return c.checkState(now)
	case CheckAccount:
		return p.checkKey(c.key)
	case CheckExpiry:
		return c.checkExpiry(p, now)
	case CheckAdmitted:
		return c.key.statusCode
	case CheckAddress:
		return codeUnless(c.key.networks == nil || c.key.networks.contains(in.Client), IPNotAllowed)
	case CheckScopes:
		return codeUnless(covers(p.scopesOf(c.key), in.Scopes), ScopeMissing)
	case CheckClaim:
		return codeUnless(c.key.account.matchesAccount(p, in), AccountMismatch)
	case CheckSynced, CheckKey, checkCount:
	}
	return NotSynced // no such check: let nobody in
}

func codeUnless(good bool, code Code) Code {
	if good {
		return Valid
	}
	return code
}

func (c *credential) checkState(now time.Time) Code {
	if now.Unix() >= c.revokedAt {
		return Revoked
	}
	return c.key.specCode
}

func (p *policy) checkKey(k *key) Code {
	switch {
	case p == nil:
		return Inactive
	case p.suspended:
		return AccountSuspended
	}
	return codeUnless(p.allowsKey(k), Inactive)
}

// checkExpiry is Expired from the very second on, and on the first instant of the day that the spec names.
func (c *credential) checkExpiry(p *policy, now time.Time) Code {
	second := now.Unix()
	switch {
	case second >= c.notAfter, second >= c.key.expiresAt, c.key.statusCode == Expired:
		return Expired
	case c.key.expirationDay != 0 && (p.zone == nil || dayOf(now.In(p.zone)) >= c.key.expirationDay):
		return Expired
	}
	return Valid
}

// covers is whether each of the wanted scopes is covered by a granted one. Both are separated by commas.
func covers(granted, wanted string) bool {
	for wanted != "" {
		var scope string
		scope, wanted, _ = strings.Cut(wanted, ",")
		if scope = strings.TrimSpace(scope); scope != "" && !coversOne(granted, scope) {
			return false
		}
	}
	return true
}

func coversOne(granted, wanted string) bool {
	for granted != "" {
		var scope string
		scope, granted, _ = strings.Cut(granted, ",")
		if keys.Covers(scope, wanted) {
			return true
		}
	}
	return false
}

// matchesAccount reports whether an account is the one that the route is for, and the one that the request claims if it
// has to claim one. An account that holds no external ID matches none.
func (a *account) matchesAccount(p *policy, in *Input) bool {
	if (in.Account != "" && in.Account != a.name) || (in.ExternalID != "" && in.ExternalID != p.externalID) {
		return false
	}
	switch in.Claim.Kind {
	case ClaimNone:
		return true
	case ClaimName:
		return in.Claim.Value == a.name
	case ClaimExternalID:
		return in.Claim.Value != "" && in.Claim.Value == p.externalID
	}
	return false // no such kind: fail closed
}

// Key describes the key of a verdict, for those whom the answer concerns; nil: none matched.
func (v *Verdict) Key() *Identity {
	if v.credential == nil {
		return nil
	}
	k := v.credential.key
	id := &Identity{KeyID: v.credential.id, Namespace: k.namespace.name, Name: k.name, Account: k.account.name, Label: k.label, Scopes: k.scopes}
	if v.policy != nil {
		id.ExternalID, id.Scopes = v.policy.externalID, v.policy.scopesOf(k)
	}
	if ends := min(k.expiresAt, v.credential.notAfter, v.credential.revokedAt); ends != never {
		id.ExpiresAt = time.Unix(ends, 0).UTC()
	}
	return id
}

// KeyID is the public ID of the credential that matched; empty: none did.
func (v *Verdict) KeyID() string {
	if v.credential == nil {
		return ""
	}
	return v.credential.id
}

// Account is the name of the account whose key matched; empty: none did.
func (v *Verdict) Account() string {
	if v.credential == nil {
		return ""
	}
	return v.credential.key.account.name
}

// Identity is whom a key stands for.
type Identity struct {
	// KeyID is the public ID of the credential.
	KeyID string
	// Namespace and Name are those of the APIKey.
	Namespace, Name string
	// Account is the Account's name, ExternalID its ID in the provider's own system.
	Account, ExternalID string
	// Label is what a person calls the key.
	Label string
	// Scopes are what the key may do, separated by commas.
	Scopes string
	// ExpiresAt is when the credential stops being accepted; the zero time: as far as is known, never.
	ExpiresAt time.Time
}
