// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package verifier_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

// testRights compares the permissions of the verifier's ServiceAccount with the expected ones, and tries the most important
// ones.
func (w *suite) testRights(t *testing.T) {
	verifier := controlplanetest.Connect(t, w.plane.VerifierConfig())
	review := &authorizationv1.SelfSubjectRulesReview{Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: w.plane.Namespace()}}
	controlplanetest.Must(t, verifier.Create(t.Context(), review))
	got := map[string][]string{}
	for _, rule := range review.Status.ResourceRules {
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				name := resource + "." + group
				got[name] = append(got[name], rule.Verbs...)
			}
		}
	}
	for _, verbs := range got {
		slices.Sort(verbs)
	}
	see := []string{"get", "list", "watch"}
	want := map[string][]string{
		"apikeys.apikey-manager.io": see, "accounts.apikey-manager.io": see, "namespaces.": see,
		"tokenreviews.authentication.k8s.io": {"create"}, "subjectaccessreviews.authorization.k8s.io": {"create"},
		// What every ServiceAccount may: ask what it may itself and who it is, and see whom to trust.
		"clustertrustbundles.certificates.k8s.io":       see,
		"selfsubjectaccessreviews.authorization.k8s.io": {"create"}, "selfsubjectrulesreviews.authorization.k8s.io": {"create"},
		"selfsubjectreviews.authentication.k8s.io": {"create"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("it may do other things (-want +got):\n%s", diff)
	}

	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "any"}}
	key := &v1alpha1.APIKey{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "any"}, Spec: v1alpha1.APIKeySpec{Account: "acme"}}
	for what, err := range map[string]error{
		"read a Secret":  verifier.Get(t.Context(), client.ObjectKeyFromObject(secret), secret),
		"list Secrets":   verifier.List(t.Context(), &corev1.SecretList{}),
		"write a Secret": verifier.Create(t.Context(), secret.DeepCopy()),
		"write a key":    verifier.Create(t.Context(), key.DeepCopy()),
		"write a status": verifier.Status().Update(t.Context(), key.DeepCopy()),
		"delete a key":   verifier.Delete(t.Context(), key.DeepCopy()),
		"write an Event": verifier.Create(t.Context(), &corev1.Event{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "any"}}),
	} {
		if !apierrors.IsForbidden(err) {
			t.Errorf("it may %s: %v", what, err)
		}
	}
	if err := verifier.Create(t.Context(), &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: "any"}}); err != nil {
		t.Errorf("it may not review tokens: %v", err)
	}
	controlplanetest.Must(t, verifier.List(t.Context(), &v1alpha1.APIKeyList{}))
}
