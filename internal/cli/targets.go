// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// targets determines the keys that a command acts on: those that the user names, or those that flags select.
type targets struct {
	filter             keyFilter
	all, allNamespaces bool
}

// targetsUsage describes the targets in the usage of a command.
const targetsUsage = "(NAME... | --account ACCOUNT | --selector SELECTOR | --all)"

// bind adds the flags that select keys to a command, and the completion of names.
func (t *targets) bind(e *environment, cmd *cobra.Command) {
	t.filter.bind(e, cmd)
	cmd.ValidArgsFunction = e.completeKeys
	cmd.Flags().BoolVar(&t.all, "all", false, "select all keys of the namespace")
	cmd.Flags().BoolVarP(&t.allNamespaces, "all-namespaces", "A", false, "select keys in all namespaces, with --account, --selector or --all")
}

// validate returns a usage error unless the user either names keys or selects them.
func (t *targets) validate(names []string) error {
	selects := t.filter != keyFilter{} || t.all
	switch {
	case len(names) == 0 && !selects:
		return usageErrorf("no keys: pass their names, or select them with --account, --selector or --all")
	case len(names) > 0 && (selects || t.allNamespaces):
		return usageErrorf("keys are both named and selected: pass either names, or --account, --selector, --all and --all-namespaces")
	default:
		return nil
	}
}

// inNamespace returns the namespace of a key, for a message, if the keys may be in several.
func (t *targets) inNamespace(k *v1alpha1.APIKey) string {
	if !t.allNamespaces {
		return ""
	}
	return " in namespace " + k.Namespace
}

// read returns the keys.
func (t *targets) read(ctx context.Context, e *environment, c client.Client, names []string) ([]v1alpha1.APIKey, error) {
	namespace, err := e.namespaceOrAll(t.allNamespaces)
	if err != nil {
		return nil, err
	}
	if len(names) > 0 {
		return readNamed(ctx, c, namespace, names)
	}
	options, err := t.filter.options(namespace)
	if err != nil {
		return nil, err
	}
	var list []v1alpha1.APIKey
	err = eachKey(ctx, c, options, func(k *v1alpha1.APIKey) error {
		list = append(list, *k)
		return nil
	})
	if err == nil && len(list) == 0 {
		err = fmt.Errorf("no keys match: see kubectl apikey list")
	}
	return list, err
}

func readNamed(ctx context.Context, c client.Client, namespace string, names []string) ([]v1alpha1.APIKey, error) {
	list := make([]v1alpha1.APIKey, len(names))
	for i, name := range names {
		if err := c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, &list[i]); err != nil {
			return nil, fmt.Errorf("read key %s/%s: %w", namespace, name, err)
		}
	}
	return list, nil
}
