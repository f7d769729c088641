// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"fmt"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

// diffedManifests are an account, a key that is rotated every two minutes, and one that expires.
const diffedManifests = `apiVersion: apikey-manager.io/v1alpha1
kind: Account
metadata: {name: %[1]s, annotations: {example.com/team: shop}}
spec: {displayName: Customer}
---
apiVersion: apikey-manager.io/v1alpha1
kind: APIKey
metadata: {name: rotating, namespace: %[2]s, annotations: {example.com/team: shop}}
spec: {account: %[1]s, label: Rotating, rotation: {interval: 2m, overlap: 1m}}
---
apiVersion: apikey-manager.io/v1alpha1
kind: APIKey
metadata: {name: expiring, namespace: %[2]s, annotations: {example.com/team: shop}}
spec: {account: %[1]s, label: Expiring, state: Active, expiration: "%[3]s"}
`

var _ = Describe("kubectl diff", func() {
	It("shows no difference after ten minutes of rotations, an expiration and writes of other clients", func(ctx SpecContext) {
		clock := clocktesting.NewFakePassiveClock(time.Now().UTC().Truncate(time.Second))
		startManager(ctx, managerOptions{clock: clock})
		account, namespace := uniqueName("acme"), newNamespace(ctx, nil)
		manifests := fmt.Sprintf(diffedManifests, account, namespace, clock.Now().Add(5*time.Minute).Format(time.RFC3339))
		rotating, expiring := newKey(namespace, "rotating", account), newKey(namespace, "expiring", account)
		kubectlApply(ctx, manifests)
		become(ctx, v1alpha1.StateActive, rotating, expiring)
		for minute := range 10 {
			clock.SetTime(clock.Now().Add(time.Minute))
			for _, k := range []*v1alpha1.APIKey{rotating, expiring} { // a write to a Secret makes the manager reconcile its key
				touch := controlplanetest.MergePatch(fmt.Sprintf(`{"metadata":{"annotations":{"example.com/touched":"%d"}}}`, minute))
				secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: k.Name}}
				Expect(admin.Patch(ctx, secret, touch)).To(Succeed())
				Expect(admin.Patch(ctx, k, touch, client.FieldOwner("tool"))).To(Succeed())
			}
			Eventually(func(g Gomega) {
				g.Expect(admin.Get(ctx, client.ObjectKeyFromObject(rotating), rotating)).To(Succeed())
				g.Expect(rotating.Status.NextRotationTime.Time).To(BeTemporally(">", clock.Now()))
			}).WithContext(ctx).Should(Succeed())
		}
		become(ctx, v1alpha1.StateExpired, expiring)
		Expect(controlplanetest.HistoryReasons(rotating)).To(HaveLen(6), "it was issued, and rotated five times")
		run(ctx, manifests, "diff", "-f", "-")
		run(ctx, manifests, "diff", "--server-side", "-f", "-")
		for _, k := range []*v1alpha1.APIKey{rotating, expiring} {
			Expect(admin.Get(ctx, client.ObjectKeyFromObject(k), k)).To(Succeed())
			Expect(k.ManagedFields).To(ContainElement(HaveField("Subresource", "status")))
			for _, entry := range k.ManagedFields {
				if entry.Subresource == "" && entry.Operation == metav1.ManagedFieldsOperationUpdate {
					Expect(entry.Manager).To(Or(HavePrefix("kubectl"), Equal("tool")), "the manager writes the status only")
				}
			}
		}
	})
})
