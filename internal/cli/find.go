// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/fields"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/credential"
)

// findOptions holds the flags of the command find.
type findOptions struct {
	*environment

	output        resultOutput
	allNamespaces bool
}

func (e *environment) findCommand() *cobra.Command {
	o := &findOptions{environment: e}
	cmd := &cobra.Command{
		Use:   "find KEY-ID|HINT|-",
		Short: "Find out whose key it is",
		Long: `Find the APIKey that has, or had, a key: by its public ID, by its hint (the first characters, as shown in the status), or by
the key itself on standard input. With -, each line of standard input is a key, up to 10,000 of them, for example those of a leak.

A key never leaves this machine: its SHA-256 is compared with those in the status of all keys. A key ID and a hint are public, and
another key can imitate them. Only - identifies a key.

The exit code is 0 if all keys were found, and 3 if not.`,
		Example: `  # Whose key is in this line of a log?
  kubectl apikey find v1ReF6fIcrOF -A

  # Whose keys are in this list?
  kubectl apikey find - -A < leaked.txt`,
		Args: oneArgument("a key ID, a hint, or - for keys on standard input"),
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd.Context(), args[0]) },
	}
	cmd.Flags().BoolVarP(&o.allNamespaces, "all-namespaces", "A", false, "search all namespaces")
	o.output.bind(cmd)
	return cmd
}

// errNotFound is returned if no APIKey has one of the keys. The command has printed which.
var errNotFound = codeError{errors.New("no APIKey has this key"), exitNegative}

// errKeyAsArgument does not repeat the argument.
var errKeyAsArgument = usageErrorf("%s", `this looks like a key. Pass it on standard input: kubectl apikey find -
The argument is now in the history of your shell, and was in the list of processes: if it is a key, rotate it (kubectl apikey rotate)`)

// run prints which APIKeys have, or had, a credential.
func (o *findOptions) run(ctx context.Context, argument string) error {
	if err := o.output.validate(); err != nil {
		return err
	}
	query, err := o.query(ctx, argument)
	if err != nil {
		return err
	}
	found, err := o.find(ctx, query)
	if err != nil {
		return err
	}
	sortFound(found)
	if err := o.print(found); err != nil {
		return err
	}
	missing := query.missing(found)
	for _, line := range missing {
		o.notef("no APIKey has the key of line %d", line)
	}
	if len(found) == 0 || len(missing) > 0 {
		return errNotFound
	}
	return nil
}

// query returns what the user looks for. It keeps the digests of keys, not the keys.
func (o *findOptions) query(ctx context.Context, argument string) (keyQuery, error) {
	switch {
	case argument != "-" && isLikeKey(argument):
		return keyQuery{}, errKeyAsArgument
	case argument != "-":
		return keyQuery{ID: argument, Hint: argument}, nil
	}
	query := keyQuery{Lines: map[string][]int{}}
	if _, isTerminal := terminalOf(o.In); isTerminal {
		key, err := readKey(ctx, o.In, o.ErrOut)
		query.Lines[key.SHA256()] = []int{1}
		return query, err
	}
	err := eachKeyLine(o.In, func(number int, key credential.Material) error {
		digest := key.SHA256()
		query.Lines[digest] = append(query.Lines[digest], number)
		return nil
	})
	if err == nil && len(query.Lines) == 0 {
		err = errors.New("standard input is empty: pass one key on each line")
	}
	return query, err
}

// find looks a key ID up by the field selector first. Previous, staged and revoked credentials, hints and digests take a look at
// all keys.
func (o *findOptions) find(ctx context.Context, query keyQuery) (found []foundKey, err error) {
	namespace, err := o.namespaceOrAll(o.allNamespaces)
	if err != nil {
		return nil, err
	}
	c, err := o.client()
	if err != nil {
		return nil, err
	}
	searched, progress := 0, o.progress("searched", unknownTotal)
	collect := func(k *v1alpha1.APIKey) error {
		found = append(found, query.match(k)...)
		searched++
		progress(searched)
		return nil
	}
	if query.ID != "" && strings.Trim(query.ID, credential.Base62) == "" {
		current := client.ListOptions{Namespace: namespace, FieldSelector: fields.OneTermEqualSelector("status.keyID", query.ID)}
		if err := eachKey(ctx, c, current, collect); err != nil || len(found) > 0 {
			return found, err
		}
	}
	err = eachKey(ctx, c, client.ListOptions{Namespace: namespace}, collect)
	return found, err
}

func (o *findOptions) print(found []foundKey) error {
	if !o.output.isText() {
		return o.output.print(found, o.Out)
	}
	if len(found) == 0 {
		return nil
	}
	return printFound(found, o.Out)
}

// printFound prints a table. It has a column for the line only if there is more than one.
func printFound(found []foundKey, out io.Writer) error {
	columns := []string{"LINE", "NAMESPACE", "NAME", "ACCOUNT", "LABEL", "STATE", "ROLE", "KEY-ID"}
	first := 1
	if found[len(found)-1].Line > 1 {
		first = 0
	}
	rows := make([][]string, len(found))
	for i, f := range found {
		row := []string{strconv.Itoa(f.Line), f.Namespace, f.Name, f.Account, f.Label, string(f.State), f.Role, f.KeyID}
		rows[i] = row[first:]
	}
	return printRows(columns[first:], rows, out)
}
