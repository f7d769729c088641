// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/usage"
)

// verifierService is the Service of the verifiers in tests.
var verifierService = types.NamespacedName{Namespace: "apikey-manager-system", Name: "apikey-verifier"}

// fakeVerifiers simulates in-memory verifiers by address.
type fakeVerifiers struct {
	mu                sync.Mutex
	reports           map[string]usage.Report // of verifiers that respond
	sentAt            time.Time               // by the clock of the verifiers
	requests          map[string]UsageRequest // the last one
	count             int                     // number of requests
	connectionRefused map[string]bool         // addresses at which nothing listens
	recorder          fakeRecorder
	beforeResponse    func(address string) // called before each response
	acceptsAll        map[string]bool      // verifiers that accept all keys
	knowsNone         map[string]bool      // verifiers that know no credential
}

// fakeRecorder records the measurements.
type fakeRecorder struct {
	replicas [2]int
	enforced []time.Duration
}

func (m *fakeRecorder) Replicas(live, reached int)  { m.replicas = [2]int{live, reached} }
func (m *fakeRecorder) Enforced(took time.Duration) { m.enforced = append(m.enforced, took) }

func (f *fakeVerifiers) GetUsage(_ context.Context, address string, q UsageRequest) (UsageResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.requests == nil {
		f.requests = map[string]UsageRequest{}
	}
	f.requests[address] = q
	f.count++
	if f.beforeResponse != nil {
		f.beforeResponse(address)
	}
	if f.connectionRefused[address] {
		return UsageResponse{}, fmt.Errorf("request a report: %w", syscall.ECONNREFUSED)
	}
	report, ok := f.reports[address]
	if !ok {
		return UsageResponse{}, errors.New("no response")
	}
	report.Refused = nil
	for _, key := range q.Refused {
		if !f.acceptsAll[address] {
			report.Refused = append(report.Refused, key.UID)
		}
	}
	if !f.knowsNone[address] {
		report.Known = q.Known
	}
	return UsageResponse{Report: report, SentAt: f.sentAt}, nil
}

func (f *fakeVerifiers) verifiers() Verifiers {
	return Verifiers{Service: verifierService, Port: "usage", Client: f, Recorder: &f.recorder}
}

// slice returns an EndpointSlice of the verifiers with ready endpoints.
func slice(name string, addresses ...string) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: verifierService.Namespace, Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: verifierService.Name}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: new("grpc"), Port: new(int32(9001))}, {Name: new("usage"), Port: new(int32(8443))}},
	}
	for _, address := range addresses {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{address}, Conditions: discoveryv1.EndpointConditions{Ready: new(true)}})
	}
	return s
}

func edited(s *discoveryv1.EndpointSlice, edit func(*discoveryv1.EndpointSlice)) *discoveryv1.EndpointSlice {
	edit(s)
	return s
}

// ofPod sets the Pod of an endpoint.
func ofPod(uid types.UID) func(*discoveryv1.EndpointSlice) {
	return func(s *discoveryv1.EndpointSlice) { s.Endpoints[0].TargetRef = &corev1.ObjectReference{UID: uid} }
}

// emptyRequest returns the same empty request for all replicas.
func emptyRequest(*replica) UsageRequest { return UsageRequest{} }

func ignoreResponse(*replica) {}

func conditions(c discoveryv1.EndpointConditions) func(*discoveryv1.EndpointSlice) {
	return func(s *discoveryv1.EndpointSlice) { s.Endpoints[0].Conditions = c }
}

var unready = conditions(discoveryv1.EndpointConditions{Ready: new(false), Serving: new(false)})

func TestReplicas_IncludeAllThatMayVerify(t *testing.T) {
	t.Parallel()
	ipv6 := func(s *discoveryv1.EndpointSlice) { s.AddressType = discoveryv1.AddressTypeIPv6 }
	for name, tc := range map[string]struct {
		slices []client.Object
		want   []string
	}{
		"there is no slice":                 {nil, nil},
		"a slice is empty":                  {[]client.Object{slice("a")}, nil},
		"two are ready":                     {[]client.Object{slice("a", "10.0.0.1", "10.0.0.2")}, []string{"10.0.0.1:8443", "10.0.0.2:8443"}},
		"they are in two slices":            {[]client.Object{slice("a", "10.0.0.1"), slice("b", "10.0.0.2")}, []string{"10.0.0.1:8443", "10.0.0.2:8443"}},
		"one is in two slices for a moment": {[]client.Object{slice("a", "10.0.0.1"), slice("b", "10.0.0.1")}, []string{"10.0.0.1:8443"}},
		"conditions are missing":            {[]client.Object{edited(slice("a", "10.0.0.1"), conditions(discoveryv1.EndpointConditions{}))}, []string{"10.0.0.1:8443"}},
		"one is not ready":                  {[]client.Object{edited(slice("a", "10.0.0.1"), unready)}, []string{"10.0.0.1:8443"}},
		"two are on one address":            {[]client.Object{slice("a", "10.0.0.1"), edited(slice("b", "10.0.0.1"), func(s *discoveryv1.EndpointSlice) { *s.Ports[1].Port = 9443 })}, []string{"10.0.0.1:8443", "10.0.0.1:9443"}},
		"one terminates, and still serves":  {[]client.Object{edited(slice("a", "10.0.0.1"), conditions(discoveryv1.EndpointConditions{Ready: new(false), Serving: new(true), Terminating: new(true)}))}, []string{"10.0.0.1:8443"}},
		"one has addresses of both families": {
			[]client.Object{edited(edited(slice("a", "fd00::1"), ipv6), ofPod("1")), edited(slice("b", "10.0.0.1"), ofPod("1"))},
			[]string{"10.0.0.1:8443"},
		},
		"they have IPv6 addresses alone": {[]client.Object{edited(slice("a", "fd00::1"), ipv6)}, []string{"[fd00::1]:8443"}},
		"the slices are of another Service": {
			[]client.Object{edited(slice("a", "10.0.0.1"), func(s *discoveryv1.EndpointSlice) { s.Labels[discoveryv1.LabelServiceName] = "other" })}, nil,
		},
		"the slices are in another namespace": {[]client.Object{edited(slice("a", "10.0.0.1"), func(s *discoveryv1.EndpointSlice) { s.Namespace = "default" })}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, f := newFixture(t, tc.slices...), &fakeVerifiers{}
			v := f.verifiers()
			live, err := v.poll(t.Context(), w.cached(), time.Minute, emptyRequest, ignoreResponse)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, slices.Sorted(maps.Keys(f.requests))); diff != "" {
				t.Errorf("polled (-want +got):\n%s", diff)
			}
			if want := [2]int{len(tc.want), 0}; len(live) != len(tc.want) || f.recorder.replicas != want {
				t.Errorf("%d replicas, measured %v; want %v", len(live), f.recorder.replicas, want)
			}
		})
	}
}

func TestReplicas_MissingPortIsAnError(t *testing.T) {
	t.Parallel()
	w, f := newFixture(t, slice("a", "10.0.0.1")), &fakeVerifiers{}
	v := f.verifiers()
	v.Port = "admin"
	live, err := v.poll(t.Context(), w.cached(), time.Minute, emptyRequest, ignoreResponse)
	if err != nil || len(live) != 1 || live[0].state().Reached || len(f.requests) > 0 {
		t.Fatalf("got %+v, %v, requests %v", live, err, f.requests)
	}
	if got := live[0].err.Error(); !strings.Contains(got, "--verifier-port-name") || !strings.Contains(got, "admin") {
		t.Errorf("the error does not name the flag: %s", got)
	}
}

// A replica that is not ready may verify requests over existing connections, unless nothing listens there.
func TestReplicas_UnreadyIsLiveUnlessNothingListens(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		fleet *fakeVerifiers
		edit  func(*discoveryv1.EndpointSlice)
		want  []keys.Replica
	}{
		"it responds":                      {&fakeVerifiers{reports: map[string]usage.Report{"10.0.0.1:8443": {Synced: true, KeysVersion: "7"}}}, unready, []keys.Replica{{Reached: true, Synced: true, KeysVersion: "7", Refused: map[types.UID]bool{}, Known: map[usage.CredentialReference]bool{}}}},
		"it does not respond":              {&fakeVerifiers{}, unready, []keys.Replica{{}}},
		"nothing listens":                  {&fakeVerifiers{connectionRefused: map[string]bool{"10.0.0.1:8443": true}}, unready, nil},
		"nothing listens, but it is ready": {&fakeVerifiers{connectionRefused: map[string]bool{"10.0.0.1:8443": true}}, func(*discoveryv1.EndpointSlice) {}, []keys.Replica{{}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newFixture(t, edited(slice("a", "10.0.0.1"), tc.edit))
			v := tc.fleet.verifiers()
			live, err := v.poll(t.Context(), w.cached(), time.Minute, emptyRequest, ignoreResponse)
			if err != nil {
				t.Fatal(err)
			}
			var got []keys.Replica
			for i := range live {
				got = append(got, live[i].state())
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("live replicas (-want +got):\n%s", diff)
			}
		})
	}
}

// Each response is limited, however many keys are disabled at once.
func TestReplicas_PollsManyKeysInBatches(t *testing.T) {
	t.Parallel()
	w, f := newFixture(t, slice("a", "10.0.0.1")), &fakeVerifiers{reports: map[string]usage.Report{"10.0.0.1:8443": {Synced: true, KeysVersion: "7"}}}
	v := f.verifiers()
	var many []usage.KeyReference
	for i := range 2*usage.MaxReferences + 1 {
		many = append(many, usage.KeyReference{Namespace: "default", Name: "web", UID: types.UID(strconv.Itoa(i))})
	}
	live, err := v.poll(t.Context(), w.cached(), time.Minute, func(*replica) UsageRequest { return UsageRequest{Refused: many} }, ignoreResponse)
	if err != nil || f.count != 3 || len(f.requests["10.0.0.1:8443"].Refused) != 1 {
		t.Fatalf("polled %d times, %v", f.count, err)
	}
	if got := live[0].state(); len(got.Refused) != len(many) || got.KeysVersion != "7" {
		t.Errorf("refuses %d of %d keys at %s", len(got.Refused), len(many), got.KeysVersion)
	}
}

func TestReplicas_StoppedManagerReportsNoFailures(t *testing.T) {
	t.Parallel()
	w, f := newFixture(t, slice("a", "10.0.0.1")), &fakeVerifiers{}
	ctx, cancel := context.WithCancel(t.Context())
	v := f.verifiers()
	live, err := v.poll(ctx, w.cached(), time.Minute, func(*replica) UsageRequest { cancel(); return UsageRequest{} }, ignoreResponse)
	if err == nil {
		t.Errorf("got %+v and no error", live)
	}
}
