// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
)

// creator creates a key.
type creator struct {
	*environment

	output  output
	waiting waiting
	dryRun  string

	spec         v1alpha1.APIKeySpec
	notification v1alpha1.Notification
	rotation     struct{ interval, overlap string }
	format       v1alpha1.Format
	formatType   string
	state        string
	secretName   string
	metadata     map[string]string
}

// createCommand returns kubectl apikey create.
func (e *environment) createCommand() *cobra.Command {
	c := &creator{environment: e}
	cmd := &cobra.Command{
		Use:   "create NAME --account ACCOUNT",
		Short: "Create a key",
		Long: "Create a key. The manager generates it and writes it to a Secret; the command prints where. kubectl apikey reveal prints the\n" +
			"key itself. --dry-run=client -o yaml prints the manifest for a git repository.",
		Example: "  kubectl apikey create shop-key --account acme --label 'Online shop'\n" +
			"  kubectl apikey create newsletter --account acme --format UUID --expiration 2027-02-28 \\\n" +
			"    --email ops@example.com --days-before 7 --locale es --ip 192.0.2.0/24\n" +
			"  kubectl apikey create shop-key --account acme --dry-run=client -o yaml > shop-key.yaml",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, args []string) error { return c.run(cmd.Context(), args[0]) },
	}
	c.output.bindFormats(cmd)
	c.waiting.bind(cmd)
	c.bindSpec(cmd)
	e.completeAccountFlag(cmd)
	cmd.Flags().StringVar(&c.dryRun, "dry-run", "none", "none; client: only print the object; or server: validate it, but do not save it")
	return cmd
}

// bindSpec adds a flag for each field that users set often.
func (c *creator) bindSpec(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&c.spec.Account, "account", "", "`account` that owns the key (required)")
	flags.StringVar(&c.spec.Label, "label", "", "display name of the key, unique in the account")
	flags.StringVar(&c.spec.Expiration, "expiration", "", "when the key expires: a date such as 2027-02-28, or an RFC 3339 instant")
	flags.StringSliceVar(&c.spec.IPWhitelist, "ip", nil, "`addresses` or CIDRs from which the key may be used")
	flags.StringSliceVar(&c.spec.Scopes, "scope", nil, "what the key may do, such as conversions:write")
	flags.StringToStringVar(&c.metadata, "metadata", nil, "`facts` that verifiers pass to gateways, such as team=shop; may be repeated")
	flags.StringVar(&c.state, "state", "", "Active or Inactive")
	flags.StringSliceVar(&c.notification.Emails, "email", nil, "`addresses` to notify before the key expires")
	flags.Int32SliceVar(&c.notification.DaysBefore, "days-before", nil, "how many `days` before the expiration to notify")
	flags.StringVar(&c.notification.Date, "notification-date", "", "the day on which to notify, instead of --days-before")
	flags.StringVar(&c.notification.Locale, "locale", "", "language of the mail, such as es")
	flags.StringVar(&c.rotation.interval, "rotation-interval", "", "how often to issue a new credential, such as 720h")
	flags.StringVar(&c.rotation.overlap, "rotation-overlap", "", "how long the previous credential stays valid, such as 24h")
	flags.StringVar(&c.formatType, "format", "", "Token, UUID, Alphanumeric or Hex")
	flags.StringVar(&c.format.Prefix, "prefix", "", "first part of a Token")
	flags.Int32Var(&c.format.Length, "length", 0, "number of characters of an Alphanumeric or Hex key")
	flags.StringVar(&c.secretName, "secret-name", "", "`name` of the Secret; defaults to the name of the key")
}

func (c *creator) run(ctx context.Context, name string) error {
	if c.spec.Account == "" {
		return usageErrorf("--account is required: pass the name of the account that owns the key")
	}
	isClientDryRun := c.dryRun == "client"
	isDryRun, err := dryRunOption(c.dryRun)
	if err != nil && !isClientDryRun {
		return err
	}
	if err := c.output.validate(); err != nil {
		return err
	}
	namespace, err := c.namespace()
	if err != nil {
		return err
	}
	k := c.build(namespace, name)
	if isClientDryRun {
		return c.printChanged(&c.output, k, "created (dry run)", "")
	}
	api, err := c.client()
	if err != nil {
		return err
	}
	if err := api.Create(ctx, k, createOptions(isDryRun)...); err != nil {
		return err
	}
	if isDryRun {
		return c.printChanged(&c.output, k, "created"+serverDryRun, "")
	}
	message, err := c.await(ctx, api, k)
	if err != nil {
		return err
	}
	return c.printChanged(&c.output, k, "created", message)
}

func createOptions(isDryRun bool) []client.CreateOption {
	options := []client.CreateOption{client.FieldOwner(fieldManager)}
	if isDryRun {
		options = append(options, client.DryRunAll)
	}
	return options
}

// build returns the key that the flags describe.
func (c *creator) build(namespace, name string) *v1alpha1.APIKey {
	k := &v1alpha1.APIKey{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: *c.spec.DeepCopy()}
	k.Spec.State = v1alpha1.KeyState(c.state)
	k.Spec.Metadata = metadataOf(c.metadata)
	if n := c.notification; len(n.Emails)+len(n.DaysBefore) > 0 || n.Date != "" || n.Locale != "" {
		k.Spec.Notification = n.DeepCopy()
	}
	if c.rotation.interval != "" || c.rotation.overlap != "" {
		k.Spec.Rotation = &v1alpha1.Rotation{
			Interval: v1alpha1.Duration(c.rotation.interval), Overlap: v1alpha1.Duration(c.rotation.overlap),
		}
	}
	c.format.Type = v1alpha1.FormatType(c.formatType)
	if c.format != (v1alpha1.Format{}) {
		k.Spec.Format = c.format.DeepCopy()
	}
	if c.secretName != "" {
		k.Spec.Secret = &v1alpha1.SecretSpec{Name: c.secretName}
	}
	return k
}

func metadataOf(entries map[string]string) map[string]v1alpha1.MetadataValue {
	if len(entries) == 0 {
		return nil
	}
	metadata := make(map[string]v1alpha1.MetadataValue, len(entries))
	for name, value := range entries {
		metadata[name] = v1alpha1.MetadataValue(value)
	}
	return metadata
}

// await waits until the key is issued, if the user wants that.
func (c *creator) await(ctx context.Context, api client.Client, k *v1alpha1.APIKey) (string, error) {
	if !c.waiting.enabled {
		return "", nil
	}
	return c.awaitOutcome(ctx, api, k, c.waiting.timeout, observeIssued)
}

// observeIssued reports where the key is, once it is issued.
func observeIssued(k *v1alpha1.APIKey, since time.Duration) outcome {
	result := isValid(k, since)
	if result.Done {
		const where = "; it is in Secret %s, and kubectl apikey reveal %s -n %s prints it"
		result.Message += fmt.Sprintf(where, keys.SecretName(k), k.Name, k.Namespace)
	}
	return result
}
