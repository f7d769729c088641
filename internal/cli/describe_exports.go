// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"io"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/export"
)

// keyInExport says what one KeyExport does with a key that it selects.
type keyInExport struct {
	namespace, name, target, state, reason string
}

// exportsOf returns the KeyExports that select a key. It returns none if the user may not list KeyExports or read what decides,
// because they are not part of the key.
func (d *description) exportsOf(ctx context.Context, c client.Client) []keyInExport {
	var list v1alpha1.KeyExportList
	if err := c.List(ctx, &list); err != nil || len(list.Items) == 0 {
		return nil
	}
	candidate, accountErr, namespaceErr := readCandidate(ctx, c, d.key)
	if accountErr != nil || namespaceErr != nil {
		return nil
	}
	if all, err := readAllKeys(ctx, c); err == nil {
		candidate.Shadowed = shadowedDigests(d.key, all)
	}
	var result []keyInExport
	for i := range list.Items {
		x := &list.Items[i]
		compiled, err := export.Compile(x)
		if err != nil || !compiled.Selects(candidate) {
			continue
		}
		state, reason := stateInExport(x, d.key, compiled.Evaluate(candidate, d.now))
		result = append(result, keyInExport{x.Namespace, x.Name, targetOf(x), state, reason})
	}
	return result
}

// stateInExport returns a word for what a KeyExport does with a key that it selects, and the reason.
func stateInExport(x *v1alpha1.KeyExport, k *v1alpha1.APIKey, evaluation export.Evaluation) (state, reason string) {
	ready := findCondition(x.Status.Conditions, v1alpha1.ConditionReady)
	switch {
	case evaluation.Withheld != "":
		return "Withheld", evaluation.Withheld
	case len(evaluation.Credentials) == 0:
		return "NotAccepted", "verifiers do not accept the key"
	case withheldReason(x, k) != "":
		return "Withheld", withheldReason(x, k)
	case ready.Status != metav1.ConditionTrue || x.Status.ObservedGeneration != x.Generation:
		return "NotReady", ready.Reason
	}
	return "Exported", ""
}

// writeExports prints the KeyExports that select the key.
func (d *description) writeExports(out io.Writer) {
	if len(d.exports) == 0 {
		return
	}
	section(out, "KeyExports", "NAMESPACE", "NAME", "TARGET", "STATE", "REASON")
	for _, x := range d.exports {
		row(out, x.namespace, x.name, x.target, x.state, x.reason)
	}
}
