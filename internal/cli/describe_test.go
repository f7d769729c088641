// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/printers"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
)

var update = flag.Bool("update", false, "write the golden files")

// golden compares an output with a golden file.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs (-want +got):\n%s", path, diff)
	}
}

// shopKey returns a key in the middle of a rotation.
func shopKey() *v1alpha1.APIKey {
	return &v1alpha1.APIKey{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shops", Name: "shop-key", CreationTimestamp: *daysFromNow(-30)},
		Spec: v1alpha1.APIKeySpec{
			Account: "acme", Label: "Clave para integración", Expiration: "2027-03-28", Scopes: []string{"orders:read"},
			IPWhitelist: []string{"192.0.2.0/24"}, Metadata: map[string]v1alpha1.MetadataValue{"team": "shop", "tier": "gold"},
			RateLimits: []v1alpha1.RateLimit{keystest.RateLimit("requests", 50, v1alpha1.RateLimitMinute)},
		},
		Status: v1alpha1.APIKeyStatus{
			State: v1alpha1.StateActive, KeyID: "b1b2b3b4b5b6", ExpirationTime: daysFromNow(28), LastUsedTime: daysFromNow(-1),
			Credentials: []v1alpha1.Credential{
				{Role: v1alpha1.RoleCurrent, ID: "b1b2b3b4b5b6", Hint: "ak_b1b2b3b4b5b6", IssuedAt: *daysFromNow(-1)},
				{Role: v1alpha1.RolePrevious, ID: "a1a2a3a4a5a6", Hint: "ak_a1a2a3a4a5a6", IssuedAt: *daysFromNow(-30), NotAfter: daysFromNow(1), LastUsedTime: daysFromNow(-1)},
			},
			Conditions: []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: "Issued", Message: "The key is in use"}},
			History: []v1alpha1.Transition{
				{Time: *daysFromNow(-30), Reason: v1alpha1.ReasonIssued, Message: "Issued"},
				{Time: *daysFromNow(-1), Reason: v1alpha1.ReasonRotated, Message: "Rotated"},
			},
			Notifications: []v1alpha1.NotificationStatus{{Date: "2027-03-21", State: v1alpha1.NotificationPending}},
		},
	}
}

func describeText(t *testing.T, d description) string {
	t.Helper()
	var text bytes.Buffer
	table := printers.GetNewTabWriter(&text)
	d.write(table)
	if err := table.Flush(); err != nil {
		t.Fatal(err)
	}
	return text.String()
}

func TestDescribe_Golden(t *testing.T) {
	event := eventsv1.Event{Type: "Normal", Reason: v1alpha1.ReasonRotated, Note: "Rotated the key"}
	event.EventTime = metav1.MicroTime{Time: daysFromNow(-1).Time}
	account := &v1alpha1.Account{
		Spec: v1alpha1.AccountSpec{
			DisplayName: "Acme Tiendas", AllowedNamespaces: &metav1.LabelSelector{MatchLabels: map[string]string{"team": "shops"}},
			Plan: "pro", Metadata: map[string]v1alpha1.MetadataValue{"tier": "basic"},
			RateLimits: []v1alpha1.RateLimit{
				keystest.RateLimit("requests", 100, v1alpha1.RateLimitMinute), keystest.RateLimit("mails", 10, v1alpha1.RateLimitMinute),
			},
		},
	}
	golden(t, "describe.txt", describeText(t, description{key: shopKey(), account: account, events: []eventsv1.Event{event}, now: now}))
}

// An object of an older schema, or another program, may hold what the schema refuses today.
func TestDescribe_PrintsNoControlCharacters(t *testing.T) {
	k := shopKey()
	k.Spec.Metadata["team"] = "shop\n  tier  gold  account\x1b]0;"
	k.Spec.Label = "Tienda\x1b[2J\nState:  Active\r\u202e"
	k.Status.History[0].Message = "Issued\n  2027-02-28T12:00:00Z  Revoked"
	k.Status.Conditions[0].Message = "a\tb"
	golden(t, "describe-hostile.txt", describeText(t, description{
		key: k, accountErr: errors.New("accounts is\nforbidden\x07"), eventsErr: errors.New("events is forbidden"), now: now,
	}))
}

func TestPrintKeys_Golden(t *testing.T) {
	hostile := v1alpha1.APIKey{ObjectMeta: metav1.ObjectMeta{Namespace: "shops", Name: "web", CreationTimestamp: *daysFromNow(-1)}}
	hostile.Spec.Label = "Web\x1b]0;title\x07\nshops  forged"
	var out bytes.Buffer
	o := &output{flags: printFlags("wide")}
	if err := printKeys(o, []v1alpha1.APIKey{*shopKey(), hostile}, true, now, &out); err != nil {
		t.Fatal(err)
	}
	golden(t, "list-wide.txt", out.String())
}

func printFlags(format string) *genericclioptions.PrintFlags {
	flags := genericclioptions.NewPrintFlags("")
	*flags.OutputFormat = format
	return flags
}

func TestArguments(t *testing.T) {
	for name, tc := range map[string]struct{ commandLine, want []string }{
		"the plugin":              {[]string{"/bin/kubectl-apikey", "list"}, []string{"list"}},
		"the completion":          {[]string{"/home/u/.local/bin/kubectl_complete-apikey", "list", ""}, []string{"__complete", "list", ""}},
		"the completion, Windows": {[]string{"kubectl_complete-apikey.exe", "li"}, []string{"__complete", "li"}},
		"no arguments":            {nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, Arguments(tc.commandLine)); diff != "" {
				t.Errorf("Arguments: (-want +got)\n%s", diff)
			}
		})
	}
}
