// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package export_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/export"
	"github.com/apikey-manager/apikey-manager/internal/keys"
)

func withheld(namespace, name, reason string) export.Withheld {
	return export.Withheld{Key: types.NamespacedName{Namespace: namespace, Name: name}, Reason: reason}
}

func TestDescribe_Counts(t *testing.T) {
	t.Parallel()
	a, b := newEntry(1, ""), newEntry(2, "")
	b.UID = a.UID // two credentials of a key
	unknown := export.Object{Items: map[string]export.Item{"x": {Value: []byte("x")}}}
	got := export.Describe(export.Facts{
		Export: newExport(nil), Now: epoch,
		Objects: export.Objects{"gateway-keys": object(a, b), "gateway-keys-1": unknown},
		Withheld: []export.Withheld{
			withheld("web", "b", v1alpha1.ReasonAddressRestricted), withheld("web", "a", v1alpha1.ReasonInvalidEntry), withheld("api", "z", v1alpha1.ReasonExportFull),
			withheld("web", "b", v1alpha1.ReasonDuplicateEntry),
		},
	})
	want := v1alpha1.KeyExportStatus{
		ObservedGeneration: 1, Keys: ptr.To[int32](2), Credentials: ptr.To[int32](3), WithheldKeys: ptr.To[int32](3),
		ObjectCount: ptr.To[int32](2), Objects: []string{"gateway-keys", "gateway-keys-1"},
		Withheld: []v1alpha1.WithheldKey{
			{Namespace: "api", Name: "z", Reason: v1alpha1.ReasonExportFull}, {Namespace: "web", Name: "a", Reason: v1alpha1.ReasonInvalidEntry}, {Namespace: "web", Name: "b", Reason: v1alpha1.ReasonAddressRestricted},
		},
		Conditions: []metav1.Condition{{
			Type: "Ready", Status: "True", Reason: "Exported", ObservedGeneration: 1, LastTransitionTime: metav1.NewTime(epoch),
			Message: "The objects hold all selected keys that verifiers accept, except those in status.withheld",
		}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestDescribe_Conditions(t *testing.T) {
	t.Parallel()
	violation := &keys.Violation{Reason: v1alpha1.ReasonTargetConflict, Message: "Secret gateway-keys exists"}
	for name, tt := range map[string]struct {
		facts export.Facts
		want  []string
	}{
		"exported":  {export.Facts{}, []string{"Ready=True Exported The objects hold all selected keys that verifiers accept"}},
		"violation": {export.Facts{Violation: violation}, []string{"Ready=False TargetConflict Secret gateway-keys exists", "Stalled=True TargetConflict Secret gateway-keys exists"}},
		"failed write": {
			export.Facts{Err: &keys.PublicError{Message: "Secret gateway-keys could not be written", Err: errors.New("internal")}},
			[]string{"Ready=False WriteFailed Secret gateway-keys could not be written"},
		},
		"an error that is not public": {export.Facts{Err: errors.New("internal")}, []string{"Ready=False WriteFailed Reconciliation failed: see the log of the manager"}},
		"both":                        {export.Facts{Violation: violation, Err: errors.New("internal")}, []string{"Ready=False TargetConflict Secret gateway-keys exists", "Stalled=True TargetConflict Secret gateway-keys exists"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tt.facts.Export, tt.facts.Now = newExport(nil), epoch
			status := export.Describe(tt.facts)
			var got []string
			for _, c := range status.Conditions {
				got = append(got, fmt.Sprintf("%s=%s %s %s", c.Type, c.Status, c.Reason, c.Message))
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
			// A second reconcile changes nothing, and the end of the problem removes Stalled.
			again := newExport(nil)
			again.Status = status
			tt.facts.Export, tt.facts.Now = again, epoch.Add(time.Hour)
			if diff := cmp.Diff(status, export.Describe(tt.facts)); diff != "" {
				t.Error(diff)
			}
			after := export.Describe(export.Facts{Export: again, Now: epoch.Add(time.Hour)})
			if len(after.Conditions) != 1 || !meta.IsStatusConditionTrue(after.Conditions, "Ready") {
				t.Errorf("got %+v", after.Conditions)
			}
		})
	}
}

// Stalled tells since when its reason applies.
func TestDescribe_StalledChangesReason(t *testing.T) {
	t.Parallel()
	e := newExport(nil)
	for i, reason := range []string{v1alpha1.ReasonTargetConflict, v1alpha1.ReasonInvalidSpec} {
		now := epoch.Add(time.Duration(i) * time.Hour)
		e.Status = export.Describe(export.Facts{Export: e, Violation: &keys.Violation{Reason: reason, Message: "x"}, Now: now})
		if c := meta.FindStatusCondition(e.Status.Conditions, "Stalled"); c.Reason != reason || !c.LastTransitionTime.Time.Equal(now) {
			t.Errorf("got %+v", c)
		}
	}
}

// The status is bounded, whatever the number of keys and objects, and the length of messages.
func TestDescribe_Bounded(t *testing.T) {
	t.Parallel()
	f := export.Facts{Export: newExport(nil), Objects: export.Objects{}, Now: epoch, Violation: &keys.Violation{Reason: v1alpha1.ReasonInvalidSpec, Message: strings.Repeat("ñ", 5000)}}
	for n := range 2000 {
		f.Objects[fmt.Sprintf("gateway-keys-%04d", n)] = object()
		f.Withheld = append(f.Withheld, withheld("default", fmt.Sprintf("key-%04d", n), v1alpha1.ReasonExportFull))
	}
	got := export.Describe(f)
	if len(got.Withheld) != 50 || len(got.Objects) != 50 || *got.WithheldKeys != 2000 || *got.ObjectCount != 2000 {
		t.Errorf("%d withheld of %d, %d objects of %d", len(got.Withheld), *got.WithheldKeys, len(got.Objects), *got.ObjectCount)
	}
	if got.Withheld[49].Name != "key-0049" || got.Objects[49] != "gateway-keys-0049" {
		t.Errorf("the lists end with %s and %s", got.Withheld[49].Name, got.Objects[49])
	}
	for _, c := range got.Conditions {
		if len(c.Message) > 1024 {
			t.Errorf("a message of %d bytes", len(c.Message))
		}
	}
}
