// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"context"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
)

func template(t v1alpha1.SecretTemplate) func(*v1alpha1.APIKeySpec) {
	return func(k *v1alpha1.APIKeySpec) { k.Secret = &v1alpha1.SecretSpec{Template: &t} }
}

var _ = Describe("A Secret with a type", func() {
	var (
		namespace string
		account   *v1alpha1.Account
	)
	BeforeEach(func(ctx SpecContext) {
		namespace = newNamespace(ctx, nil)
		startManager(ctx, managerOptions{})
		account = newAccount(uniqueName("acme"))
		create(ctx, account)
	})
	issue := func(ctx context.Context, t v1alpha1.SecretTemplate) *v1alpha1.APIKey {
		GinkgoHelper()
		k := newKey(namespace, uniqueName("key"), account.Name, template(t))
		create(ctx, k)
		become(ctx, v1alpha1.StateActive, k)
		return k
	}

	for name, tc := range map[string]struct {
		template v1alpha1.SecretTemplate
		left     map[string][]byte
	}{
		"of another domain": {template: v1alpha1.SecretTemplate{Type: "example.com/key", Data: map[string]string{"token": "{{ .Key }}"}}},
		"basic-auth with a user name and a password": {
			template: v1alpha1.SecretTemplate{Type: "kubernetes.io/basic-auth", Data: map[string]string{"username": "{{ .Account }}", "password": "{{ .Key }}"}},
			left:     map[string][]byte{"password": {}},
		},
		"basic-auth with a user name": {
			template: v1alpha1.SecretTemplate{Type: "kubernetes.io/basic-auth", Data: map[string]string{"username": "{{ .Key }}"}},
			left:     map[string][]byte{"username": {}},
		},
		"dockerconfigjson": {
			template: v1alpha1.SecretTemplate{Type: "kubernetes.io/dockerconfigjson", Data: map[string]string{
				".dockerconfigjson": `{"auths":{"registry.example.com":{"username":"{{ .Account }}","password":"{{ .Key }}"}}}`,
			}},
			left: map[string][]byte{".dockerconfigjson": []byte(`{"auths":{}}`)},
		},
	} {
		It("is written, and cleared when the key is revoked: "+name, func(ctx SpecContext) {
			k := issue(ctx, tc.template)
			Expect(secretOf(ctx, k).Type).To(BeEquivalentTo(tc.template.Type))
			Expect(secretOf(ctx, k).Annotations).NotTo(HaveKey(keys.AnnotationRevoked))
			change(ctx, k, state(v1alpha1.KeyStateRevoked))
			become(ctx, v1alpha1.StateRevoked, k)
			s := secretOf(ctx, k)
			Expect(s.Data).To(HaveLen(len(tc.left)))
			for name, value := range tc.left {
				Expect(s.Data).To(HaveKey(name))
				Expect(string(s.Data[name])).To(Equal(string(value)))
			}
			Expect(s.Annotations).To(HaveKey(keys.AnnotationRevoked))
			expectEvent(ctx, k, corev1.EventTypeNormal, v1alpha1.ReasonRevoked, "permanently")
		})
	}

	It("is rejected without the entries that its type requires, or with invalid entry names", func(ctx SpecContext) {
		for says, t := range map[string]v1alpha1.SecretTemplate{
			"requires an entry username or password": {Type: "kubernetes.io/basic-auth"},
			"requires an entry .dockerconfigjson":    {Type: "kubernetes.io/dockerconfigjson", Data: map[string]string{"x": "{{ .Key }}"}},
			"must render to a JSON object":           {Type: "kubernetes.io/dockerconfigjson", Data: map[string]string{".dockerconfigjson": "{{ .Key }}"}},
			"spec.secret.template.data":              {Data: map[string]string{"..": "{{ .Key }}"}},
		} {
			k := newKey(namespace, uniqueName("key"), account.Name, template(t))
			create(ctx, k)
			becomeNotAccepted(ctx, v1alpha1.ReasonInvalidSpec, k)
			Expect(message(k.Status.Conditions, v1alpha1.ConditionStalled)).To(ContainSubstring(says))
			Expect(secretsIn(ctx, namespace)).NotTo(ContainElement(k.Name))
			By("fixing the template")
			change(ctx, k, func(s *v1alpha1.APIKeySpec) {
				s.Secret.Template.Data = map[string]string{"password": "{{ .Key }}", ".dockerconfigjson": `{"x":"{{ .Key }}"}`}
			})
			become(ctx, v1alpha1.StateActive, k)
		}
	})
})

var _ = Describe("An item that is removed from the template", func() {
	It("is removed from the Secret, and items of other clients stay", func(ctx SpecContext) {
		namespace := newNamespace(ctx, nil)
		startManager(ctx, managerOptions{})
		k := newKey(namespace, "web", uniqueName("acme"), template(v1alpha1.SecretTemplate{
			Labels: map[string]string{"example.com/a": "1", "example.com/b": "1"}, Annotations: map[string]string{"example.com/a": "1"},
			Data: map[string]string{"token": "{{ .Key }}", "more": "x"},
		}))
		create(ctx, k)
		become(ctx, v1alpha1.StateActive, k)
		token := string(secretOf(ctx, k).Data["token"])

		By("labelling the Secret as other clients do, and forging the manager's annotation")
		kubectl(ctx, "label", "secret", "web", "-n", namespace, "team=blue")
		kubectl(ctx, "annotate", "secret", "web", "-n", namespace, "reloader.stakater.com/match=true")
		recorder.awaitQuiet(ctx)
		change(ctx, k, template(v1alpha1.SecretTemplate{Labels: map[string]string{"example.com/b": "2"}, Data: map[string]string{"token": "{{ .Key }}"}}))
		kubectl(ctx, "annotate", "secret", "web", "-n", namespace, "--overwrite", keys.AnnotationTemplateMetadata+`={"labels":["team"],"annotations":["reloader.stakater.com/match"]}`)
		recorder.awaitQuiet(ctx)
		become(ctx, v1alpha1.StateActive, k)
		s := secretOf(ctx, k)
		Expect(s.Labels).To(Equal(map[string]string{
			"example.com/b": "2", "team": "blue", keys.LabelManagedBy: keys.ManagedBy, keys.LabelAccount: k.Spec.Account,
		}))
		Expect(s.Annotations).To(HaveKeyWithValue("reloader.stakater.com/match", "true"))
		Expect(s.Annotations).NotTo(HaveKey("example.com/a"))
		Expect(s.Annotations).To(HaveKeyWithValue(keys.AnnotationTemplateMetadata, `{"labels":["example.com/b"]}`))
		Expect(s.Data).To(HaveLen(1))
		Expect(string(s.Data["token"]) == token).To(BeTrue(), "the key is another one")

		By("removing the template")
		change(ctx, k, func(s *v1alpha1.APIKeySpec) { s.Secret = nil })
		recorder.awaitQuiet(ctx)
		become(ctx, v1alpha1.StateActive, k)
		s = secretOf(ctx, k)
		Expect(s.Labels).To(Equal(map[string]string{"team": "blue", keys.LabelManagedBy: keys.ManagedBy, keys.LabelAccount: k.Spec.Account}))
		Expect(s.Annotations).To(Equal(map[string]string{"reloader.stakater.com/match": "true"}))
		Expect(s.Data).To(HaveLen(1))
		Expect(string(s.Data["api-key"]) == token).To(BeTrue(), "the key is another one")
	})

	It("is removed also if the manager's annotation is missing", func(ctx SpecContext) {
		namespace := newNamespace(ctx, nil)
		m := startManager(ctx, managerOptions{})
		k := newKey(namespace, "web", uniqueName("acme"), template(v1alpha1.SecretTemplate{Labels: map[string]string{"example.com/a": "1"}}))
		create(ctx, k)
		become(ctx, v1alpha1.StateActive, k)
		m.stop()
		kubectl(ctx, "annotate", "secret", "web", "-n", namespace, keys.AnnotationTemplateMetadata+"-")
		kubectl(ctx, "label", "secret", "web", "-n", namespace, "team=blue")
		change(ctx, k, func(s *v1alpha1.APIKeySpec) { s.Secret.Template.Labels = map[string]string{"example.com/b": "2"} })
		startManager(ctx, managerOptions{})
		awaitStatus(ctx, k, func(g Gomega) {
			g.Expect(secretOf(ctx, k).Labels).To(Equal(map[string]string{
				"example.com/b": "2", "team": "blue", keys.LabelManagedBy: keys.ManagedBy, keys.LabelAccount: k.Spec.Account,
			}))
		})
	})
})
