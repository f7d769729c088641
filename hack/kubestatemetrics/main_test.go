// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestConfigFor(t *testing.T) {
	t.Parallel()
	c, err := configFor(filepath.Join("..", "..", "config", "crd", "bases"))
	if err != nil {
		t.Fatal(err)
	}
	names := map[string][]string{}
	for _, r := range c.Spec.Resources {
		for _, m := range r.Metrics {
			names[r.GroupVersionKind.Kind] = append(names[r.GroupVersionKind.Kind], r.MetricNamePrefix+"_"+m.Name)
		}
	}
	want := map[string][]string{
		"APIKey": {
			"kube_apikey_status_condition", "kube_apikey_status_expiration_timestamp_seconds", "kube_apikey_status_ip_restriction",
			"kube_apikey_status_last_used_timestamp_seconds", "kube_apikey_status_next_rotation_timestamp_seconds", "kube_apikey_status_state",
		},
		"Account": {
			"kube_account_status_condition", "kube_account_status_deletion_policy", "kube_account_status_keys_active",
			"kube_account_status_keys_admitted", "kube_account_status_keys_expired", "kube_account_status_keys_inactive",
			"kube_account_status_keys_revoked", "kube_account_status_keys_waiting",
		},
		"KeyExport": {
			"kube_keyexport_status_condition", "kube_keyexport_status_credentials", "kube_keyexport_status_keys",
			"kube_keyexport_status_object_count", "kube_keyexport_status_withheld_keys",
		},
	}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("metrics (-want +got):\n%s", diff)
	}
}

func TestConfigFor_LabelsAndStates(t *testing.T) {
	t.Parallel()
	c, err := configFor(filepath.Join("..", "..", "config", "crd", "bases"))
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(c.Spec.Resources, func(r resource) bool { return r.GroupVersionKind.Kind == "APIKey" })
	key := c.Spec.Resources[i]
	labels := map[string][]string{"namespace": {"metadata", "namespace"}, "name": {"metadata", "name"}, "account": {"spec", "account"}}
	if diff := cmp.Diff(labels, key.LabelsFromPath); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
	want := &stateSetOf{
		Path: []string{"status", "state"}, LabelName: "state",
		List: []string{"Pending", "Active", "Inactive", "Suspended", "Expired", "Revoked"},
	}
	if diff := cmp.Diff(want, key.Metrics[len(key.Metrics)-1].Each.StateSet); diff != "" {
		t.Errorf("states (-want +got):\n%s", diff)
	}
}
