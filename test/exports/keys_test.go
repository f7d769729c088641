// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package exports_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/credential"
	"github.com/apikey-manager/apikey-manager/internal/export"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
)

// now is the time of the tests.
var now = keystest.Epoch.Add(30 * 24 * time.Hour)

// issuedKey is a key with the credentials that a gateway must accept, as soon as the account allows the content of the export.
type issuedKey struct {
	key *v1alpha1.APIKey
	// accepted holds the digests of the credentials that verifiers accept from any address.
	accepted []string
}

// keySet holds accounts, keys in every state and with unusual values, and the material of their credentials by digest.
type keySet struct {
	accounts  map[string]*v1alpha1.Account
	keys      []issuedKey
	materials map[string]credential.Material
}

func policy(p v1alpha1.ExportPolicy) keystest.AccountOption {
	return keystest.Policy(func(spec *v1alpha1.AccountSpec) { spec.ExportPolicy = p })
}

// hostile holds values that have a meaning in JSON, in YAML, in templates, in nginx and in HTTP.
var hostile = []string{
	`"}, {"keyHash": "sha256:`, `\`, `\u0000`, `</script>`, "{{ .Key }}", `$apikey`, `$env://PATH`, "a\u2028b", "Campaña 🛒", "\u202egold", `"; return 200; #`,
	strings.Repeat("ñ", 128),
}

func newKeySet(t *testing.T) *keySet {
	t.Helper()
	full := keystest.Policy(func(spec *v1alpha1.AccountSpec) {
		spec.ExternalID, spec.Plan, spec.Metadata = `c-"7"`, "pro", map[string]v1alpha1.MetadataValue{"region": "eu"}
		spec.RateLimits = []v1alpha1.RateLimit{keystest.RateLimit("requests", 600, "Minute"), keystest.RateLimit("reports", 5, "Day")}
	})
	s := &keySet{materials: map[string]credential.Material{}, accounts: map[string]*v1alpha1.Account{}}
	for _, a := range []*v1alpha1.Account{
		keystest.NewAccount("acme", policy(v1alpha1.ExportKey), full),
		keystest.NewAccount("bare", policy(v1alpha1.ExportKey)),
		keystest.NewAccount("digest"),
		keystest.NewAccount("forbidden", policy(v1alpha1.ExportForbid)),
		keystest.NewAccount("suspended", policy(v1alpha1.ExportKey), keystest.Suspended()),
	} {
		s.accounts[a.Name] = a
	}
	s.addUsable()
	s.addFormats(t)
	s.addUnusable()
	return s
}

// addUsable adds keys that verifiers accept.
func (s *keySet) addUsable() {
	long := strings.Repeat("a", 63)
	for _, account := range []string{"acme", "bare", "digest"} {
		s.add(account+"-plain", true, keystest.Account(account))
		s.add(account+"-scoped", true, keystest.Account(account), keystest.Scopes("orders:read", "reports:*"))
	}
	s.add("forbidden", true, keystest.Account("forbidden"))
	s.add("later", true, keystest.Expiring(now.Add(time.Hour)))
	s.add("rotated", true, s.and("rotated-previous", v1alpha1.RolePrevious, now.Add(time.Hour)))
	s.add("staging", true, s.and("staging-next", v1alpha1.RoleStaged, time.Time{}))
	s.add(strings.Join([]string{long, long, long, long[:61]}, "."), true, keystest.Namespace(long))
	s.add("web", true, keystest.Namespace("one"))
	s.add("web", true, keystest.Namespace("two"))
	for i, text := range hostile {
		name := "hostile-" + string(rune('a'+i))
		s.add(name, true, keystest.Label(text), keystest.Metadata(map[string]v1alpha1.MetadataValue{"tier": v1alpha1.MetadataValue(text)}))
	}
	s.add("lines", true, keystest.Metadata(map[string]v1alpha1.MetadataValue{"tier": "a\nb\r\n\t\"", "region": ""}))
}

// addFormats adds a key of each format.
func (s *keySet) addFormats(t *testing.T) {
	t.Helper()
	for name, f := range map[string]v1alpha1.Format{
		"uuid": {Type: v1alpha1.FormatUUID}, "hex": {Type: v1alpha1.FormatHex},
		"alphanumeric": {Type: v1alpha1.FormatAlphanumeric, Length: 120}, "prefixed": {Type: v1alpha1.FormatToken, Prefix: "live"},
	} {
		issued, err := credential.FormatOf(f).Generate(&keystest.Bytes{Seed: name})
		if err != nil {
			t.Fatal(err)
		}
		key := s.add(name, true, keystest.Format(f))
		digest := issued.Material.SHA256()
		status := &key.key.Status.Credentials[0]
		status.ID, status.Hint, status.SHA256, key.key.Status.KeyID = issued.ID, issued.Hint, digest, issued.ID
		key.accepted, s.materials[digest] = []string{digest}, issued.Material
	}
}

// addUnusable adds keys that no gateway may accept.
func (s *keySet) addUnusable() {
	s.add("inactive", false, keystest.State(v1alpha1.KeyStateInactive))
	s.add("revoked", false, keystest.State(v1alpha1.KeyStateRevoked))
	s.add("expired", false, keystest.Expiring(now.Add(-time.Second)))
	s.add("expiring", false, keystest.Expiring(now))
	s.add("deleted", false, keystest.Deleting(now.Add(-time.Minute)))
	s.add("waiting", false, keystest.Observed(v1alpha1.StatePending))
	s.add("restricted", false, keystest.Whitelist("192.0.2.0/24"))
	s.add("suspended", false, keystest.Account("suspended"))
	s.add("orphan", false, keystest.Account("none"))
	s.add("withdrawn", false, keystest.RevokedBefore(now))
	// The credential of another key, which was issued to that key first.
	younger := s.add("younger", false, keystest.Created(now))
	younger.key.Status.Credentials = slices.Clone(s.named("acme-plain").key.Status.Credentials)
}

// add adds a key that was issued at Epoch. All its credentials are accepted, or none.
func (s *keySet) add(name string, accepted bool, options ...keystest.KeyOption) *issuedKey {
	key := keystest.Key(name, options...)
	keystest.UID("uid-" + key.Namespace + "-" + name)(key)
	keystest.Issued(keystest.Epoch)(key)
	if key.Name == "waiting" {
		key.Status.State = v1alpha1.StatePending
	}
	s.register(key.Namespace + "/" + key.Name)
	issued := issuedKey{key: key}
	for _, c := range key.Status.Credentials {
		if accepted {
			issued.accepted = append(issued.accepted, c.SHA256)
		}
	}
	s.keys = append(s.keys, issued)
	return &s.keys[len(s.keys)-1]
}

// and adds a further credential, whose role ends at a time unless it is zero.
func (s *keySet) and(name string, role v1alpha1.CredentialRole, notAfter time.Time) keystest.KeyOption {
	s.register(name)
	return func(k *v1alpha1.APIKey) {
		keystest.WithCredential(name, role, keystest.Epoch.Add(-time.Hour))(k)
		if !notAfter.IsZero() {
			k.Status.Credentials[len(k.Status.Credentials)-1].NotAfter = &metav1.Time{Time: notAfter}
		}
	}
}

func (s *keySet) register(name string) {
	material := keystest.MaterialOf(name)
	s.materials[material.SHA256()] = material
}

// candidates returns the keys as a controller evaluates them.
func (s *keySet) candidates() []export.Candidate {
	var all []*v1alpha1.APIKey
	for _, k := range s.keys {
		all = append(all, k.key)
	}
	shared := keys.FindSharedDigests(all)
	var found []export.Candidate
	for _, k := range all {
		found = append(found, export.Candidate{
			Key: k, Account: s.accounts[k.Spec.Account], Shadowed: shared.Shadowed(k),
			NamespaceLabels: map[string]string{"kubernetes.io/metadata.name": k.Namespace},
		})
	}
	return found
}

// want returns the keys that a gateway must accept, by the digests of their credentials: those of all accounts that allow the content,
// or those of one account.
func (s *keySet) want(content v1alpha1.ExportContent, accounts ...string) map[string]*v1alpha1.APIKey {
	allowed := map[string]bool{"acme": true, "bare": true, "digest": content == v1alpha1.ExportContentDigest}
	found := map[string]*v1alpha1.APIKey{}
	for _, k := range s.keys {
		account := k.key.Spec.Account
		if !allowed[account] || len(accounts) > 0 && accounts[0] != account {
			continue
		}
		for _, digest := range k.accepted {
			found[digest] = k.key
		}
	}
	return found
}
