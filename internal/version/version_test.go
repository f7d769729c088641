// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package version

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestGet(t *testing.T) {
	checkout := map[string]string{"vcs.revision": "c0ffee", "vcs.time": "2026-11-28T18:00:00Z"}
	for name, tc := range map[string]struct {
		version, commit, date string
		settings              map[string]string
		want                  Info
		wantString            string
	}{
		"a release takes what the linker set": {
			"v0.1.0", "decade", "2026-11-27T10:00:00Z", checkout,
			Info{Version: "v0.1.0", Commit: "decade", Date: "2026-11-27T10:00:00Z"},
			"v0.1.0 (commit decade, 2026-11-27T10:00:00Z)",
		},
		"a build in a checkout takes what the toolchain recorded": {
			"dev", "", "", checkout,
			Info{Version: "dev", Commit: "c0ffee", Date: "2026-11-28T18:00:00Z"},
			"dev (commit c0ffee, 2026-11-28T18:00:00Z)",
		},
		"a build elsewhere does not know its commit": {
			"dev", "", "", nil,
			Info{Version: "dev", Commit: "unknown", Date: "unknown"},
			"dev (commit unknown, unknown)",
		},
	} {
		t.Run(name, func(t *testing.T) {
			setForTest(t, tc.version, tc.commit, tc.date)
			got := get(tc.settings)
			if diff := cmp.Diff(tc.want, got, cmpopts.IgnoreFields(Info{}, "GoVersion", "Platform")); diff != "" {
				t.Errorf("get: (-want +got)\n%s", diff)
			}
			if got.String() != tc.wantString {
				t.Errorf("String() = %q, want %q", got.String(), tc.wantString)
			}
		})
	}
}

func TestGet_NamesToolchainAndPlatform(t *testing.T) {
	if got := Get(); got.GoVersion == "" || got.Platform == "" || got.Version == "" {
		t.Errorf("Get() = %+v: fields are empty", got)
	}
}

func setForTest(t *testing.T, v, c, d string) {
	t.Helper()
	savedVersion, savedCommit, savedDate := version, commit, date
	t.Cleanup(func() { version, commit, date = savedVersion, savedCommit, savedDate })
	version, commit, date = v, c, d
}
