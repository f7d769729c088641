// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"errors"
	"net/netip"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// ValidateAPIKey finds what is wrong with a spec taken alone. The CRD's schema refuses the same on the way in; this
// holds where an object came in under an older schema.
func ValidateAPIKey(k *v1alpha1.APIKey) field.ErrorList {
	spec := field.NewPath("spec")
	var errs field.ErrorList
	switch k.Spec.State {
	case "", v1alpha1.KeyStateActive, v1alpha1.KeyStateInactive, v1alpha1.KeyStateRevoked:
	default:
		errs = append(errs, field.Invalid(spec.Child("state"), k.Spec.State, "must be Active, Inactive or Revoked"))
	}
	if k.Spec.Format != nil && k.Spec.Format.Prefix != "" && !isPrefix(k.Spec.Format.Prefix) {
		errs = append(errs, field.Invalid(spec.Child("format", "prefix"), k.Spec.Format.Prefix, "must be a lower-case letter and up to 15 lower-case letters and digits, such as live"))
	}
	if _, err := ResolveExpiration(k.Spec.Expiration, "UTC"); err != nil {
		errs = append(errs, field.Invalid(spec.Child("expiration"), k.Spec.Expiration, err.Error()))
	}
	errs = append(errs, validateWhitelist(k.Spec.IPWhitelist, spec.Child("ipWhitelist"))...)
	return append(errs, notYet(k, spec)...)
}

func validateWhitelist(list []string, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if list != nil && len(list) == 0 {
		errs = append(errs, field.Invalid(path, list, "must not be empty: leave it out to allow any address"))
	}
	for i, entry := range list {
		if _, err := ParseNetwork(entry); err != nil {
			errs = append(errs, field.Invalid(path.Index(i), entry, "must be an address, such as 192.0.2.7, or a network without host bits, such as 10.0.0.0/8"))
		}
	}
	return errs
}

var errNetwork = errors.New("not an address or network")

// ParseNetwork reads a whitelist entry: an IPv4 or IPv6 address, or a CIDR without host bits. IPv4-mapped IPv6 and
// zones are refused: a client's address is compared unmapped and without zone.
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

// notYet refuses fields that this release does not carry out, so that none is ignored in silence.
func notYet(k *v1alpha1.APIKey, spec *field.Path) field.ErrorList {
	var errs field.ErrorList
	refuse := func(declared bool, path ...string) {
		if declared {
			errs = append(errs, field.Forbidden(spec.Child(path[0], path[1:]...), "is not carried out by this release yet: leave it out"))
		}
	}
	refuse(k.Spec.Rotation != nil, "rotation")
	refuse(k.Spec.Notification != nil, "notification")
	refuse(k.Spec.Secret != nil && k.Spec.Secret.Template != nil, "secret", "template")
	f := k.Spec.Format
	refuse(f != nil && f.Type != "" && f.Type != v1alpha1.FormatToken, "format", "type")
	return errs
}

// ValidateAccount finds what is wrong with an account taken alone.
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
