// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package verifier

import (
	"crypto/sha256"
	"net/netip"
	"strings"
	"time"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
)

// Input holds what a verdict on a request depends on.
type Input struct {
	// Key holds the key in the request. ExtractResult is Valid, Missing or Ambiguous.
	Key           string
	ExtractResult Code
	// Client holds the address of the client, unmapped and without a zone. The zero address means that it cannot be
	// determined.
	Client netip.Addr
	// Scopes holds the scopes that the route requires, separated by commas.
	Scopes string
	// Account holds the name, and ExternalID the external ID, of the only account that the route accepts. If empty,
	// the route accepts any account. Names and external IDs are separate namespaces: the author of a key chooses the
	// name, the author of the Account chooses the external ID.
	Account, ExternalID string
	// Claim holds the account that the request names in the header configured with --account-header.
	Claim Claim
}

// Claim holds the account that a request names.
type Claim struct {
	Kind ClaimKind
	// Value holds the name or external ID of the account. It is empty if the request names none or more than one.
	Value string
}

// ClaimKind determines what a Claim holds.
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

// Verdict holds the result of checking a request. It describes a key only if one matched.
type Verdict struct {
	Code Code
	// Check identifies the check that determined the code.
	Check Check

	credential *credential
	policy     *policy
}

// Check identifies one of the checks that lead to a verdict, in their order.
type Check uint8

// The checks.
const (
	// CheckSynced passes if the index is complete.
	CheckSynced Check = iota
	// CheckKey passes if the request has exactly one key, and the index holds it.
	CheckKey
	// CheckState passes if the key is neither disabled nor revoked.
	CheckState
	// CheckAccount passes if the account is known, active, and allows the key to be used.
	CheckAccount
	// CheckExpiry passes if neither the credential nor the key has expired.
	CheckExpiry
	// CheckAdmitted passes if the status that the manager wrote reports the key as active.
	CheckAdmitted
	// CheckAddress passes if the whitelist of the key contains the address of the client.
	CheckAddress
	// CheckScopes passes if the key has the scopes that the route requires.
	CheckScopes
	// CheckClaim passes if the key belongs to the account that the route and the request name.
	CheckClaim

	checkCount
)

var checkNames = [checkCount]string{
	"synced", "key", "state", "account", "expiry", "admitted", "address", "scopes", "claim",
}

// String returns the name of the check, such as expiry.
func (c Check) String() string { return checkNames[c] }

// Checks returns all checks in order.
func Checks() []Check {
	list := make([]Check, checkCount)
	for i := range list {
		list[i] = Check(i)
	}
	return list
}

// maxKeyLength exceeds the length of any key that can be generated.
const maxKeyLength = 512

// Choose returns the key among the candidates of a request, and the places that hold it. Only candidates that the index
// holds count: exactly one is the key, two are Ambiguous. If the index holds none, Choose returns the first candidate.
func (x *Index) Choose(c *Candidates) (key string, places Places, found Code) {
	switch {
	case c.ambiguous:
		return "", 0, Ambiguous
	case c.count == 0:
		return "", 0, Missing
	case c.count == 1:
		return c.list[0].key, c.list[0].places, Valid
	}
	return c.chooseKnown(x.holds)
}

// chooseKnown returns the only candidate that holds reports as known.
func (c *Candidates) chooseKnown(holds func(key string) bool) (key string, places Places, found Code) {
	chosen := -1
	for i := range c.count {
		switch {
		case !holds(c.list[i].key):
		case chosen >= 0:
			return "", 0, Ambiguous
		default:
			chosen = i
		}
	}
	if chosen < 0 {
		return c.list[0].key, 0, Valid // Check returns Unknown for it
	}
	return c.list[chosen].key, c.list[chosen].places, Valid
}

// holds reports whether the index holds a key.
func (x *Index) holds(key string) bool { return x.lookUp(key) != nil }

// lookUp returns the credential of a key, or nil.
func (x *Index) lookUp(key string) *credential {
	d, ok := digestOf(key)
	if !ok {
		return nil
	}
	return x.table.find(&d)
}

// digestOf returns the digest of a key. ok is false if the text is too long to be a key.
func digestOf(key string) (d digest, ok bool) {
	if len(key) > maxKeyLength {
		return d, false
	}
	var whole [maxKeyLength]byte
	return digest(sha256.Sum256(whole[:copy(whole[:], key)])), true
}

// Check returns the verdict on a request at a given time, and records the use of the key. It allocates nothing.
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
	return c.judge(in, now)
}

// judge returns the verdict on a request with a credential, and records the use of the key.
func (c *credential) judge(in *Input, now time.Time) Verdict {
	v := Verdict{Code: Valid, Check: CheckClaim, credential: c, policy: c.key().account().policy.Load()}
	for check := CheckState; check < checkCount; check++ {
		if code := c.check(check, v.policy, in, now); code != Valid {
			v.Code, v.Check = code, check
			break
		}
	}
	if !c.record(v.Code, now.Unix()) {
		c.key().namespace().index.recordReplaced(c, v.Code, now)
	}
	return v
}

// recordReplaced counts a verdict on a credential whose record is being replaced. If the key no longer has the credential,
// its counters are gone.
func (x *Index) recordReplaced(c *credential, code Code, now time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	k := c.key()
	if next := x.names.find(k.namespace(), k.name()).credentialByDigest(&c.digest); next != nil {
		next.record(code, now.Unix())
	}
}

// check returns Valid if a credential passes a check, and the reason for refusing it otherwise.
func (c *credential) check(check Check, p *policy, in *Input, now time.Time) Code {
	switch check {
	case CheckState:
		return c.checkState(now)
	case CheckAccount:
		return p.checkKey(c.key())
	case CheckExpiry:
		return c.checkExpiry(p, now)
	case CheckAdmitted:
		return c.key().statusCode
	case CheckAddress:
		allowed := c.key().profile().networks
		return codeUnless(allowed == nil || allowed.contains(in.Client), IPNotAllowed)
	case CheckScopes:
		return codeUnless(covers(p.scopesOf(c.key()), in.Scopes), ScopeMissing)
	case CheckClaim:
		return codeUnless(c.key().account().matchesAccount(p, in), AccountMismatch)
	case CheckSynced, CheckKey, checkCount:
	}
	return NotSynced // unknown check: fail closed
}

// codeUnless returns Valid if good, and code otherwise.
func codeUnless(good bool, code Code) Code {
	if good {
		return Valid
	}
	return code
}

func (c *credential) checkState(now time.Time) Code {
	if now.Unix() >= c.revokedAt.seconds() {
		return Revoked
	}
	return c.key().specCode
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

// checkExpiry returns Expired from the exact second of the expiration on, or from the first instant of the day that the
// spec names.
func (c *credential) checkExpiry(p *policy, now time.Time) Code {
	second, k := now.Unix(), c.key()
	switch {
	case second >= c.notAfter.seconds(), second >= k.expiresAt.seconds(), k.statusCode == Expired:
		return Expired
	case k.expirationDay != 0 && (p.zone == nil || dayOf(now.In(p.zone)) >= k.expirationDay):
		return Expired
	}
	return Valid
}

// covers reports whether the granted scopes cover each of the wanted scopes. Both are separated by commas.
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

// matchesAccount reports whether the account is the one that the route requires, and the one that the request names if
// it has to name one. An account that owns no external ID does not match any.
func (a *account) matchesAccount(p *policy, in *Input) bool {
	if (in.Account != "" && in.Account != a.name) || (in.ExternalID != "" && in.ExternalID != p.externalID()) {
		return false
	}
	switch in.Claim.Kind {
	case ClaimNone:
		return true
	case ClaimName:
		return in.Claim.Value == a.name
	case ClaimExternalID:
		return in.Claim.Value != "" && in.Claim.Value == p.externalID()
	}
	return false // unknown kind: fail closed
}

// Key returns the identity of the key that matched, or nil if none did.
func (v *Verdict) Key() *Identity {
	if v.credential == nil {
		return nil
	}
	c, k := v.credential, v.credential.key()
	id := &Identity{
		KeyID: c.id(), Namespace: k.namespace().name, Name: k.name(), UID: k.uid(), Account: k.account().name, Label: k.label(),
		Scopes: k.profile().scopes.Value(),
	}
	if v.policy != nil { // without the account, the key's own attributes are not known to be allowed
		effective := v.policy.attributesOf(k)
		id.ExternalID, id.Scopes, id.Plan = v.policy.externalID(), v.policy.scopesOf(k), effective.plan
		id.Metadata, id.RateLimits = effective.metadata, effective.rateLimits
		id.AccountRateLimits = v.policy.attributes.rateLimits
	}
	if notAfter := min(k.expiresAt.seconds(), c.notAfter.seconds(), c.revokedAt.seconds()); notAfter != never && notAfter != always {
		id.ExpiresAt = time.Unix(notAfter, 0).UTC()
	}
	return id
}

// KeyID returns the public ID of the credential that matched, or "" if none did.
func (v *Verdict) KeyID() string {
	if v.credential == nil {
		return ""
	}
	return v.credential.id()
}

// Account returns the name of the account whose key matched, or "" if none did.
func (v *Verdict) Account() string {
	if v.credential == nil {
		return ""
	}
	return v.credential.key().account().name
}

// Identity describes the key of a request and its account.
type Identity struct {
	// KeyID holds the public ID of the credential.
	KeyID string
	// Namespace and Name identify the APIKey, UID identifies it among all that had this name.
	Namespace, Name, UID string
	// Account holds the name of the Account, ExternalID its ID in the system of the provider.
	Account, ExternalID string
	// Label holds the display name of the key.
	Label string
	// Scopes holds the scopes of the key, separated by commas.
	Scopes string
	// Plan holds the name of the plan of the account.
	Plan string
	// Metadata and RateLimits hold those that apply to the key. They must not be modified.
	Metadata   Metadata
	RateLimits []v1alpha1.RateLimit
	// AccountRateLimits holds the rate limits of the account, which no key changes. They must not be modified.
	AccountRateLimits []v1alpha1.RateLimit
	// ExpiresAt holds the time at which the credential expires. The zero time means that no expiration is known.
	ExpiresAt time.Time
}
