// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"syscall"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/usage"
)

// ReplicaClient asks one replica of the verifier what it enforces, and which keys were used.
type ReplicaClient interface {
	GetUsage(ctx context.Context, address string, q UsageRequest) (UsageResponse, error)
}

// UsageRequest is what a replica is asked.
type UsageRequest struct {
	// IncludeUsage is whether to tell which keys were used, since a time; the zero time: ever.
	IncludeUsage bool
	Since        time.Time
	// Refused are the keys to ask about whether the replica refuses them.
	Refused []usage.KeyReference
	// Known are the credentials to ask about whether the replica knows them.
	Known []usage.CredentialReference
}

// UsageResponse is what a replica reports.
type UsageResponse struct {
	usage.Report
	// SentAt is when it answered by its own clock, in whole seconds; zero: it did not say.
	SentAt time.Time
}

// clockSkew returns how far the clock of the replica is behind the clock of the manager, and a negative duration if it is
// ahead. The manager sent the request at asked and had the answer at now. A replica that answered in between has no
// measurable skew, even if the manager's clock was set meanwhile.
func (a *UsageResponse) clockSkew(asked, now time.Time) time.Duration {
	switch {
	case a.SentAt.IsZero():
		return 0
	case a.SentAt.Before(asked.Truncate(time.Second)):
		return asked.Sub(a.SentAt)
	case a.SentAt.After(now):
		return now.Sub(a.SentAt)
	default:
		return 0
	}
}

// VerifierRecorder is told how the verifiers do, for metrics.
type VerifierRecorder interface {
	// Replicas is told how many replicas there are, and how many of them answered.
	Replicas(live, reached int)
	// Enforced is told how long it took from the moment in which a key was seen to be switched off until every replica
	// refused it.
	Enforced(time.Duration)
}

// Verifiers say where the replicas of the verifier are, and how to ask them.
type Verifiers struct {
	// Service is the verifier's. Its EndpointSlices name the replicas.
	Service types.NamespacedName
	// Port is the name of the Service's port that answers.
	Port string
	// Client asks a replica.
	Client ReplicaClient
	// Recorder is told how they do; nil: nobody measures.
	Recorder VerifierRecorder
	// PollInterval is how often to ask for the uses of keys: each minute unless said.
	PollInterval time.Duration
}

// +kubebuilder:rbac:groups=discovery.k8s.io,resources=endpointslices,verbs=get;list;watch,namespace=system
// +kubebuilder:rbac:urls=/v1/usage,verbs=get

// replica is a replica of the verifier, and what came of asking it.
type replica struct {
	// address is where it answers, with its port.
	address string
	// serves is whether gateways are sent to it. Those that were before may be connected still.
	serves bool
	// requestedAt is when it was asked, by the manager's clock. Whoever reads the clocks of replicas sets it.
	requestedAt time.Time
	response    UsageResponse
	err         error
}

// terminated is whether it gives no verdicts: nobody is sent to it, and nothing listens where it was.
func (r replica) terminated() bool { return !r.serves && errors.Is(r.err, syscall.ECONNREFUSED) }

// state is what the rules need to know of a replica.
func (r *replica) state() keys.Replica {
	if r.err != nil {
		return keys.Replica{}
	}
	refused := make(map[types.UID]bool, len(r.response.Refused))
	for _, uid := range r.response.Refused {
		refused[uid] = true
	}
	known := make(map[usage.CredentialReference]bool, len(r.response.Known))
	for _, c := range r.response.Known {
		known[c] = true
	}
	return keys.Replica{Reached: true, Synced: r.response.Synced, KeysVersion: r.response.KeysVersion, Refused: refused, Known: known}
}

// maxParallelPolls is how many replicas are asked at once: their answers may be long.
const maxParallelPolls = 4

// poll asks all replicas, each no longer than patience, and hands each to heard as soon as it has answered or failed to.
// It returns those that are live.
func (v *Verifiers) poll(
	ctx context.Context, reader client.Reader, patience time.Duration, question func(*replica) UsageRequest, heard func(*replica),
) ([]replica, error) {
	var list discoveryv1.EndpointSliceList
	err := reader.List(ctx, &list, client.InNamespace(v.Service.Namespace), client.MatchingLabels{discoveryv1.LabelServiceName: v.Service.Name})
	if err != nil {
		return nil, fmt.Errorf("list the EndpointSlices of Service %s: %w", v.Service, err)
	}
	live := v.replicas(list.Items)
	workqueue.ParallelizeUntil(ctx, maxParallelPolls, len(live), func(i int) {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		live[i].response, live[i].err = v.pollOne(ctx, live[i].address, question(&live[i]))
		heard(&live[i])
	})
	if ctx.Err() != nil {
		return nil, ctx.Err() // replicas that were not asked are not silent
	}
	live = slices.DeleteFunc(live, replica.terminated)
	v.recordReplicas(live)
	return live, nil
}

func (v *Verifiers) pollOne(ctx context.Context, address string, q UsageRequest) (UsageResponse, error) {
	if address == "" {
		return UsageResponse{}, fmt.Errorf("the verifier's Service %s has no port %s: correct --verifier-port-name", v.Service, v.Port)
	}
	return v.pollInBatches(ctx, address, q)
}

// pollInBatches asks about as many keys at a time as a replica answers to. What of the answers holds for all keys is the least
// that any of them says: a key counts as refused if the answer about it says so.
func (v *Verifiers) pollInBatches(ctx context.Context, address string, q UsageRequest) (UsageResponse, error) {
	var whole UsageResponse
	for first := true; first || len(q.Refused)+len(q.Known) > 0; first = false {
		part := q
		part.Refused, part.Known = q.Refused[:min(len(q.Refused), usage.MaxReferences)], q.Known[:min(len(q.Known), usage.MaxReferences)]
		q.Refused, q.Known = q.Refused[len(part.Refused):], q.Known[len(part.Known):]
		answer, err := v.Client.GetUsage(ctx, address, part)
		if err != nil {
			return UsageResponse{}, err
		}
		if first {
			whole = answer
			continue
		}
		whole.Synced = whole.Synced || answer.Synced
		whole.Refused, whole.Known = append(whole.Refused, answer.Refused...), append(whole.Known, answer.Known...)
	}
	return whole, nil
}

func (v *Verifiers) recordReplicas(live []replica) {
	if v.Recorder == nil {
		return
	}
	reached := 0
	for _, r := range live {
		if r.err == nil {
			reached++
		}
	}
	v.Recorder.Replicas(len(live), reached)
}

// replicas are all that there are. One that is not ready may give verdicts all the same, over connections that it had
// before. A Pod with addresses of both families is one replica.
func (v *Verifiers) replicas(list []discoveryv1.EndpointSlice) []replica {
	slices.SortFunc(list, func(a, b discoveryv1.EndpointSlice) int {
		return cmp.Or(cmp.Compare(a.AddressType, b.AddressType), cmp.Compare(a.Name, b.Name)) // IPv4 comes before IPv6
	})
	var live []replica
	seen := map[string]bool{}
	for _, slice := range list {
		for _, endpoint := range slice.Endpoints {
			if len(endpoint.Addresses) == 0 {
				continue
			}
			one := replica{address: v.address(slice.Ports, endpoint.Addresses[0]), serves: serves(endpoint.Conditions)}
			who := cmp.Or(one.address, endpoint.Addresses[0])
			if endpoint.TargetRef != nil && endpoint.TargetRef.UID != "" {
				who = string(endpoint.TargetRef.UID)
			}
			if !seen[who] {
				seen[who] = true
				live = append(live, one)
			}
		}
	}
	return live
}

// serves is whether an endpoint may be asked for verdicts. What is not said is yes, as the API has it.
func serves(c discoveryv1.EndpointConditions) bool {
	ready := c.Ready == nil || *c.Ready
	return ready || c.Serving != nil && *c.Serving
}

// address is an endpoint with the port that answers; empty: there is none.
func (v *Verifiers) address(ports []discoveryv1.EndpointPort, host string) string {
	for _, port := range ports {
		if port.Name != nil && *port.Name == v.Port && port.Port != nil {
			return net.JoinHostPort(host, strconv.Itoa(int(*port.Port)))
		}
	}
	return ""
}
