// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"context"
	"path/filepath"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func plugin() {
	It("is checked by kubectl apikey, which asks a verifier through a port-forward", func(ctx SpecContext) {
		program := filepath.Join(root(), "bin", "e2e", "kubectl-apikey")
		figures("kubectl apikey check", "%s", run(ctx, program, "check"))

		key := secretKey(ctx, "steady")
		out, err := tryWithInput(ctx, strings.NewReader(key), program, "verify")
		Expect(err).NotTo(HaveOccurred())
		Expect(out).NotTo(ContainSubstring(key), "the plugin prints the key")

		patchKey(ctx, "switched", `{"state":"Inactive"}`)
		eventuallyOnly(ctx, "switched", inactive)
		out, err = tryWithInput(ctx, strings.NewReader(secretKey(ctx, "switched")), program, "verify")
		Expect(err).To(MatchError(ContainSubstring("exit status 3")))
		Expect(out).To(ContainSubstring("INACTIVE"))
		patchKey(ctx, "switched", `{"state":"Active"}`)
		eventuallyOnly(ctx, "switched", ok)
	}, NodeTimeout(specTimeout))
}

// secretKey returns the key in the Secret of an APIKey.
func secretKey(ctx context.Context, name string) string {
	GinkgoHelper()
	var secret corev1.Secret
	Expect(admin.Get(ctx, client.ObjectKey{Namespace: "e2e-shop", Name: name}, &secret)).To(Succeed())
	return string(secret.Data["api-key"])
}
