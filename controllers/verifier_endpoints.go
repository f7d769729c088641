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

// ReplicaClient requests a report from one replica of the verifier.
type ReplicaClient interface {
	GetUsage(ctx context.Context, address string, q UsageRequest) (UsageResponse, error)
}

// UsageRequest defines what a replica is to report.
type UsageRequest struct {
	// IncludeUsage requests the uses of keys since a time. The zero time requests all uses.
	IncludeUsage bool
	Since        time.Time
	// Refused lists the keys for which the replica is to report whether it refuses them.
	Refused []usage.KeyReference
	// Known lists the credentials for which the replica is to report whether it knows them.
	Known []usage.CredentialReference
}

// UsageResponse holds the report of a replica.
type UsageResponse struct {
	usage.Report
	// SentAt is the time of the response by the clock of the replica, in whole seconds. It is zero if the response has
	// no date.
	SentAt time.Time
}

// clockSkew returns how far the clock of the replica is behind the clock of the manager, and a negative duration if it
// is ahead. The manager sent the request at requestedAt and received the response at now. If the replica responded
// between the two, its skew cannot be measured and is taken as zero, even if the manager's clock was set meanwhile.
func (a *UsageResponse) clockSkew(requestedAt, now time.Time) time.Duration {
	switch {
	case a.SentAt.IsZero():
		return 0
	case a.SentAt.Before(requestedAt.Truncate(time.Second)):
		return requestedAt.Sub(a.SentAt)
	case a.SentAt.After(now):
		return now.Sub(a.SentAt)
	default:
		return 0
	}
}

// VerifierRecorder records measurements of verifiers for metrics.
type VerifierRecorder interface {
	// Replicas records the number of replicas, and the number of those that responded.
	Replicas(live, reached int)
	// Enforced records the time from when a key was seen to be disabled until every replica refused it.
	Enforced(time.Duration)
}

// Verifiers locates the replicas of the verifier, and polls them.
type Verifiers struct {
	// Service is the Service of the verifier. Its EndpointSlices list the replicas.
	Service types.NamespacedName
	// Port is the name of the port of the Service that serves reports.
	Port string
	// Client requests reports from a replica.
	Client ReplicaClient
	// Recorder records measurements of verifiers. It may be nil.
	Recorder VerifierRecorder
	// PollInterval is the time between two polls for the uses of keys while keys are used. It defaults to one minute.
	PollInterval time.Duration
}

// +kubebuilder:rbac:groups=discovery.k8s.io,resources=endpointslices,verbs=get;list;watch,namespace=system
// +kubebuilder:rbac:urls=/v1/usage,verbs=get

// replica holds the state of a replica of the verifier and its response to a poll.
type replica struct {
	// address is the host and the port that serves reports.
	address string
	// serves reports whether gateways are directed to the replica. Gateways may still be connected to one that does
	// not serve.
	serves bool
	// requestedAt is the time of the request by the manager's clock. Only requests that measure the clock skew set it.
	requestedAt time.Time
	response    UsageResponse
	// used reports whether the response contained uses of keys, which are dropped from it after they were recorded.
	used bool
	err  error
}

// terminated reports whether the replica no longer verifies requests: no gateway is directed to it, and nothing
// listens at its address.
func (r replica) terminated() bool { return !r.serves && errors.Is(r.err, syscall.ECONNREFUSED) }

// state returns the state of a replica for the rules in internal/keys.
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

// states returns what the rules need to know of the replicas.
func states(live []replica) []keys.Replica {
	list := make([]keys.Replica, len(live))
	for i := range live {
		list[i] = live[i].state()
	}
	return list
}

// maxParallelPolls is the number of replicas that are polled at the same time. It is low because responses may be
// long.
const maxParallelPolls = 4

// poll polls all replicas, each with the given timeout, and calls onResponse for each after it responded or failed. It
// returns the replicas that are live.
func (v *Verifiers) poll(
	ctx context.Context, reader client.Reader, timeout time.Duration, request func(*replica) UsageRequest, onResponse func(*replica),
) ([]replica, error) {
	var list discoveryv1.EndpointSliceList
	err := reader.List(
		ctx,
		&list,
		client.InNamespace(v.Service.Namespace),
		client.MatchingLabels{discoveryv1.LabelServiceName: v.Service.Name},
	)
	if err != nil {
		return nil, fmt.Errorf("list the EndpointSlices of Service %s: %w", v.Service, err)
	}
	live := v.replicas(list.Items)
	workqueue.ParallelizeUntil(ctx, maxParallelPolls, len(live), func(i int) {
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		live[i].response, live[i].err = v.pollOne(ctx, live[i].address, request(&live[i]))
		onResponse(&live[i])
	})
	if ctx.Err() != nil {
		return nil, ctx.Err() // replicas that were not polled have not failed
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

// pollInBatches divides the keys of a request into batches that a replica accepts, and merges the responses. The
// merged response has the first KeysVersion, and is synced if any response is: both are the cautious choice, because a
// replica that is not synced refuses all keys.
func (v *Verifiers) pollInBatches(ctx context.Context, address string, q UsageRequest) (UsageResponse, error) {
	var whole UsageResponse
	for first := true; first || len(q.Refused)+len(q.Known) > 0; first = false {
		part := q
		part.Refused, part.Known = q.Refused[:min(len(q.Refused), usage.MaxReferences)], q.Known[:min(len(q.Known), usage.MaxReferences)]
		q.Refused, q.Known = q.Refused[len(part.Refused):], q.Known[len(part.Known):]
		response, err := v.Client.GetUsage(ctx, address, part)
		if err != nil {
			return UsageResponse{}, err
		}
		if first {
			whole = response
			continue
		}
		whole.Synced = whole.Synced || response.Synced
		whole.Refused, whole.Known = append(whole.Refused, response.Refused...), append(whole.Known, response.Known...)
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

// replicas returns all replicas. One that is not ready may still verify requests over existing connections. A Pod with
// addresses of both families is one replica.
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

// serves reports whether an endpoint accepts requests. As defined by the API, a missing condition means that it does.
func serves(c discoveryv1.EndpointConditions) bool {
	ready := c.Ready == nil || *c.Ready
	return ready || c.Serving != nil && *c.Serving
}

// address returns the host with the port that serves reports. It returns the empty string if there is no such port.
func (v *Verifiers) address(ports []discoveryv1.EndpointPort, host string) string {
	for _, port := range ports {
		if port.Name != nil && *port.Name == v.Port && port.Port != nil {
			return net.JoinHostPort(host, strconv.Itoa(int(*port.Port)))
		}
	}
	return ""
}
