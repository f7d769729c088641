// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

var now = time.Date(2027, 2, 28, 12, 0, 0, 0, time.UTC)

func daysFromNow(n int) *metav1.Time { return &metav1.Time{Time: now.AddDate(0, 0, n)} }

func TestKeyFilter_Matches(t *testing.T) {
	week := days(7 * 24 * time.Hour)
	for name, tc := range map[string]struct {
		filter  keyFilter
		created int
		status  v1alpha1.APIKeyStatus
		want    bool
	}{
		"no filter selects every key":            {keyFilter{}, 0, v1alpha1.APIKeyStatus{}, true},
		"expires on the last day of the period":  {keyFilter{expiringWithin: week}, 0, v1alpha1.APIKeyStatus{ExpirationTime: daysFromNow(7)}, true},
		"expires later":                          {keyFilter{expiringWithin: week}, 0, v1alpha1.APIKeyStatus{ExpirationTime: daysFromNow(8)}, false},
		"has expired already":                    {keyFilter{expiringWithin: week}, 0, v1alpha1.APIKeyStatus{ExpirationTime: daysFromNow(-1)}, false},
		"never expires":                          {keyFilter{expiringWithin: week}, 0, v1alpha1.APIKeyStatus{}, false},
		"never used, and old enough":             {keyFilter{unusedSince: week}, -8, v1alpha1.APIKeyStatus{}, true},
		"never used, but new":                    {keyFilter{unusedSince: week}, -6, v1alpha1.APIKeyStatus{}, false},
		"used before the period":                 {keyFilter{unusedSince: week}, -90, v1alpha1.APIKeyStatus{LastUsedTime: daysFromNow(-8)}, true},
		"used in the period":                     {keyFilter{unusedSince: week}, -90, v1alpha1.APIKeyStatus{LastUsedTime: daysFromNow(-6)}, false},
		"unused, but does not expire soon":       {keyFilter{unusedSince: week, expiringWithin: week}, -90, v1alpha1.APIKeyStatus{}, false},
		"unused, and expires soon, matches both": {keyFilter{unusedSince: week, expiringWithin: week}, -90, v1alpha1.APIKeyStatus{ExpirationTime: daysFromNow(1)}, true},
	} {
		t.Run(name, func(t *testing.T) {
			k := &v1alpha1.APIKey{Status: tc.status}
			k.CreationTimestamp = *daysFromNow(tc.created)
			if got := tc.filter.matches(k, now); got != tc.want {
				t.Errorf("matches = %t, want %t", got, tc.want)
			}
		})
	}
}

func TestDays_Set(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"7d": 7 * 24 * time.Hour, "2w": 14 * 24 * time.Hour, "12h": 12 * time.Hour, "1h30m": 90 * time.Minute,
		"": 0, "7": 0, "-1d": 0, "0d": 0, "soon": 0,
	} {
		var d days
		if err := d.Set(text); (err == nil) != (want > 0) || time.Duration(d) != want {
			t.Errorf("Set(%q) = %v, and the period is %s: want %s", text, err, time.Duration(d), want)
		}
	}
}

func TestPrintable(t *testing.T) {
	for text, want := range map[string]string{
		"Clave para integración": "Clave para integración",
		"キー \u3000 1":            "キー \u3000 1",
		"می\u200cخواهم":          "می\u200cخواهم",
		"a\x1b[2Jb":              "a\ufffd[2Jb",
		"a\rb\x07":               "a\ufffdb\ufffd",
		"user\u202egnp.exe":      "user\ufffdgnp.exe",
	} {
		if got := printable(text); got != want {
			t.Errorf("printable(%q) = %q, want %q", text, got, want)
		}
	}
}
