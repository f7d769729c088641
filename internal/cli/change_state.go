// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
)

// activateCommand returns kubectl apikey activate.
func (e *environment) activateCommand() *cobra.Command {
	return e.stateCommand(v1alpha1.KeyStateActive, "activated", &cobra.Command{
		Use:     "activate " + targetsUsage,
		Short:   "Activate keys that are inactive",
		Long:    "Activate keys. Their credentials are those that they had before they were deactivated.",
		Example: "  kubectl apikey activate shop-key",
	}, nil)
}

// deactivateCommand returns kubectl apikey deactivate.
func (e *environment) deactivateCommand() *cobra.Command {
	return e.stateCommand(v1alpha1.KeyStateInactive, "deactivated", &cobra.Command{
		Use:   "deactivate " + targetsUsage,
		Short: "Deactivate keys, so that verifiers reject them until they are activated again",
		Long: "Deactivate keys. Verifiers reject them until they are activated again, with the same credentials. The command waits until\n" +
			"every verifier rejects them.",
		Example: "  kubectl apikey deactivate shop-key\n  kubectl apikey deactivate --account acme -A",
	}, nil)
}

// revokeCommand returns kubectl apikey revoke.
func (e *environment) revokeCommand() *cobra.Command {
	return e.stateCommand(v1alpha1.KeyStateRevoked, "revoked", &cobra.Command{
		Use:   "revoke " + targetsUsage,
		Short: "Revoke keys permanently",
		Long: "Revoke keys permanently, after a question that names them. The command waits until every verifier rejects them. To replace\n" +
			"a credential that has leaked but keep the key, use kubectl apikey rotate --revoke-previous.",
		Example: "  kubectl apikey revoke shop-key\n  kubectl apikey revoke --selector team=former --yes",
	}, func(list []v1alpha1.APIKey) string { return question("Revoke", "This cannot be undone.", list) })
}

// stateCommand completes a command that sets spec.state.
func (e *environment) stateCommand(
	state v1alpha1.KeyState, done string, cmd *cobra.Command, ask func([]v1alpha1.APIKey) string,
) *cobra.Command {
	c := &changer{
		environment: e, done: done, question: ask,
		patch:   func(*v1alpha1.APIKey) map[string]any { return map[string]any{"state": state} },
		observe: isValid,
	}
	if state != v1alpha1.KeyStateActive {
		c.observe = isDisabled
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return c.run(cmd.Context(), args) }
	c.bind(cmd)
	return cmd
}

// isValid evaluates whether verifiers accept a key.
func isValid(k *v1alpha1.APIKey, _ time.Duration) outcome {
	result := carriedOut(k)
	if valid := conditionOf(k, v1alpha1.ConditionValid); result.Done && valid.Status != metav1.ConditionTrue {
		result.Message += ", so verifiers reject it: " + valid.Message
	}
	return result
}

// isDisabled evaluates whether every verifier rejects a key. A manager that was not given the Service of the verifiers does not
// report that; isDisabled waits some seconds for the report.
func isDisabled(k *v1alpha1.APIKey, since time.Duration) outcome {
	const patience = 10 * time.Second
	result := carriedOut(k)
	if !result.Done || !keys.IsDisabled(k.Status.State) {
		return result
	}
	enforced := conditionOf(k, v1alpha1.ConditionEnforced)
	reported := enforced.ObservedGeneration == k.Generation
	switch {
	case keys.IsEnforced(k):
		result.Message += ", and every verifier rejects it"
	case !reported && since > patience:
		result.Message += "; the manager does not report if every verifier rejects it: see its flag --verifier-service"
	case !reported:
		return outcome{Message: "the manager has not reported yet that every verifier rejects the key"}
	case enforced.Reason == v1alpha1.ReasonNoVerifier:
		result.Message += ". " + enforced.Message
	default:
		return outcome{Message: enforced.Message}
	}
	return result
}
