// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package certs

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
)

const day = 24 * time.Hour

func TestNew_RefusesIncompleteOptions(t *testing.T) {
	t.Parallel()
	complete := func() Options {
		return Options{
			Client: fake.NewFakeClient(), Clock: clocktesting.NewFakeClock(epoch), Rand: rand.Reader,
			Secret: secretKey, Configuration: "c", Hosts: []string{"localhost", "::1"},
		}
	}
	if _, err := New(complete()); err != nil {
		t.Fatalf("complete options were refused: %v", err)
	}
	for name, spoil := range map[string]func(*Options){
		"no client":            func(o *Options) { o.Client = nil },
		"no clock":             func(o *Options) { o.Clock = nil },
		"no randomness":        func(o *Options) { o.Rand = nil },
		"no Secret":            func(o *Options) { o.Secret.Name = "" },
		"no namespace":         func(o *Options) { o.Secret.Namespace = "" },
		"no configuration":     func(o *Options) { o.Configuration = "" },
		"no host":              func(o *Options) { o.Hosts = nil },
		"an empty host":        func(o *Options) { o.Hosts = []string{""} },
		"an address with port": func(o *Options) { o.Hosts = []string{"127.0.0.1:9443"} },
		"a bracketed address":  func(o *Options) { o.Hosts = []string{"[::1]"} },
	} {
		options := complete()
		spoil(&options)
		if _, err := New(options); err == nil {
			t.Errorf("%s: not refused", name)
		}
	}
}

func TestPass_FirstReplicaCreatesEverything(t *testing.T) {
	t.Parallel()
	w := newWorld(t, configuration())
	r := w.replica()
	if r.Check(nil) == nil {
		t.Error("healthy before the first pass")
	}
	if _, err := r.GetCertificate(nil); err == nil {
		t.Error("a certificate before the first pass")
	}
	if !r.Expiration().IsZero() {
		t.Error("an expiration before the first pass")
	}
	w.settle(r)
	w.assertTrusted("after the first pass", r)

	secret := w.secret()
	if secret.Type != corev1.SecretTypeTLS {
		t.Errorf("Secret type = %s", secret.Type)
	}
	wantEntries := []string{"ca.crt", "ca.key", "tls.crt", "tls.key"}
	if diff := cmp.Diff(wantEntries, slices.Sorted(maps.Keys(secret.Data))); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
	leaf := servedLeaf(t, r)
	if diff := cmp.Diff([]string{"127.0.0.1", serviceHost}, slices.Sorted(slices.Values(hostsOf(leaf)))); diff != "" {
		t.Errorf("hosts (-want +got):\n%s", diff)
	}
	if got := leaf.NotAfter.Sub(epoch); got != certificateLifetime {
		t.Errorf("the certificate lives %s", got)
	}
	if !r.Expiration().Equal(leaf.NotAfter) {
		t.Errorf("the rotator returns the expiration %s, want %s", r.Expiration(), leaf.NotAfter)
	}
	config := w.config()
	for i := range config.Webhooks {
		config.Webhooks[i].ClientConfig.CABundle = nil
	}
	if diff := cmp.Diff(configuration().Webhooks, config.Webhooks); diff != "" {
		t.Errorf("more than the caBundle was changed (-want +got):\n%s", diff)
	}
	if w.writes != 2 {
		t.Errorf("%d writes, want one for each object", w.writes)
	}
}

// Both replicas find neither Secret nor caBundle before one of them writes.
func TestPass_ReplicasThatStartTogetherAgree(t *testing.T) {
	t.Parallel()
	w := newWorld(t, configuration())
	replicas := []*Rotator{w.replica(), w.replica(), w.replica()}
	var bothRead sync.WaitGroup
	bothRead.Add(len(replicas))
	var once sync.Map
	w.afterGet = func(obj client.Object) {
		if _, isSecret := obj.(*corev1.Secret); !isSecret {
			return
		}
		if _, again := once.LoadOrStore(obj, true); !again {
			bothRead.Done()
			bothRead.Wait()
		}
	}
	var passes sync.WaitGroup
	delays := make([]time.Duration, len(replicas))
	for i, r := range replicas {
		passes.Go(func() { delays[i] = r.pass(w.ctx()) })
	}
	passes.Wait()
	slices.Sort(delays)
	if diff := cmp.Diff([]time.Duration{conflictInterval, conflictInterval, settlePeriod}, delays); diff != "" {
		t.Errorf("one replica wins, the others come back at once (-want +got):\n%s", diff)
	}
	w.reset()
	w.settle(replicas...)
	if w.writes != 0 {
		t.Errorf("%d writes after the Secret was there", w.writes)
	}
	for _, r := range replicas {
		if !servedLeaf(t, r).Equal(w.material().serving.Leaf) {
			t.Error("a replica serves another certificate than the Secret's")
		}
	}
	w.assertTrusted("after starting together", replicas...)
}

// Seven years with two replicas, one of which restarts now and then. An API server that trusts nothing but the caBundle
// does a handshake with every replica after every write of any of them, and after every step in time.
func TestRotation_EveryHandshakeOfSevenYearsSucceeds(t *testing.T) {
	t.Parallel()
	w := newWorld(t, configuration())
	replicas := []*Rotator{w.replica(), w.replica()}
	w.settle(replicas...)
	authorities, leaves, largest, step := map[string]bool{}, map[string]bool{}, 0, 0
	for end := epoch.AddDate(7, 0, 0); w.clock.Now().Before(end); step++ {
		w.assertTrusted("after time went by", replicas...)
		before := w.writes
		for i, r := range replicas {
			writes := w.writes
			r.pass(w.ctx())
			if w.writes != writes {
				w.assertTrusted(fmt.Sprintf("after a write of replica %d", i), replicas...)
			}
			if err := r.Check(nil); err != nil {
				t.Fatalf("%s: replica %d is not ready: %v", w.clock.Now(), i, err)
			}
		}
		m := w.material()
		authorities[m.signer.SerialNumber.String()] = true
		leaves[m.serving.Leaf.SerialNumber.String()] = true
		largest = max(largest, len(m.authorities))
		if step%7 == 0 {
			replicas[step%len(replicas)] = w.replica()
			replicas[step%len(replicas)].pass(w.ctx())
		}
		w.clock.Step(nextStep(m, w.writes != before))
	}
	if got := len(authorities); got != 3 {
		t.Errorf("%d authorities in seven years, want 3: one every forty months", got)
	}
	if got := len(leaves); got < 30 || got > 47 {
		t.Errorf("%d certificates in seven years, want about 40: one every two months", got)
	}
	if largest != 2 {
		t.Errorf("at most %d authorities were trusted at a time, want 2", largest)
	}
}

// nextStep looks closely while things change, and skips the days in which nothing does.
func nextStep(m material, changing bool) time.Duration {
	switch {
	case changing || !m.ofSigner():
		return settlePeriod / 2
	case len(m.authorities) > 1:
		return retirePeriod / 4
	}
	return 19*day + time.Minute
}

func TestRotation_ConfiguresAnAuthorityFirst(t *testing.T) {
	t.Parallel()
	w := newWorld(t, configuration())
	r, other := w.replica(), w.replica()
	w.settle(r, other)
	first := w.material()

	w.clock.Step(authorityLifetime*2/3 - certificateLifetime/2)
	w.settle(r, other) // a young certificate of the old authority
	w.clock.Step(certificateLifetime / 2)
	w.settle(r, other)
	staged := w.material()
	if staged.signer.Equal(first.signer) || len(staged.authorities) != 2 || !staged.authorities.contains(first.signer) {
		t.Fatal("no second authority beside the first")
	}
	assertConfigured(t, w, staged.authorities)

	w.clock.Step(settlePeriod - time.Second)
	w.settle(r, other)
	w.assertTrusted("with two authorities", r, other)
	if w.material().ofSigner() {
		t.Fatal("a certificate of the new authority before it has settled")
	}
	w.setCABundle(string(bundle{first.signer}.encode())) // a user applies an older manifest
	w.settle(r, other)
	w.clock.Step(settlePeriod - time.Second)
	w.settle(r, other)
	if w.material().ofSigner() {
		t.Fatal("the settle period did not start again after the authority was taken out of the configuration")
	}

	w.clock.Step(time.Second)
	w.settle(r, other)
	if !w.material().ofSigner() || servedLeaf(t, r).CheckSignatureFrom(staged.signer) != nil {
		t.Fatal("no certificate of the new authority after it has settled")
	}
	w.clock.Step(retirePeriod - time.Second)
	w.settle(r, other)
	assertConfigured(t, w, staged.authorities)
	w.clock.Step(time.Second)
	w.settle(r, other)
	assertConfigured(t, w, bundle{staged.signer})
	w.assertTrusted("after the rotation", r, other)
}

func assertConfigured(t *testing.T, w *fixture, want bundle) {
	t.Helper()
	for _, webhook := range w.config().Webhooks {
		if diff := cmp.Diff(string(want.encode()), string(webhook.ClientConfig.CABundle)); diff != "" {
			t.Fatalf("caBundle of %s (-want +got):\n%s", webhook.Name, diff)
		}
	}
}

// A replica that is stopped in the middle of a pass, and whose clock is late, must not undo what another one did meanwhile.
func TestRotation_SlowReplicaKeepsTheNewerBundle(t *testing.T) {
	t.Parallel()
	for name, pauseAt := range map[string]func(client.Object) bool{
		"after reading the configuration": func(obj client.Object) bool { return obj.GetNamespace() == "" },
		"after reading the Secret":        func(obj client.Object) bool { return obj.GetNamespace() != "" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, configuration())
			fast := w.replica()
			w.settle(fast)
			w.clock.Step(authorityLifetime*2/3 - certificateLifetime/2)
			w.settle(fast)
			lateClock := clocktesting.NewFakeClock(w.clock.Now())
			slow := w.replicaWithClock(lateClock, serviceHost)
			w.settle(slow)
			w.setCABundle("") // so that the slow one has something to write
			w.clock.Step(certificateLifetime / 2)
			paused := false
			w.afterGet = func(obj client.Object) {
				if paused || !pauseAt(obj) {
					return
				}
				paused = true
				w.settle(fast)
			}
			slow.pass(w.ctx())
			if !paused {
				t.Fatal("the slow replica was not paused")
			}
			if got := len(parseBundle(w.config().Webhooks[0].ClientConfig.CABundle)); got != 2 {
				t.Fatalf("%d authorities in the configuration, want both", got)
			}
			lateClock.SetTime(w.clock.Now())
			w.settle(slow, fast)
			w.assertTrusted("in the end", slow, fast)
		})
	}
}

func TestPass_DamagedSecretHeals(t *testing.T) {
	t.Parallel()
	foreign := foreignSecret(t)
	for name, damage := range map[string]func(*corev1.Secret){
		"emptied":                  func(s *corev1.Secret) { s.Data = nil },
		"authorities emptied":      func(s *corev1.Secret) { s.Data[entryAuthorities] = nil },
		"authority key emptied":    func(s *corev1.Secret) { delete(s.Data, entryAuthoritiesKey) },
		"certificate emptied":      func(s *corev1.Secret) { s.Data[entryCertificate] = nil },
		"key emptied":              func(s *corev1.Secret) { s.Data[entryKey] = nil },
		"authorities garbage":      func(s *corev1.Secret) { s.Data[entryAuthorities] = []byte("garbage") },
		"authority key garbage":    func(s *corev1.Secret) { s.Data[entryAuthoritiesKey] = []byte("garbage") },
		"certificate garbage":      func(s *corev1.Secret) { s.Data[entryCertificate] = []byte("garbage") },
		"key garbage":              func(s *corev1.Secret) { s.Data[entryKey] = []byte("garbage") },
		"authority key of another": func(s *corev1.Secret) { s.Data[entryAuthoritiesKey] = foreign[entryAuthoritiesKey] },
		"key of another":           func(s *corev1.Secret) { s.Data[entryKey] = foreign[entryKey] },
		"certificate of another": func(s *corev1.Secret) {
			s.Data[entryCertificate], s.Data[entryKey] = foreign[entryCertificate], foreign[entryKey]
		},
		"keys swapped": func(s *corev1.Secret) {
			s.Data[entryKey], s.Data[entryAuthoritiesKey] = s.Data[entryAuthoritiesKey], s.Data[entryKey]
		},
		"certificates swapped": func(s *corev1.Secret) {
			s.Data[entryCertificate], s.Data[entryAuthorities] = s.Data[entryAuthorities], s.Data[entryCertificate]
		},
		"certificate without header": func(s *corev1.Secret) { s.Data[entryCertificate] = s.Data[entryCertificate][30:] },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, configuration())
			replicas := []*Rotator{w.replica(), w.replica()}
			w.settle(replicas...)
			w.editSecret(damage)
			for range 4 {
				for i, r := range replicas {
					r.pass(w.ctx())
					w.assertTrusted(fmt.Sprintf("after a pass of replica %d", i), replicas...)
				}
				w.clock.Step(settlePeriod)
			}
			m := w.material()
			if m.signer == nil || m.serving == nil || !m.ofSigner() {
				t.Fatal("the Secret has not healed")
			}
			for _, r := range append(replicas, w.replica()) {
				w.settle(r)
				if !servedLeaf(t, r).Equal(m.serving.Leaf) {
					t.Error("a replica serves another certificate than the Secret's")
				}
			}
			w.clock.Step(retirePeriod)
			w.settle(replicas...)
			assertConfigured(t, w, bundle{m.signer})
		})
	}
}

// foreignSecret returns the entries of a Secret of the same kind that has another owner.
func foreignSecret(t *testing.T) map[string][]byte {
	t.Helper()
	w := newWorld(t, configuration())
	w.settle(w.replica())
	return w.secret().Data
}

func TestPass_ReplacesADeletedSecretWithTrust(t *testing.T) {
	t.Parallel()
	w := newWorld(t, configuration())
	replicas := []*Rotator{w.replica(), w.replica()}
	w.settle(replicas...)
	before := w.material()
	if err := w.client.Delete(w.ctx(), w.secret()); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		for _, r := range replicas {
			r.pass(w.ctx())
			w.assertTrusted("after the deletion", replicas...)
		}
		w.clock.Step(settlePeriod)
	}
	after := w.material()
	if after.signer.Equal(before.signer) || !servedLeaf(t, replicas[1]).Equal(after.serving.Leaf) {
		t.Error("the certificate was not replaced")
	}
	w.clock.Step(retirePeriod)
	w.settle(replicas...)
	assertConfigured(t, w, bundle{after.signer})
}

func TestPass_UsesASecretThatWasDeclaredEmpty(t *testing.T) {
	t.Parallel()
	declared := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: secretKey.Namespace, Name: secretKey.Name, Annotations: map[string]string{"keep": "me"}},
		Type:       corev1.SecretTypeOpaque, // immutable in the API
		Data:       map[string][]byte{"other": []byte("entry")},
	}
	w := newWorld(t, configuration(), declared)
	r := w.replica()
	w.settle(r)
	w.assertTrusted("with a declared Secret", r)
	got := w.secret()
	if got.Type != corev1.SecretTypeOpaque || got.Annotations["keep"] != "me" || string(got.Data["other"]) != "entry" {
		t.Errorf("what others wrote was changed: %s %v", got.Type, got.Annotations)
	}
}

func TestPass_OverwrittenCABundleIsRestored(t *testing.T) {
	t.Parallel()
	for name, caBundle := range map[string]string{
		"emptied": "", "garbage": "garbage", "another's": string(foreignSecret(t)[entryAuthorities]),
	} {
		w := newWorld(t, configuration())
		r := w.replica()
		w.settle(r)
		want := w.material()
		w.setCABundle(caBundle)
		r.pass(w.ctx())
		assertConfigured(t, w, bundle{want.signer})
		w.assertTrusted(name, r)
	}
}

func TestPass_OtherHosts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, configuration())
	older, newer := w.replica("old.example"), w.replica("new.example")
	w.settle(older)
	authority := w.material().signer
	w.settle(newer)
	for _, host := range []string{"old.example", "new.example"} {
		if err := w.handshake(newer, w.config().Webhooks[0].ClientConfig.CABundle, host, w.clock.Now); err != nil {
			t.Errorf("a certificate without %s during the rolling update: %v", host, err)
		}
	}
	if !w.material().signer.Equal(authority) {
		t.Error("other hosts replaced the authority too")
	}
	w.reset()
	for range 5 {
		w.settle(older, newer)
		w.clock.Step(checkInterval)
	}
	if w.writes != 0 {
		t.Errorf("%d writes: the replicas replace each other's certificate", w.writes)
	}
	w.clock.Step(certificateLifetime * 2 / 3)
	w.settle(newer)
	if diff := cmp.Diff([]string{"new.example"}, hostsOf(servedLeaf(t, newer))); diff != "" {
		t.Errorf("hosts after the next renewal (-want +got):\n%s", diff)
	}
}

func TestCheck_MissingConfigurationIsNamed(t *testing.T) {
	t.Parallel()
	empty := &admissionregistrationv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: configKey.Name}}
	for name, objects := range map[string][]client.Object{"missing": nil, "without webhooks": {empty}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, objects...)
			r := w.replica()
			if delay := r.pass(w.ctx()); delay != retryInterval {
				t.Errorf("the next pass is in %s", delay)
			}
			err := r.Check(nil)
			if err == nil || !strings.Contains(err.Error(), "ValidatingWebhookConfiguration apikey-manager does not exist") {
				t.Fatalf("Check() = %v", err)
			}
			for _, o := range objects {
				if err := w.client.Delete(w.ctx(), o); err != nil {
					t.Fatal(err)
				}
			}
			if err := w.client.Create(w.ctx(), configuration()); err != nil {
				t.Fatal(err)
			}
			w.settle(r)
			w.assertTrusted("after it was applied", r)
			if err := w.client.Delete(w.ctx(), w.config()); err != nil {
				t.Fatal(err)
			}
			r.pass(w.ctx())
			if r.Check(nil) == nil {
				t.Error("healthy although the configuration was deleted")
			}
			if got := strings.Count(w.logged.String(), "is not ready"); got != 2 {
				t.Errorf("logged %d times that it is not ready, want once each time", got)
			}
		})
	}
}

func TestCheck_FailedCallsDoNotTakeAReadyReplicaOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t, configuration())
	r := w.replica()
	w.settle(r)
	w.onWrite = func(int, func() error) error { return errors.New("the API server is down") }
	w.clock.Step(certificateLifetime * 9 / 10) // long due
	r.pass(w.ctx())
	w.clock.Step(settlePeriod)
	if delay := r.pass(w.ctx()); delay != retryInterval {
		t.Errorf("the next pass is in %s", delay)
	}
	if err := r.Check(nil); err != nil {
		t.Errorf("Check() = %v while the certificate is valid", err)
	}
	w.clock.Step(certificateLifetime / 10)
	if r.Check(nil) == nil {
		t.Error("healthy with an expired certificate")
	}
	w.reset()
	w.settle(r)
	w.assertTrusted("after the API server came back", r)
}

// A life that holds a first start, a renewal, a new authority and a lost Secret. Of three writes one is not carried out, one
// is carried out but reported as failed, and one succeeds; the offset lets each write meet each of the three.
func TestPass_FailedWritesHeal(t *testing.T) {
	t.Parallel()
	for offset := range 3 {
		w := newWorld(t, configuration())
		w.onWrite = func(n int, write func() error) error {
			switch (n + offset) % 3 {
			case 0:
				return errors.New("injected, not carried out")
			case 1:
				return errors.Join(write(), errors.New("injected, carried out"))
			}
			return write()
		}
		liveThrough(w)
		if w.writes < 15 {
			t.Errorf("only %d writes were tried", w.writes)
		}
	}
}

func liveThrough(w *fixture) {
	replicas := []*Rotator{w.replica(), w.replica()}
	w.settle(replicas...)
	period := func(d time.Duration) {
		w.clock.Step(d)
		for range 6 {
			for _, r := range replicas {
				if before := w.writes; r.pass(w.ctx()) == retryInterval || w.writes > before {
					w.assertTrusted("while a write fails", replicas...)
				}
			}
			w.clock.Step(settlePeriod)
		}
	}
	period(certificateLifetime * 2 / 3)
	w.clock.Step(authorityLifetime*2/3 - certificateLifetime)
	w.settle(replicas...) // a young certificate of the old authority
	period(certificateLifetime / 2)
	period(retirePeriod)
	if err := w.client.Delete(w.ctx(), w.secret()); err != nil {
		w.Fatal(err)
	}
	period(0)
	period(retirePeriod)
	w.settle(replicas...)
	m := w.material()
	assertConfigured(w.T, w, bundle{m.signer})
	for _, r := range replicas {
		if !servedLeaf(w.T, r).Equal(m.serving.Leaf) {
			w.Fatal("a replica serves another certificate than the Secret's")
		}
	}
}

func TestPass_SteadyStateWritesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, configuration())
	r := w.replica()
	w.settle(r)
	w.reset()
	for range 59 {
		w.settle(r, w.replica()) // a restart is no reason to write either
		w.clock.Step(day)
	}
	if w.writes != 0 {
		t.Errorf("%d writes in fifty-nine quiet days", w.writes)
	}
}

// A pass comes when the configuration has settled, so that a renewal goes on; after that, passes are rare.
func TestPass_SteadyStateReadsSeldom(t *testing.T) {
	t.Parallel()
	w := newWorld(t, configuration())
	r := w.replica()
	readsIn := func(d time.Duration) int {
		reads := 0
		w.afterGet = func(client.Object) { reads++ }
		for end := w.clock.Now().Add(d); w.clock.Now().Before(end); {
			before := w.writes
			next := r.pass(w.ctx())
			if w.writes == before { // the watch reports a write at once
				w.clock.Step(next)
			}
		}
		return reads
	}
	readsIn(2 * settlePeriod)
	if n := readsIn(time.Hour); n > 2*6 {
		t.Errorf("%d reads in an hour", n)
	}
	w.clock.Step(authorityLifetime*2/3 - certificateLifetime/2)
	readsIn(time.Hour) // a young certificate of the old authority
	w.clock.Step(certificateLifetime / 2)
	if readsIn(3 * settlePeriod); !w.material().ofSigner() || len(w.material().authorities) != 2 {
		t.Error("the certificate was not renewed when the configuration had settled")
	}
}

func TestPass_ExpiredWhileNobodyWasRunning(t *testing.T) {
	t.Parallel()
	for name, absence := range map[string]time.Duration{"certificate": certificateLifetime + day, "authority": authorityLifetime + day} {
		w := newWorld(t, configuration())
		w.settle(w.replica())
		w.clock.Step(absence)
		replicas := []*Rotator{w.replica(), w.replica()}
		w.settle(replicas...)
		w.assertTrusted(name, replicas...)
		if got := len(w.material().authorities); got != 1 {
			t.Errorf("%s: %d authorities, want the expired one dropped", name, got)
		}
	}
}

func TestPass_ClockThatWasSetBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, configuration())
	r := w.replica()
	w.settle(r)
	w.clock.SetTime(epoch.AddDate(-1, 0, 0))
	w.settle(r)
	w.assertTrusted("a year earlier", r)
}

func TestPass_EndsQuietlyWithItsContext(t *testing.T) {
	t.Parallel()
	w := newWorld(t, configuration())
	r := w.replica()
	ctx, cancel := context.WithCancel(w.ctx())
	w.onWrite = func(int, func() error) error { cancel(); return ctx.Err() }
	r.pass(ctx)
	if w.logged.Len() > 0 {
		t.Errorf("logged: %s", w.logged.String())
	}
}
