// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func pods() {
	It("allows by NetworkPolicies what its pods listen on, and nothing else", func(ctx SpecContext) {
		for _, component := range []string{"manager", "verifier"} {
			var policy networkingv1.NetworkPolicy
			Expect(admin.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "apikey-" + component}, &policy)).To(Succeed())
			pod := podsOf(ctx, component)[0]
			Expect(policy.Spec.PodSelector.MatchLabels).To(HaveKeyWithValue("app.kubernetes.io/component", component))
			// The kubelet, which policies do not apply to, is the only client of the probes.
			expected := slices.DeleteFunc(portNames(pod), func(name string) bool { return name == "probes" })
			Expect(allowedPorts(policy)).To(ConsistOf(expected), "NetworkPolicy %s", policy.Name)
		}
	}, NodeTimeout(timeout))

	It("is small when it is idle", func(ctx SpecContext) {
		kubectl(ctx, "scale", "deployment/client", "--namespace", "e2e-shop", "--replicas", "0")
		Eventually(func() []string {
			var clients corev1.PodList
			Expect(admin.List(ctx, &clients, client.InNamespace("e2e-shop"))).To(Succeed())
			names := []string{}
			for _, pod := range clients.Items {
				names = append(names, pod.Name)
			}
			return names
		}).WithContext(ctx).Should(BeEmpty())
		reportIdle(ctx)
		kubectl(ctx, "scale", "deployment/client", "--namespace", "e2e-shop", "--replicas", "1")
		awaitRollout(ctx, "e2e-shop", "client")
	}, NodeTimeout(timeout))
}

func portNames(pod corev1.Pod) []string {
	var names []string
	for _, port := range pod.Spec.Containers[0].Ports {
		names = append(names, port.Name)
	}
	return names
}

// allowedPorts returns the names of the ports that a NetworkPolicy lets clients reach.
func allowedPorts(policy networkingv1.NetworkPolicy) []string {
	var names []string
	for _, rule := range policy.Spec.Ingress {
		for _, port := range rule.Ports {
			names = append(names, port.Port.String())
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// usage is what the containers of a pod use.
type usage struct {
	CPU struct {
		Time                 time.Time
		UsageCoreNanoSeconds int64
	}
	Memory struct{ RSSBytes, WorkingSetBytes int64 }
}

// idlePeriod is how long the CPU time of idle pods is measured, at least.
const idlePeriod = 15 * time.Second

// reportIdle reports the memory and the CPU of the pods of the installation, from the statistics of the kubelets.
func reportIdle(ctx context.Context) {
	GinkgoHelper()
	first, begin := podUsage(ctx), time.Now()
	Expect(first).NotTo(BeEmpty())
	for name := range first {
		Eventually(func() time.Time { return podUsage(ctx)[name].CPU.Time }).WithContext(ctx).WithPolling(time.Second).
			Should(BeTemporally(">", begin.Add(idlePeriod)), "statistics of pod %s", name)
	}
	for name, last := range podUsage(ctx) {
		elapsed := last.CPU.Time.Sub(first[name].CPU.Time)
		Expect(elapsed).To(BeNumerically(">", 0), name)
		figures("idle", "%s: RSS %d MiB, working set %d MiB, CPU %d m", name, last.Memory.RSSBytes>>20, last.Memory.WorkingSetBytes>>20,
			1000*(last.CPU.UsageCoreNanoSeconds-first[name].CPU.UsageCoreNanoSeconds)/elapsed.Nanoseconds())
	}
}

// podUsage returns what each pod of the installation uses.
func podUsage(ctx context.Context) map[string]usage {
	GinkgoHelper()
	var nodes corev1.NodeList
	Expect(admin.List(ctx, &nodes)).To(Succeed())
	all := map[string]usage{}
	for _, node := range nodes.Items {
		raw, err := clientset.CoreV1().RESTClient().Get().Resource("nodes").Name(node.Name).SubResource("proxy").Suffix("stats/summary").
			Param("only_cpu_and_memory", "true").DoRaw(ctx)
		Expect(err).NotTo(HaveOccurred())
		var summary struct {
			Pods []struct {
				PodRef     struct{ Name, Namespace string }
				Containers []usage
			}
		}
		Expect(json.Unmarshal(raw, &summary)).To(Succeed())
		for _, pod := range summary.Pods {
			if pod.PodRef.Namespace == namespace && len(pod.Containers) == 1 {
				all[pod.PodRef.Name] = pod.Containers[0]
			}
		}
	}
	return all
}
