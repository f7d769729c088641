// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"errors"
	"fmt"
	"time"
)

// ErrUnknownZone says that a name is not an IANA time zone known to this program.
var ErrUnknownZone = errors.New("unknown time zone")

// LoadZone returns the IANA zone of that name; empty means UTC. "Local" is refused: what it means depends on the machine.
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

// ResolveExpiration turns a spec's expiration into an instant (UTC, whole seconds): an RFC 3339 instant as it stands,
// a date as the START of that day in the zone. Empty gives nil: never.
func ResolveExpiration(expiration, zone string) (*time.Time, error) {
	if expiration == "" {
		return nil, nil //nolint:nilnil // nil is the instant of a key that never expires
	}
	if t, err := time.Parse(time.RFC3339, expiration); err == nil {
		t = t.UTC().Truncate(time.Second)
		return &t, nil
	}
	day, err := time.Parse(time.DateOnly, expiration)
	if err != nil {
		return nil, fmt.Errorf("%q is neither a date such as 2027-02-28 nor an RFC 3339 instant such as 2027-02-28T12:00:00Z", expiration)
	}
	location, err := LoadZone(zone)
	if err != nil {
		return nil, err
	}
	t := startOfDay(day, location).UTC()
	return &t, nil
}

// startOfDay is the first instant of a day in a zone. Where a change of the clocks takes midnight away that is the
// instant of the change; where it brings midnight twice, the first.
func startOfDay(day time.Time, zone *time.Location) time.Time {
	t := time.Date(day.Year(), day.Month(), day.Day(), 0, 0, 0, 0, zone)
	start, end := t.ZoneBounds()
	if t.Day() != day.Day() { // midnight does not exist, and t fell on the evening before
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
