// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"slices"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

var targetPath = field.NewPath("spec", "target")

// ValidateExportTarget refuses a target whose objects Kubernetes or its tools would act on: one with a type, a label or an
// annotation in a domain that is always reserved, or that the manager's flags reserve. The manager may write Secrets where
// the user may not, so a KeyExport must not make one that a tool trusts, as Argo CD trusts a Secret that its label makes a
// cluster.
func ValidateExportTarget(target *v1alpha1.ExportTarget, settings Settings) field.ErrorList {
	var errs field.ErrorList
	if reservedBy(target.Type, slices.Concat(reservedTypeDomains, settings.ReservedDomains)) != "" {
		errs = append(errs, field.Forbidden(targetPath.Child("type"),
			"must not be a type that Kubernetes or its tools act upon: omit it for Opaque, or use a type that the gateway defines, "+
				"such as nginx.org/apikey"))
	}
	domains := slices.Concat(reservedDomains, settings.ReservedDomains)
	errs = append(errs, validateNames(target.Labels, domains, targetPath.Child("labels"))...)
	return append(errs, validateNames(target.Annotations, domains, targetPath.Child("annotations"))...)
}
