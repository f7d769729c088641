// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

func TestObserveExported(t *testing.T) {
	t.Parallel()
	condition := func(kind string, status metav1.ConditionStatus, message string) func(*v1alpha1.KeyExport) {
		return func(x *v1alpha1.KeyExport) {
			x.Status.Conditions = append(x.Status.Conditions, metav1.Condition{Type: kind, Status: status, Message: message})
		}
	}
	clear := func(x *v1alpha1.KeyExport) { x.Status.Conditions = nil }
	for name, tc := range map[string]struct {
		changes []func(*v1alpha1.KeyExport)
		want    outcome
	}{
		"exported, with a withheld key": {nil, outcome{Done: true, Message: "its objects hold 2 credentials of 1 key; 1 key is withheld: " +
			"kubectl apikey keyexports describe api -n gateway says why"}},
		"exported": {
			[]func(*v1alpha1.KeyExport){func(x *v1alpha1.KeyExport) { x.Status.WithheldKeys = new(int32(0)) }},
			outcome{Done: true, Message: "its objects hold 2 credentials of 1 key"},
		},
		"an older generation": {
			[]func(*v1alpha1.KeyExport){func(x *v1alpha1.KeyExport) { x.Generation = 2 }},
			outcome{Message: "the manager has not observed it yet; kubectl apikey check says if it is running"},
		},
		"stalled": {
			[]func(*v1alpha1.KeyExport){condition(v1alpha1.ConditionStalled, metav1.ConditionTrue, "Secret api-keys exists")},
			outcome{Failed: true, Message: "Secret api-keys exists"},
		},
		"not ready": {
			[]func(*v1alpha1.KeyExport){clear, condition(v1alpha1.ConditionReady, metav1.ConditionFalse, "The write was refused")},
			outcome{Message: "The write was refused"},
		},
		"without a condition": {[]func(*v1alpha1.KeyExport){clear}, outcome{Message: "the manager has not reported yet"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := gatewayKeys()
			for _, change := range tc.changes {
				change(x)
			}
			if got := observeExported(x); got != tc.want {
				t.Errorf("got %+v, want %+v", got, tc.want)
			}
		})
	}
}
