// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"errors"
	"fmt"
	"regexp"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// ErrUnknownZone reports that a name is not an IANA time zone known to this program.
var ErrUnknownZone = errors.New("unknown time zone")

// LoadZone returns the IANA time zone of that name. The empty name means UTC. LoadZone refuses "Local", whose meaning
// depends on the machine.
func LoadZone(name string) (*time.Location, error) {
	if name == "Local" {
		return nil, fmt.Errorf("%w %q", ErrUnknownZone, name)
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf("%w %q", ErrUnknownZone, name)
	}
	return zone, nil
}

var (
	errInstant = errors.New("must be an RFC 3339 instant in whole seconds with a year from 1000 to 9998, such as 2027-02-28T12:00:00Z")
	errDate    = errors.New("must be a valid date with a year from 1000 to 9998, such as 2027-02-28")
	errTime    = errors.New("must be a date, such as 2027-02-28, or an RFC 3339 instant in whole seconds, such as 2027-02-28T12:00:00Z, " +
		"with a year from 1000 to 9998")
)

// instantForm matches the notation of instants.
var instantForm = regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$`)

// ParseInstant parses an instant of a spec. It accepts exactly what the CEL rule of v1alpha1.Instant accepts.
func ParseInstant(s string) (time.Time, error) {
	if !instantForm.MatchString(s) {
		return time.Time{}, errInstant // time.Parse accepts more
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil || !hasUsualYear(t) || !hasUsualYear(t.UTC()) {
		return time.Time{}, errInstant
	}
	return t.UTC(), nil
}

// ParseDate parses a date of a spec and returns the midnight in UTC at which it begins. It accepts exactly what the CEL
// rules of dates accept.
func ParseDate(s string) (time.Time, error) {
	t, err := time.Parse(time.DateOnly, s)
	if err != nil || !hasUsualYear(t) {
		return time.Time{}, errDate
	}
	return t, nil
}

// hasUsualYear reports whether the year of t has four digits, and would have if t were a day earlier or later.
func hasUsualYear(t time.Time) bool { return t.Year() >= 1000 && t.Year() <= 9998 }

// instant returns a validated instant of a spec, or nil if the spec has none.
func instant(s v1alpha1.Instant) *metav1.Time {
	t, err := ParseInstant(string(s))
	if err != nil {
		return nil
	}
	return &metav1.Time{Time: t}
}

// ResolveExpiration returns the instant of an expiration (UTC, whole seconds): an RFC 3339 instant as it is, a date as
// the START of that day in the zone, and nil (never) if the expiration is empty.
func ResolveExpiration(expiration, zone string) (*time.Time, error) {
	if expiration == "" {
		return nil, nil //nolint:nilnil // nil is the instant of a key that never expires
	}
	if t, err := ParseInstant(expiration); err == nil {
		return &t, nil
	}
	day, err := ParseDate(expiration)
	if err != nil {
		return nil, errTime
	}
	location, err := LoadZone(zone)
	if err != nil {
		return nil, err
	}
	t := StartOfDay(day, location).UTC()
	return &t, nil
}

// MidnightWarning returns a warning if a key's expiration is exactly midnight in UTC and its account is in another time
// zone: some YAML tools convert a date without quotes to such an instant. It returns "" if there is nothing to warn
// about.
func MidnightWarning(k *v1alpha1.APIKey, a *v1alpha1.Account) string {
	t, err := ParseInstant(k.Spec.Expiration)
	if err != nil || a == nil || !t.Equal(t.Truncate(24*time.Hour)) {
		return ""
	}
	zone, err := LoadZone(a.Spec.TimeZone)
	if err != nil {
		return ""
	}
	if _, offset := t.In(zone).Zone(); offset == 0 {
		return ""
	}
	return fmt.Sprintf(
		`spec.expiration is midnight in UTC, but the time zone of account %s is %s: to set a date, write it in quotes: "%s"`,
		a.Name,
		a.Spec.TimeZone,
		t.Format(time.DateOnly),
	)
}

// StartOfDay returns the first instant of a day in a zone. If a clock change skips midnight, that is the instant of the
// change. If midnight occurs twice, it is the first one.
func StartOfDay(day time.Time, zone *time.Location) time.Time {
	t := time.Date(day.Year(), day.Month(), day.Day(), 0, 0, 0, 0, zone)
	start, end := t.ZoneBounds()
	if t.Day() != day.Day() { // midnight does not exist, and t is on the evening before
		return end
	}
	if start.IsZero() {
		return t
	}
	_, after := t.Zone()
	_, before := start.Add(-time.Second).Zone()
	if twin := t.Add(time.Duration(after-before) * time.Second); twin.Before(start) && !twin.After(t) && twin.Day() == day.Day() {
		return twin
	}
	return t
}
