// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// keyExportLister prints KeyExports.
type keyExportLister struct {
	*environment

	output        output
	selector      string
	allNamespaces bool
}

// listKeyExportsCommand returns kubectl apikey keyexports list.
func (e *environment) listKeyExportsCommand() *cobra.Command {
	l := &keyExportLister{environment: e}
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List KeyExports",
		Long: "List the KeyExports of a namespace, or of all namespaces: what they write to which object, how many keys and credentials the\n" +
			"objects hold, and how many keys are withheld. kubectl apikey keyexports describe says why.",
		Example: "  kubectl apikey keyexports list -A\n" +
			"  kubectl apikey kex ls -n gateways -o wide",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return l.run(cmd.Context()) },
	}
	l.output.bind(cmd)
	cmd.Flags().StringVarP(&l.selector, "selector", "l", "", "select KeyExports by the labels of the object, such as team=payments")
	cmd.Flags().BoolVarP(&l.allNamespaces, "all-namespaces", "A", false, "list the KeyExports of all namespaces")
	return cmd
}

func (l *keyExportLister) run(ctx context.Context) error {
	if err := l.output.validate(); err != nil {
		return err
	}
	list, err := l.read(ctx)
	if err != nil {
		return err
	}
	if !l.output.isTable() {
		return l.output.printObject(list, l.Out)
	}
	if len(list.Items) == 0 {
		l.notef("No KeyExports found")
		return nil
	}
	return printKeyExports(&l.output, list.Items, l.allNamespaces, l.clock.Now(), l.Out)
}

// read returns the selected KeyExports, sorted by namespace and name.
func (l *keyExportLister) read(ctx context.Context) (*v1alpha1.KeyExportList, error) {
	selector, err := labels.Parse(l.selector)
	if err != nil {
		return nil, usageErrorf("invalid value of --selector: %w", err)
	}
	namespace, err := l.namespaceOrAll(l.allNamespaces)
	if err != nil {
		return nil, err
	}
	c, err := l.client()
	if err != nil {
		return nil, err
	}
	list := &v1alpha1.KeyExportList{}
	if err := c.List(ctx, list, &client.ListOptions{Namespace: namespace, LabelSelector: selector}); err != nil {
		return nil, err
	}
	slices.SortFunc(list.Items, func(a, b v1alpha1.KeyExport) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return list, nil
}

// printKeyExports prints a table of KeyExports.
func printKeyExports(o *output, list []v1alpha1.KeyExport, withNamespace bool, now time.Time, out io.Writer) error {
	columns := []column{
		{"NAME", false},
		{"TARGET", false},
		{"CONTENT", false},
		{"KEYS", false},
		{"CREDENTIALS", false},
		{"WITHHELD", false},
		{"READY", false},
		{"REASON", false},
		{"AGE", false},
		{"LAYOUT", true},
		{"OBJECTS", true},
		{"CREATED", true},
	}
	if withNamespace {
		columns = slices.Insert(columns, 0, column{"NAMESPACE", false})
	}
	rows := make([][]string, len(list))
	for i := range list {
		rows[i] = keyExportRow(&list[i], now)
		if withNamespace {
			rows[i] = slices.Insert(rows[i], 0, list[i].Namespace)
		}
	}
	return o.printTable(columns, rows, out)
}

func keyExportRow(x *v1alpha1.KeyExport, now time.Time) []string {
	ready, s := findCondition(x.Status.Conditions, v1alpha1.ConditionReady), x.Status
	return []string{
		x.Name, targetOf(x), string(x.Spec.Content), formatCount(s.Keys), formatCount(s.Credentials), formatCount(s.WithheldKeys),
		string(ready.Status), ready.Reason, formatAge(&x.CreationTimestamp, now), string(x.Spec.Layout), formatCount(s.ObjectCount),
		formatTime(&x.CreationTimestamp),
	}
}

// formatCount returns a count of a status, or "" if the manager has not reported it.
func formatCount(n *int32) string {
	if n == nil {
		return ""
	}
	return strconv.Itoa(int(*n))
}
