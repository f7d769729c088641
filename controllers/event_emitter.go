// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/events"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
)

// EventEmitter emits Kubernetes Events about keys, and counts them.
type EventEmitter struct {
	Recorder events.EventRecorder
	// Count counts the events for metrics. It may be nil.
	Count func([]keys.Event)
}

// emit emits events after the status that they describe is written.
func (t EventEmitter) emit(key *v1alpha1.APIKey, list []keys.Event) {
	for _, e := range list {
		kind := corev1.EventTypeNormal
		if e.Warning {
			kind = corev1.EventTypeWarning
		}
		t.Recorder.Eventf(key, nil, kind, e.Reason, e.Action, "%s", e.Note)
	}
	if t.Count != nil {
		t.Count(list)
	}
}
