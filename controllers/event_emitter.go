// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/events"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
)

// EventEmitter tells what happened to keys: as Kubernetes Events, and to whoever counts.
type EventEmitter struct {
	Recorder events.EventRecorder
	// Count is for metrics; nil: nobody counts.
	Count func([]keys.Event)
}

// emit tells what happened, once its record is written.
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
