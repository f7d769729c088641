// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
)

// TestKeyExport_WithdrawsWhileDeleted: the objects of an export whose deletion a finalizer delays exist, and gateways read them.
func TestKeyExport_WithdrawsWhileDeleted(t *testing.T) {
	t.Parallel()
	w := newExportFixture(t, newExport(exportName, func(e *v1alpha1.KeyExport) { e.Finalizers = []string{"example.com/f"} }))
	w.add(keystest.Key("other"))
	w.must(w.client.Delete(t.Context(), w.export(exportName)))
	held := w.digests("web")
	w.settleAll()
	w.expectExported(held...)
	w.change("web", keystest.State(v1alpha1.KeyStateInactive))
	w.mustExport()
	w.expectExported()
}

// TestKeyExport_InvalidTargetWithdraws: the schema accepts some invalid labels. They don't keep a credential in the objects, and
// the labels stay as they are until a credential is withdrawn.
func TestKeyExport_InvalidTargetWithdraws(t *testing.T) {
	t.Parallel()
	w := newExportFixture(t, newExport(exportName, func(e *v1alpha1.KeyExport) { e.Spec.Target.Labels = map[string]string{"example.com/a": "b"} }))
	w.changeExport(func(e *v1alpha1.KeyExport) { e.Spec.Target.Labels["example.com/c"] = "not a label" })
	w.mustExport()
	w.expectReady(exportName, v1alpha1.ReasonInvalidSpec)
	w.change("web", keystest.State(v1alpha1.KeyStateInactive))
	w.mustExport()
	w.expectExported()
	if labels := w.target("gateway-keys").Labels; labels["example.com/a"] != "b" {
		t.Errorf("the labels are %v", labels)
	}
}

// TestKeyExport_UnreadableObject: an object that cannot be read delays no withdrawal from another one, and nothing is added.
func TestKeyExport_UnreadableObject(t *testing.T) {
	t.Parallel()
	w := newExportFixture(t, newExport(exportName, exportingObjects))
	w.add(keystest.Key("other"))
	w.settleAll()
	w.restart()
	unreadable := "gateway-keys-" + w.key("other").Status.Credentials[0].SHA256[:16]
	w.exports.APIReader = interceptor.NewClient(w.live(), interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, options ...client.GetOption) error {
			if key.Name == unreadable {
				return errors.New("cannot be decrypted")
			}
			return c.Get(ctx, key, o, options...)
		},
	})
	w.change("web", keystest.State(v1alpha1.KeyStateInactive))
	if _, err := w.reconcileExport(exportName); err == nil {
		t.Error("the error was not returned")
	}
	w.expectExported(w.digests("other")...)
	w.expectReady(exportName, v1alpha1.ReasonWriteFailed)
}

// TestKeyExport_LabelRemovedWhileAway: the cache has only objects with the label of the manager. An object that lost it while no
// manager ran keeps no credential.
func TestKeyExport_LabelRemovedWhileAway(t *testing.T) {
	t.Parallel()
	w := newExportFixture(t, newExport(exportName, exportingObjects))
	s := w.target("gateway-keys-" + w.key("web").Status.Credentials[0].SHA256[:16])
	s.Labels = nil
	w.must(w.client.Update(t.Context(), s))
	w.change("web", keystest.State(v1alpha1.KeyStateInactive))
	w.restart()
	w.exports.Client = interceptor.NewClient(w.cached(), interceptor.Funcs{
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, options ...client.ListOption) error {
			if _, objects := list.(*metav1.PartialObjectMetadataList); objects && list.GetObjectKind().GroupVersionKind().Kind == "SecretList" {
				options = append(options, client.MatchingLabels{keys.LabelManagedBy: keys.ManagedBy})
			}
			return c.List(ctx, list, options...)
		},
	})
	w.mustExport()
	w.expectExported()
}

// TestKeyExport_SecretNotInCache: a Secret that the cache does not contain yet is looked for again, although no event follows.
func TestKeyExport_SecretNotInCache(t *testing.T) {
	t.Parallel()
	w := newExportFixture(t, newExport(exportName, exportingKeys))
	w.must(w.client.Delete(t.Context(), w.target("gateway-keys")))
	w.restart()
	name := w.secret("web").Name
	w.hidden = func(_ client.Object, key client.ObjectKey) bool { return key.Name == name }
	if after := w.mustExport(); after > unreadableRecheckInterval {
		t.Errorf("the Secret is looked for after %s", after)
	}
	w.expectExported()
	w.hidden = func(client.Object, client.ObjectKey) bool { return false }
	w.mustExport()
	if n := len(w.exported()); n != 1 {
		t.Errorf("the export holds %d credentials", n)
	}
}

// TestKeyExport_LimitsExchanges: a write that withdraws one credential adds no other one while additions are limited, so that
// keys that are switched on and off in turn do not cause versions of a large object without limit.
func TestKeyExport_LimitsExchanges(t *testing.T) {
	t.Parallel()
	w := newExportFixture(t, newExport(exportName))
	w.exports.states.byName[types.NamespacedName{Namespace: "gateway", Name: exportName}].additions = writeLimit{
		used: maxAdditions, since: w.clock.Now(),
	}
	w.add(keystest.Key("other"))
	w.mustReconcile(w.apikeys, "other")
	_, _ = w.reconcileAccount("acme")
	w.mustReconcile(w.apikeys, "other")
	w.change("web", keystest.State(v1alpha1.KeyStateInactive))
	if after := w.mustExport(); after > writeInterval {
		t.Errorf("the addition follows after %s", after)
	}
	w.expectExported()
	w.clock.SetTime(at(time.Second))
	w.mustExport()
	w.expectExported(w.digests("other")...)
}

// TestKeyExport_LimitsWithdrawals: after very many writes, a withdrawal follows within half a second, together with others.
func TestKeyExport_LimitsWithdrawals(t *testing.T) {
	t.Parallel()
	w := newExportFixture(t, newExport(exportName))
	w.exports.states.byName[types.NamespacedName{Namespace: "gateway", Name: exportName}].withdrawals = writeLimit{
		used: maxWithdrawals, since: w.clock.Now(),
	}
	held := w.digests("web")
	w.change("web", keystest.State(v1alpha1.KeyStateInactive))
	if after := w.mustExport(); after > writeInterval {
		t.Errorf("the withdrawal follows after %s", after)
	}
	w.expectExported(held...)
	w.clock.SetTime(at(writeInterval))
	w.mustExport()
	w.expectExported()
}

// pendingRecorder records the KeyExports with a pending withdrawal.
type pendingRecorder struct {
	during func()
	names  []types.NamespacedName
}

func (r *pendingRecorder) Withdrawn(time.Duration) {}

func (r *pendingRecorder) Pending(name types.NamespacedName, _ time.Time) {
	r.during()
	r.names = append(r.names, name)
}

func (r *pendingRecorder) Forget(name types.NamespacedName) {
	r.names = slices.DeleteFunc(r.names, func(n types.NamespacedName) bool { return n == name })
}

// TestKeyExport_ForgetsMetrics: the metric of an export that is deleted during its reconciliation does not stay.
func TestKeyExport_ForgetsMetrics(t *testing.T) {
	t.Parallel()
	w := newExportFixture(t, newExport(exportName))
	recorder := &pendingRecorder{during: func() { w.exports.forget(w.export(exportName)) }}
	w.exports.Recorder = recorder
	w.mustExport()
	if len(recorder.names) > 0 {
		t.Errorf("metrics stay of %v", recorder.names)
	}
}
