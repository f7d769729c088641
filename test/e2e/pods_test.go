// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func pods() {
	It("has NetworkPolicies that allow the connections of its pods, and no others to them", func(ctx SpecContext) {
		for _, component := range []string{"manager", "verifier"} {
			var policy networkingv1.NetworkPolicy
			Expect(admin.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "apikey-" + component}, &policy)).To(Succeed())
			Expect(policy.Spec.PodSelector.MatchLabels).To(HaveKeyWithValue("app.kubernetes.io/component", component))
			for _, pod := range podsOf(ctx, component) {
				expectAllowed(ctx, policy, pod)
			}
		}
		figures("NetworkPolicies", "not every cluster enforces them: the test compares them with the connections of the pods")
	}, NodeTimeout(specTimeout))

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
	}, NodeTimeout(specTimeout))
}

// expectAllowed fails unless the policy allows exactly the ports that a pod listens on, and the connections that it has opened.
func expectAllowed(ctx context.Context, policy networkingv1.NetworkPolicy, pod corev1.Pod) {
	GinkgoHelper()
	var actual struct{ Listening, Connected []int }
	Expect(json.Unmarshal(onNode(ctx, "sockets", pod), &actual)).To(Succeed())
	ports := map[string]int{}
	for _, port := range pod.Spec.Containers[0].Ports {
		ports[port.Name] = int(port.ContainerPort)
	}
	// The kubelet, which policies do not apply to, is the only client of the probes.
	ingress := map[int]bool{ports["probes"]: true}
	for _, rule := range policy.Spec.Ingress {
		addPorts(ingress, rule.Ports, ports)
	}
	Expect(actual.Listening).To(ConsistOf(slices.Collect(maps.Keys(ingress))), "pod %s listens on", pod.Name)

	// The manager connects to the usage port of verifiers, which their pods name.
	ports["usage"] = usagePort
	egress := map[int]bool{}
	for _, rule := range policy.Spec.Egress {
		addPorts(egress, rule.Ports, ports)
	}
	Expect(actual.Connected).NotTo(BeEmpty(), "pod %s has no connection to the API server", pod.Name)
	Expect(slices.Collect(maps.Keys(egress))).To(ContainElements(actual.Connected), "connections of pod %s", pod.Name)
}

// usagePort is the port of verifiers that the manager polls.
const usagePort = 8443

// addPorts adds the ports of a rule. A port may have the name of a port of the pod.
func addPorts(all map[int]bool, rule []networkingv1.NetworkPolicyPort, named map[string]int) {
	for _, port := range rule {
		number := port.Port.IntValue()
		if port.Port.StrVal != "" {
			number = named[port.Port.StrVal]
		}
		all[number] = true
	}
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
