// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
)

// lister prints keys.
type lister struct {
	*environment

	output        output
	filter        keyFilter
	allNamespaces bool
}

func (e *environment) listCommand() *cobra.Command {
	l := &lister{environment: e}
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List keys",
		Long: "List the keys of a namespace, or of all namespaces. LABEL is the display name of a key, KEY its public first characters.\n" +
			"The flags that select keys can be combined; a key must match all of them.",
		Example: "  kubectl apikey list --account acme -A\n" +
			"  kubectl apikey list --state Inactive\n" +
			"  kubectl apikey list -A --expiring-within 14d -o wide\n" +
			"  kubectl apikey list -A --unused-since 90d -o name",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return l.run(cmd.Context()) },
	}
	l.output.bind(cmd)
	l.filter.bindAll(e, cmd)
	cmd.Flags().BoolVarP(&l.allNamespaces, "all-namespaces", "A", false, "list the keys of all namespaces")
	return cmd
}

func (l *lister) run(ctx context.Context) error {
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
		l.notef("No keys found")
		return nil
	}
	return printKeys(&l.output, list.Items, l.allNamespaces, l.clock.Now(), l.Out)
}

// read returns the selected keys, sorted by what the user asked for.
func (l *lister) read(ctx context.Context) (*v1alpha1.APIKeyList, error) {
	namespace, err := l.namespaceOrAll(l.allNamespaces)
	if err != nil {
		return nil, err
	}
	options, err := l.filter.options(namespace)
	if err != nil {
		return nil, err
	}
	c, err := l.client()
	if err != nil {
		return nil, err
	}
	list, now := &v1alpha1.APIKeyList{}, l.clock.Now()
	err = eachKey(ctx, c, options, func(k *v1alpha1.APIKey) error {
		if l.filter.matches(k, now) {
			if !l.output.showsManagedFields() {
				k.ManagedFields = nil // saves memory
			}
			list.Items = append(list.Items, *k)
		}
		return nil
	})
	slices.SortStableFunc(list.Items, l.filter.compare())
	return list, err
}

// compare returns the order of the list: the first key to expire or the longest unused key comes first if the user looks for such
// keys, and otherwise keys are in the order of their namespaces and names.
func (f *keyFilter) compare() func(a, b v1alpha1.APIKey) int {
	byName := func(a, b v1alpha1.APIKey) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	}
	switch {
	case f.expiringWithin > 0:
		return func(a, b v1alpha1.APIKey) int {
			return cmp.Or(a.Status.ExpirationTime.Compare(b.Status.ExpirationTime.Time), byName(a, b))
		}
	case f.unusedSince > 0:
		return func(a, b v1alpha1.APIKey) int { return cmp.Or(lastUse(&a).Compare(lastUse(&b)), byName(a, b)) }
	default:
		return byName
	}
}

// lastUse returns when a key was last used, or its creation if it has not been used.
func lastUse(k *v1alpha1.APIKey) time.Time {
	if k.Status.LastUsedTime != nil {
		return k.Status.LastUsedTime.Time
	}
	return k.CreationTimestamp.Time
}

// printKeys prints a table of keys.
func printKeys(o *output, list []v1alpha1.APIKey, withNamespace bool, now time.Time, out io.Writer) error {
	columns := []column{
		{"NAME", false},
		{"ACCOUNT", false},
		{"LABEL", false},
		{"STATE", false},
		{"READY", false},
		{"KEY", false},
		{"EXPIRES", false},
		{"LAST-USED", false},
		{"AGE", false},
		{"CREATED", true},
		{"KEY-ID", true},
		{"SECRET", true},
		{"REASON", true},
	}
	if withNamespace {
		columns = slices.Insert(columns, 0, column{"NAMESPACE", false})
	}
	rows := make([][]string, len(list))
	for i := range list {
		rows[i] = keyRow(&list[i], now)
		if withNamespace {
			rows[i] = slices.Insert(rows[i], 0, list[i].Namespace)
		}
	}
	return o.printTable(columns, rows, out)
}

func keyRow(k *v1alpha1.APIKey, now time.Time) []string {
	ready := conditionOf(k, v1alpha1.ConditionReady)
	return []string{
		k.Name, k.Spec.Account, k.Spec.Label, string(k.Status.State), string(ready.Status), hintOf(k),
		formatTime(k.Status.ExpirationTime), formatAge(k.Status.LastUsedTime, now), formatAge(&k.CreationTimestamp, now),
		formatTime(&k.CreationTimestamp), k.Status.KeyID, keys.SecretName(k), ready.Reason,
	}
}

// hintOf returns the public first characters of the current credential.
func hintOf(k *v1alpha1.APIKey) string {
	for _, c := range k.Status.Credentials {
		if c.Role == v1alpha1.RoleCurrent {
			return c.Hint
		}
	}
	return ""
}
