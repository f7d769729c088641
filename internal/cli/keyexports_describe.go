// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/printers"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/export"
)

// maxDescribedEntries limits the number of entries of an object that a description lists.
const maxDescribedEntries = 50

// describeKeyExportCommand returns kubectl apikey keyexports describe.
func (e *environment) describeKeyExportCommand() *cobra.Command {
	var key string
	cmd := &cobra.Command{
		Use:   "describe NAME",
		Short: "Describe a KeyExport: which keys it selects, what its objects hold, and what is withheld",
		Long: "Describe a KeyExport: which keys it selects, which entries its objects hold and whose they are, which keys are withheld, why,\n" +
			"and what to do. Keys and digests are not printed. What you may not read is left out, and said so.\n\n" +
			"With --key, say why the KeyExport holds one key, or does not.",
		Example: "  kubectl apikey keyexports describe gateway-keys -n gateways\n" +
			"  kubectl apikey keyexports describe gateway-keys -n gateways --key shops/shop-key",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: e.completeKeyExport,
		RunE: func(cmd *cobra.Command, args []string) error {
			return e.describeKeyExport(cmd.Context(), args[0], key)
		},
	}
	cmd.Flags().StringVar(&key, "key", "", "say why the KeyExport holds this key, or does not: `namespace/name`")
	return cmd
}

// exportDescription holds all objects that describe a KeyExport.
type exportDescription struct {
	*exportFacts

	// keysErr says why the keys could not be read.
	keysErr   error
	events    []eventsv1.Event
	eventsErr error
	now       time.Time
}

func (e *environment) describeKeyExport(ctx context.Context, name, key string) error {
	keyNamespace, keyName, isQualified := strings.Cut(key, "/")
	if key != "" && (!isQualified || keyNamespace == "" || keyName == "" || strings.Contains(keyName, "/")) {
		return usageErrorf("invalid value of --key: %q: must be the namespace and the name of a key, such as shops/shop-key", key)
	}
	namespace, err := e.namespace()
	if err != nil {
		return err
	}
	c, err := e.client()
	if err != nil {
		return err
	}
	x, err := readKeyExport(ctx, c, namespace, name)
	if err != nil {
		return err
	}
	if key != "" {
		return e.explainKeyInExport(ctx, c, x, keyNamespace, keyName)
	}
	d := exportDescription{now: e.clock.Now()}
	list, err := readAllKeys(ctx, c)
	d.keysErr = err
	d.exportFacts = newExportFacts(ctx, c, x, list)
	d.events, d.eventsErr = eventsOf(ctx, c, x)
	return e.printDescription(d.write)
}

// printDescription prints what write writes, with aligned columns.
func (e *environment) printDescription(write func(io.Writer)) error {
	var text strings.Builder
	table := printers.GetNewTabWriter(&text)
	write(table)
	if err := table.Flush(); err != nil {
		return err
	}
	_, err := io.WriteString(e.Out, text.String())
	return err
}

// write prints the sections of the description.
func (d *exportDescription) write(out io.Writer) {
	d.writeSpec(out)
	d.writeCounts(out)
	writeConditions(out, d.export.Status.Conditions)
	d.writeWithheld(out)
	d.writeObjects(out)
	writeEvents(out, d.events, d.eventsErr, d.now)
}

func (d *exportDescription) writeSpec(out io.Writer) {
	x, s := d.export, &d.export.Spec
	line(out, "Name", x.Name)
	line(out, "Namespace", x.Namespace)
	line(out, "Keys", selectionOf(s))
	line(out, "Content", map[v1alpha1.ExportContent]string{
		v1alpha1.ExportContentDigest: "Digest: the SHA-256 digest of each credential",
		v1alpha1.ExportContentKey:    "Key: each credential itself, of accounts with exportPolicy: Key",
	}[s.Content])
	line(out, "Target", describeTarget(s))
	line(out, "Entry name", entryTemplate(s, func(e *v1alpha1.ExportEntry) string { return e.Name }))
	line(out, "Entry value", entryTemplate(s, func(e *v1alpha1.ExportEntry) string { return e.Value }))
	line(out, "Keys for some addresses", map[v1alpha1.AddressRestrictedPolicy]string{
		v1alpha1.AddressRestrictedWithhold: "withheld",
		v1alpha1.AddressRestrictedInclude:  "exported; the gateway does not check the address",
	}[s.AddressRestricted])
	line(out, "Created", formatTime(&x.CreationTimestamp))
	if d.compileErr != nil {
		line(out, "Invalid", d.compileErr.Error())
	}
}

// selectionOf returns in words which keys a spec selects.
func selectionOf(s *v1alpha1.KeyExportSpec) string {
	text := "those of all accounts"
	if len(s.Accounts) > 0 {
		text = "those of account " + strings.Join(s.Accounts, ", ")
		if len(s.Accounts) > 1 {
			text = "those of the accounts " + strings.Join(s.Accounts, ", ")
		}
	}
	if s.AccountSelector != nil {
		text += ", if their account has the labels " + metav1.FormatLabelSelector(s.AccountSelector)
	}
	if s.NamespaceSelector != nil {
		text += ", in namespaces with the labels " + metav1.FormatLabelSelector(s.NamespaceSelector)
	}
	if len(s.Scopes) > 0 {
		text += ", with the scopes " + strings.Join(s.Scopes, ", ")
	}
	return text
}

// describeTarget returns in words which objects a spec writes.
func describeTarget(s *v1alpha1.KeyExportSpec) string {
	kind, ofType := s.Target.Kind, ""
	if s.Target.Type != "" {
		ofType = " of type " + s.Target.Type
	}
	if s.Layout == v1alpha1.ExportLayoutObjects {
		return fmt.Sprintf("a %s%s for each credential, called %s-<digits of the digest>", kind, ofType, s.Target.Name)
	}
	return fmt.Sprintf("%s %s%s; further ones are called %s-1, %s-2", kind, s.Target.Name, ofType, s.Target.Name, s.Target.Name)
}

// entryTemplate returns a template of the entry, or a word for the default.
func entryTemplate(s *v1alpha1.KeyExportSpec, of func(*v1alpha1.ExportEntry) string) string {
	if s.Entry == nil || of(s.Entry) == "" {
		return "default"
	}
	return strings.Join(strings.Fields(of(s.Entry)), " ")
}

func (d *exportDescription) writeCounts(out io.Writer) {
	s := &d.export.Status
	line(out, "Exported keys", formatCount(s.Keys))
	line(out, "Exported credentials", formatCount(s.Credentials))
	line(out, "Withheld keys", formatCount(s.WithheldKeys))
	line(out, "Objects", formatCount(s.ObjectCount))
}

// writeWithheld prints the keys that are withheld, and what to do.
func (d *exportDescription) writeWithheld(out io.Writer) {
	if len(d.export.Status.Withheld) == 0 {
		return
	}
	section(out, "Withheld", "NAMESPACE", "NAME", "REASON", "ACTION")
	for _, w := range d.export.Status.Withheld {
		row(out, w.Namespace, w.Name, w.Reason, withheldActions[w.Reason])
	}
	if n := d.export.Status.WithheldKeys; n != nil && int(*n) > len(d.export.Status.Withheld) {
		row(out, fmt.Sprintf("and %d more", int(*n)-len(d.export.Status.Withheld)))
	}
}

// writeObjects prints the entries of the objects, without their values.
func (d *exportDescription) writeObjects(out io.Writer) {
	if d.keysErr != nil {
		line(out, "Keys of entries", "unknown: "+explain(d.keysErr))
	}
	if len(d.read) == 0 {
		return
	}
	section(out, "Entries", "OBJECT", "ENTRY", "NAMESPACE", "KEY", "KEY-ID", "ROLE")
	for _, object := range d.read {
		if object.err != nil {
			row(out, object.name, "unknown: "+explain(object.err))
			continue
		}
		d.writeEntries(out, object.name)
	}
	if n := d.export.Status.ObjectCount; n != nil && int(*n) > len(d.read) {
		row(out, "and "+plural(int(*n)-len(d.read), "more object", "more objects"))
	}
}

// writeEntries prints the entries of an object.
func (d *exportFacts) writeEntries(out io.Writer, object string) {
	items := d.contents[object].Items
	if len(items) == 0 {
		row(out, object, "none")
	}
	for i, name := range slices.Sorted(maps.Keys(items)) {
		if i == maxDescribedEntries {
			row(out, object, fmt.Sprintf("and %d more", len(items)-i))
			return
		}
		item := items[name]
		cells := []string{object, name, "unknown", "unknown", "unknown", "unknown"}
		if k, c := d.find(item); k != nil {
			cells = []string{object, cells[1], k.Namespace, k.Name, c.ID, string(c.Role)}
		}
		row(out, cells...)
	}
}

// find returns the key and the credential of an item, or nil if they are not known.
func (d *exportFacts) find(item export.Item) (*v1alpha1.APIKey, *v1alpha1.Credential) {
	k := d.keys[item.UID]
	if k == nil || item.Digest == "" {
		return nil, nil
	}
	for i := range k.Status.Credentials {
		if k.Status.Credentials[i].SHA256 == item.Digest {
			return k, &k.Status.Credentials[i]
		}
	}
	return nil, nil
}

// readKeyExport returns the KeyExport of a name.
func readKeyExport(ctx context.Context, c client.Client, namespace, name string) (*v1alpha1.KeyExport, error) {
	x := &v1alpha1.KeyExport{}
	if err := c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, x); err != nil {
		return nil, fmt.Errorf("read KeyExport %s/%s: %w", namespace, name, err)
	}
	return x, nil
}

// completeKeyExport completes the name of one KeyExport in the namespace.
func (e *environment) completeKeyExport(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return e.complete(cmd.Context(), func(ctx context.Context, c client.Client) ([]string, error) {
		namespace, err := e.namespace()
		if err != nil {
			return nil, err
		}
		var list v1alpha1.KeyExportList
		err = c.List(ctx, &list, client.InNamespace(namespace))
		names := make([]string, len(list.Items))
		for i := range list.Items {
			names[i] = cobra.CompletionWithDesc(list.Items[i].Name, singleLine(targetOf(&list.Items[i])))
		}
		return names, err
	})
}
