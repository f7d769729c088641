// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// completionProgram is the name under which kubectl runs a program to complete the arguments of the plugin.
const completionProgram = "kubectl_complete-apikey"

// Arguments returns the arguments of the plugin for a command line. Under the name kubectl_complete-apikey, a link to the program
// completes arguments.
func Arguments(commandLine []string) []string {
	if len(commandLine) == 0 {
		return nil
	}
	program, args := filepath.Base(commandLine[0]), commandLine[1:]
	if strings.TrimSuffix(program, ".exe") == completionProgram {
		return append([]string{cobra.ShellCompRequestCmd}, args...)
	}
	return args
}

// completeKeys completes the names of keys in the namespace.
func (e *environment) completeKeys(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return e.complete(cmd.Context(), func(ctx context.Context, c client.Client) (names []string, err error) {
		namespace, err := e.namespace()
		if err != nil {
			return nil, err
		}
		err = eachKey(ctx, c, client.ListOptions{Namespace: namespace}, func(k *v1alpha1.APIKey) error {
			names = append(names, cobra.CompletionWithDesc(k.Name, singleLine(k.Spec.Label)))
			return nil
		})
		return names, err
	})
}

// completeKey completes the name of one key.
func (e *environment) completeKey(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return e.completeKeys(cmd, args, prefix)
}

// completeAccountFlag completes the names of accounts after --account, if the user may list accounts.
func (e *environment) completeAccountFlag(cmd *cobra.Command) {
	cobra.CheckErr(cmd.RegisterFlagCompletionFunc("account", e.completeAccounts))
}

func (e *environment) completeAccounts(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return e.complete(cmd.Context(), func(ctx context.Context, c client.Client) ([]string, error) {
		var list v1alpha1.AccountList
		err := c.List(ctx, &list)
		names := make([]string, len(list.Items))
		for i := range list.Items {
			names[i] = cobra.CompletionWithDesc(list.Items[i].Name, singleLine(list.Items[i].Spec.DisplayName))
		}
		return names, err
	})
}

// complete returns the names that read finds on the API server within the time that a user waits for a shell.
func (e *environment) complete(
	ctx context.Context, read func(context.Context, client.Client) ([]string, error),
) ([]string, cobra.ShellCompDirective) {
	const timeout = "2s"
	*e.flags.Timeout = timeout
	c, err := e.client()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	names, err := read(ctx, c)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
