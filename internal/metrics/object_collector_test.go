// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package metrics_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr/testr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
	"github.com/apikey-manager/apikey-manager/internal/metrics"
)

func reader(t *testing.T, funcs interceptor.Funcs, objects ...client.Object) client.Reader {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	return fake.NewClientBuilder().WithScheme(scheme).WithInterceptorFuncs(funcs).WithObjects(objects...).Build()
}

// undecodableFirst lists keys and KeyExports of which the first can't be decoded.
func undecodableFirst(ctx context.Context, c client.WithWatch, list client.ObjectList, options ...client.ListOption) error {
	if err := c.List(ctx, list, options...); err != nil {
		return err
	}
	switch list := list.(type) {
	case *v1alpha1.APIKeyList:
		list.Items[0].Undecodable = []string{"spec.rotation"}
	case *v1alpha1.KeyExportList:
		if len(list.Items) > 0 {
			list.Items[0].Undecodable = []string{"spec.target"}
		}
	}
	return nil
}

func ready(status metav1.ConditionStatus) keystest.KeyOption {
	return keystest.Status(func(s *v1alpha1.APIKeyStatus) {
		s.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: status, Reason: "Any"}}
	})
}

func exportWith(name string, status v1alpha1.KeyExportStatus) *v1alpha1.KeyExport {
	return &v1alpha1.KeyExport{ObjectMeta: metav1.ObjectMeta{Namespace: "gateway", Name: name}, Status: status}
}

func TestObjectCollector(t *testing.T) {
	t.Parallel()
	objects := []client.Object{
		keystest.Key("web", keystest.Issued(keystest.Epoch), keystest.Expiring(keystest.Epoch.Add(time.Hour)), keystest.Issued(keystest.Epoch),
			ready(metav1.ConditionTrue)),
		keystest.Key("new"),
		keystest.Key("off", keystest.Namespace("shop"), keystest.Account("zeta"), keystest.Observed(v1alpha1.StateInactive),
			ready(metav1.ConditionTrue)),
		keystest.Key("waits", keystest.Observed(v1alpha1.StatePending), ready(metav1.ConditionFalse)),
		exportWith("nginx", v1alpha1.KeyExportStatus{
			Conditions:  []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: "Any"}},
			Credentials: ptr.To[int32](7), WithheldKeys: ptr.To[int32](0),
		}),
		exportWith("new", v1alpha1.KeyExportStatus{}),
	}
	want := `
# HELP apikey_manager_account_keys Number of keys of an account, by state.
# TYPE apikey_manager_account_keys gauge
apikey_manager_account_keys{account="acme",state="Active"} 1
apikey_manager_account_keys{account="acme",state="Expired"} 0
apikey_manager_account_keys{account="acme",state="Inactive"} 0
apikey_manager_account_keys{account="acme",state="Pending"} 2
apikey_manager_account_keys{account="acme",state="Revoked"} 0
apikey_manager_account_keys{account="acme",state="Suspended"} 0
apikey_manager_account_keys{account="zeta",state="Active"} 0
apikey_manager_account_keys{account="zeta",state="Expired"} 0
apikey_manager_account_keys{account="zeta",state="Inactive"} 1
apikey_manager_account_keys{account="zeta",state="Pending"} 0
apikey_manager_account_keys{account="zeta",state="Revoked"} 0
apikey_manager_account_keys{account="zeta",state="Suspended"} 0
# HELP apikey_manager_export_credentials Number of credentials that the objects of a KeyExport hold.
# TYPE apikey_manager_export_credentials gauge
apikey_manager_export_credentials{name="nginx",namespace="gateway"} 7
# HELP apikey_manager_export_ready_status Status of the Ready condition of a KeyExport: 1 for the current one of True, False and Unknown, 0 for the others.
# TYPE apikey_manager_export_ready_status gauge
apikey_manager_export_ready_status{condition="False",name="new",namespace="gateway"} 0
apikey_manager_export_ready_status{condition="False",name="nginx",namespace="gateway"} 1
apikey_manager_export_ready_status{condition="True",name="new",namespace="gateway"} 0
apikey_manager_export_ready_status{condition="True",name="nginx",namespace="gateway"} 0
apikey_manager_export_ready_status{condition="Unknown",name="new",namespace="gateway"} 1
apikey_manager_export_ready_status{condition="Unknown",name="nginx",namespace="gateway"} 0
# HELP apikey_manager_export_withheld_keys Number of selected keys that verifiers accept and that a KeyExport withholds, in whole or in part.
# TYPE apikey_manager_export_withheld_keys gauge
apikey_manager_export_withheld_keys{name="nginx",namespace="gateway"} 0
# HELP apikey_manager_key_expiration_timestamp_seconds Expiration time of an accepted key, in seconds since the Unix epoch. Absent for keys that never expire.
# TYPE apikey_manager_key_expiration_timestamp_seconds gauge
apikey_manager_key_expiration_timestamp_seconds{account="acme",name="web",namespace="default"} 1.7680392e+09
# HELP apikey_manager_key_notified_status 1 if a mail about the current expiration of a key was sent, 0 otherwise. Absent for keys that never expire.
# TYPE apikey_manager_key_notified_status gauge
apikey_manager_key_notified_status{account="acme",name="web",namespace="default"} 0
# HELP apikey_manager_key_ready_status Status of the Ready condition of a key: 1 for the current one of True, False and Unknown, 0 for the others.
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
# HELP apikey_manager_undecodable_objects Number of objects of a kind that the manager ignores because it cannot decode them completely. A log line names the fields.
# TYPE apikey_manager_undecodable_objects gauge
apikey_manager_undecodable_objects{kind="APIKey"} 1
apikey_manager_undecodable_objects{kind="Account"} 0
apikey_manager_undecodable_objects{kind="KeyExport"} 1
`
	collector := metrics.NewObjectCollector(t.Context(), reader(t, interceptor.Funcs{List: undecodableFirst}, objects...), testr.New(t))
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

// A scrape that cannot list objects returns no series instead of zeros, and does not affect other metrics.
func TestObjectCollector_OmitsUnreadableObjects(t *testing.T) {
	t.Parallel()
	for name, unreadable := range map[string]client.ObjectList{
		"keys": &v1alpha1.APIKeyList{}, "accounts": &v1alpha1.AccountList{}, "exports": &v1alpha1.KeyExportList{},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			down := interceptor.Funcs{List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, o ...client.ListOption) error {
				if reflect.TypeOf(list) == reflect.TypeOf(unreadable) {
					return errors.New("no cache")
				}
				return c.List(ctx, list, o...)
			}}
			registry := prometheus.NewPedanticRegistry()
			registry.MustRegister(metrics.NewObjectCollector(t.Context(), reader(t, down, keystest.Key("web")), testr.New(t)))
			families, err := registry.Gather()
			if err != nil || len(families) > 0 {
				t.Errorf("got %v, %v", families, err)
			}
		})
	}
}

// Mails about an earlier expiration do not count.
func TestObjectCollector_NotifiedOfCurrentExpiration(t *testing.T) {
	t.Parallel()
	mails := v1alpha1.Notification{Emails: []string{"a@example.com"}, DaysBefore: []int32{30, 7}} // on 1 and 24 October
	on := func(date string, state v1alpha1.NotificationState) v1alpha1.NotificationStatus {
		return v1alpha1.NotificationStatus{Date: date, State: state}
	}
	const sent, pending = v1alpha1.NotificationSent, v1alpha1.NotificationPending
	for name, tc := range map[string]struct {
		accountsOwn bool // the account configures the mails, not the key
		list        []v1alpha1.NotificationStatus
		want        int
	}{
		"no mail yet":               {list: []v1alpha1.NotificationStatus{on("2026-10-01", pending), on("2026-10-24", pending)}},
		"one of two":                {list: []v1alpha1.NotificationStatus{on("2026-10-01", sent), on("2026-10-24", pending)}, want: 1},
		"all":                       {list: []v1alpha1.NotificationStatus{on("2026-10-01", sent), on("2026-10-24", sent)}, want: 1},
		"configured by the account": {accountsOwn: true, list: []v1alpha1.NotificationStatus{on("2026-10-24", sent)}, want: 1},
		"not skipped and not failed": {list: []v1alpha1.NotificationStatus{
			on("2026-10-01", v1alpha1.NotificationSkipped),
			on("2026-10-24", v1alpha1.NotificationFailed),
		}},
		"of an earlier expiration": {list: []v1alpha1.NotificationStatus{
			on("2026-07-01", sent), on("2026-10-01", pending),
			on("2026-10-24", pending),
		}},
		"of a later expiration": {list: []v1alpha1.NotificationStatus{
			on("2026-10-01", pending), on("2026-10-24", pending),
			on("2027-07-01", sent),
		}},
		"of an earlier one and of this": {list: []v1alpha1.NotificationStatus{
			on("2026-07-01", sent), on("2026-10-01", sent),
			on("2026-10-24", pending),
		}, want: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// This is the last day of October in Madrid, and the day before in UTC.
			expiring := keystest.Status(func(s *v1alpha1.APIKeyStatus) {
				s.ExpirationTime = &metav1.Time{Time: time.Date(2026, 10, 30, 23, 0, 0, 0, time.UTC)}
				s.Notifications = tc.list
			})
			key, account := keystest.Key("web", expiring), keystest.NewAccount("acme", keystest.Zone("Europe/Madrid"))
			if tc.accountsOwn {
				account.Spec.KeyDefaults = &v1alpha1.KeyDefaults{Notification: &mails}
			} else {
				key.Spec.Notification = &mails
			}
			const metric = "apikey_manager_key_notified_status"
			want := fmt.Sprintf(`
# HELP %[1]s 1 if a mail about the current expiration of a key was sent, 0 otherwise. Absent for keys that never expire.
# TYPE %[1]s gauge
%[1]s{account="acme",name="web",namespace="default"} %[2]d
`, metric, tc.want)
			collector := metrics.NewObjectCollector(t.Context(), reader(t, interceptor.Funcs{}, key, account), testr.New(t))
			if err := testutil.CollectAndCompare(collector, strings.NewReader(want), metric); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestObjectCollector_IsConsistent(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewPedanticRegistry() // compares collected metrics with their descriptions
	registry.MustRegister(metrics.NewObjectCollector(t.Context(),
		reader(t, interceptor.Funcs{}, keystest.Key("web"), keystest.Key("web", keystest.Namespace("shop"))), testr.New(t)))
	if _, err := registry.Gather(); err != nil {
		t.Error(err)
	}
}
