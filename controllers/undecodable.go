// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"sync"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// undecodableLog logs the objects that are set aside because not all of their fields could be decoded, once for each
// version of an object.
type undecodableLog struct {
	// versions holds the resourceVersion that was logged last for each UID.
	versions sync.Map
}

// setAside reports whether an object must not be reconciled. Its status is not written: a status that is computed from
// the decoded fields would remove the others.
func (l *undecodableLog) setAside(ctx context.Context, object client.Object) bool {
	fields := undecodable(object)
	if len(fields) == 0 {
		l.versions.Delete(object.GetUID())
		return false
	}
	if before, _ := l.versions.Swap(object.GetUID(), object.GetResourceVersion()); before != object.GetResourceVersion() {
		log.FromContext(ctx).Info(
			"Ignored an object that cannot be decoded completely: correct the fields so that they match the schema of this version",
			"fields", fields, "resourceVersion", object.GetResourceVersion())
	}
	return true
}

// undecodable returns the fields of an APIKey, Account or KeyExport that could not be decoded.
func undecodable(object client.Object) []string {
	switch o := object.(type) {
	case *v1alpha1.APIKey:
		return o.Undecodable
	case *v1alpha1.Account:
		return o.Undecodable
	case *v1alpha1.KeyExport:
		return o.Undecodable
	}
	return nil
}

// undecodableChanged passes updates after which an object cannot be decoded, or can be decoded again.
var undecodableChanged = predicate.Funcs{
	UpdateFunc: func(e event.UpdateEvent) bool {
		return len(undecodable(e.ObjectNew)) > 0 || len(undecodable(e.ObjectOld)) > 0
	},
}
