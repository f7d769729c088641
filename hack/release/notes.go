// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"regexp"
	"strings"
)

// versionPattern is that of a semantic version without a pre-release.
var versionPattern = regexp.MustCompile(`^v(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)$`)

// notes returns the section of the changelog about the version. It fails if the version is invalid or has no section.
func (r release) notes() (string, error) {
	if !versionPattern.MatchString(r.version) {
		return "", fmt.Errorf("invalid version %q: must be vMAJOR.MINOR.PATCH, such as v0.1.0", r.version)
	}
	changelog, err := os.ReadFile(r.changelog)
	if err != nil {
		return "", err
	}
	number := strings.TrimPrefix(r.version, "v")
	heading := "## [" + number + "]"
	_, rest, found := strings.Cut("\n"+string(changelog), "\n"+heading)
	if !found {
		return "", fmt.Errorf("%s has no section %s: rename [Unreleased] to [%s] with the date of the release", r.changelog, heading, number)
	}
	_, section, _ := strings.Cut(rest, "\n")
	section, _, _ = strings.Cut(section, "\n## ")
	if section = strings.TrimSpace(section); section == "" {
		return "", fmt.Errorf("section %s of %s is empty", heading, r.changelog)
	}
	return section + "\n", nil
}
