// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

var (
	templatePath = field.NewPath("spec", "secret", "template")
	// reservedDomains lists the domains whose labels and annotations Kubernetes and this project act on.
	reservedDomains = []string{"kubernetes.io", "k8s.io", "x-k8s.io", "apikey-manager.io"}
	// reservedTypeDomains lists the domains whose Secret types a tool acts on. Helm takes such a Secret for a release,
	// Rancher for a plan that it carries out on a node.
	reservedTypeDomains = slices.Concat(reservedDomains, []string{"helm.sh", "cattle.io"})
	// allowedTypes lists the types of reserved domains that only specify how applications read the entries.
	allowedTypes = []string{"kubernetes.io/basic-auth", "kubernetes.io/dockerconfigjson"}
)

// validateSecretPolicy refuses a template whose Secret Kubernetes or its tools would act on. The manager may write
// Secrets where the user may not, so it writes none whose type or metadata has a special meaning.
func validateSecretPolicy(t *v1alpha1.SecretTemplate, path *field.Path) field.ErrorList {
	if t == nil {
		return nil
	}
	errs := validateSecretType(t.Type, reservedTypeDomains, path.Child("type"))
	return append(errs, validateMetadataNames(t, reservedDomains, path)...)
}

// validateReservedDomains refuses a template that uses a domain reserved by the manager's flags.
func validateReservedDomains(t *v1alpha1.SecretTemplate, domains []string, path *field.Path) field.ErrorList {
	if t == nil || len(domains) == 0 {
		return nil
	}
	errs := validateSecretType(t.Type, domains, path.Child("type"))
	return append(errs, validateMetadataNames(t, domains, path)...)
}

// ValidateExportTarget returns the errors of the type, labels and annotations of the objects of a KeyExport. It refuses
// the types that templates of Secrets may have in reserved domains, because they require entries.
func ValidateExportTarget(target *v1alpha1.ExportTarget, path *field.Path) field.ErrorList {
	t := &v1alpha1.SecretTemplate{Labels: target.Labels, Annotations: target.Annotations}
	errs := append(validateTemplate(t, path), validateMetadataNames(t, reservedDomains, path)...)
	if slices.Contains(allowedTypes, target.Type) {
		return append(errs, forbiddenType(path.Child("type")))
	}
	return append(errs, validateSecretType(target.Type, reservedTypeDomains, path.Child("type"))...)
}

func validateSecretType(secretType string, domains []string, path *field.Path) field.ErrorList {
	if slices.Contains(allowedTypes, secretType) || reservedBy(secretType, domains) == "" {
		return nil
	}
	return field.ErrorList{forbiddenType(path)}
}

func forbiddenType(path *field.Path) *field.Error {
	return field.Forbidden(path,
		"must not be a type that Kubernetes or its tools act upon: omit it for Opaque, or use a type in a domain of your own, "+
			"such as example.com/api-key")
}

func validateMetadataNames(t *v1alpha1.SecretTemplate, domains []string, path *field.Path) field.ErrorList {
	errs := validateNames(t.Labels, domains, path.Child("labels"))
	return append(errs, validateNames(t.Annotations, domains, path.Child("annotations"))...)
}

func validateNames(metadata map[string]string, domains []string, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, name := range slices.Sorted(maps.Keys(metadata)) {
		if domain := reservedBy(name, domains); domain != "" && strings.Contains(name, "/") {
			errs = append(errs, field.Forbidden(path.Key(name),
				"must not use the reserved domain "+domain+": use a domain of your own, such as example.com/team"))
		}
	}
	return errs
}

// reservedBy returns the first of the domains that equals the domain of a name, such as example.com/team, or is a
// parent of it, or "" if there is none. It ignores case and surrounding space, because a tool may do so when it reads
// the name.
func reservedBy(name string, domains []string) string {
	prefix, _, _ := strings.Cut(strings.ToLower(strings.TrimSpace(name)), "/")
	for _, domain := range domains {
		if prefix == domain || strings.HasSuffix(prefix, "."+domain) {
			return domain
		}
	}
	return ""
}
