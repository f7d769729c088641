// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package telemetry_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr/testr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
	"github.com/apikey-manager/apikey-manager/internal/telemetry"
)

func reader(t *testing.T, funcs interceptor.Funcs, objects ...client.Object) client.Reader {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	return fake.NewClientBuilder().WithScheme(scheme).WithInterceptorFuncs(funcs).WithObjects(objects...).Build()
}

func ready(status metav1.ConditionStatus) keystest.KeyOption {
	return keystest.Status(func(s *v1alpha1.APIKeyStatus) {
		s.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: status, Reason: "Any"}}
	})
}

func TestObjects(t *testing.T) {
	t.Parallel()
	objects := []client.Object{
		keystest.Key("web", keystest.Issued(keystest.Epoch), keystest.Expiring(keystest.Epoch.Add(time.Hour)), keystest.Issued(keystest.Epoch), ready(metav1.ConditionTrue)),
		keystest.Key("new"),
		keystest.Key("off", keystest.Namespace("shop"), keystest.Account("zeta"), keystest.Observed(v1alpha1.StateInactive), ready(metav1.ConditionTrue)),
		keystest.Key("waits", keystest.Observed(v1alpha1.StatePending), ready(metav1.ConditionFalse)),
	}
	want := `
# HELP apikey_manager_account_keys How many keys an account has, by state.
# TYPE apikey_manager_account_keys gauge
apikey_manager_account_keys{account="acme",state="Active"} 1
apikey_manager_account_keys{account="acme",state="Expired"} 0
apikey_manager_account_keys{account="acme",state="Inactive"} 0
apikey_manager_account_keys{account="acme",state="Pending"} 2
apikey_manager_account_keys{account="acme",state="Revoked"} 0
apikey_manager_account_keys{account="zeta",state="Active"} 0
apikey_manager_account_keys{account="zeta",state="Expired"} 0
apikey_manager_account_keys{account="zeta",state="Inactive"} 1
apikey_manager_account_keys{account="zeta",state="Pending"} 0
apikey_manager_account_keys{account="zeta",state="Revoked"} 0
# HELP apikey_manager_key_expiration_timestamp_seconds When an accepted key expires, in seconds since the Unix epoch; absent for keys that never expire.
# TYPE apikey_manager_key_expiration_timestamp_seconds gauge
apikey_manager_key_expiration_timestamp_seconds{account="acme",name="web",namespace="default"} 1.7680392e+09
# HELP apikey_manager_key_notified_status Whether people were told that a key is about to expire: 1 if a mail was sent, else 0; absent for keys that never expire.
# TYPE apikey_manager_key_notified_status gauge
apikey_manager_key_notified_status{account="acme",name="web",namespace="default"} 0
# HELP apikey_manager_key_ready_status Whether a key is Ready: 1 for the one of True, False and Unknown that holds, else 0.
# TYPE apikey_manager_key_ready_status gauge
apikey_manager_key_ready_status{account="acme",condition="False",name="new",namespace="default"} 0
apikey_manager_key_ready_status{account="acme",condition="False",name="waits",namespace="default"} 1
apikey_manager_key_ready_status{account="acme",condition="False",name="web",namespace="default"} 0
apikey_manager_key_ready_status{account="acme",condition="True",name="new",namespace="default"} 0
apikey_manager_key_ready_status{account="acme",condition="True",name="waits",namespace="default"} 0
apikey_manager_key_ready_status{account="acme",condition="True",name="web",namespace="default"} 1
apikey_manager_key_ready_status{account="acme",condition="Unknown",name="new",namespace="default"} 1
apikey_manager_key_ready_status{account="acme",condition="Unknown",name="waits",namespace="default"} 0
apikey_manager_key_ready_status{account="acme",condition="Unknown",name="web",namespace="default"} 0
apikey_manager_key_ready_status{account="zeta",condition="False",name="off",namespace="shop"} 0
apikey_manager_key_ready_status{account="zeta",condition="True",name="off",namespace="shop"} 1
apikey_manager_key_ready_status{account="zeta",condition="Unknown",name="off",namespace="shop"} 0
`
	collector := telemetry.NewObjects(t.Context(), reader(t, interceptor.Funcs{}, objects...), testr.New(t))
	if err := testutil.CollectAndCompare(collector, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
	problems, err := testutil.CollectAndLint(collector)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// A scrape that cannot read says nothing, rather than that there are no keys, and breaks no other metric.
func TestObjects_WhatCannotBeReadIsLeftOut(t *testing.T) {
	t.Parallel()
	down := interceptor.Funcs{List: func(context.Context, client.WithWatch, client.ObjectList, ...client.ListOption) error {
		return errors.New("no cache")
	}}
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(telemetry.NewObjects(t.Context(), reader(t, down), testr.New(t)))
	families, err := registry.Gather()
	if err != nil || len(families) > 0 {
		t.Errorf("got %v, %v", families, err)
	}
}

func TestObjects_IsConsistent(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewPedanticRegistry() // checks what is collected against what is described
	registry.MustRegister(telemetry.NewObjects(t.Context(), reader(t, interceptor.Funcs{}, keystest.Key("web"), keystest.Key("web", keystest.Namespace("shop"))), testr.New(t)))
	if _, err := registry.Gather(); err != nil {
		t.Error(err)
	}
}
