// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Command plan prints what the manager would do about a bundle of manifests, and what it would say of it: the accounts'
// slots, and for each key the steps, when to look again, why, and the status after the steps that need no API server. It
// is the first thing to reach for when a key does not do what it should:
//
//	kubectl get apikeys,accounts,secrets,namespaces -A -o yaml > bundle.yaml
//	make plan FILE=bundle.yaml NOW=2027-02-28T12:00:00Z
//
// It prints no key material.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"time"
)

func main() {
	file := flag.String("file", "", "the bundle: YAML documents or Lists of APIKeys, Accounts, Secrets and Namespaces; - for standard input")
	now := flag.String("now", "", "the time to plan for, such as 2027-02-28T12:00:00Z; the current time unless said")
	flag.Parse()
	if err := run(os.Stdout, *file, *now); err != nil {
		fmt.Fprintln(os.Stderr, "plan:", err)
		os.Exit(1)
	}
}

func run(out io.Writer, file, at string) error {
	now := time.Now()
	if at != "" {
		var err error
		if now, err = time.Parse(time.RFC3339, at); err != nil {
			return fmt.Errorf("--now: %w", err)
		}
	}
	read := os.ReadFile
	if file == "-" {
		read = func(string) ([]byte, error) { return io.ReadAll(os.Stdin) }
	}
	data, err := read(file)
	if err != nil {
		return err
	}
	b, err := parse(data)
	if err != nil {
		return err
	}
	return b.explain(out, now.UTC().Truncate(time.Second))
}
