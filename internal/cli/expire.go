// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// expireCommand returns kubectl apikey expire.
func (e *environment) expireCommand() *cobra.Command {
	var at string
	var never bool
	c := &changer{environment: e, done: "expiration set", observe: observeExpiration}
	cmd := &cobra.Command{
		Use:   "expire " + targetsUsage + " (--at TIME | --never)",
		Short: "Set or remove the expiration of keys",
		Long: "Set when keys expire: at the start of a date, in the time zone of the account, or at an instant. A later expiration makes an\n" +
			"expired key valid again.",
		Example: "  kubectl apikey expire shop-key --at 2027-02-28\n  kubectl apikey expire shop-key --never",
	}
	c.bind(cmd)
	cmd.Flags().StringVar(&at, "at", "", "a `time`: a date such as 2027-02-28, or an instant such as 2027-02-28T12:00:00Z")
	cmd.Flags().BoolVar(&never, "never", false, "remove the expiration")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if (at == "") != never {
			return usageErrorf("pass either --at or --never")
		}
		var expiration any = at
		if never {
			expiration, c.done = nil, "expiration removed" // nil removes the field
		}
		c.patch = func(*v1alpha1.APIKey) map[string]any { return map[string]any{"expiration": expiration} }
		return c.run(cmd.Context(), args)
	}
	return cmd
}

// observeExpiration reports when a key expires once the manager has accepted the change.
func observeExpiration(k *v1alpha1.APIKey, _ time.Duration) outcome {
	result := carriedOut(k)
	if !result.Done {
		return result
	}
	if k.Status.ExpirationTime == nil {
		result.Message += " and never expires"
	} else {
		result.Message += ", expiration " + formatTime(k.Status.ExpirationTime)
	}
	return result
}
