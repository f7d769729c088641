// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// getCommand returns kubectl apikey get.
func (e *environment) getCommand() *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use:               "get NAME...",
		Short:             "Print keys by name",
		Long:              "Print keys by name, in the columns of kubectl apikey list. kubectl apikey describe prints more.",
		Example:           "  kubectl apikey get shop-key -o yaml",
		Args:              cobra.MinimumNArgs(1),
		RunE:              func(cmd *cobra.Command, args []string) error { return e.get(cmd.Context(), &o, args) },
		ValidArgsFunction: e.completeKeys,
	}
	o.bind(cmd)
	return cmd
}

func (e *environment) get(ctx context.Context, o *output, names []string) error {
	if err := o.validate(); err != nil {
		return err
	}
	namespace, err := e.namespace()
	if err != nil {
		return err
	}
	c, err := e.client()
	if err != nil {
		return err
	}
	list, err := readNamed(ctx, c, namespace, names)
	switch {
	case err != nil:
		return err
	case o.isTable():
		return printKeys(o, list, false, e.clock.Now(), e.Out)
	case len(list) == 1:
		return o.printObject(&list[0], e.Out)
	default:
		return o.printObject(&v1alpha1.APIKeyList{Items: list}, e.Out)
	}
}
