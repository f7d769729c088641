// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"context"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// onNode runs a command of the app for the container of a pod, on the pod's node and with its process IDs, and returns its output.
func onNode(ctx context.Context, command string, pod corev1.Pod) []byte {
	GinkgoHelper()
	_, container, _ := strings.Cut(pod.Status.ContainerStatuses[0].ContainerID, "://")
	runner := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "e2e-privileged", GenerateName: command + "-"},
		Spec: corev1.PodSpec{
			NodeName: pod.Spec.NodeName, HostPID: true, RestartPolicy: corev1.RestartPolicyNever,
			Containers: []corev1.Container{{
				Name: "app", Image: "localhost/app:e2e", ImagePullPolicy: corev1.PullNever, Args: []string{command, container},
				SecurityContext: &corev1.SecurityContext{
					RunAsUser:    ptr.To[int64](0),
					Capabilities: &corev1.Capabilities{Add: []corev1.Capability{"SYS_PTRACE"}}, // to read /proc of other users
				},
			}},
		},
	}
	Expect(admin.Create(ctx, runner)).To(Succeed())
	Eventually(func() corev1.PodPhase {
		Expect(admin.Get(ctx, client.ObjectKeyFromObject(runner), runner)).To(Succeed())
		return runner.Status.Phase
	}).WithContext(ctx).Should(BeElementOf(corev1.PodSucceeded, corev1.PodFailed))
	out, err := clientset.CoreV1().Pods(runner.Namespace).GetLogs(runner.Name, &corev1.PodLogOptions{}).DoRaw(ctx)
	Expect(err).NotTo(HaveOccurred())
	Expect(runner.Status.Phase).To(Equal(corev1.PodSucceeded), "app %s: %s", command, out)
	return out
}
