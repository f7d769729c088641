// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"regexp"
	"strings"
	"time"
)

// check tells whether a command's output is what it should be; its error says what was expected.
type check func(*runner, output) error

// all wants all of the checks.
func all(checks ...check) check {
	return func(r *runner, out output) error {
		for _, c := range checks {
			if err := c(r, out); err != nil {
				return err
			}
		}
		return nil
	}
}

// contains wants each of the words in the output.
func contains(words ...string) check {
	return func(_ *runner, out output) error {
		for _, word := range words {
			if !strings.Contains(out.text, word) {
				return fmt.Errorf("expected to read %q", word)
			}
		}
		return nil
	}
}

// matches wants the whole output to match.
func matches(pattern string) check {
	wanted := regexp.MustCompile(`^(?:` + pattern + `)\s*$`)
	return func(_ *runner, out output) error {
		if !wanted.MatchString(out.text) {
			return fmt.Errorf("expected the output to match %s", wanted)
		}
		return nil
	}
}

// save keeps the output under a name.
func save(name string) check {
	return func(r *runner, out output) error {
		if r.saved == nil {
			r.saved = map[string]string{}
		}
		r.saved[name] = out.text
		return nil
	}
}

// sameAs wants the output that was kept under the name, byte for byte.
func sameAs(name string) check {
	return func(r *runner, out output) error {
		if kept, ok := r.saved[name]; !ok || kept != out.text {
			return fmt.Errorf("expected the same output as for %q", name)
		}
		return nil
	}
}

// differsFrom wants another output than the one that was kept under the name.
func differsFrom(name string) check {
	return func(r *runner, out output) error {
		if kept, ok := r.saved[name]; !ok || kept == out.text {
			return fmt.Errorf("expected another output than for %q", name)
		}
		return nil
	}
}

// onTime wants the line to have come when {soon} did: not before, and within the tolerance after it.
func onTime(tolerance time.Duration) check {
	return func(r *runner, out output) error {
		late := out.at.Sub(r.soon)
		if late < 0 || late > tolerance {
			return fmt.Errorf("expected it at %s, or at most %s later: it came %+.1f s off",
				r.soon.Format(time.TimeOnly), tolerance, late.Seconds())
		}
		r.printf("\n  Declared for %s; it flipped at %s.\n", r.soon.Format(time.TimeOnly), out.at.UTC().Format("15:04:05.0"))
		return nil
	}
}
