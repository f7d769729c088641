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

// images returns the flags that set the images of the chart.
func images() []string {
	return []string{"--set", "image.registry=" + settings.registry, "--set", "image.tag=" + settings.tag}
}

func takeOwnership() {
	It("becomes a Helm release without a change to any key", func(ctx SpecContext) {
		unchanged(ctx, func() {
			helm(ctx, append([]string{"install", release, chart, "--take-ownership"}, images()...)...)
		})
	}, NodeTimeout(timeout))

	It("passes helm test", func(ctx SpecContext) {
		helm(ctx, "test", release, "--timeout", timeout.String())
	}, NodeTimeout(timeout))
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
		helm(ctx, "uninstall", release, "--wait")
		kubectl(ctx, "get", "crd", "accounts.apikey-manager.io", "apikeys.apikey-manager.io")
		Expect(observeIssued(ctx)).To(Equal(before))
		r := observe(ctx)
		r.expectOnly("steady", "502")
		r.expectOnly("none", "502")

		previous := os.Getenv("E2E_PREVIOUS_CHART")
		if previous == "" {
			figures("upgrade", "SKIPPED: the commit before has no chart, so no upgrade was tested")
			previous = chart
		}
		helm(ctx, append([]string{"install", release, previous}, images()...)...)
		awaitRollout(ctx, namespace, workloads...)
		eventuallyOnly(ctx, "steady", ok)
		Expect(observeIssued(ctx)).To(Equal(before))
	}, NodeTimeout(2*timeout))

	It("is upgraded from the chart of the commit before without a change to any key", func(ctx SpecContext) {
		unchanged(ctx, func() { helm(ctx, append([]string{"upgrade", release, chart}, images()...)...) })
	}, NodeTimeout(timeout))
}
