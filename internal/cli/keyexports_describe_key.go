// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/export"
	"github.com/apikey-manager/apikey-manager/internal/keys"
)

// unknownInExport is the answer if what decides it could not be read.
const unknownInExport = "unknown: you may not read all that decides it"

// exportExplanation holds what decides whether a KeyExport holds a key.
type exportExplanation struct {
	*exportFacts

	candidate export.Candidate
	// missing says what could not be read. Without it, an answer of no may be wrong.
	missing []error
	now     time.Time
}

// explainKeyInExport says why a KeyExport holds a key, or does not.
func (e *environment) explainKeyInExport(ctx context.Context, c client.Client, x *v1alpha1.KeyExport, namespace, name string) error {
	list, err := readNamed(ctx, c, namespace, []string{name})
	if err != nil {
		return err
	}
	k := &list[0]
	d := exportExplanation{exportFacts: newExportFacts(ctx, c, x, []*v1alpha1.APIKey{k}), now: e.clock.Now()}
	var accountErr, namespaceErr error
	d.candidate, accountErr, namespaceErr = readCandidate(ctx, c, k)
	all, err := readAllKeys(ctx, c)
	d.missing = slices.DeleteFunc([]error{accountErr, namespaceErr, err}, func(err error) bool { return err == nil })
	d.candidate.Shadowed = shadowedDigests(k, all)
	if d.compileErr != nil {
		return fmt.Errorf("the KeyExport is invalid: %w", d.compileErr)
	}
	return e.printDescription(d.write)
}

func (d *exportExplanation) write(out io.Writer) {
	k := d.candidate.Key
	line(out, "KeyExport", d.export.Namespace+"/"+d.export.Name)
	line(out, "Key", k.Namespace+"/"+k.Name)
	line(out, "Account", k.Spec.Account)
	for _, err := range d.missing {
		line(out, "Not read", explain(err))
	}
	line(out, "Selected", d.selected())
	line(out, "Accepted by verifiers", d.accepted())
	line(out, "Withheld", d.withheld())
	d.writeHolders(out)
}

// selected says whether the spec selects the key, and which criterion it does not meet.
func (d *exportExplanation) selected() string {
	if d.compiled.Selects(d.candidate) {
		return "yes"
	}
	var unmet []string
	for name, keep := range map[string]func(from, to *v1alpha1.KeyExportSpec){
		"accounts":          func(from, to *v1alpha1.KeyExportSpec) { to.Accounts = from.Accounts },
		"accountSelector":   func(from, to *v1alpha1.KeyExportSpec) { to.AccountSelector = from.AccountSelector },
		"namespaceSelector": func(from, to *v1alpha1.KeyExportSpec) { to.NamespaceSelector = from.NamespaceSelector },
		"scopes":            func(from, to *v1alpha1.KeyExportSpec) { to.Scopes = from.Scopes },
	} {
		one := d.export.DeepCopy()
		one.Spec.Accounts, one.Spec.AccountSelector, one.Spec.NamespaceSelector, one.Spec.Scopes = nil, nil, nil, nil
		keep(&d.export.Spec, &one.Spec)
		if compiled, err := export.Compile(one); err == nil && !compiled.Selects(d.candidate) {
			unmet = append(unmet, "spec."+name)
		}
	}
	if len(d.missing) > 0 && !slices.Contains(unmet, "spec.accounts") {
		return unknownInExport
	}
	slices.Sort(unmet)
	return "no: the key does not meet " + strings.Join(unmet, " and ")
}

// accepted says how many credentials of the key verifiers accept now, or why none.
func (d *exportExplanation) accepted() string {
	k := d.candidate.Key
	credentials, _ := keys.AcceptedCredentials(k, d.candidate.Account, d.candidate.NamespaceLabels, d.now)
	if n := len(credentials); n > 0 {
		return "yes, " + plural(n, "credential", "credentials")
	}
	if len(d.missing) > 0 && k.Status.State == v1alpha1.StateActive {
		return unknownInExport
	}
	ready := conditionOf(k, v1alpha1.ConditionReady)
	return fmt.Sprintf("no: the key is %s: %s. See kubectl apikey describe %s -n %s",
		cmp.Or(string(k.Status.State), "not reconciled yet"), cmp.Or(ready.Message, "no message"), k.Name, k.Namespace)
}

// withheld says whether the key is withheld, and what to do.
func (d *exportExplanation) withheld() string {
	evaluation := d.compiled.Evaluate(d.candidate, d.now)
	reason := evaluation.Withheld
	if reason == "" && len(evaluation.Credentials) > 0 {
		reason = withheldReason(d.export, d.candidate.Key)
	}
	if reason == "" {
		return "no"
	}
	return reason + ": " + withheldActions[reason]
}

// writeHolders prints the entries of the key in the objects.
func (d *exportExplanation) writeHolders(out io.Writer) {
	section(out, "Entries", "OBJECT", "ENTRY", "KEY-ID", "ROLE")
	found := false
	for _, object := range d.read {
		if object.err != nil {
			row(out, object.name, "unknown: "+explain(object.err))
			continue
		}
		items := d.contents[object.name].Items
		for _, name := range slices.Sorted(maps.Keys(items)) {
			item := items[name]
			if _, c := d.find(item); c != nil {
				found = true
				row(out, object.name, name, c.ID, string(c.Role))
			}
		}
	}
	if !found {
		row(out, "no object that was read holds the key")
	}
	if n := d.export.Status.ObjectCount; n != nil && int(*n) > len(d.read) {
		row(out, plural(int(*n)-len(d.read), "more object was", "more objects were")+" not read")
	}
}
