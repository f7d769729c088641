// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	. "github.com/onsi/ginkgo/v2"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

func refusal() {
	It("rejects an inactive key until it is activated again", func(ctx SpecContext) {
		patchKey(ctx, "switched", `{"state":"Inactive"}`)
		awaitCondition(ctx, "switched", v1alpha1.ConditionEnforced)
		r := observe(ctx)
		r.expectOnly("switched", inactive)
		r.expectRight("steady", "rotated", "revoked")

		patchKey(ctx, "switched", `{"state":"Active"}`)
		eventuallyOnly(ctx, "switched", ok)
	}, NodeTimeout(specTimeout))

	It("rejects a revoked key, also from a client that has kept it", func(ctx SpecContext) {
		patchKey(ctx, "revoked", `{"state":"Revoked"}`)
		awaitCondition(ctx, "revoked", v1alpha1.ConditionEnforced)
		r := observe(ctx)
		r.expectOnly("revoked", revoked)
		r.expectRight("steady", "rotated", "switched")
	}, NodeTimeout(specTimeout))
}
