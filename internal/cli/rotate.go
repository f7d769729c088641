// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/utils/clock"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
)

// rotationRequest holds the flags of kubectl apikey rotate.
type rotationRequest struct {
	clock          clock.PassiveClock
	overlap        time.Duration
	setOverlap     bool
	revokePrevious bool
}

// rotateCommand returns kubectl apikey rotate.
func (e *environment) rotateCommand() *cobra.Command {
	r := &rotationRequest{clock: e.clock}
	c := &changer{environment: e, done: "rotated", question: r.question, patch: r.patch, observe: isRotated}
	cmd := &cobra.Command{
		Use:   "rotate " + targetsUsage,
		Short: "Issue new credentials",
		Long: "Issue a new credential for each key. The previous one stays valid for the overlap, so that applications can change over.\n" +
			"--overlap changes spec.rotation.overlap. --revoke-previous ends all earlier credentials at once, for a key that has leaked,\n" +
			"after a question that names the keys.",
		Example: "  kubectl apikey rotate shop-key\n" +
			"  kubectl apikey rotate --account acme --overlap 1h\n" +
			"  kubectl apikey rotate shop-key --revoke-previous",
		RunE: func(cmd *cobra.Command, args []string) error {
			r.setOverlap = cmd.Flags().Changed("overlap")
			if r.overlap < 0 || r.overlap%time.Second != 0 {
				return usageErrorf("invalid value of --overlap: must be whole seconds, such as 1h or 0s")
			}
			return c.run(cmd.Context(), args)
		},
	}
	c.bind(cmd)
	cmd.Flags().DurationVar(&r.overlap, "overlap", 0, "how long the previous credential stays valid, such as 1h; also of later rotations")
	cmd.Flags().BoolVar(&r.revokePrevious, "revoke-previous", false, "revoke all earlier credentials at once")
	return cmd
}

func (r *rotationRequest) question(list []v1alpha1.APIKey) string {
	if !r.revokePrevious {
		return ""
	}
	return question("Replace the credentials of", "Applications fail until they use the new ones.", list)
}

// patch returns the change of the spec. A request is later than the one before and than the current credential, even if the clock of
// this machine is behind the manager's.
func (r *rotationRequest) patch(k *v1alpha1.APIKey) map[string]any {
	rotation, now := map[string]any{}, r.clock.Now()
	if r.revokePrevious {
		rotation["revokeBefore"] = formatInstant(latest(now, lastIssue(k).Add(time.Second)))
	} else {
		rotation["requestedAt"] = formatInstant(latest(now, lastIssue(k), lastRequest(k).Add(time.Second)))
	}
	if r.setOverlap {
		rotation["overlap"] = r.overlap.String()
	}
	return map[string]any{"rotation": rotation}
}

// lastIssue returns when the newest credential of a key was issued.
func lastIssue(k *v1alpha1.APIKey) time.Time {
	var last time.Time
	for _, c := range k.Status.Credentials {
		last = latest(last, c.IssuedAt.Time)
	}
	return last
}

// lastRequest returns the last request for a rotation that was carried out, or the zero time.
func lastRequest(k *v1alpha1.APIKey) time.Time {
	request, err := keys.ParseInstant(string(k.Status.Rotation.ObservedRequestedAt))
	if err != nil { // there was none
		return time.Time{}
	}
	return request
}

func latest(times ...time.Time) (last time.Time) {
	for _, t := range times {
		if t.After(last) {
			last = t
		}
	}
	return last
}

// formatInstant formats a time as a field of type Instant.
func formatInstant(t time.Time) string { return t.UTC().Truncate(time.Second).Format(time.RFC3339) }

// isRotated evaluates whether a requested rotation has been carried out.
func isRotated(k *v1alpha1.APIKey, _ time.Duration) outcome {
	result := carriedOut(k)
	switch {
	case !result.Done:
		return result
	case k.Status.State != v1alpha1.StateActive:
		result.Message += ", so a new credential is issued when it is active again"
		return result
	case keys.IsRotationPending(k):
		return outcome{Message: "the new credential has not been issued yet"}
	}
	result.Message = "the new credential is " + hintOf(k)
	for _, c := range k.Status.Credentials {
		if c.Role == v1alpha1.RolePrevious {
			result.Message += fmt.Sprintf("; %s stays valid until %s", c.Hint, formatTime(c.NotAfter))
		}
	}
	return result
}
