// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	. "github.com/onsi/ginkgo/v2"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// workloads are the Deployments of the installation.
var workloads = []string{"apikey-manager", "apikey-verifier"}

func installation() {
	It("is installed by one file, under the restricted Pod Security Standard", func(ctx SpecContext) {
		kubectl(ctx, "apply", "--server-side", "--filename", "dist/install.yaml")
		awaitRollout(ctx, namespace, workloads...)
	}, NodeTimeout(specTimeout))
}

// keyInSecret creates keys, and a client that has them.
func keyInSecret() {
	It("issues keys to pods that mount their Secrets, and the gateway accepts them", func(ctx SpecContext) {
		applyFile(ctx, "namespaces.yaml")
		kubectl(ctx, "create", "configmap", "gateway", "--namespace", "e2e-gateway", "--from-file", "Caddyfile="+gatewayConfiguration())
		applyFile(ctx, "gateway.yaml")
		applyFile(ctx, "client.yaml")
		// Once the rollout is complete, the webhook serves: keys can be created without trying again.
		applyFile(ctx, "keys.yaml")
		awaitRollout(ctx, "e2e-gateway", "application", "gateway")
		awaitRollout(ctx, "e2e-shop", "client")

		for _, key := range clientKeys {
			awaitCondition(ctx, key, v1alpha1.ConditionReady)
			eventuallyOnly(ctx, key, ok)
		}
		r := observe(ctx)
		r.expectRight(clientKeys...)
		r.expectDigests(ctx, clientKeys...)
	}, NodeTimeout(specTimeout))
}
