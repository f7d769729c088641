// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"regexp"
	"strings"
	"time"
)

// check verifies the output of a command. Its error states what was expected.
type check func(*runner, output) error

// all returns a check that passes if each of the checks does.
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

// contains returns a check that passes if the output contains each of the words.
func contains(words ...string) check {
	return func(_ *runner, out output) error {
		for _, word := range words {
			if !strings.Contains(out.text, word) {
				return fmt.Errorf("expected the output to contain %q", word)
			}
		}
		return nil
	}
}

// lacks returns a check that passes if the output contains none of the words.
func lacks(words ...string) check {
	return func(_ *runner, out output) error {
		for _, word := range words {
			if strings.Contains(out.text, word) {
				return fmt.Errorf("expected the output not to contain %q", word)
			}
		}
		return nil
	}
}

// matches returns a check that passes if the whole output matches the pattern.
func matches(pattern string) check {
	wanted := regexp.MustCompile(`^(?:` + pattern + `)\s*$`)
	return func(_ *runner, out output) error {
		if !wanted.MatchString(out.text) {
			return fmt.Errorf("expected the output to match %s", wanted)
		}
		return nil
	}
}

// save returns a check that saves the output under a name and always passes.
func save(name string) check {
	return func(r *runner, out output) error {
		if r.saved == nil {
			r.saved = map[string]string{}
		}
		r.saved[name] = out.text
		return nil
	}
}

// sameAs returns a check that passes if the output equals the one saved under the name.
func sameAs(name string) check {
	return func(r *runner, out output) error {
		if kept, ok := r.saved[name]; !ok || kept != out.text {
			return fmt.Errorf("expected the same output as for %q", name)
		}
		return nil
	}
}

// differsFrom returns a check that passes if the output differs from the one saved under the name.
func differsFrom(name string) check {
	return func(r *runner, out output) error {
		if kept, ok := r.saved[name]; !ok || kept == out.text {
			return fmt.Errorf("expected another output than for %q", name)
		}
		return nil
	}
}

// onTime returns a check that passes if the line arrived at the time of {soon} or later, and at most the tolerance later.
func onTime(tolerance time.Duration) check {
	return func(r *runner, out output) error {
		late := out.at.Sub(r.soon)
		if late < 0 || late > tolerance {
			return fmt.Errorf("expected it at %s or at most %s later: it came %+.1f s after that time",
				r.soon.Format(time.TimeOnly), tolerance, late.Seconds())
		}
		r.printf("\n  The expiration was set to %s; the status changed at %s.\n", r.soon.Format(time.TimeOnly), out.at.UTC().Format("15:04:05.0"))
		return nil
	}
}
