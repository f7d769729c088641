// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Package cli implements kubectl apikey, the plugin of kubectl that manages API keys.
package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/utils/clock"
)

// The exit codes of the plugin.
const (
	exitOK    = 0
	exitError = 1
	// exitUsage means that the command line is invalid, and that nothing was done.
	exitUsage = 2
	// exitNegative means that the answer is no: the verifier rejects the key, or no APIKey has it.
	exitNegative = 3
)

// environment is what all commands share.
type environment struct {
	genericiooptions.IOStreams

	clock clock.PassiveClock
	// flags are kubectl's own global flags, such as --context and --namespace.
	flags *genericclioptions.ConfigFlags
	// interactive reports whether the command can ask the user a question.
	interactive bool
}

// codeError is an error that ends the program with an exit code other than exitError.
type codeError struct {
	error

	code int
}

func (e codeError) Unwrap() error { return e.error }

// usageErrorf returns an error that says how to correct the command line.
func usageErrorf(format string, args ...any) error {
	return codeError{fmt.Errorf(format, args...), exitUsage}
}

// Run runs the plugin with arguments, and returns its exit code.
func Run(ctx context.Context, streams genericiooptions.IOStreams, c clock.PassiveClock, args []string) int {
	root := NewCommand(streams, c)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	fmt.Fprintln(streams.ErrOut, "error:", explain(err))
	if withCode, ok := errors.AsType[codeError](err); ok {
		return withCode.code
	}
	return exitError
}

// NewCommand returns the command kubectl apikey with all its subcommands.
func NewCommand(streams genericiooptions.IOStreams, c clock.PassiveClock) *cobra.Command {
	_, interactive := terminalOf(streams.In)
	env := &environment{IOStreams: streams, clock: c, flags: genericclioptions.NewConfigFlags(true), interactive: interactive}
	root := &cobra.Command{
		Use:   "kubectl-apikey",
		Short: "Manage API keys",
		Long: "kubectl apikey manages the API keys of apikey-manager. It needs no rights but those on the objects that a command names,\n" +
			"and never prints a key except with kubectl apikey reveal.\n\n" +
			"To complete names of keys and accounts in a shell that completes kubectl, link the program to the name kubectl_complete-apikey:\n" +
			"ln -s \"$(command -v kubectl-apikey)\" ~/.local/bin/kubectl_complete-apikey\n\n" +
			"Exit codes: 0 success, 1 error, 2 invalid command line (nothing was done), 3 the key is not valid (verify) or not found (find).",
		Annotations:       map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl apikey"},
		Args:              knownCommand,
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		SilenceErrors:     true,
		SilenceUsage:      true,
		DisableAutoGenTag: true,
	}
	root.SetIn(streams.In)
	root.SetOut(streams.Out)
	root.SetErr(streams.ErrOut)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageErrorf("%w: see %s --help", err, cmd.CommandPath())
	})
	env.flags.AddFlags(root.PersistentFlags())
	root.AddCommand(env.commands()...)
	setUsageArgs(root)
	return root
}

// setUsageArgs makes the errors about arguments of all subcommands usage errors.
func setUsageArgs(parent *cobra.Command) {
	for _, cmd := range parent.Commands() {
		if cmd.HasSubCommands() {
			setUsageArgs(cmd)
			continue
		}
		cmd.Args = usageArgs(cmd.Args)
	}
}

// commands returns the subcommands.
func (e *environment) commands() []*cobra.Command {
	return []*cobra.Command{
		e.listCommand(),
		e.getCommand(),
		e.describeCommand(),
		e.createCommand(),
		e.activateCommand(),
		e.deactivateCommand(),
		e.revokeCommand(),
		e.rotateCommand(),
		e.expireCommand(),
		e.deleteCommand(),
		e.revealCommand(),
		e.verifyCommand(),
		e.findCommand(),
		e.exportCommand(),
		e.importCommand(),
		e.keyExportsCommand(),
		e.checkCommand(),
		e.versionCommand(),
	}
}

// knownCommand returns a usage error for the name of a command that does not exist.
func knownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := "see " + cmd.CommandPath() + " --help"
	if similar := cmd.SuggestionsFor(args[0]); len(similar) > 0 {
		hint = "did you mean " + strings.Join(similar, " or ") + "?"
	}
	return usageErrorf("unknown command %q: %s", args[0], hint)
}

// usageArgs makes the errors of a validator of arguments usage errors.
func usageArgs(validate cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if validate == nil {
			return nil
		}
		if err := validate(cmd, args); err != nil {
			return usageErrorf("%w: see %s --help", err, cmd.CommandPath())
		}
		return nil
	}
}

// explain returns the text of an error for users. Of a request that a webhook denied, it returns the reason alone.
func explain(err error) string {
	const denied = "denied the request: "
	message := err.Error()
	if _, reason, ok := strings.Cut(message, denied); ok {
		message = reason
	}
	return printable(message)
}
