// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"maps"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// CheckExportDomains refuses a target of a KeyExport that has a type, a label or an annotation in a domain reserved by the
// manager's flags. The manager may write Secrets where the user may not, so a KeyExport must not make one that a tool
// trusts, as Argo CD trusts a Secret that its label makes a cluster.
func (d Settings) CheckExportDomains(target *v1alpha1.ExportTarget) field.ErrorList {
	path := field.NewPath("spec", "target")
	var errs field.ErrorList
	if domain := reservedBy(target.Type, d.ReservedDomains); domain != "" {
		errs = append(errs, field.Forbidden(path.Child("type"),
			"must not use the reserved domain "+domain+": omit it for Opaque, or use a type that the gateway defines"))
	}
	errs = append(errs, validateNames(target.Labels, d.ReservedDomains, path.Child("labels"))...)
	return append(errs, validateNames(target.Annotations, d.ReservedDomains, path.Child("annotations"))...)
}

// WithoutReservedNames returns labels or annotations without those in a domain reserved by the manager's flags.
func (d Settings) WithoutReservedNames(metadata map[string]string) map[string]string {
	rest := maps.Clone(metadata)
	maps.DeleteFunc(rest, func(name, _ string) bool {
		return strings.Contains(name, "/") && reservedBy(name, d.ReservedDomains) != ""
	})
	return rest
}
