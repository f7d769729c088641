// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// deleter deletes keys.
type deleter struct {
	*environment

	targets targets
	dryRun  string
	yes     bool
}

// deleteCommand returns kubectl apikey delete.
func (e *environment) deleteCommand() *cobra.Command {
	d := &deleter{environment: e}
	cmd := &cobra.Command{
		Use:   "delete " + targetsUsage,
		Short: "Delete keys and their Secrets",
		Long: "Delete keys and their Secrets, after a question that names them. Deleted keys cannot be recovered. The answer is also the\n" +
			"confirmation that an account with deletionPolicy: RequireConfirmation asks for. If an account forbids the deletion of keys,\n" +
			"deactivate or revoke them instead.",
		Example: "  kubectl apikey delete shop-key\n" +
			"  kubectl apikey delete --account acme -A\n" +
			"  kubectl apikey delete --selector team=former --yes",
		RunE: func(cmd *cobra.Command, args []string) error { return d.run(cmd.Context(), args) },
	}
	d.targets.bind(e, cmd)
	bindDryRun(cmd, &d.dryRun)
	cmd.Flags().BoolVarP(&d.yes, "yes", "y", false, "do not ask for confirmation")
	return cmd
}

func (d *deleter) run(ctx context.Context, names []string) error {
	isDryRun, err := dryRunOption(d.dryRun)
	if err != nil {
		return err
	}
	if err := d.targets.validate(names); err != nil {
		return err
	}
	c, err := d.client()
	if err != nil {
		return err
	}
	list, err := d.targets.read(ctx, d.environment, c, names)
	if err != nil {
		return err
	}
	if !isDryRun {
		if err := d.confirm(ctx, question("Delete", "What is deleted cannot be recovered.", list), d.yes); err != nil {
			return err
		}
	}
	return d.deleteAll(ctx, c, list, isDryRun)
}

// deleteAll deletes the keys one by one. A failure does not stop the others.
func (d *deleter) deleteAll(ctx context.Context, c client.Client, list []v1alpha1.APIKey, isDryRun bool) error {
	failed, done, report := 0, "deleted", d.progress("deleted", len(list))
	if isDryRun {
		done += serverDryRun
	}
	for i := range list {
		report(i)
		k := &list[i]
		if err := d.delete(ctx, c, k, isDryRun); err != nil {
			failed++
			d.notef("error: %s/%s: %s", k.Namespace, k.Name, explain(err))
			continue
		}
		d.sayf("apikey.apikey-manager.io/%s %s", k.Name, done+d.targets.inNamespace(k))
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d keys were not deleted", failed, len(list))
	}
	return nil
}

// delete deletes the object that the user confirmed, and no other of the same name. If the account requires a confirmation, it
// sets the annotation and tries again.
func (d *deleter) delete(ctx context.Context, c client.Client, k *v1alpha1.APIKey, isDryRun bool) error {
	options := []client.DeleteOption{client.Preconditions{UID: &k.UID}}
	if isDryRun {
		options = append(options, client.DryRunAll)
	}
	err := c.Delete(ctx, k, options...)
	if !requiresConfirmation(err) {
		return err
	}
	if isDryRun {
		return nil // a dry run cannot set the confirmation
	}
	if err := d.annotate(ctx, c, k, k.Name); err != nil {
		return fmt.Errorf("confirm the deletion: %w", err)
	}
	err = c.Delete(ctx, k, options...)
	if err != nil {
		// The confirmation must not stay: it would confirm a later deletion as well.
		return errors.Join(err, client.IgnoreNotFound(d.annotate(context.WithoutCancel(ctx), c, k, nil)))
	}
	return nil
}

// requiresConfirmation reports whether the webhook denied a deletion because the annotation is missing, which its message names.
func requiresConfirmation(err error) bool {
	return apierrors.IsForbidden(err) && strings.Contains(err.Error(), v1alpha1.ConfirmDeletionAnnotation)
}

// annotate sets the annotation that confirms a deletion, or removes it if the value is nil.
func (d *deleter) annotate(ctx context.Context, c client.Client, k *v1alpha1.APIKey, value any) error {
	annotations := map[string]any{v1alpha1.ConfirmDeletionAnnotation: value}
	return patchKey(ctx, c, k, map[string]any{"metadata": map[string]any{"annotations": annotations}})
}
