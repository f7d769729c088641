// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// importOptions holds the flags of the command import.
type importOptions struct {
	*environment

	// file is a backup to restore, list a list of keys to import. - means standard input.
	file, list string

	restorer restorer
	spec     importSpec
	// dryRun is none or server.
	dryRun string
}

func (e *environment) importCommand() *cobra.Command {
	o := &importOptions{environment: e}
	cmd := &cobra.Command{
		Use:   "import (--file=FILE | --list=FILE | NAME --account=ACCOUNT)",
		Short: "Restore a backup, or import keys of another system",
		Long: `Restore a backup that kubectl apikey export wrote, or import keys that exist already.

With --file, accounts, Secrets, keys and KeyExports are created, and keys with their status, so that verifiers accept the same keys as
before and none is issued again. Objects that exist are not changed, so an import can be repeated. A key whose Secret is missing is not
restored, unless --allow-reissue is set. Restoring a status takes the right to update apikeys/status.

With NAME, the key is read from standard input, or from a prompt that does not show it. Only its SHA-256 is sent to the cluster:
verifiers accept the key, and there is no Secret before its first rotation. With --with-secret, the key is written to a Secret that the
APIKey adopts. The account must set importPolicy: Allow.

With --list, many keys are imported from a CSV file. Its first line names the columns: name, and key or sha256 and hint, and optionally
account and label.`,
		Example: `  # Restore all keys
  kubectl apikey import --file=backup.yaml

  # Accept a key of another system, without storing it in the cluster
  kubectl apikey import legacy-key --account=acme < key.txt

  # Accept a list of keys with the columns name,label,sha256,hint
  kubectl apikey import --list=keys.csv --account=acme`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.spec.Name = strings.Join(args, "")
			return o.run(cmd.Context())
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.file, "file", "", "the backup to restore; - for standard input")
	flags.StringVar(&o.list, "list", "", "a CSV `file` of keys to import; - for standard input")
	flags.BoolVar(&o.restorer.AllowReissue, "allow-reissue", false, "restore keys whose Secret is missing, for which a new key is then issued")
	flags.StringVar(&o.spec.Account, "account", "", "the `account` that owns the imported key")
	flags.StringVar(&o.spec.Label, "label", "", "the label of the imported key")
	flags.StringVar(&o.spec.Hint, "hint", "",
		"the public first characters of the imported key; defaults to its first four, or the prefix and the ID of a Token")
	flags.BoolVar(&o.spec.WithSecret, "with-secret", false, "write the imported key to a Secret")
	bindDryRun(cmd, &o.dryRun)
	e.completeAccountFlag(cmd)
	return cmd
}

func (o *importOptions) validate() error {
	switch {
	case countSet(o.file, o.list, o.spec.Name) != 1:
		return usageErrorf("name one of: a backup with --file, a list of keys with --list, an APIKey to create for the key on standard input")
	case isLikeKey(o.spec.Name):
		return errKeyAsArgument
	case o.spec.Name != "" && o.spec.Account == "":
		return usageErrorf("--account is required: it names the account that owns the key")
	}
	isDryRun, err := dryRunOption(o.dryRun)
	o.restorer.DryRun, o.spec.DryRun = isDryRun, isDryRun
	return err
}

func (o *importOptions) run(ctx context.Context) error {
	if err := o.validate(); err != nil {
		return err
	}
	c, err := o.client()
	if err != nil {
		return err
	}
	if o.spec.Name != "" {
		return o.importKey(ctx, c)
	}
	in, err := o.open(o.file + o.list)
	if err != nil {
		return err
	}
	defer in.Close()
	if o.list != "" {
		return o.importList(ctx, c, in)
	}
	return o.restore(ctx, c, in)
}

// countSet returns how many texts are not empty.
func countSet(texts ...string) (n int) {
	for _, text := range texts {
		if text != "" {
			n++
		}
	}
	return n
}

// open opens a file, or standard input for -.
func (o *importOptions) open(name string) (io.ReadCloser, error) {
	if name == "-" {
		return io.NopCloser(o.In), nil
	}
	return os.Open(name) //nolint:gosec // the user names the file
}

func (o *importOptions) importList(ctx context.Context, c client.Client, in io.Reader) (err error) {
	if o.spec.Namespace, err = o.namespace(); err != nil {
		return err
	}
	n, err := importList(ctx, c, o.spec, in)
	o.notef("imported %s%s", plural(n, "key", "keys"), o.dryRunNote())
	return err
}

func (o *importOptions) restore(ctx context.Context, c client.Client, in io.Reader) error {
	o.restorer.client, o.restorer.onKey = c, o.progress("read", unknownTotal)
	err := o.restorer.run(ctx, in)
	n := o.restorer.counts
	o.notef("created %s, %s, %s and %s%s, restored the status of %s; %s existed",
		plural(n.Accounts, "account", "accounts"), plural(n.Secrets, "Secret", "Secrets"), plural(n.Keys, "key", "keys"),
		plural(n.KeyExports, "KeyExport", "KeyExports"), o.dryRunNote(),
		plural(n.Statuses, "key", "keys"), plural(n.Unchanged, "object", "objects"))
	return err
}

func (o *importOptions) importKey(ctx context.Context, c client.Client) (err error) {
	if o.spec.Namespace, err = o.namespace(); err != nil {
		return err
	}
	key, err := readKey(ctx, o.In, o.ErrOut)
	if err != nil {
		return err
	}
	k, err := importKey(ctx, c, o.spec, key)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(o.Out, "apikey.apikey-manager.io/%s created%s\n", k.Name, o.dryRunNote())
	return err
}

func (o *importOptions) dryRunNote() string {
	if o.spec.DryRun {
		return serverDryRun
	}
	return ""
}
