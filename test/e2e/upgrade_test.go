// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"context"
	"os"
	"path/filepath"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

const (
	release = "apikey-manager"
	chart   = "charts/apikey-manager"
)

// helm runs helm in the namespace of the installation.
func helm(ctx context.Context, args ...string) string {
	GinkgoHelper()
	return run(ctx, filepath.Join(root(), "bin", "helm"), append(args, "--namespace", namespace)...)
}

// images returns the flags that set the images of a chart.
func images(tag string) []string {
	return []string{"--set", "image.registry=" + settings.registry, "--set", "image.tag=" + tag}
}

func takeOwnership() {
	It("becomes a Helm release without a change to any key", func(ctx SpecContext) {
		unchanged(ctx, func() {
			helm(ctx, append([]string{"install", release, chart, "--take-ownership"}, images(settings.tag)...)...)
		})
	}, NodeTimeout(specTimeout))

	It("passes helm test", func(ctx SpecContext) {
		Expect(helm(ctx, "test", release, "--timeout", timeout.String())).To(ContainSubstring("Succeeded"))
	}, NodeTimeout(specTimeout))
}

// unchanged makes a change to the installation, waits until it has been carried out, and fails if it changed a key or a Secret, or
// if a request was answered wrongly in the meantime.
func unchanged(ctx context.Context, change func()) {
	GinkgoHelper()
	before := observeIssued(ctx)
	nextPeriod(ctx)
	change()
	awaitRollout(ctx, namespace, workloads...)
	awaitRequests(ctx)
	r := nextPeriod(ctx)
	figures("answers during the change", "%s", r)
	r.expectRight("steady", "rotated", "switched")
	Expect(observeIssued(ctx)).To(Equal(before))
}

func upgrade() {
	It("leaves CRDs, keys and Secrets when it is uninstalled, and adopts them when it is installed again", func(ctx SpecContext) {
		before := observeIssued(ctx)
		By("uninstalling the release")
		helm(ctx, "uninstall", release, "--wait")
		kubectl(ctx, "get", "crd", "accounts.apikey-manager.io", "apikeys.apikey-manager.io")
		Expect(observeIssued(ctx)).To(Equal(before))
		By("waiting until the verifiers have stopped, and no key is accepted")
		eventuallyOnly(ctx, "steady", noVerifier)
		observe(ctx).expectOnly("none", noVerifier)

		By("installing it again")
		previous, tag := os.Getenv("E2E_PREVIOUS_CHART"), os.Getenv("E2E_PREVIOUS_TAG")
		if previous == "" {
			figures("upgrade", "SKIPPED: the commit before has no chart, so no upgrade from it was tested")
			previous, tag = chart, settings.tag
		}
		helm(ctx, append([]string{"install", release, previous}, images(tag)...)...)
		awaitRollout(ctx, namespace, workloads...)
		eventuallyOnly(ctx, "steady", ok)
		Expect(observeIssued(ctx)).To(Equal(before))
	}, NodeTimeout(specTimeout))

	It("is upgraded from the chart of the commit before without a change to any key", func(ctx SpecContext) {
		unchanged(ctx, func() { helm(ctx, append([]string{"upgrade", release, chart}, images(settings.tag)...)...) })
	}, NodeTimeout(specTimeout))
}
