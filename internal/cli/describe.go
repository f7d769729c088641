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
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
)

// describeCommand returns kubectl apikey describe.
func (e *environment) describeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "describe NAME",
		Short: "Describe a key: its account, credentials, conditions, history and events",
		Long: "Describe a key: who owns it, whether verifiers accept it and if not, why and what to do, its credentials, the KeyExports that\n" +
			"select it, mails, history and events. What you may not read is left out, and said so.",
		Example:           "  kubectl apikey describe shop-key",
		Args:              cobra.ExactArgs(1),
		RunE:              func(cmd *cobra.Command, args []string) error { return e.describe(cmd.Context(), args[0]) },
		ValidArgsFunction: e.completeKey,
	}
}

// description holds all objects that describe a key.
type description struct {
	key *v1alpha1.APIKey
	// account is nil if it could not be read, and accountErr says why.
	account    *v1alpha1.Account
	accountErr error
	events     []eventsv1.Event
	eventsErr  error
	// exports lists the KeyExports that select the key.
	exports []keyInExport
	now     time.Time
}

func (e *environment) describe(ctx context.Context, name string) error {
	namespace, err := e.namespace()
	if err != nil {
		return err
	}
	c, err := e.client()
	if err != nil {
		return err
	}
	list, err := readNamed(ctx, c, namespace, []string{name})
	if err != nil {
		return err
	}
	d := description{key: &list[0], now: e.clock.Now()}
	account := &v1alpha1.Account{}
	if d.accountErr = c.Get(ctx, client.ObjectKey{Name: d.key.Spec.Account}, account); d.accountErr == nil {
		d.account = account
	}
	d.events, d.eventsErr = eventsOf(ctx, c, d.key)
	d.exports = d.exportsOf(ctx, c)
	return e.printDescription(d.write)
}

// eventsOf returns the latest events of an object, the oldest of them first.
func eventsOf(ctx context.Context, c client.Client, object client.Object) ([]eventsv1.Event, error) {
	const maxEvents = 20
	list := &eventsv1.EventList{}
	err := c.List(ctx, list, &client.ListOptions{
		Namespace: object.GetNamespace(), FieldSelector: fields.OneTermEqualSelector("regarding.uid", string(object.GetUID())), Limit: pageSize,
	})
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(list.Items, func(a, b eventsv1.Event) int { return eventTime(&a).Compare(eventTime(&b)) })
	return list.Items[max(0, len(list.Items)-maxEvents):], nil
}

func eventTime(e *eventsv1.Event) time.Time {
	switch {
	case e.Series != nil:
		return e.Series.LastObservedTime.Time
	case !e.EventTime.IsZero():
		return e.EventTime.Time
	default:
		return e.DeprecatedLastTimestamp.Time
	}
}

// write prints the sections of the description.
func (d *description) write(out io.Writer) {
	d.writeKey(out)
	d.writeAccount(out)
	d.writeMetadata(out)
	d.writeRateLimits(out)
	writeConditions(out, d.key.Status.Conditions)
	d.writeCredentials(out)
	d.writeExports(out)
	d.writeMails(out)
	d.writeHistory(out)
	writeEvents(out, d.events, d.eventsErr, d.now)
}

// line prints a field of the description.
func line(out io.Writer, name string, value string) {
	fmt.Fprintf(out, "%s:\t%s\n", name, orNone(value))
}

// section prints the heading of a table in the description.
func section(out io.Writer, name string, columns ...string) {
	fmt.Fprintf(out, "%s:\n", name)
	row(out, columns...)
}

// row prints a row of a table in the description. Columns are aligned.
func row(out io.Writer, cells ...string) {
	for i, cell := range cells {
		cells[i] = orNone(cell)
	}
	fmt.Fprintf(out, "  %s\n", strings.Join(cells, "\t"))
}

// orNone returns a text on one line, or a word for none.
func orNone(text string) string {
	if text == "" {
		return "<none>"
	}
	return singleLine(text)
}

func (d *description) writeKey(out io.Writer) {
	k := d.key
	line(out, "Name", k.Name)
	line(out, "Namespace", k.Namespace)
	line(out, "Account", k.Spec.Account)
	line(out, "Label", k.Spec.Label)
	line(out, "State", fmt.Sprintf("%s (spec.state: %s)", orNone(string(k.Status.State)), orNone(string(k.Spec.State))))
	line(out, "Secret", keys.SecretName(k))
	line(out, "Created", formatTime(&k.CreationTimestamp))
	line(out, "Expires", formatTime(k.Status.ExpirationTime))
	line(out, "Next rotation", formatTime(k.Status.NextRotationTime))
	line(out, "Last used", formatTime(k.Status.LastUsedTime))
	line(out, "Scopes", strings.Join(keys.EffectiveScopes(k, d.account), ", "))
	line(out, "IP addresses", addresses(k))
}

func addresses(k *v1alpha1.APIKey) string {
	if len(k.Spec.IPWhitelist) == 0 {
		return "any"
	}
	return strings.Join(k.Spec.IPWhitelist, ", ")
}

// writeAccount prints who owns the key, and what the account allows.
func (d *description) writeAccount(out io.Writer) {
	if d.account == nil {
		line(out, "Account policy", "unknown: "+explain(d.accountErr))
		return
	}
	a := d.account
	fmt.Fprintf(out, "Account policy:\n")
	line(out, "  Display name", a.Spec.DisplayName)
	line(out, "  State", string(a.Spec.State))
	line(out, "  Plan", a.Spec.Plan)
	if a.Status.Keys != nil {
		line(out, "  Keys", a.Status.Keys.Usage)
	}
	line(out, "  Deletion of keys", string(a.Status.DeletionPolicy))
	line(out, "  Allowed namespaces", allowedNamespaces(a))
}

func allowedNamespaces(a *v1alpha1.Account) string {
	if a.Spec.AllowedNamespaces == nil {
		return "all"
	}
	return metav1.FormatLabelSelector(a.Spec.AllowedNamespaces)
}

// writeMetadata prints the metadata that verifiers pass to gateways, and whether the key or its account has it.
func (d *description) writeMetadata(out io.Writer) {
	var ofAccount map[string]v1alpha1.MetadataValue
	if d.account != nil {
		ofAccount = d.account.Spec.Metadata
	}
	effective := keys.EffectiveMetadata(d.key.Spec.Metadata, ofAccount)
	if len(effective) == 0 {
		return
	}
	section(out, "Metadata", "NAME", "FROM", "VALUE")
	for _, name := range slices.Sorted(maps.Keys(effective)) {
		from := "key"
		if _, ok := ofAccount[name]; ok {
			from = "account"
		}
		row(out, name, from, effective[name])
	}
}

// writeRateLimits prints the rate limits of the key, and those of its account. Without the account, it prints those that
// the key declares.
func (d *description) writeRateLimits(out io.Writer) {
	effective, ofAccount := d.key.Spec.RateLimits, []v1alpha1.RateLimit(nil)
	if d.account != nil {
		ofAccount = d.account.Spec.RateLimits
		effective = keys.EffectiveRateLimits(effective, ofAccount)
	}
	if len(effective) == 0 {
		return
	}
	section(out, "Rate limits", "NAME", "OF-KEY", "OF-ACCOUNT")
	for i, l := range effective {
		account := "unknown"
		if d.account != nil {
			account = formatRateLimit(ofAccount[i])
		}
		row(out, l.Name, formatRateLimit(l), account)
	}
}

// formatRateLimit returns a rate limit as in 100 per Minute.
func formatRateLimit(l v1alpha1.RateLimit) string {
	return fmt.Sprintf("%d per %s", ptr.Deref(l.Requests, 0), l.Unit)
}

// writeConditions prints the conditions. The message of a condition that is not as it should be says what to do.
func writeConditions(out io.Writer, list []metav1.Condition) {
	section(out, "Conditions", "TYPE", "STATUS", "REASON", "MESSAGE")
	for _, c := range list {
		row(out, c.Type, string(c.Status), c.Reason, c.Message)
	}
}

func (d *description) writeCredentials(out io.Writer) {
	if len(d.key.Status.Credentials) == 0 {
		return
	}
	section(out, "Credentials", "ROLE", "KEY", "KEY-ID", "ISSUED", "VALID-UNTIL", "LAST-USED")
	for _, c := range d.key.Status.Credentials {
		row(out, string(c.Role), c.Hint, c.ID, formatTime(&c.IssuedAt), formatTime(c.NotAfter), formatTime(c.LastUsedTime))
	}
}

func (d *description) writeMails(out io.Writer) {
	if len(d.key.Status.Notifications) == 0 {
		return
	}
	section(out, "Mails", "DATE", "STATE", "SENT", "REASON")
	for _, n := range d.key.Status.Notifications {
		row(out, n.Date, string(n.State), formatTime(n.SentAt), n.Reason)
	}
}

func (d *description) writeHistory(out io.Writer) {
	section(out, "History", "TIME", "REASON", "MESSAGE")
	for _, t := range d.key.Status.History {
		row(out, formatTime(&t.Time), t.Reason, t.Message)
	}
}

func writeEvents(out io.Writer, events []eventsv1.Event, err error, now time.Time) {
	if err != nil {
		line(out, "Events", "unknown: "+explain(err))
		return
	}
	if len(events) == 0 {
		line(out, "Events", "")
		return
	}
	section(out, "Events", "TYPE", "REASON", "AGE", "MESSAGE")
	for i := range events {
		e := &events[i]
		row(out, e.Type, e.Reason, formatAge(&metav1.Time{Time: eventTime(e)}, now), e.Note)
	}
}
