// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package tenants_test

import (
	"fmt"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

// powerful is a ServiceAccount in each tenant's namespace that an administrator has bound to cluster-admin.
const powerful = "powerful"

// tokenOutcomes returns the outcomes that concern Secrets with credentials for the cluster.
func tokenOutcomes() []outcome {
	return []outcome{
		{"a token of a ServiceAccount, written by the manager", nil, mintServiceAccountToken},
		{"a token that lets a node join, written by the manager", nil, mintBootstrapToken},
		{"a release that Helm takes for its own, written by the manager", nil, declareRelease},
	}
}

func (u *tenant) createServiceAccount(t *testing.T) {
	t.Helper()
	u.Create(t,
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: u.namespace, Name: powerful}},
		&rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: u.id + "-" + powerful}, RoleRef: controlplanetest.ClusterRole("cluster-admin"),
			Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: u.namespace, Name: powerful}},
		},
	)
}

func mintServiceAccountToken(u *tenant) bool {
	secret := u.createTemplated("sa-token", v1alpha1.SecretTemplate{
		Type: string(corev1.SecretTypeServiceAccountToken), Annotations: map[string]string{corev1.ServiceAccountNameKey: powerful},
		Data: map[string]string{"extra": "{{ .Key }}"},
	})
	if secret == nil || secret.Type != corev1.SecretTypeServiceAccountToken {
		return false
	}
	var token string
	controlplanetest.Until(u.T, "the token controller filled in no token", func() bool {
		if s := u.secret("sa-token"); s != nil {
			token = string(s.Data[corev1.ServiceAccountTokenKey])
		}
		return token != ""
	})
	return u.usernameOf(token) == "system:serviceaccount:"+u.namespace+":"+powerful
}

func mintBootstrapToken(u *tenant) bool {
	id := fmt.Sprintf("%06s", u.id[len("user-"):])
	const secret = "0123456789abcdef"
	key := controlplanetest.NewKey(metav1.NamespaceSystem, "bootstrap-token-"+id, u.account)
	key.Spec.Secret = &v1alpha1.SecretSpec{Template: &v1alpha1.SecretTemplate{
		Type: string(corev1.SecretTypeBootstrapToken),
		Data: map[string]string{
			"token-id": id, "token-secret": secret, "usage-bootstrap-authentication": "true", "description": "{{ .Key }}",
			"auth-extra-groups": "system:bootstrappers:kubeadm:default-node-token",
		},
	}}
	if u.createKey(key) == nil {
		return false
	}
	if !u.get(u.T, key.Namespace, key.Name, &corev1.Secret{}) {
		return false
	}
	controlplanetest.Until(u.T, "the API server does not take the token", func() bool { return u.usernameOf(id+"."+secret) != "" })
	return u.usernameOf(id+"."+secret) == "system:bootstrap:"+id
}

func declareRelease(u *tenant) bool {
	key := u.key("release")
	key.Spec.Secret = &v1alpha1.SecretSpec{Name: "sh.helm.release.v1.shop.v1", Template: &v1alpha1.SecretTemplate{
		Type: "helm.sh/release.v1", Data: map[string]string{"release": "{{ .Key }}"},
		Labels: map[string]string{"owner": "helm", "name": "shop", "status": "deployed", "version": "1"},
	}}
	return u.createKey(key) != nil && u.secret("sh.helm.release.v1.shop.v1") != nil
}

// usernameOf returns the user name that the API server derives from a token, or an empty string.
func (u *tenant) usernameOf(token string) string {
	u.Helper()
	config := rest.AnonymousClientConfig(u.plane.Config())
	config.BearerToken = token
	c, err := client.New(config, client.Options{Scheme: u.admin.Scheme(), Mapper: u.admin.RESTMapper()})
	if err != nil {
		u.Fatal(err)
	}
	review := &authenticationv1.SelfSubjectReview{}
	if err := c.Create(u.Context(), review); err != nil {
		return ""
	}
	return review.Status.UserInfo.Username
}
