// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"errors"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/credential"
)

// ValidateAPIKey returns the errors of a spec, without regard to its account. The schema of the CRD refuses the same
// specs. ValidateAPIKey also covers objects that were stored under an older schema.
func ValidateAPIKey(k *v1alpha1.APIKey) field.ErrorList {
	spec := field.NewPath("spec")
	var errs field.ErrorList
	switch k.Spec.State {
	case "", v1alpha1.KeyStateActive, v1alpha1.KeyStateInactive, v1alpha1.KeyStateRevoked:
	default:
		errs = append(errs, field.Invalid(spec.Child("state"), k.Spec.State, "must be Active, Inactive or Revoked"))
	}
	if k.Spec.Format != nil && k.Spec.Format.Prefix != "" && !credential.IsPrefix(k.Spec.Format.Prefix) {
		errs = append(
			errs,
			field.Invalid(
				spec.Child("format", "prefix"),
				k.Spec.Format.Prefix,
				"must be a lower-case letter followed by at most 15 lower-case letters and digits, such as live",
			),
		)
	}
	if _, err := ResolveExpiration(k.Spec.Expiration, "UTC"); err != nil {
		errs = append(errs, field.Invalid(spec.Child("expiration"), k.Spec.Expiration, err.Error()))
	}
	errs = append(errs, validateWhitelist(k.Spec.IPWhitelist, spec.Child("ipWhitelist"))...)
	errs = append(errs, validateRotation(k.Spec.Rotation, spec.Child("rotation"))...)
	errs = append(errs, validateImport(k.Spec.Import, spec.Child("import"))...)
	errs = append(errs, validateTemplate(secretTemplate(k), spec.Child("secret", "template"))...)
	return append(errs, validateSecretPolicy(secretTemplate(k), spec.Child("secret", "template"))...)
}

func validateWhitelist(list []string, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if list != nil && len(list) == 0 {
		errs = append(errs, field.Invalid(path, list, "must not be empty: omit the field to allow any address"))
	}
	for i, entry := range list {
		if _, err := ParseNetwork(entry); err != nil {
			errs = append(
				errs,
				field.Invalid(path.Index(i), entry, "must be an IP address, such as 192.0.2.7, or a CIDR without host bits, such as 10.0.0.0/8"),
			)
		}
	}
	return errs
}

var errNetwork = errors.New("not an address or network")

// ParseNetwork parses an entry of a whitelist: an IPv4 or IPv6 address, or a CIDR without host bits. It refuses
// IPv4-mapped IPv6 addresses and zones, because a client's address is compared unmapped and without its zone.
func ParseNetwork(entry string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(entry); err == nil {
		if addr.Is4In6() || addr.Zone() != "" {
			return netip.Prefix{}, errNetwork
		}
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(entry)
	if err != nil || prefix.Masked() != prefix || prefix.Addr().Is4In6() {
		return netip.Prefix{}, errNetwork
	}
	return prefix, nil
}

// validateRotation validates the durations and instants of a rotation.
func validateRotation(r *v1alpha1.Rotation, path *field.Path) field.ErrorList {
	if r == nil {
		return nil
	}
	var errs field.ErrorList
	interval, overlap := time.Duration(0), time.Duration(0)
	read := func(name string, d v1alpha1.Duration, least time.Duration, into *time.Duration) {
		if d == "" {
			return
		}
		parsed, err := time.ParseDuration(string(d))
		if err != nil || parsed < least {
			errs = append(
				errs,
				field.Invalid(path.Child(name), d, "must be a duration of at least "+least.String()+", such as 720h for thirty days"),
			)
		}
		*into = parsed
	}
	read("interval", r.Interval, time.Minute, &interval)
	read("overlap", r.Overlap, 0, &overlap)
	errs = append(errs, validateInstant(r.RequestedAt, path.Child("requestedAt"))...)
	errs = append(errs, validateInstant(r.RevokeBefore, path.Child("revokeBefore"))...)
	if interval > 0 && overlap > interval {
		errs = append(errs, field.Invalid(path.Child("overlap"), r.Overlap, "must not be longer than interval"))
	}
	return errs
}

func validateInstant(s v1alpha1.Instant, path *field.Path) field.ErrorList {
	if s == "" {
		return nil
	}
	if _, err := ParseInstant(string(s)); err != nil {
		return field.ErrorList{field.Invalid(path, s, err.Error())}
	}
	return nil
}

// validateTemplate validates the names of the entries, labels and annotations of a template.
func validateTemplate(t *v1alpha1.SecretTemplate, path *field.Path) field.ErrorList {
	if t == nil {
		return nil
	}
	var errs field.ErrorList
	errs = append(errs, validateEntryNames(t.Data, path.Child("data"))...)
	errs = append(errs, validateRequiredEntries(t, path.Child("data"))...)
	for _, name := range slices.Sorted(maps.Keys(t.Labels)) {
		if problems := append(validation.IsQualifiedName(name), validation.IsValidLabelValue(t.Labels[name])...); len(problems) > 0 {
			errs = append(errs, field.Invalid(path.Child("labels").Key(name), t.Labels[name], problems[0]))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(t.Annotations)) {
		if problems := validation.IsQualifiedName(strings.ToLower(name)); len(problems) > 0 {
			errs = append(errs, field.Invalid(path.Child("annotations"), name, problems[0]))
		}
	}
	return errs
}

// validateEntryNames refuses names that the API server refuses in a Secret. The schema accepts some of them, such as
// "..".
func validateEntryNames(data map[string]string, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, name := range slices.Sorted(maps.Keys(data)) {
		if problems := validation.IsConfigMapKey(name); len(problems) > 0 {
			errs = append(errs, field.Invalid(path, name, problems[0]))
		}
	}
	return errs
}

// ValidateAccount returns the errors of the spec of an account.
func ValidateAccount(a *v1alpha1.Account) field.ErrorList {
	spec := field.NewPath("spec")
	var errs field.ErrorList
	if _, err := LoadZone(a.Spec.TimeZone); err != nil {
		errs = append(errs, field.Invalid(spec.Child("timeZone"), a.Spec.TimeZone, "must be an IANA time zone, such as UTC or Europe/Madrid"))
	}
	if _, err := namespaceSelector(a); err != nil {
		errs = append(errs, field.Invalid(spec.Child("allowedNamespaces"), a.Spec.AllowedNamespaces, err.Error()))
	}
	return errs
}
