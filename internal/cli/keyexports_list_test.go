// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// gatewayKeys returns a KeyExport that holds the keys of two accounts for a gateway, and withholds one of them.
func gatewayKeys() *v1alpha1.KeyExport {
	return &v1alpha1.KeyExport{
		ObjectMeta: metav1.ObjectMeta{Namespace: "gateway", Name: "api", UID: "e1", CreationTimestamp: *daysFromNow(-30), Generation: 1},
		Spec: v1alpha1.KeyExportSpec{
			Accounts: []string{"acme", "contoso"}, Content: v1alpha1.ExportContentKey, Layout: v1alpha1.ExportLayoutEntries,
			Target:            v1alpha1.ExportTarget{Kind: v1alpha1.ExportToSecret, Name: "api-keys"},
			AddressRestricted: v1alpha1.AddressRestrictedWithhold,
		},
		Status: v1alpha1.KeyExportStatus{
			ObservedGeneration: 1, Keys: new(int32(1)), Credentials: new(int32(2)), WithheldKeys: new(int32(1)), ObjectCount: new(int32(1)),
			Withheld: []v1alpha1.WithheldKey{{Namespace: "shops", Name: "till", Reason: v1alpha1.ReasonExportNotAllowed}}, Objects: []string{"api-keys"},
			Conditions: []metav1.Condition{{
				Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonExported, Message: "The objects hold 2 credentials",
			}},
		},
	}
}

func TestPrintKeyExports_Golden(t *testing.T) {
	hostile := v1alpha1.KeyExport{ObjectMeta: metav1.ObjectMeta{Namespace: "shops", Name: "new", CreationTimestamp: *daysFromNow(-1)}}
	hostile.Spec.Target.Name = "Web\x1b]0;title\x07\nshops  forged"
	var out bytes.Buffer
	o := &output{flags: printFlags("wide")}
	if err := printKeyExports(o, []v1alpha1.KeyExport{*gatewayKeys(), hostile}, true, now, &out); err != nil {
		t.Fatal(err)
	}
	golden(t, "keyexports-wide.txt", out.String())
}
