// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/apikey-manager/apikey-manager/internal/version"
)

// defaultSystemNamespace is the namespace that config/default and the chart recommend.
const defaultSystemNamespace = "apikey-manager-system"

// checkOptions holds the flags of the command check.
type checkOptions struct {
	*environment

	checker checker
	wait    time.Duration
	output  resultOutput
}

// errCheckFailed is returned if a check failed. The command has printed which.
var errCheckFailed = errors.New("the installation does not work as it should")

func (e *environment) checkCommand() *cobra.Command {
	o := &checkOptions{environment: e, checker: checker{environment: e, version: version.Get().Version}}
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Check the installation",
		Long: `Check the installation: the API server and its clock, the CRDs and their schema, admission policies, the webhook, the
manager and its leader, what KeyExports need, and the verifier. Nothing is changed.

A check that you have no right to carry out is unknown. The exit code is 1 if a check failed.`,
		Example: `  # Wait until an installation works
  kubectl apikey check --wait=2m`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context()) },
	}
	flags := cmd.Flags()
	flags.DurationVar(&o.wait, "wait", 0, "repeat the checks for this long until none fails, for example 2m")
	flags.StringVar(&o.checker.verifier.namespace, "manager-namespace", defaultSystemNamespace,
		"the `namespace` of the manager and the verifier")
	o.output.bind(cmd)
	o.checker.verifier.bind(cmd)
	return cmd
}

// checkInterval is how often --wait repeats the checks.
const checkInterval = 2 * time.Second

func (o *checkOptions) run(ctx context.Context) error {
	if err := errors.Join(o.output.validate(), o.checker.verifier.validate()); err != nil {
		return err
	}
	if err := o.checker.connect(); err != nil {
		return err
	}
	results := o.checker.run(ctx)
	if hasFailed(results) && o.wait > 0 {
		o.notef("waiting up to %s until no check fails", o.wait)
		waited, cancel := context.WithTimeout(ctx, o.wait)
		defer cancel()
		_ = wait.PollUntilContextCancel(waited, checkInterval, false, func(ctx context.Context) (bool, error) { // the results say it
			if next := o.checker.run(ctx); ctx.Err() == nil {
				results = next
			}
			return !hasFailed(results), nil
		})
	}
	if err := o.print(results); err != nil {
		return err
	}
	if hasFailed(results) {
		return errCheckFailed
	}
	return nil
}

func (o *checkOptions) print(results []checkResult) error {
	if !o.output.isText() {
		return o.output.print(results, o.Out)
	}
	rows := make([][]string, len(results))
	for i, r := range results {
		rows[i] = []string{r.Name, string(r.Status), r.Detail}
	}
	if err := printRows([]string{"CHECK", "STATUS", "DETAIL"}, rows, o.Out); err != nil {
		return err
	}
	printActions(o.Out, results)
	return nil
}

// printActions prints what to do about checks that did not pass.
func printActions(out io.Writer, results []checkResult) {
	for _, r := range results {
		if r.Status != checkOK && r.Action != "" {
			fmt.Fprintln(out, printable(fmt.Sprintf("\n%s: %s", r.Name, r.Action)))
		}
	}
}
