// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// revealOptions holds the flags of the command reveal.
type revealOptions struct {
	*environment

	previous, yes bool
}

func (e *environment) revealCommand() *cobra.Command {
	o := &revealOptions{environment: e}
	cmd := &cobra.Command{
		Use:   "reveal NAME",
		Short: "Print a key from its Secret",
		Long: `Print the key of an APIKey, and nothing else, to standard output.

You need the right to read the Secret of the key. The key is printed only if its digest is that of the status, so that a Secret that
another client has changed cannot pass off another key. If standard output is not a terminal, --yes is required.`,
		Example: `  # Show the key on the terminal
  kubectl apikey reveal shop-key

  # Pass it to another program
  kubectl apikey reveal shop-key --yes | kubectl apikey verify`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: e.completeKey,
		RunE:              func(cmd *cobra.Command, args []string) error { return o.run(cmd.Context(), args[0]) },
	}
	cmd.Flags().BoolVar(&o.previous, "previous", false, "print the previous key, which is valid until the overlap of a rotation ends")
	cmd.Flags().BoolVar(&o.yes, "yes", false, "print the key even if standard output is not a terminal")
	return cmd
}

// run prints a key, and nothing else, to standard output. Warnings go to standard error.
func (o *revealOptions) run(ctx context.Context, name string) error {
	_, isTerminal := terminalOf(o.Out)
	if !isTerminal && !o.yes {
		return usageErrorf("standard output is not a terminal, and the key would be written to a file or another program: " +
			"use --yes if that is intended")
	}
	c, err := o.client()
	if err != nil {
		return err
	}
	namespace, err := o.namespace()
	if err != nil {
		return err
	}
	r, err := readCredential(ctx, c, client.ObjectKey{Namespace: namespace, Name: name}, o.previous)
	if err != nil {
		return err
	}
	if isTerminal && !isPrintable(r.Material) {
		return errors.New("the key has characters that would control the terminal: write it to a file with --yes")
	}
	for _, warning := range r.warnings() {
		o.notef("Warning: %s", warning)
	}
	_, err = o.Out.Write(append([]byte(r.Material), '\n'))
	return err
}
