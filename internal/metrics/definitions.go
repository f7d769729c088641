// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package metrics

import "github.com/prometheus/client_golang/prometheus"

// Kind names the type of a metric.
type Kind string

// The types of metrics.
const (
	Gauge     Kind = "gauge"
	Counter   Kind = "counter"
	Histogram Kind = "histogram"
)

// Definition describes a metric of apikey-manager.
type Definition struct {
	Name   string
	Kind   Kind
	Help   string
	Labels []string
}

var (
	keyExpiration = Definition{
		"apikey_manager_key_expiration_timestamp_seconds", Gauge,
		"Expiration time of an accepted key, in seconds since the Unix epoch. Absent for keys that never expire.",
		[]string{"namespace", "name", "account"},
	}
	keyRotation = Definition{
		"apikey_manager_key_next_rotation_timestamp_seconds", Gauge,
		"Time of the next rotation of a key, in seconds since the Unix epoch. Absent for keys that are not rotated.",
		[]string{"namespace", "name", "account"},
	}
	keyNotified = Definition{
		"apikey_manager_key_notified_status", Gauge,
		"1 if a mail about the current expiration of a key was sent, 0 otherwise. Absent for keys that never expire.",
		[]string{"namespace", "name", "account"},
	}
	keyReady = Definition{
		"apikey_manager_key_ready_status", Gauge,
		"Status of the Ready condition of a key: 1 for the current one of True, False and Unknown, 0 for the others.",
		[]string{"namespace", "name", "account", "condition"},
	}
	exportReady = Definition{
		"apikey_manager_export_ready_status", Gauge,
		"Status of the Ready condition of a KeyExport: 1 for the current one of True, False and Unknown, 0 for the others.",
		[]string{"namespace", "name", "condition"},
	}
	exportCredentials = Definition{
		"apikey_manager_export_credentials", Gauge,
		"Number of credentials that the objects of a KeyExport hold.",
		[]string{"namespace", "name"},
	}
	exportWithheld = Definition{
		"apikey_manager_export_withheld_keys", Gauge,
		"Number of selected keys that verifiers accept and that a KeyExport withholds, in whole or in part.",
		[]string{"namespace", "name"},
	}
	accountKeys = Definition{
		"apikey_manager_account_keys", Gauge,
		"Number of keys of an account, by state.",
		[]string{"account", "state"},
	}
	undecodableObjects = Definition{
		"apikey_manager_undecodable_objects", Gauge,
		"Number of objects of a kind that the manager ignores because it cannot decode them completely. A log line names the fields.",
		[]string{"kind"},
	}
	events = Definition{
		"apikey_manager_events_total", Counter,
		"Number of events of keys, by reason, such as Issued, Rotated, Reissued, Expired or NotificationSent.",
		[]string{"reason"},
	}
)

// Definitions lists all metrics of apikey-manager, except those of controller-runtime, in the order of the
// documentation.
var Definitions = append([]Definition{
	keyExpiration, keyRotation, keyNotified, keyReady, accountKeys, exportReady, exportCredentials, exportWithheld, undecodableObjects, events,
	propagationDuration, verifierReplicas, verifierFailures, exportWithdrawal, exportPending, webhookCertificate, managerBuildInfo,
}, verifierDefinitions...)

func (d Definition) desc() *prometheus.Desc {
	return prometheus.NewDesc(d.Name, d.Help, d.Labels, nil)
}
