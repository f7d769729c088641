// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package metrics

import "github.com/prometheus/client_golang/prometheus"

// Kind is the type of a metric.
type Kind string

// The types of metrics.
const (
	Gauge     Kind = "gauge"
	Counter   Kind = "counter"
	Histogram Kind = "histogram"
)

// Definition is a metric of apikey-manager.
type Definition struct {
	Name   string
	Kind   Kind
	Help   string
	Labels []string
}

var (
	keyExpiration = Definition{
		"apikey_manager_key_expiration_timestamp_seconds", Gauge,
		"When an accepted key expires, in seconds since the Unix epoch; absent for keys that never expire.",
		[]string{"namespace", "name", "account"},
	}
	keyRotation = Definition{
		"apikey_manager_key_next_rotation_timestamp_seconds", Gauge,
		"When a key's next credential is due, in seconds since the Unix epoch; absent for keys that are not rotated.",
		[]string{"namespace", "name", "account"},
	}
	keyNotified = Definition{
		"apikey_manager_key_notified_status", Gauge,
		"Whether people were told of the expiration that a key has now: 1 if a mail was sent, else 0; absent for keys that never expire.",
		[]string{"namespace", "name", "account"},
	}
	keyReady = Definition{
		"apikey_manager_key_ready_status", Gauge,
		"Whether a key is Ready: 1 for the one of True, False and Unknown that holds, else 0.",
		[]string{"namespace", "name", "account", "condition"},
	}
	accountKeys = Definition{
		"apikey_manager_account_keys", Gauge,
		"How many keys an account has, by state.",
		[]string{"account", "state"},
	}
	undecodableObjects = Definition{
		"apikey_manager_undecodable_objects", Gauge,
		"How many objects of a kind the manager sets aside because it can't decode all of them: a log line names the fields.",
		[]string{"kind"},
	}
	events = Definition{
		"apikey_manager_events_total", Counter,
		"What happened to keys, by the reason of the event: Issued, Rotated, Reissued, Expired, NotificationSent and so on.",
		[]string{"reason"},
	}
)

// Definitions are all metrics of apikey-manager, beside those of controller-runtime, in the order of the docs.
var Definitions = append([]Definition{
	keyExpiration, keyRotation, keyNotified, keyReady, accountKeys, undecodableObjects, events, propagationDuration, verifierReplicas, verifierFailures,
}, verifierDefinitions...)

func (d Definition) desc() *prometheus.Desc {
	return prometheus.NewDesc(d.Name, d.Help, d.Labels, nil)
}
