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
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
			restarted := killProcess(ctx, victim(ctx, component))
			// What users declare right after the crash is carried out as well.
			patchKey(ctx, "switched", `{"state":"Inactive"}`)
			awaitCondition(ctx, "switched", v1alpha1.ConditionEnforced)
			r.add(nextPeriod(ctx))
			awaitRequests(ctx)
			disabled := nextPeriod(ctx)
			disabled.expectOnly("switched", inactive)
			patchKey(ctx, "switched", `{"state":"Active"}`)
			restarted(ctx)

			deleted := victim(ctx, component)
			Expect(admin.Delete(ctx, &deleted, client.GracePeriodSeconds(0))).To(Succeed())
			awaitRollout(ctx, namespace, workloads...)
			r.add(disabled)
			r.add(nextPeriod(ctx))
			figures("answers while a "+component+" was killed", "%s", r)
			r.expectRight("steady", "rotated")
			r.expectOnly("switched", ok, inactive)
			r.expectOnly("revoked", revoked)
		}, NodeTimeout(2*timeout))
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

func podsOf(ctx context.Context, component string) []corev1.Pod {
	GinkgoHelper()
	var pods corev1.PodList
	Expect(admin.List(ctx, &pods, client.InNamespace(namespace), client.MatchingLabels{
		"app.kubernetes.io/name": "apikey-manager", "app.kubernetes.io/component": component,
	})).To(Succeed())
	Expect(pods.Items).NotTo(BeEmpty())
	return pods.Items
}

// killProcess kills the processes of a pod with SIGKILL, and returns a function that waits until the kubelet has restarted it.
func killProcess(ctx context.Context, pod corev1.Pod) (restarted func(context.Context)) {
	GinkgoHelper()
	container := pod.Status.ContainerStatuses[0]
	_, id, _ := strings.Cut(container.ContainerID, "://")
	killer := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "e2e-privileged", GenerateName: "kill-"},
		Spec: corev1.PodSpec{
			NodeName: pod.Spec.NodeName, HostPID: true, RestartPolicy: corev1.RestartPolicyNever,
			Containers: []corev1.Container{{
				Name: "kill", Image: "localhost/app:e2e", ImagePullPolicy: corev1.PullNever, Args: []string{"kill", id},
				SecurityContext: &corev1.SecurityContext{RunAsUser: ptr.To[int64](0)},
			}},
		},
	}
	Expect(admin.Create(ctx, killer)).To(Succeed())
	Eventually(func() corev1.PodPhase {
		Expect(admin.Get(ctx, client.ObjectKeyFromObject(killer), killer)).To(Succeed())
		Expect(killer.Status.Phase).NotTo(Equal(corev1.PodFailed), "pod %s", killer.Name)
		return killer.Status.Phase
	}).WithContext(ctx).Should(Equal(corev1.PodSucceeded))
	return func(ctx context.Context) {
		GinkgoHelper()
		Eventually(func() bool {
			Expect(admin.Get(ctx, client.ObjectKeyFromObject(&pod), &pod)).To(Succeed())
			now := pod.Status.ContainerStatuses[0]
			return now.RestartCount > container.RestartCount && now.Ready
		}).WithContext(ctx).Should(BeTrue(), "pod %s is not restarted", pod.Name)
	}
}
