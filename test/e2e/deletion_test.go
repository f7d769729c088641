// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

func namespaceDeletion() {
	It("lets a namespace terminate whose keys cannot be deleted otherwise", func(ctx SpecContext) {
		_, err := try(ctx, settings.kubectl, "delete", "apikey", "kept", "--namespace", "e2e-kept")
		Expect(err).To(MatchError(ContainSubstring("account horizonte forbids the deletion of keys")))
		kubectl(ctx, "delete", "namespace", "e2e-kept", "--timeout", timeout.String())
	}, NodeTimeout(specTimeout))
}
