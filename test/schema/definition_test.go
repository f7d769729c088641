// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package schema_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"github.com/apikey-manager/apikey-manager/test/schema/crd"
)

// definition holds the parts of a CustomResourceDefinition, other than the fields, that users rely on.
type definition struct {
	Group, Version  string
	Scope           apiextensionsv1.ResourceScope
	Names           apiextensionsv1.CustomResourceDefinitionNames
	Columns, Wide   []string
	SelectableField []string
	Status          bool
}

func TestDefinition_KeepsNamesAndColumns(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ want definition }{
		"APIKey": {want: definition{
			Group: "apikey-manager.io", Version: "v1alpha1", Scope: apiextensionsv1.NamespaceScoped,
			Names: apiextensionsv1.CustomResourceDefinitionNames{
				Kind: "APIKey", ListKind: "APIKeyList", Plural: "apikeys", Singular: "apikey",
				ShortNames: []string{"ak"}, Categories: []string{"apikey-manager"},
			},
			Columns: []string{
				"ACCOUNT .spec.account", "LABEL .spec.label", "STATE .status.state",
				`READY .status.conditions[?(@.type=="Ready")].status`, "EXPIRES .status.expirationTime",
				"LAST-USED .status.lastUsedTime", "AGE .metadata.creationTimestamp",
			},
			Wide: []string{
				"KEY-ID .status.keyID", "SECRET .status.secretRef.name",
				`REASON .status.conditions[?(@.type=="Ready")].reason`,
			},
			SelectableField: []string{".spec.account", ".spec.label", ".status.state", ".status.keyID"},
			Status:          true,
		}},
		"Account": {want: definition{
			Group: "apikey-manager.io", Version: "v1alpha1", Scope: apiextensionsv1.ClusterScoped,
			Names: apiextensionsv1.CustomResourceDefinitionNames{
				Kind: "Account", ListKind: "AccountList", Plural: "accounts", Singular: "account",
				ShortNames: []string{"acct"}, Categories: []string{"apikey-manager"},
			},
			Columns: []string{"KEYS .status.keys.usage", "STATE .spec.state", "DELETION .status.deletionPolicy", "AGE .metadata.creationTimestamp"},
			Status:  true,
		}},
		"KeyExport": {want: definition{
			Group: "apikey-manager.io", Version: "v1alpha1", Scope: apiextensionsv1.NamespaceScoped,
			Names: apiextensionsv1.CustomResourceDefinitionNames{
				Kind: "KeyExport", ListKind: "KeyExportList", Plural: "keyexports", Singular: "keyexport",
				ShortNames: []string{"kex"}, Categories: []string{"apikey-manager"},
			},
			Columns: []string{
				"TARGET .spec.target.name", "CONTENT .spec.content", "KEYS .status.keys", "CREDENTIALS .status.credentials", "WITHHELD .status.withheldKeys",
				`READY .status.conditions[?(@.type=="Ready")].status`, "AGE .metadata.creationTimestamp",
			},
			Wide:   []string{"KIND .spec.target.kind", "LAYOUT .spec.layout", `REASON .status.conditions[?(@.type=="Ready")].reason`},
			Status: true,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tc.want, summarize(kindOf(t, name).Definition)); diff != "" {
				t.Errorf("the definition changed (-want +got):\n%s", diff)
			}
		})
	}
}

func summarize(d *apiextensionsv1.CustomResourceDefinition) definition {
	version := d.Spec.Versions[0]
	out := definition{
		Group: d.Spec.Group, Version: version.Name, Scope: d.Spec.Scope, Names: d.Spec.Names,
		Status: version.Subresources != nil && version.Subresources.Status != nil,
	}
	for _, column := range version.AdditionalPrinterColumns {
		if text := column.Name + " " + column.JSONPath; column.Priority == 0 {
			out.Columns = append(out.Columns, text)
		} else {
			out.Wide = append(out.Wide, text)
		}
	}
	for _, selectable := range version.SelectableFields {
		out.SelectableField = append(out.SelectableField, selectable.JSONPath)
	}
	return out
}

// TestDefinition_IsValid runs the API server's validation of a CustomResourceDefinition, including its limits on the
// estimated cost of each rule and of all rules.
func TestDefinition_IsValid(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"APIKey", "Account", "KeyExport"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, err := range kindOf(t, name).ValidateDefinition(t.Context()) {
				t.Error(err)
			}
		})
	}
}

// TestDefinition_ItemRulesAreOnItems checks that the rules for the items of a list are on the items. With a marker on
// the list, a rule would be evaluated on the list.
func TestDefinition_ItemRulesAreOnItems(t *testing.T) {
	t.Parallel()
	for _, kindAndPath := range []string{
		"APIKey ipWhitelist", "APIKey scopes", "APIKey notification.emails",
		"Account allowedScopes", "Account keyDefaults.scopes", "Account keyDefaults.notification.emails",
		"KeyExport accounts", "KeyExport scopes",
	} {
		t.Run(kindAndPath, func(t *testing.T) {
			t.Parallel()
			kindName, path, _ := strings.Cut(kindAndPath, " ")
			schema := kindOf(t, kindName).Schema().Properties["spec"]
			for name := range strings.SplitSeq(path, ".") {
				schema = schema.Properties[name]
			}
			if schema.Items == nil || len(schema.Items.Schema.XValidations) != 1 {
				t.Errorf("the items of spec.%s have no rule of their own", path)
			}
		})
	}
}

// TestStatus_AcceptsEveryField checks that a status with every field is accepted.
func TestStatus_AcceptsEveryField(t *testing.T) {
	t.Parallel()
	condition := crd.Object{
		"type": "Ready", "status": "True", "reason": "Active", "message": "The key is in use",
		"observedGeneration": int64(1), "lastTransitionTime": "2026-11-22T12:00:00Z",
	}
	for name, tc := range map[string]struct {
		base   func() crd.Object
		status crd.Object
	}{
		"APIKey": {base: baseKey, status: crd.Object{
			"conditions": list(condition), "observedGeneration": int64(1), "state": "Active", "keyID": "3kTmR9vWq2Yx",
			"expirationTime": "2027-02-27T23:00:00Z", "nextRotationTime": "2027-01-01T00:00:00Z", "lastUsedTime": "2026-12-01T00:00:00Z",
			"ipRestriction": "Restricted", "releasedGrant": "4711", "rotation": crd.Object{"observedRequestedAt": "2027-01-01T00:00:00Z"}, "secretRef": crd.Object{"name": "shop-key", "resourceVersion": "4712"},
			"credentials": list(crd.Object{
				"id": "3kTmR9vWq2Yx", "hint": "ak_3kTmR9vWq2Yx", "sha256": strings.Repeat("0a", 32), "issuedAt": "2026-11-22T12:00:00Z",
				"notAfter": "2027-11-22T12:00:00Z", "lastUsedTime": "2026-12-01T00:00:00Z", "role": "Current",
			}),
			"revokedCredentials": list(crd.Object{"id": "8QpZ4nLbE7sA", "sha256": strings.Repeat("0b", 32), "issuedAt": "2026-11-21T12:00:00Z"}),
			"notifications":      list(crd.Object{"date": "2027-02-21", "state": "Sent", "attempts": int64(1), "sentAt": "2027-02-21T00:00:01Z", "reason": "Sent"}),
			"history":            list(crd.Object{"time": "2026-11-22T12:00:00Z", "reason": "Issued", "message": "Issued credential 3kTmR9vWq2Yx"}),
		}},
		"Account": {base: baseAccount, status: crd.Object{
			"conditions": list(condition), "observedGeneration": int64(1), "deletionPolicy": "Allow",
			"keys": crd.Object{
				"usage": "1/5", "admitted": int64(1), "waiting": int64(0), "active": int64(1), "inactive": int64(0), "expired": int64(0), "revoked": int64(0),
			},
			"slots": list(crd.Object{"namespace": "shop", "name": "shop-key", "uid": "6a1f", "grant": "4711", "label": "Tienda"}),
			"mail":  crd.Object{"date": "2026-11-22", "sent": int64(0)},
		}},
		"KeyExport": {base: baseExport, status: crd.Object{
			"conditions": list(condition), "observedGeneration": int64(1), "keys": int64(2), "credentials": int64(3), "withheldKeys": int64(1),
			"withheld":    list(crd.Object{"namespace": "shop", "name": "shop-key", "reason": "AddressRestricted"}),
			"objectCount": int64(1), "objects": list("gateway-keys"),
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			obj := tc.base()
			obj["status"] = tc.status
			_, errs := kindOf(t, name).Update(t.Context(), obj, tc.base())
			compareErrors(t, errs, nil)
			for field := range kindOf(t, name).Schema().Properties["status"].Properties {
				if _, ok := tc.status[field]; !ok {
					t.Errorf("the status of this test has no %s", field)
				}
			}
		})
	}
}
