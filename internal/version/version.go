// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Package version identifies the build of a program.
package version

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"
)

// The linker sets these variables: see LDFLAGS in the Makefile.
var (
	version = "dev"
	commit  = ""
	date    = ""
)

// Info identifies a build.
type Info struct {
	// Version is the release, for example v0.1.0, or "dev".
	Version string `json:"version"`
	// Commit is the git commit as 40 hexadecimal digits, or "unknown".
	Commit string `json:"commit"`
	// Date is the time of that commit (RFC 3339, UTC), or "unknown". It is not the time of the build, so that builds are reproducible.
	Date string `json:"date"`
	// GoVersion is the version of the Go toolchain.
	GoVersion string `json:"goVersion"`
	// Platform is the operating system and the architecture, for example linux/amd64.
	Platform string `json:"platform"`
}

// Get returns the build of the running program. What the linker did not set is read from the build information that the Go
// toolchain adds to programs built in a git checkout.
func Get() Info {
	settings := map[string]string{}
	if build, ok := debug.ReadBuildInfo(); ok {
		for _, s := range build.Settings {
			settings[s.Key] = s.Value
		}
	}
	return get(settings)
}

func get(settings map[string]string) Info {
	return Info{
		Version:   version,
		Commit:    cmp.Or(commit, settings["vcs.revision"], "unknown"),
		Date:      cmp.Or(date, settings["vcs.time"], "unknown"),
		GoVersion: runtime.Version(),
		Platform:  runtime.GOOS + "/" + runtime.GOARCH,
	}
}

// String returns the version, the commit and its date in one line.
func (i Info) String() string {
	return fmt.Sprintf("%s (commit %s, %s)", i.Version, i.Commit, i.Date)
}
