// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"context"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// crashes kills managers and verifiers, by SIGKILL and by deletion without grace, while the client sends requests.
func crashes() {
	for _, component := range []string{"manager", "verifier"} {
		It("answers correctly while a "+component+" is killed", func(ctx SpecContext) {
			nextPeriod(ctx)
			r := report{}
			By("killing the process of a pod")
			restarted := killProcess(ctx, victim(ctx, component))
			// What users declare right after the crash is carried out as well.
			patchKey(ctx, "switched", `{"state":"Inactive"}`)
			awaitCondition(ctx, "switched", v1alpha1.ConditionEnforced)
			r.add(nextPeriod(ctx))
			awaitRequests(ctx)
			disabled := nextPeriod(ctx)
			disabled.expectOnly("switched", inactive, noVerifier)
			patchKey(ctx, "switched", `{"state":"Active"}`)
			By("waiting until the pod has been restarted")
			restarted(ctx)

			By("deleting a pod without grace")
			deleted := victim(ctx, component)
			Expect(admin.Delete(ctx, &deleted, client.GracePeriodSeconds(0))).To(Succeed())
			awaitReplacement(ctx, component, deleted)
			r.add(disabled)
			r.add(nextPeriod(ctx))
			figures("answers while a "+component+" was killed", "%s", r)
			// A gateway that gets no answer rejects the request. The report says how often.
			r.expectOnly("none", missing, noVerifier)
			r.expectOnly("steady", ok, noVerifier)
			r.expectOnly("rotated", ok, noVerifier)
			r.expectOnly("switched", ok, inactive, noVerifier)
			r.expectOnly("revoked", revoked, noVerifier)
		}, NodeTimeout(specTimeout))
	}
}

// victim returns a pod of a component: of the managers, the leader.
func victim(ctx context.Context, component string) corev1.Pod {
	GinkgoHelper()
	pods := podsOf(ctx, component)
	if component == "verifier" {
		return pods[0]
	}
	var lease coordinationv1.LeaseList
	Expect(admin.List(ctx, &lease, client.InNamespace(namespace))).To(Succeed())
	Expect(lease.Items).To(HaveLen(1))
	leader := ptr.Deref(lease.Items[0].Spec.HolderIdentity, "")
	for _, pod := range pods {
		if strings.HasPrefix(leader, pod.Name+"_") {
			return pod
		}
	}
	Fail("no pod is the leader " + leader)
	return corev1.Pod{}
}

// awaitReplacement waits until a component has as many ready pods as before, without the deleted one.
func awaitReplacement(ctx context.Context, component string, deleted corev1.Pod) {
	GinkgoHelper()
	Eventually(func() int {
		ready := 0
		for _, pod := range podsOf(ctx, component) {
			if pod.UID != deleted.UID && len(pod.Status.ContainerStatuses) == 1 && pod.Status.ContainerStatuses[0].Ready {
				ready++
			}
		}
		return ready
	}).WithContext(ctx).Should(Equal(replicas), "pod %s is not replaced", deleted.Name)
}

// replicas is the number of pods of each component.
const replicas = 2

func podsOf(ctx context.Context, component string) []corev1.Pod {
	GinkgoHelper()
	var pods corev1.PodList
	Expect(admin.List(ctx, &pods, client.InNamespace(namespace), client.MatchingLabels{
		"app.kubernetes.io/name": "apikey-manager", "app.kubernetes.io/component": component,
	})).To(Succeed())
	Expect(pods.Items).NotTo(BeEmpty())
	return pods.Items
}

// killProcess kills the process of a pod with SIGKILL, and returns a function that waits until the kubelet has restarted it.
func killProcess(ctx context.Context, pod corev1.Pod) (restarted func(context.Context)) {
	GinkgoHelper()
	before := pod.Status.ContainerStatuses[0].RestartCount
	onNode(ctx, "kill", pod)
	return func(ctx context.Context) {
		GinkgoHelper()
		Eventually(func() bool {
			Expect(admin.Get(ctx, client.ObjectKeyFromObject(&pod), &pod)).To(Succeed())
			now := pod.Status.ContainerStatuses[0]
			return now.RestartCount > before && now.Ready
		}).WithContext(ctx).Should(BeTrue(), "pod %s is not restarted", pod.Name)
	}
}
