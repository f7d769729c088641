// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"slices"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/lookup"
)

// exportLookup finds out which keys are exported.
type exportLookup struct {
	client.Reader
	settings keys.Settings
}

// mayExport reports whether a KeyExport may export a key. Its gateway does not report when it has read a change. So the rotation of
// the key waits as long as it may, and the gateway knows the staged credential before the Secret of the key has it.
func (l *exportLookup) mayExport(ctx context.Context, key *v1alpha1.APIKey) bool {
	if l == nil {
		return false
	}
	exports, err := lookup.Exports(ctx, l, "")
	if err != nil {
		log.FromContext(ctx).Error(err, "Could not find the KeyExports of a staged credential")
		return true
	}
	return slices.ContainsFunc(exports, func(e *v1alpha1.KeyExport) bool {
		return exportAdds(e, l.settings) && exportsAccount(e, key.Spec.Account)
	})
}

// exportIsReconciled reports whether the manager writes the objects of a KeyExport. It adds nothing to those of a KeyExport
// that is being deleted, but withdraws credentials from them: a finalizer may keep the KeyExport, and with it the objects.
func exportIsReconciled(e *v1alpha1.KeyExport, settings keys.Settings) bool {
	return settings.WatchesNamespace(e.Namespace) && len(e.Undecodable) == 0
}

// exportAdds reports whether the manager adds credentials to the objects of a KeyExport.
func exportAdds(e *v1alpha1.KeyExport, settings keys.Settings) bool {
	return exportIsReconciled(e, settings) && e.DeletionTimestamp.IsZero()
}

// exportsAccount reports whether the spec of a KeyExport may select keys of an account, judging by the name alone.
func exportsAccount(e *v1alpha1.KeyExport, account string) bool {
	return len(e.Spec.Accounts) == 0 || slices.Contains(e.Spec.Accounts, account)
}
