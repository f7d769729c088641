// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package exports_test

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
)

// reader is a gateway with the resources of its sample that reads the objects of an export.
type reader struct {
	*exporter

	file   string
	sample sample
	// accounts holds the only account whose keys the gateway reads, if it names each Secret of one account.
	accounts []string
}

func newReader(t *testing.T, file string) *reader {
	t.Helper()
	s := readSample(t, file)
	r := &reader{exporter: newExporter(t, s), file: file, sample: s}
	if listsOfSecrets[file] != nil {
		r.accounts = []string{"acme"}
	}
	return r
}

// refresh runs the command of the sample that names the Secrets, if there is one.
func (r *reader) refresh(t *testing.T) {
	t.Helper()
	if fill := listsOfSecrets[r.file]; fill != nil {
		fill(t, r.sample, r.list())
	}
}

func (r *reader) read() (accepted, error) { return consumers[r.file](r.sample.resources, r.list()) }

// expect checks that the gateway reports nothing and accepts exactly the credentials of the keys that it must accept.
func (r *reader) expect(t *testing.T, about string, s *keySet) accepted {
	t.Helper()
	got, err := r.read()
	if err != nil {
		t.Fatalf("%s: the gateway reports: %v", about, err)
	}
	want := s.want(r.spec.Content, r.accounts...)
	if diff := cmp.Diff(slices.Sorted(maps.Keys(want)), got.digests()); diff != "" {
		t.Fatalf("%s: the gateway accepts other keys (-want +got):\n%s", about, diff)
	}
	return got
}

// TestGateways_AcceptExactlyTheValidKeys exports keys of every kind with each sample, and reads the objects as the gateway does: keys in
// an overlap, with labels and metadata that mean something elsewhere, without optional fields, and those that verifiers do not accept.
func TestGateways_AcceptExactlyTheValidKeys(t *testing.T) {
	t.Parallel()
	for file := range consumers {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			r, s := newReader(t, file), newKeySet(t)
			r.sync(t, s, now, func() {})
			r.refresh(t)
			if got := r.expect(t, "all keys", s); len(got) < 20 {
				t.Errorf("the gateway accepts only %d keys", len(got))
			}
			r.expectNoPlaintext(t, s)
		})
	}
}

// expectNoPlaintext checks that an export of digests holds no key, wherever in the objects.
func (r *reader) expectNoPlaintext(t *testing.T, s *keySet) {
	t.Helper()
	if r.spec.Content == v1alpha1.ExportContentKey {
		return
	}
	text := fmt.Sprint(r.list())
	for _, material := range s.materials {
		if strings.Contains(text, string(material)) || bytes.Contains([]byte(text), material[len(material)/2:]) {
			t.Error("the objects hold a key in plain text")
		}
	}
}

// TestGateways_LearnEachWithdrawal withdraws keys one after the other, and checks after every single write that the gateway reports
// nothing and accepts no key that is to be withdrawn and was not accepted before.
func TestGateways_LearnEachWithdrawal(t *testing.T) {
	t.Parallel()
	changes := map[string]func(k *v1alpha1.APIKey){
		"acme-plain":  keystest.State(v1alpha1.KeyStateInactive),
		"acme-scoped": keystest.State(v1alpha1.KeyStateRevoked),
		"bare-plain":  keystest.Deleting(now),
		"bare-scoped": keystest.Expiring(now),
		"hostile-a":   keystest.Whitelist("192.0.2.1"),
		"uuid":        keystest.RevokedBefore(now),
	}
	for file := range consumers {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			r, s := newReader(t, file), newKeySet(t)
			r.sync(t, s, now, func() {})
			r.refresh(t)
			for _, name := range slices.Sorted(maps.Keys(changes)) {
				s.withdraw(name, changes[name])
				writes := 0
				r.sync(t, s, now, func() { writes++ })
				without, _ := r.read() // Kong reports names of deleted Secrets until the command has run
				r.refresh(t)
				if diff := cmp.Diff(r.expect(t, name, s).digests(), without.digests()); diff != "" {
					t.Errorf("%s: before the command of the sample has run, the gateway accepts other keys:\n%s", name, diff)
				}
				if writes != 1 {
					t.Errorf("%s: %d objects were written", name, writes)
				}
			}
		})
	}
}

// withdraw changes a key so that verifiers no longer accept it from any address.
func (s *keySet) withdraw(name string, change func(*v1alpha1.APIKey)) {
	for i := range s.keys {
		if s.keys[i].key.Name == name {
			s.keys[i].key = s.keys[i].key.DeepCopy()
			change(s.keys[i].key)
			s.keys[i].accepted = nil
		}
	}
}

// TestGateways_FollowARotation rotates keys: the next credential is accepted before the application has it, the previous one until its
// end. After each write, the gateway reports nothing.
func TestGateways_FollowARotation(t *testing.T) {
	t.Parallel()
	for file := range consumers {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			r, s := newReader(t, file), newKeySet(t)
			steps := map[string]func(k *issuedKey){
				"1 staged": func(k *issuedKey) { s.and("acme-next", v1alpha1.RoleStaged, time.Time{})(k.key) },
				"2 promoted": func(k *issuedKey) {
					k.key.Status.Credentials[0].Role, k.key.Status.Credentials[1].Role = v1alpha1.RolePrevious, v1alpha1.RoleCurrent
				},
				"3 ended": func(k *issuedKey) { k.key.Status.Credentials = k.key.Status.Credentials[1:] },
			}
			r.sync(t, s, now, func() {})
			for _, name := range slices.Sorted(maps.Keys(steps)) {
				k := s.named("acme-scoped")
				k.key = k.key.DeepCopy()
				steps[name](k)
				k.accepted = digestsOf(k.key)
				r.sync(t, s, now, func() {
					r.refresh(t)
					if _, err := r.read(); err != nil {
						t.Errorf("%s: after a write, the gateway reports: %v", name, err)
					}
				})
				r.refresh(t)
				r.expect(t, name, s)
			}
		})
	}
}

func (s *keySet) named(name string) *issuedKey {
	for i := range s.keys {
		if s.keys[i].key.Name == name {
			return &s.keys[i]
		}
	}
	return nil
}

func digestsOf(k *v1alpha1.APIKey) []string {
	var digests []string
	for _, c := range k.Status.Credentials {
		digests = append(digests, c.SHA256)
	}
	return digests
}

// TestGateways_LearnTheEndOfTime lets the time pass beyond an expiration and an overlap.
func TestGateways_LearnTheEndOfTime(t *testing.T) {
	t.Parallel()
	for file := range consumers {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			r, s := newReader(t, file), newKeySet(t)
			r.sync(t, s, now, func() {})
			r.sync(t, s, now.Add(time.Hour), func() {})
			r.refresh(t)
			s.named("later").accepted = nil
			previous := keystest.CredentialOf("rotated-previous").SHA256
			rotated := s.named("rotated")
			rotated.accepted = slices.DeleteFunc(rotated.accepted, func(digest string) bool { return digest == previous })
			r.expect(t, "an hour later", s)
		})
	}
}

// TestGateways_AcceptNothingOfNothing exports no key at all. Only kgateway reports that, and rejects all requests like the others.
func TestGateways_AcceptNothingOfNothing(t *testing.T) {
	t.Parallel()
	for file := range consumers {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			r := newReader(t, file)
			none := &keySet{accounts: map[string]*v1alpha1.Account{}}
			r.sync(t, none, now, func() {})
			r.refresh(t)
			got, err := r.read()
			if len(got) != 0 || (err != nil) != (file == "kgateway.yaml") {
				t.Errorf("it accepts %d keys and reports %v", len(got), err)
			}
		})
	}
}

// TestAgentgateway_ReceivesMetadata checks that the values of tenants reach the policies of agentgateway unchanged.
func TestAgentgateway_ReceivesMetadata(t *testing.T) {
	t.Parallel()
	r, s := newReader(t, "agentgateway.yaml"), newKeySet(t)
	r.sync(t, s, now, func() {})
	got := r.expect(t, "all keys", s)
	limits := []any{
		map[string]any{"name": "requests", "requests": 600.0, "unit": "Minute"}, map[string]any{"name": "reports", "requests": 5.0, "unit": "Day"},
	}
	for digest, key := range s.want(r.spec.Content) {
		if key.Spec.Account != "acme" {
			continue
		}
		scopes := []any{}
		for _, scope := range key.Spec.Scopes {
			scopes = append(scopes, scope)
		}
		metadata := maps.Clone(got[digest].metadata)
		delete(metadata, "keyID")
		want := map[string]any{
			"account": "acme", "externalID": `c-"7"`, "name": key.Namespace + "/" + key.Name, "label": key.Spec.Label,
			"plan": "pro", "tier": string(key.Spec.Metadata["tier"]), "scopes": scopes, "rateLimits": limits,
		}
		if diff := cmp.Diff(want, metadata); diff != "" {
			t.Errorf("the metadata of key %s differs (-want +got):\n%s", key.Name, diff)
		}
	}
}

// TestGateways_ReadEveryShard exports more keys than fit into one object. Gateways that select objects by label read all of them.
func TestGateways_ReadEveryShard(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"agentgateway.yaml", "kgateway.yaml"} {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			r, s := newReader(t, file), newKeySet(t)
			for i := range 9_000 {
				s.add(fmt.Sprintf("many-%d", i), true, keystest.Account("acme"))
			}
			r.sync(t, s, now, func() {})
			r.expect(t, "all keys", s)
			if len(r.objects) < 2 {
				t.Errorf("%d keys are in %d objects", len(s.keys), len(r.objects))
			}
		})
	}
}
