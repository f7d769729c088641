// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// keyExportCreator creates a KeyExport for a gateway.
type keyExportCreator struct {
	*environment

	output  output
	waiting waiting
	dryRun  string

	gateway, content, target           string
	accounts, scopes                   []string
	accountSelector, namespaceSelector string
}

// createKeyExportCommand returns kubectl apikey keyexports create.
func (e *environment) createKeyExportCommand() *cobra.Command {
	c := &keyExportCreator{environment: e}
	cmd := &cobra.Command{
		Use:   "create NAME --gateway GATEWAY",
		Short: "Create a KeyExport for a gateway",
		Long: "Create a KeyExport that writes keys as a gateway reads them, in the namespace in which the gateway reads them, and print to\n" +
			"the error stream what the gateway itself needs. Both are those of the samples in config/samples/exports.\n\n" +
			"Without flags that select keys, the keys of all accounts are exported. The flags can be combined; a key must match all of them.\n" +
			"--dry-run=client -o yaml prints the manifest for a git repository.",
		Example: "  kubectl apikey keyexports create gateway-keys -n gateways --gateway agentgateway --account acme\n" +
			"  kubectl apikey keyexports create gateway-keys -n gateways --gateway envoy-gateway --scope orders:read\n" +
			"  kubectl apikey keyexports create shop-keys --gateway kong --namespace-selector team=shop --dry-run=client -o yaml",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, args []string) error { return c.run(cmd.Context(), args[0]) },
	}
	c.output.bindFormats(cmd)
	c.waiting.bind(cmd)
	c.bindSpec(cmd)
	cmd.Flags().StringVar(&c.dryRun, "dry-run", "none", "none; client: only print the object; or server: validate it, but do not save it")
	return cmd
}

// bindSpec adds the flags that determine the spec.
func (c *keyExportCreator) bindSpec(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&c.gateway, "gateway", "", "the `gateway` that reads the keys (required): "+strings.Join(gatewayNames(), ", "))
	flags.StringSliceVar(&c.accounts, "account", nil, "select the keys of these `accounts`")
	flags.StringVar(&c.accountSelector, "account-selector", "", "select the keys of accounts by the labels of the accounts, such as tier=gold")
	flags.StringVar(&c.namespaceSelector, "namespace-selector", "", "select keys by the labels of their namespaces, such as team=shop")
	flags.StringSliceVar(&c.scopes, "scope", nil, "select the keys that have all these `scopes`")
	flags.StringVar(&c.content, "content", "", "Digest or Key; defaults to what the gateway reads")
	flags.StringVar(&c.target, "target", "", "`name` of the Secret or ConfigMap to write; defaults to the name of the KeyExport")
	c.completeAccountFlag(cmd)
	complete := func(flag string, values ...string) {
		cobra.CheckErr(cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)))
	}
	complete("gateway", gatewayNames()...)
	complete("content", string(v1alpha1.ExportContentDigest), string(v1alpha1.ExportContentKey))
}

func (c *keyExportCreator) run(ctx context.Context, name string) error {
	isClientDryRun := c.dryRun == "client"
	isDryRun, err := dryRunOption(c.dryRun)
	if err != nil && !isClientDryRun {
		return err
	}
	if err := c.output.validate(); err != nil {
		return err
	}
	sample, err := findGateway(c.gateway)
	if err != nil {
		return err
	}
	x, err := c.build(sample, name)
	if err != nil {
		return err
	}
	done := "created (dry run)"
	if !isClientDryRun {
		if done, err = c.create(ctx, x, isDryRun); err != nil {
			return err
		}
	}
	return c.print(sample, x, done)
}

// build returns the KeyExport that the flags describe.
func (c *keyExportCreator) build(sample *gatewaySample, name string) (*v1alpha1.KeyExport, error) {
	namespace, err := c.namespace()
	if err != nil {
		return nil, err
	}
	x := &v1alpha1.KeyExport{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	if x.Spec, err = sample.spec(c.content, cmp.Or(c.target, name)); err != nil {
		return nil, err
	}
	x.Spec.Accounts, x.Spec.Scopes = c.accounts, c.scopes
	if x.Spec.AccountSelector, err = parseSelector("account-selector", c.accountSelector); err != nil {
		return nil, err
	}
	x.Spec.NamespaceSelector, err = parseSelector("namespace-selector", c.namespaceSelector)
	return x, err
}

// parseSelector returns the label selector of a flag, or nil if the flag is not set.
func parseSelector(flag, text string) (*metav1.LabelSelector, error) {
	if text == "" {
		return nil, nil //nolint:nilnil // a spec without a selector
	}
	selector, err := metav1.ParseToLabelSelector(text)
	if err != nil {
		return nil, usageErrorf("invalid value of --%s: %w", flag, err)
	}
	return selector, nil
}

// create creates the KeyExport, and waits until the manager has written its objects, if the user wants that.
func (c *keyExportCreator) create(ctx context.Context, x *v1alpha1.KeyExport, isDryRun bool) (done string, err error) {
	api, err := c.client()
	if err != nil {
		return "", err
	}
	if err := api.Create(ctx, x, createOptions(isDryRun)...); err != nil {
		return "", err
	}
	if isDryRun {
		return "created" + serverDryRun, nil
	}
	if !c.waiting.enabled {
		return "created", nil
	}
	message, err := c.await(ctx, api, x)
	return "created: " + message, err
}

// await waits until the manager has written the objects of a KeyExport, and returns what they hold.
func (c *keyExportCreator) await(ctx context.Context, api client.Client, x *v1alpha1.KeyExport) (string, error) {
	return c.awaitObject(ctx, api, x, c.waiting.timeout, func(time.Duration) outcome { return observeExported(x) })
}

// observeExported evaluates how far the manager has carried out a KeyExport.
func observeExported(x *v1alpha1.KeyExport) outcome {
	ready := findCondition(x.Status.Conditions, v1alpha1.ConditionReady)
	stalled := findCondition(x.Status.Conditions, v1alpha1.ConditionStalled)
	switch {
	case x.Status.ObservedGeneration != x.Generation:
		return outcome{Message: "the manager has not observed it yet; kubectl apikey check says if it is running"}
	case stalled.Status == metav1.ConditionTrue:
		return outcome{Failed: true, Message: stalled.Message}
	case ready.Status == metav1.ConditionTrue:
		return outcome{Done: true, Message: contentOf(x)}
	default:
		return outcome{Message: cmp.Or(ready.Message, "the manager has not reported yet")}
	}
}

// contentOf returns what the objects of a KeyExport hold and what is withheld from them, in words.
func contentOf(x *v1alpha1.KeyExport) string {
	count := func(n *int32, one, many string) string {
		if n == nil {
			return "an unknown number of " + many
		}
		return plural(int(*n), one, many)
	}
	text := fmt.Sprintf("its objects hold %s of %s",
		count(x.Status.Credentials, "credential", "credentials"), count(x.Status.Keys, "key", "keys"))
	if n := x.Status.WithheldKeys; n != nil && *n > 0 {
		text += fmt.Sprintf("; %s withheld: kubectl apikey keyexports describe %s -n %s says why",
			plural(int(*n), "key is", "keys are"), x.Name, x.Namespace)
	}
	return text
}

// print prints a created KeyExport, and then what the gateway and the accounts need.
func (c *keyExportCreator) print(sample *gatewaySample, x *v1alpha1.KeyExport, done string) error {
	if c.output.isTable() {
		c.sayf("keyexport.apikey-manager.io/%s %s", x.Name, done)
	} else if err := c.output.printObject(x, c.Out); err != nil {
		return err
	}
	if x.Spec.Content == v1alpha1.ExportContentKey {
		c.notef("\nOnly keys of accounts with spec.exportPolicy: Key are exported. Others are withheld with reason %s.",
			v1alpha1.ReasonExportNotAllowed)
	}
	if x.Spec.Target.Kind == v1alpha1.ExportToConfigMap {
		c.notef("\nThe manager writes ConfigMaps only in the namespaces of its flag --%s. kubectl apikey check says whether it may in %s.",
			configMapFlag, x.Namespace)
	}
	c.notef("\nThe gateway needs, for example:\n\n%s", strings.TrimSpace(sample.resourcesFor(x)))
	return nil
}
