// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"github.com/spf13/cobra"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// keyExportsCommand returns kubectl apikey keyexports.
func (e *environment) keyExportsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "keyexports",
		Aliases: []string{"keyexport", "kex"},
		Short:   "Manage KeyExports, the sets of keys that gateways keep themselves",
		Long: "Manage KeyExports. A KeyExport is the set of keys that one gateway keeps itself: the manager writes them to\n" +
			"objects in the namespace of the gateway, and withdraws what verifiers would not accept. To write a backup of keys, see\n" +
			"kubectl apikey export.",
		Args: knownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(e.listKeyExportsCommand(), e.describeKeyExportCommand(), e.createKeyExportCommand())
	return cmd
}

// targetOf returns the kind and the name of the first object of a KeyExport.
func targetOf(x *v1alpha1.KeyExport) string {
	return string(x.Spec.Target.Kind) + "/" + x.Spec.Target.Name
}
