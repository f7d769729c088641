// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package webhook_test

import (
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
	"github.com/apikey-manager/apikey-manager/internal/webhook"
)

func TestDefinition_Delete(t *testing.T) {
	t.Parallel()
	const own = "apikeys.apikey-manager.io"
	forbids := policy(func(a *v1alpha1.AccountSpec) { a.DeletionPolicy = v1alpha1.DeletionForbid })
	issued := keystest.Key("web", keystest.Issued(keystest.Epoch))
	forbidden := []client.Object{keystest.NewAccount("acme", forbids), issued}
	for name, tc := range map[string]struct {
		definition string
		operation  admissionv1.Operation
		world      []client.Object
		fallback   v1alpha1.DeletionPolicy
		want       string // the expected denial, or "" if the deletion is allowed
	}{
		"no key":                          {definition: own},
		"a key that may be deleted":       {definition: own, world: []client.Object{keystest.NewAccount("acme"), issued}},
		"a key that must not be":          {definition: own, world: forbidden, want: "account acme forbids the deletion of keys"},
		"accounts, and such a key":        {definition: "accounts.apikey-manager.io", world: forbidden, want: "account acme forbids"},
		"a key that was never issued":     {definition: own, world: []client.Object{keystest.NewAccount("acme", forbids), keystest.Key("web")}},
		"forbidden by the manager's flag": {definition: own, world: []client.Object{keystest.NewAccount("acme"), issued}, fallback: v1alpha1.DeletionForbid, want: "account acme forbids"},
		"an account that is gone":         {definition: own, world: []client.Object{issued}, fallback: v1alpha1.DeletionForbid, want: "account acme forbids"},
		"another project's":               {definition: "certificates.cert-manager.io", world: forbidden},
		"an update":                       {definition: own, operation: admissionv1.Update, world: forbidden},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			settings := keystest.Settings
			settings.DeletionPolicy = tc.fallback
			v := &webhook.DefinitionValidator{Cache: reader(t, interceptor.Funcs{}, tc.world...), Settings: settings}
			request := admission.Request{AdmissionRequest: admissionv1.AdmissionRequest{Name: tc.definition, Operation: admissionv1.Delete}}
			if tc.operation != "" {
				request.Operation = tc.operation
			}
			got := v.Handle(t.Context(), request)
			if got.Allowed != (tc.want == "") || !strings.Contains(got.Result.Message, tc.want) {
				t.Errorf("allowed: %t, %q; want %q", got.Allowed, got.Result.Message, tc.want)
			}
		})
	}
}
