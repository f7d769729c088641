// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"context"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

func getKey(ctx context.Context, name string) *v1alpha1.APIKey {
	GinkgoHelper()
	key := &v1alpha1.APIKey{}
	Expect(admin.Get(ctx, client.ObjectKey{Namespace: "e2e-shop", Name: name}, key)).To(Succeed())
	return key
}

// patchKey changes the spec of a key by a merge patch.
func patchKey(ctx context.Context, name, spec string) {
	GinkgoHelper()
	patch := client.RawPatch(types.MergePatchType, []byte(`{"spec":`+spec+`}`))
	Expect(admin.Patch(ctx, getKey(ctx, name), patch)).To(Succeed())
}

// currentDigest returns the digest of the credential that a key's Secret contains.
func currentDigest(ctx context.Context, name string) string {
	GinkgoHelper()
	for _, credential := range getKey(ctx, name).Status.Credentials {
		if credential.Role == v1alpha1.RoleCurrent {
			return credential.SHA256
		}
	}
	return ""
}

// awaitCondition waits until a condition of a key is True.
func awaitCondition(ctx context.Context, name, condition string) {
	GinkgoHelper()
	Eventually(func() bool {
		key := getKey(ctx, name)
		c := meta.FindStatusCondition(key.Status.Conditions, condition)
		return c != nil && c.Status == "True" && c.ObservedGeneration == key.Generation
	}).WithContext(ctx).Should(BeTrue(), "condition %s of key %s", condition, name)
}

// issued is what an upgrade must not change: the digests of all keys, and the versions of their Secrets.
type issued struct {
	digests, secrets map[string]string
}

func observeIssued(ctx context.Context) issued {
	GinkgoHelper()
	var keys v1alpha1.APIKeyList
	Expect(admin.List(ctx, &keys)).To(Succeed())
	Expect(keys.Items).NotTo(BeEmpty())
	all := issued{digests: map[string]string{}, secrets: map[string]string{}}
	for _, key := range keys.Items {
		name := client.ObjectKeyFromObject(&key)
		for _, credential := range key.Status.Credentials {
			all.digests[name.String()+" "+string(credential.Role)] = credential.SHA256
		}
		var secret corev1.Secret
		Expect(admin.Get(ctx, name, &secret)).To(Succeed())
		all.secrets[name.String()] = string(secret.UID) + " " + secret.ResourceVersion
	}
	return all
}
