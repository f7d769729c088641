// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys_test

import (
	"cmp"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/apikey-manager/apikey-manager/internal/keys"
)

func TestResolveExpiration(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		expiration, zone string
		want             string // RFC 3339; empty: never
	}{
		"nothing means never":                                   {"", "Europe/Madrid", ""},
		"nothing means never, even in an unknown zone":          {"", "Mars/Base", ""},
		"a date in UTC":                                         {"2027-02-28", "UTC", "2027-02-28T00:00:00Z"},
		"a date without a zone":                                 {"2027-02-28", "", "2027-02-28T00:00:00Z"},
		"a leap day":                                            {"2028-02-29", "UTC", "2028-02-29T00:00:00Z"},
		"an instant":                                            {"2027-02-28T12:00:00Z", "UTC", "2027-02-28T12:00:00Z"},
		"an instant with an offset":                             {"2027-02-28T12:00:00+05:30", "UTC", "2027-02-28T06:30:00Z"},
		"an instant does not care about the zone":               {"2027-02-28T12:00:00-03:00", "Europe/Madrid", "2027-02-28T15:00:00Z"},
		"an instant does not care about an unknown zone":        {"2027-02-28T12:00:00Z", "Mars/Base", "2027-02-28T12:00:00Z"},
		"the last moment":                                       {"9998-12-31T23:59:59Z", "UTC", "9998-12-31T23:59:59Z"},
		"the first moment":                                      {"1000-01-01T00:00:00Z", "UTC", "1000-01-01T00:00:00Z"},
		"the first date":                                        {"1000-01-01", "UTC", "1000-01-01T00:00:00Z"},
		"Madrid in winter":                                      {"2027-02-28", "Europe/Madrid", "2027-02-27T23:00:00Z"},
		"Madrid in summer":                                      {"2027-07-01", "Europe/Madrid", "2027-06-30T22:00:00Z"},
		"Madrid on the day the clocks go forward":               {"2027-03-28", "Europe/Madrid", "2027-03-27T23:00:00Z"},
		"Madrid on the day after":                               {"2027-03-29", "Europe/Madrid", "2027-03-28T22:00:00Z"},
		"Madrid on the day the clocks go back":                  {"2027-10-31", "Europe/Madrid", "2027-10-30T22:00:00Z"},
		"Madrid on the day after that":                          {"2027-11-01", "Europe/Madrid", "2027-10-31T23:00:00Z"},
		"São Paulo, whose midnight is missing: 01:00":           {"2018-11-04", "America/Sao_Paulo", "2018-11-04T03:00:00Z"},
		"São Paulo on the day before":                           {"2018-11-03", "America/Sao_Paulo", "2018-11-03T03:00:00Z"},
		"São Paulo on the day after":                            {"2018-11-05", "America/Sao_Paulo", "2018-11-05T02:00:00Z"},
		"São Paulo, whose last hour of the day before is twice": {"2019-02-17", "America/Sao_Paulo", "2019-02-17T03:00:00Z"},
		"Cairo, whose midnight is missing: 01:00":               {"2024-04-26", "Africa/Cairo", "2024-04-25T22:00:00Z"},
		"Cairo on the day before":                               {"2024-04-25", "Africa/Cairo", "2024-04-24T22:00:00Z"},
		"Cairo, whose last hour of the day before is twice":     {"2024-11-01", "Africa/Cairo", "2024-10-31T22:00:00Z"},
		"Beirut, whose midnight is missing: 01:00":              {"2024-03-31", "Asia/Beirut", "2024-03-30T22:00:00Z"},
		"Beirut, whose last hour of the day before is twice":    {"2024-10-27", "Asia/Beirut", "2024-10-26T22:00:00Z"},
		"Havana, whose midnight is missing: 01:00":              {"2024-03-10", "America/Havana", "2024-03-10T05:00:00Z"},
		"Havana, whose midnight comes twice: the first":         {"2024-11-03", "America/Havana", "2024-11-03T04:00:00Z"},
		"Havana on the day after":                               {"2024-11-04", "America/Havana", "2024-11-04T05:00:00Z"},
		"Amman, east of Greenwich, midnight twice: the first":   {"2021-10-29", "Asia/Amman", "2021-10-28T21:00:00Z"},
		"the Azores, midnight twice: the first":                 {"2024-10-27", "Atlantic/Azores", "2024-10-27T00:00:00Z"},
		"St John's, where the clocks change at 00:01":           {"2010-11-07", "America/St_Johns", "2010-11-07T02:30:00Z"},
		"Nuuk, whose midnight is the change":                    {"2024-03-31", "America/Nuuk", "2024-03-31T01:00:00Z"},
		"Lord Howe, where half an hour is gone":                 {"2024-10-06", "Australia/Lord_Howe", "2024-10-05T13:30:00Z"},
		"Apia on its last day east of the line":                 {"2011-12-29", "Pacific/Apia", "2011-12-29T10:00:00Z"},
		"Apia on the day that never was: the next":              {"2011-12-30", "Pacific/Apia", "2011-12-30T10:00:00Z"},
		"Apia on its first day west of the line":                {"2011-12-31", "Pacific/Apia", "2011-12-30T10:00:00Z"},
		"Pyongyang, whose clocks went to midnight":              {"2018-05-05", "Asia/Pyongyang", "2018-05-04T15:00:00Z"},
		"the far east":                                          {"2027-02-28", "Pacific/Kiritimati", "2027-02-27T10:00:00Z"},
		"the far west":                                          {"2027-02-28", "Etc/GMT+12", "2027-02-28T12:00:00Z"},
		"the last day":                                          {"9998-12-31", "America/New_York", "9998-12-31T05:00:00Z"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := keys.ResolveExpiration(tc.expiration, tc.zone)
			switch {
			case err != nil:
				t.Fatal(err)
			case tc.want == "" && got != nil:
				t.Errorf("got %s, want never", got)
			case tc.want != "" && (got == nil || got.Format(time.RFC3339Nano) != tc.want || got.Location() != time.UTC):
				t.Errorf("got %s, want %s", got, tc.want)
			}
		})
	}
}

func TestResolveExpiration_Invalid(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ expiration, zone string }{
		"a day that does not exist":       {"2027-02-30", "UTC"},
		"a leap day of a common year":     {"2027-02-29", "UTC"},
		"a month that does not exist":     {"2027-13-01", "UTC"},
		"a short date":                    {"2027-2-8", "UTC"},
		"a date and words":                {"2027-02-28 or so", "UTC"},
		"an instant without an offset":    {"2027-02-28T12:00:00", "UTC"},
		"an instant with a blank":         {"2027-02-28 12:00:00Z", "UTC"},
		"an hour that does not exist":     {"2027-02-28T25:00:00Z", "UTC"},
		"a duration":                      {"720h", "UTC"},
		"a fraction of a second":          {"2027-02-28T12:00:00.999Z", "UTC"},
		"a fraction after a comma":        {"2027-02-28T12:00:00,5Z", "UTC"},
		"small letters":                   {"2027-02-28t12:00:00z", "UTC"},
		"an hour of one digit":            {"2027-02-28T1:00:00Z", "UTC"},
		"an offset of 24 hours":           {"2027-02-28T12:00:00+24:00", "UTC"},
		"an offset of 60 minutes":         {"2027-02-28T12:00:00+01:60", "UTC"},
		"a leap second":                   {"2027-06-30T23:59:60Z", "UTC"},
		"a date of the last year":         {"9999-01-01", "UTC"},
		"an instant of the last year":     {"9999-01-01T00:00:00+01:00", "UTC"},
		"one that is so in UTC":           {"9998-12-31T23:59:59-01:00", "UTC"},
		"a date of the year 999":          {"0999-12-31", "UTC"},
		"an instant that is so in UTC":    {"1000-01-01T00:00:00+00:01", "UTC"},
		"a word":                          {"never", "UTC"},
		"a blank":                         {" ", "UTC"},
		"a date in an unknown zone":       {"2027-02-28", "Mars/Base"},
		"a date in the machine's zone":    {"2027-02-28", "Local"},
		"a date in a zone that is a path": {"2027-02-28", "../../etc/passwd"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got, err := keys.ResolveExpiration(tc.expiration, tc.zone); err == nil {
				t.Errorf("got %s", got)
			}
		})
	}
}

func TestLoadZone(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"", "UTC", "Europe/Madrid", "America/Argentina/Buenos_Aires", "Etc/GMT+12"} {
		if _, err := keys.LoadZone(good); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []string{"Local", "Mars/Base", "europe madrid", "../UTC", "/etc/localtime", "UTC\x00"} {
		if _, err := keys.LoadZone(bad); !errors.Is(err, keys.ErrUnknownZone) {
			t.Errorf("%q gives %v", bad, err)
		}
	}
}

// TestResolveExpiration_ReturnsStartOfDay compares every day near a clock change since 2006 with another way to find
// the start of the day: the first moment whose local date is that day or a later one.
func TestResolveExpiration_ReturnsStartOfDay(t *testing.T) {
	t.Parallel()
	checked := 0
	for _, name := range changingZones {
		zone, err := keys.LoadZone(name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		end := time.Date(2040, 1, 1, 0, 0, 0, 0, time.UTC)
		for t0 := time.Date(2006, 1, 1, 0, 0, 0, 0, time.UTC); ; {
			_, change := t0.In(zone).ZoneBounds()
			if change.IsZero() || change.After(end) {
				break
			}
			for days := -1; days <= 2; days++ {
				day := change.In(zone).AddDate(0, 0, days)
				checkDay(t, time.Date(day.Year(), day.Month(), day.Day(), 0, 0, 0, 0, time.UTC), zone)
				checked++
			}
			t0 = change
		}
	}
	if checked < 1000 {
		t.Errorf("only %d days were checked", checked)
	}
}

func checkDay(t *testing.T, day time.Time, zone *time.Location) {
	t.Helper()
	date := day.Format(time.DateOnly)
	got, err := keys.ResolveExpiration(date, zone.String())
	if err != nil {
		t.Fatal(err)
	}
	begun := func(at time.Time) bool {
		year, month, d := at.In(zone).Date()
		return cmp.Or(cmp.Compare(year, day.Year()), cmp.Compare(month, day.Month()), cmp.Compare(d, day.Day())) >= 0
	}
	// Days begin less than 16 hours from midnight in UTC, and clocks change at whole minutes.
	first := day.Add(-16 * time.Hour)
	for !begun(first) {
		first = first.Add(15 * time.Minute)
	}
	for first = first.Add(-15 * time.Minute); !begun(first); {
		first = first.Add(time.Minute)
	}
	if !got.Equal(first) {
		t.Errorf("%s begins in %s at %s, not %s", date, zone, first.UTC(), got)
	}
}

// changingZones lists time zones that cover every rule for clock changes in use since 2006, including irregular changes
// by governments.
var changingZones = strings.Fields(`
	Africa/Cairo Africa/Casablanca Africa/El_Aaiun Africa/Tripoli Africa/Windhoek America/Asuncion America/Campo_Grande
	America/Caracas America/Cuiaba America/Halifax America/Havana America/Mexico_City America/Miquelon America/Montevideo
	America/New_York America/Nuuk America/Port-au-Prince America/Santiago America/Sao_Paulo America/Scoresbysund
	America/St_Johns America/Tijuana Antarctica/Casey Antarctica/Macquarie Antarctica/Troll Asia/Amman Asia/Baku
	Asia/Beirut Asia/Choibalsan Asia/Damascus Asia/Dhaka Asia/Gaza Asia/Hebron Asia/Jerusalem Asia/Karachi
	Asia/Pyongyang Asia/Tehran Asia/Ulaanbaatar Asia/Yerevan Atlantic/Azores Atlantic/Stanley Australia/Lord_Howe
	Australia/Perth Australia/Sydney Europe/Chisinau Europe/Dublin Europe/Istanbul Europe/Lisbon Europe/London
	Europe/Madrid Europe/Moscow Europe/Volgograd Pacific/Apia Pacific/Auckland Pacific/Bougainville Pacific/Chatham
	Pacific/Easter Pacific/Fakaofo Pacific/Fiji Pacific/Norfolk Pacific/Tongatapu`)
