// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

func TestVerify(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	verifier := w.verifiers.With(t)
	namespace, account := w.namespace(t), controlplanetest.UniqueName("acme")
	k := controlplanetest.NewKey(namespace, "shop", account, func(s *v1alpha1.APIKeySpec) {
		s.Label, s.Scopes, s.IPWhitelist = "Tienda", []string{"orders:read"}, []string{"192.0.2.0/24"}
	})
	w.Issue(t, k)
	key := w.Material(t, k)
	controlplanetest.AwaitVerdict(t, verifier, key, "IP_NOT_ALLOWED")
	verify := func(args ...string) result {
		return w.run(t, key+"\n", append([]string{"verify", "--url=http://" + verifier.HTTP}, args...)...)
	}
	verify("--client-ip=192.0.2.7", "--scope=orders:read", "--account="+account).
		expect(t, "VALID: The key "+k.Status.KeyID+" (Tienda) of account "+account+" is valid, with the scopes orders:read.\n")
	for args, want := range map[string]string{
		"":                                    "IP_NOT_ALLOWED: The key may be used from some addresses only. Pass the address of the client with --client-ip",
		"--client-ip=192.0.2.7 --scope=admin": "SCOPE_MISSING: The key lacks a scope that was required with --scope",
		"--client-ip=192.0.2.7 --account=another": "ACCOUNT_MISMATCH: ",
	} {
		got := verify(strings.Fields(args)...)
		got.expectFailure(t, 3, "the key is not valid", key)
		if !strings.HasPrefix(got.out, want) {
			t.Errorf("%s: got %q", args, got.out)
		}
	}
	verify("--client-ip=home").expectFailure(t, 1, "invalid ip: must be an address", key)

	got := verify("-o", "json")
	var answer struct {
		Valid             bool
		Code, Explanation string
	}
	if err := json.Unmarshal([]byte(got.out), &answer); err != nil || answer.Valid || answer.Code != "IP_NOT_ALLOWED" || answer.Explanation == "" {
		t.Errorf("got %q, %v", got.out, err)
	}
	unknown := w.run(t, "ak_000000000000_"+key[16:], "verify", "--url=http://"+verifier.HTTP)
	unknown.expectFailure(t, 3, "the key is not valid", key[16:])
	if !strings.HasPrefix(unknown.out, "UNKNOWN: ") {
		t.Errorf("got %q", unknown.out)
	}
}

// A port-forward takes a right of its own. Without a kubelet it cannot succeed, but the API server checks the right first.
func TestVerify_PortForwardRights(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	const key = "lg_3f9Kq2ZpW7xYvB1nTc8Rm5Ls"
	namespace, user := w.namespace(t), controlplanetest.UniqueName("reader")
	labels := map[string]string{"app": "verifier"}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "verifier", Labels: labels},
		Spec: corev1.PodSpec{NodeName: "node-without-kubelet", Containers: []corev1.Container{{
			Name: "verifier", Image: "verifier", Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}},
		}}},
	}
	w.Create(t, pod, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "apikey-verifier"},
		Spec:       corev1.ServiceSpec{Selector: labels, Ports: []corev1.ServicePort{{Port: 8080}}},
	}, &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: user}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"services", "pods"}, Verbs: []string{"get", "list"}},
	}}, &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: user},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: user}, Subjects: controlplanetest.User(user),
	})
	w.run(t, key, "verify", "--verifier-namespace="+namespace).expectFailure(t, 1, "has no ready pod", key)
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	pod.Status.Phase = corev1.PodRunning
	controlplanetest.Must(t, w.Admin.Status().Update(t.Context(), pod))
	controlplanetest.Eventually(t, "the user may see the pod, but not forward a port to it", func() error {
		got := w.run(t, key, "verify", "--verifier-namespace="+namespace, "--as="+user)
		if got.code != 1 || !strings.Contains(got.errOut, "kubectl auth can-i create pods/portforward -n "+namespace) {
			return errors.New(got.errOut)
		}
		return nil
	})
	w.run(t, key, "verify", "--verifier-namespace="+namespace).expectFailure(t, 1, "port-forward to pod verifier", key)
}

// Without a kubelet there is no pod to forward to. The error says how else to reach a verifier.
func TestVerify_WithoutPods(t *testing.T) {
	t.Parallel()
	w := shared.Get(t)
	const key = "lg_3f9Kq2ZpW7xYvB1nTc8Rm5Ls"
	w.run(t, key, "verify").expectFailure(t, 1, "has no ready pod", key)
	w.run(t, key, "verify", "--verifier-namespace=default").expectFailure(t, 1, "with --verifier-namespace, or its address with --url", key)
	w.run(t, key, "verify", "--as=nobody-in-particular").expectFailure(t, 1, "kubectl auth can-i create pods/portforward", key)
	w.run(t, key, "verify", "--url=http://192.0.2.1:8080").expectFailure(t, 2, "--url is not encrypted", key)
}
