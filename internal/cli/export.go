// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
)

// exportOptions holds the flags of the command export.
type exportOptions struct {
	*environment
	exporter

	// file is the file to write. It is empty for standard output.
	file               string
	yes, allNamespaces bool
}

func (e *environment) exportCommand() *cobra.Command {
	o := &exportOptions{environment: e}
	cmd := &cobra.Command{
		Use:   "export [NAME...]",
		Short: "Write a backup of accounts, keys and KeyExports",
		Long: `Write a backup of keys, their accounts and, with --with-secrets, their Secrets, as YAML. kubectl apikey import restores it.

A key can be restored only with its Secret, because its value is in no other object of the backup. A backup with Secrets contains
all keys in plain text: protect it like the keys. The file is created for your user only (mode 0600), and an existing file is not
overwritten.

The KeyExports of the same namespaces are part of the backup, unless you name keys. The objects that they write are not: the manager
writes them again. Accounts are cluster-scoped. Accounts and KeyExports that you may not read are left out, with an error.`,
		Example: `  # All keys, with everything that is needed to restore them
  kubectl apikey export -A --with-secrets --file=backup.yaml

  # One key, for another cluster
  kubectl apikey export shop-key --with-secrets --file=shop-key.yaml`,
		Args:              cobra.ArbitraryArgs,
		ValidArgsFunction: e.completeKeys,
		RunE:              func(cmd *cobra.Command, args []string) error { return o.run(cmd.Context(), args) },
	}
	cmd.Flags().BoolVarP(&o.allNamespaces, "all-namespaces", "A", false, "export the keys of all namespaces, and all accounts")
	cmd.Flags().BoolVar(&o.Secrets, "with-secrets", false, "export the Secrets of the keys: the backup then contains the keys in plain text")
	cmd.Flags().StringVar(&o.file, "file", "", "the `file` to create; defaults to standard output")
	cmd.Flags().BoolVar(&o.yes, "yes", false, "write Secrets to standard output")
	return cmd
}

// run writes the backup.
func (o *exportOptions) run(ctx context.Context, names []string) (err error) {
	if o.allNamespaces && len(names) > 0 {
		return usageErrorf("--all-namespaces exports all keys: omit the names")
	}
	if o.file == "" && o.Secrets && !o.yes {
		return usageErrorf("the backup contains keys in plain text: write it to a file with --file, or use --yes to write it to standard output")
	}
	if o.reader, err = o.client(); err != nil {
		return err
	}
	o.Names = names
	if o.Namespace, err = o.namespaceOrAll(o.allNamespaces); err != nil {
		return err
	}
	if o.file == "" {
		return o.export(ctx, o.Out)
	}
	return o.exportFile(ctx)
}

// exportFile writes the backup to a new file, and removes it if it cannot be completed.
func (o *exportOptions) exportFile(ctx context.Context) error {
	file, err := os.OpenFile(o.file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("%s exists: name another file, or remove it", o.file)
	}
	if err != nil {
		return err
	}
	err = o.export(ctx, file)
	if failure := errors.Join(file.Sync(), file.Close()); failure != nil {
		err = errors.Join(err, failure)
	}
	if err != nil && len(o.problems) == 0 {
		return errors.Join(err, os.Remove(o.file))
	}
	return err
}

func (o *exportOptions) export(ctx context.Context, out io.Writer) error {
	o.out, o.onKey = out, o.progress("exported", unknownTotal)
	err := o.exporter.run(ctx)
	n := o.counts
	o.notef("exported %s, %s, %s, %s", plural(n.Accounts, "account", "accounts"), plural(n.Keys, "key", "keys"),
		plural(n.Secrets, "Secret", "Secrets"), plural(n.KeyExports, "KeyExport", "KeyExports"))
	switch {
	case o.Secrets:
		o.notef("Warning: the backup contains keys in plain text: protect it like the keys")
	case n.Keys > 0:
		o.notef("Warning: the backup contains no Secrets: back them up too, because a key whose Secret is lost is issued again")
	}
	return err
}
