// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

func rotation() {
	It("rotates a key while a pod uses it, without a rejected request", func(ctx SpecContext) {
		before := currentDigest(ctx, "rotated")
		nextPeriod(ctx)
		patchKey(ctx, "rotated", `{"rotation":{"overlap":"1h","requestedAt":"`+time.Now().UTC().Format(time.RFC3339)+`"}}`)
		awaitCondition(ctx, "rotated", v1alpha1.ConditionReady)
		Eventually(func() string { return currentDigest(ctx, "rotated") }).WithContext(ctx).ShouldNot(Equal(before))

		begin, after := time.Now(), currentDigest(ctx, "rotated")
		r := report{}
		Eventually(func() string {
			period := nextPeriod(ctx)
			r.add(period)
			return period.Digests["rotated"]
		}).WithContext(ctx).Should(Equal(after), "the pod does not see the new credential")
		figures("rotation", "the mounted Secret had the new credential after %s", time.Since(begin).Round(time.Second))
		last := observe(ctx) // all requests with the new credential
		last.expectDigests(ctx, "rotated")
		r.add(last)
		r.expectRight(clientKeys...)
	}, NodeTimeout(specTimeout)) // a kubelet may take more than a minute to update a mounted Secret
}
