// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Command plan prints what the manager would do with a bundle of manifests: the slots of each account, and for each key the
// steps, the reason for them, the time of the next reconciliation, and the status after the steps that need no API server.
// Use it to find out why a key is not in the state that you expect:
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
	file := flag.String("file", "", "the bundle: YAML documents or Lists of APIKeys, Accounts, Secrets and Namespaces; - reads standard input")
	now := flag.String("now", "", "the time to plan for, such as 2027-02-28T12:00:00Z; defaults to the current time")
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
