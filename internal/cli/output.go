// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/printers"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
)

// formatWide is the output format of a table with all columns.
const formatWide = "wide"

// formatName is the output format that prints the kind and the name of an object.
const formatName = "name"

// output prints objects as the flag --output asks: as a table, or in one of the formats of kubectl.
type output struct {
	flags     *genericclioptions.PrintFlags
	noHeaders bool
}

// bind adds the flags of the output to a command that prints a table by default.
func (o *output) bind(cmd *cobra.Command) {
	o.bindFormats(cmd)
	cmd.Flags().BoolVar(&o.noHeaders, "no-headers", false, "print a table without headers")
	cmd.Flags().Lookup("output").Usage = "output format: wide, " + strings.Join(o.flags.AllowedFormats(), ", ")
}

// bindFormats adds the flags of the output to a command that prints a sentence by default.
func (o *output) bindFormats(cmd *cobra.Command) {
	o.flags = genericclioptions.NewPrintFlags("")
	o.flags.AddFlags(cmd)
}

// showsManagedFields reports whether the user asked for metadata.managedFields.
func (o *output) showsManagedFields() bool { return o.flags.JSONYamlPrintFlags.ShowManagedFields }

func (o *output) format() string { return *o.flags.OutputFormat }

// isTable reports whether the user asked for a table.
func (o *output) isTable() bool { return o.format() == "" || o.format() == formatWide }

// validate returns a usage error if the format does not exist.
func (o *output) validate() error {
	if o.isTable() {
		return nil
	}
	if _, err := o.flags.ToPrinter(); err != nil {
		return usageErrorf("invalid value of --output: %w", err)
	}
	return nil
}

// printObject prints an object, or a list of objects, in a format other than a table.
func (o *output) printObject(object runtime.Object, out io.Writer) error {
	printer, err := o.flags.ToPrinter()
	if err != nil {
		return usageErrorf("invalid value of --output: %w", err)
	}
	if err := setKinds(object); err != nil {
		return err
	}
	if o.format() == formatName && meta.IsListType(object) {
		return meta.EachListItem(object, func(item runtime.Object) error { return printer.PrintObj(item, out) })
	}
	return printer.PrintObj(object, out)
}

// setKinds sets the kind and the version of an object and of the items of a list. Typed clients do not set them.
func setKinds(object runtime.Object) error {
	scheme, err := newScheme()
	if err != nil {
		return err
	}
	kind, err := apiutil.GVKForObject(object, scheme)
	if err != nil {
		return err
	}
	object.GetObjectKind().SetGroupVersionKind(kind)
	if !meta.IsListType(object) {
		return nil
	}
	return meta.EachListItem(object, setKinds)
}

// column is a column of a table. Wide columns are printed with --output=wide only.
type column struct {
	name string
	wide bool
}

// printTable prints rows as a table.
func (o *output) printTable(columns []column, rows [][]string, out io.Writer) error {
	table := &metav1.Table{}
	for _, c := range columns {
		definition := metav1.TableColumnDefinition{Name: c.name, Type: "string"}
		if c.wide {
			definition.Priority = 1
		}
		table.ColumnDefinitions = append(table.ColumnDefinitions, definition)
	}
	for _, row := range rows {
		cells := make([]any, len(row))
		for i, cell := range row {
			cells[i] = printable(cell)
		}
		table.Rows = append(table.Rows, metav1.TableRow{Cells: cells})
	}
	options := printers.PrintOptions{Wide: o.format() == formatWide, NoHeaders: o.noHeaders}
	return printers.NewTablePrinter(options).PrintObj(table, out)
}

// printable returns a text without the characters that could change what a terminal shows: control characters and invisible
// formatting characters, such as those that reverse the direction of text. Line breaks stay.
func printable(text string) string {
	const zeroWidthNonJoiner, zeroWidthJoiner = '\u200c', '\u200d' // several scripts need them
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsPrint(r), unicode.Is(unicode.Zs, r), r == '\n', r == zeroWidthNonJoiner, r == zeroWidthJoiner:
			return r
		default:
			return unicode.ReplacementChar
		}
	}, text)
}

// singleLine returns a text without the characters that printable replaces, on one line.
func singleLine(text string) string {
	return strings.ReplaceAll(printable(text), "\n", string(unicode.ReplacementChar))
}

// formatTime returns a time in UTC, or "" if there is none.
func formatTime(t *metav1.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// formatAge returns how long ago a time was, as kubectl does.
func formatAge(t *metav1.Time, now time.Time) string {
	if t.IsZero() {
		return ""
	}
	return duration.HumanDuration(now.Sub(t.Time))
}

// sayf prints a sentence about what was done.
func (e *environment) sayf(format string, args ...any) {
	fmt.Fprintln(e.Out, printable(fmt.Sprintf(format, args...)))
}

// notef prints a sentence that is not the result of the command, such as a warning, to the error stream.
func (e *environment) notef(format string, args ...any) {
	fmt.Fprintln(e.ErrOut, printable(fmt.Sprintf(format, args...)))
}
