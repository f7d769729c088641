// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// fieldManager is the name under which the plugin changes objects.
const fieldManager = "kubectl-apikey"

// serverDryRun follows the word for a change that was validated, but not saved.
const serverDryRun = " (server dry run)"

// outcome is what a command observes while it waits for a change to be carried out.
type outcome struct {
	// Done reports that the change has been carried out.
	Done bool
	// Failed reports that the change cannot be carried out until a user acts.
	Failed bool
	// Message describes the key.
	Message string
}

// changer changes the spec of keys, waits until the manager has carried the change out, and prints what is true then.
type changer struct {
	*environment

	targets targets
	output  output
	waiting waiting
	dryRun  string
	// yes confirms the question in advance.
	yes bool

	// done is the word for the change, such as deactivated.
	done string
	// question returns the question to ask first. It is nil, or returns "", for a change that can be undone.
	question func([]v1alpha1.APIKey) string
	// patch returns the fields of the spec to change. A nil value removes a field.
	patch func(*v1alpha1.APIKey) map[string]any
	// observe evaluates a key some time after the change.
	observe func(k *v1alpha1.APIKey, since time.Duration) outcome
}

// waiting holds the flags of commands that wait for the manager.
type waiting struct {
	enabled bool
	timeout time.Duration
}

func (w *waiting) bind(cmd *cobra.Command) {
	const timeout = 30 * time.Second
	cmd.Flags().BoolVar(&w.enabled, "wait", true, "wait until the manager has carried out the change")
	cmd.Flags().DurationVar(&w.timeout, "timeout", timeout, "how long to wait for each key")
}

// bind adds the flags of a change.
func (c *changer) bind(cmd *cobra.Command) {
	c.targets.bind(c.environment, cmd)
	c.output.bindFormats(cmd)
	c.waiting.bind(cmd)
	bindDryRun(cmd, &c.dryRun)
	if c.question != nil {
		cmd.Flags().BoolVarP(&c.yes, "yes", "y", false, "do not ask for confirmation")
	}
}

func bindDryRun(cmd *cobra.Command, value *string) {
	cmd.Flags().StringVar(value, "dry-run", "none", "none, or server: send the request, which is validated but not persisted")
}

// dryRunOption returns the option for a value of --dry-run.
func dryRunOption(value string) (isDryRun bool, err error) {
	switch value {
	case "none", "":
		return false, nil
	case "server":
		return true, nil
	default:
		return false, usageErrorf("invalid value of --dry-run: %q: must be none or server", value)
	}
}

func (c *changer) run(ctx context.Context, names []string) error {
	isDryRun, err := dryRunOption(c.dryRun)
	if err != nil {
		return err
	}
	if err := cmp.Or(c.targets.validate(names), c.output.validate()); err != nil {
		return err
	}
	api, err := c.client()
	if err != nil {
		return err
	}
	list, err := c.targets.read(ctx, c.environment, api, names)
	if err != nil {
		return err
	}
	if c.question != nil && !isDryRun {
		if err := c.confirm(ctx, c.question(list), c.yes); err != nil {
			return err
		}
	}
	results := c.changeAll(ctx, api, list, isDryRun)
	return c.report(ctx, api, results, isDryRun)
}

// result is what became of one key.
type result struct {
	key *v1alpha1.APIKey
	err error
}

// changeAll changes the keys one by one. A failure does not stop the others.
func (c *changer) changeAll(ctx context.Context, api client.Client, list []v1alpha1.APIKey, isDryRun bool) []result {
	results, report := make([]result, len(list)), c.progress("changed", len(list))
	for i := range list {
		report(i)
		results[i] = result{key: &list[i], err: c.change(ctx, api, &list[i], isDryRun)}
	}
	return results
}

// change changes one key, and nothing but the fields of the patch.
func (c *changer) change(ctx context.Context, api client.Client, k *v1alpha1.APIKey, isDryRun bool) error {
	var options []client.PatchOption
	if isDryRun {
		options = append(options, client.DryRunAll)
	}
	return patchKey(ctx, api, k, map[string]any{"spec": c.patch(k)}, options...)
}

// patchKey changes fields of a key by a merge patch. The UID in the patch makes sure that it is the object that was read.
func patchKey(ctx context.Context, api client.Client, k *v1alpha1.APIKey, fields map[string]any, options ...client.PatchOption) error {
	metadata, _ := fields["metadata"].(map[string]any)
	if metadata == nil {
		metadata = map[string]any{}
	}
	metadata["uid"] = k.UID
	fields["metadata"] = metadata
	patch, err := json.Marshal(fields)
	if err != nil {
		return fmt.Errorf("encode the patch: %w", err)
	}
	return api.Patch(ctx, k, client.RawPatch(types.MergePatchType, patch), append(options, client.FieldOwner(fieldManager))...)
}

// report waits for each key, and prints what is true of it.
func (c *changer) report(ctx context.Context, api client.Client, results []result, isDryRun bool) error {
	failed := 0
	for _, r := range results {
		message := ""
		if r.err == nil && c.waiting.enabled && !isDryRun {
			message, r.err = c.await(ctx, api, r.key)
		}
		if r.err != nil {
			failed++
			c.notef("error: %s/%s: %s", r.key.Namespace, r.key.Name, explain(r.err))
			continue
		}
		if err := c.printResult(r.key, message, isDryRun); err != nil {
			return err
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d keys failed", failed, len(results))
	}
	return nil
}

// printResult prints a changed key.
func (c *changer) printResult(k *v1alpha1.APIKey, message string, isDryRun bool) error {
	done := c.done
	if isDryRun {
		done += serverDryRun
	}
	return c.printChanged(&c.output, k, done+c.targets.inNamespace(k), message)
}

// printChanged prints a key after a change: the object in the format of the user, or else a sentence, with a description of the
// key if there is one.
func (e *environment) printChanged(o *output, k *v1alpha1.APIKey, done, message string) error {
	if !o.isTable() {
		return o.printObject(k, e.Out)
	}
	if message != "" {
		done += ": " + message
	}
	e.sayf("apikey.apikey-manager.io/%s %s", k.Name, done)
	return nil
}

// await waits until the change of a key is carried out, and returns a description of the key.
func (c *changer) await(ctx context.Context, api client.Client, k *v1alpha1.APIKey) (string, error) {
	return c.awaitOutcome(ctx, api, k, c.waiting.timeout, c.observe)
}

// awaitOutcome reads a key until observe returns a final outcome, and returns its message.
func (e *environment) awaitOutcome(
	ctx context.Context, api client.Client, k *v1alpha1.APIKey, timeout time.Duration,
	observe func(*v1alpha1.APIKey, time.Duration) outcome,
) (string, error) {
	return e.awaitObject(ctx, api, k, timeout, func(since time.Duration) outcome { return observe(k, since) })
}

// awaitObject reads an object until observe, which evaluates it, returns a final outcome, and returns its message. If that takes
// long, it prints what it is waiting for.
func (e *environment) awaitObject(
	ctx context.Context, api client.Client, object client.Object, timeout time.Duration, observe func(time.Duration) outcome,
) (string, error) {
	const pollInterval = 200 * time.Millisecond
	var last outcome
	begin, reported := e.clock.Now(), ""
	err := wait.PollUntilContextTimeout(ctx, pollInterval, timeout, true, func(ctx context.Context) (bool, error) {
		if err := api.Get(ctx, client.ObjectKeyFromObject(object), object); err != nil {
			return false, err
		}
		since := e.clock.Since(begin)
		last = observe(since)
		if !last.Done && !last.Failed && since > reportDelay && last.Message != reported {
			reported = last.Message
			e.notef("Waiting for %s/%s: %s", object.GetNamespace(), object.GetName(), last.Message)
		}
		return last.Done || last.Failed, nil
	})
	switch {
	case last.Failed:
		return "", fmt.Errorf("saved, but cannot be carried out: %s", last.Message)
	case wait.Interrupted(err) && last.Message != "":
		return "", fmt.Errorf("saved, but not carried out yet: %s", last.Message)
	case err != nil:
		return "", fmt.Errorf("saved, but the effect could not be read: %w", err)
	default:
		return last.Message, nil
	}
}

// carriedOut evaluates how far the manager has carried out the spec of a key.
func carriedOut(k *v1alpha1.APIKey) outcome {
	ready, stalled := conditionOf(k, v1alpha1.ConditionReady), conditionOf(k, v1alpha1.ConditionStalled)
	switch {
	case k.Status.ObservedGeneration != k.Generation:
		return outcome{Message: "the manager has not observed the change yet; kubectl apikey check says if it is running"}
	case stalled.Status == metav1.ConditionTrue:
		return outcome{Failed: true, Message: stalled.Message}
	case ready.Status == metav1.ConditionTrue:
		return outcome{Done: true, Message: "the key is " + string(k.Status.State)}
	case ready.Message == "":
		return outcome{Message: "the manager has not reported yet"}
	default:
		return outcome{Message: ready.Message}
	}
}
