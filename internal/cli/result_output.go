// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/json"
	"io"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"sigs.k8s.io/yaml"
)

// resultOutput prints a result that is not an API object: as text, or as JSON or YAML.
type resultOutput struct{ format string }

// bind adds the flag --output to a command.
func (o *resultOutput) bind(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&o.format, "output", "o", "", "output format: json or yaml")
}

// isText reports whether the user asked for text.
func (o *resultOutput) isText() bool { return o.format == "" }

// validate returns a usage error if the format does not exist.
func (o *resultOutput) validate() error {
	switch o.format {
	case "", "json", "yaml":
		return nil
	}
	return usageErrorf("invalid value of --output: %q: must be json or yaml", o.format)
}

// print prints a result as JSON or YAML.
func (o *resultOutput) print(result any, out io.Writer) error {
	text, err := json.MarshalIndent(result, "", "  ")
	if err != nil {
		return err
	}
	text = append(text, '\n')
	if o.format == "yaml" {
		if text, err = yaml.JSONToYAML(text); err != nil {
			return err
		}
	}
	_, err = out.Write(text)
	return err
}

// printRows prints rows as a table.
func printRows(columns []string, rows [][]string, out io.Writer) error {
	list := make([]column, len(columns))
	for i, name := range columns {
		list[i].name = name
	}
	table := output{flags: genericclioptions.NewPrintFlags("")}
	return table.printTable(list, rows, out)
}
