// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package webhook_test

import (
	"errors"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	testingclock "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
	"github.com/apikey-manager/apikey-manager/internal/webhook"
)

var errDown = errors.New("connection refused")

// reader returns an in-memory client that holds the given objects only.
func reader(t *testing.T, funcs interceptor.Funcs, objects ...client.Object) client.Client {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	b := fake.NewClientBuilder().WithScheme(scheme).WithInterceptorFuncs(funcs).WithStatusSubresource(&v1alpha1.APIKey{}, &v1alpha1.Account{})
	for name, value := range keys.Indexes {
		b = b.WithIndex(&v1alpha1.APIKey{}, name, func(o client.Object) []string { return value(o.(*v1alpha1.APIKey)) })
	}
	for name, value := range keys.AccountIndexes {
		b = b.WithIndex(&v1alpha1.Account{}, name, func(o client.Object) []string { return value(o.(*v1alpha1.Account)) })
	}
	return b.WithObjects(objects...).Build()
}

func keyValidator(t *testing.T, objects ...client.Object) *webhook.APIKeyValidator {
	t.Helper()
	objects = append(objects, space("default", nil, false))
	r := reader(t, interceptor.Funcs{}, objects...)
	defaults := keystest.Settings
	defaults.MailDomains = keys.MailDomains{"example.com"}
	return &webhook.APIKeyValidator{Cache: r, APIReader: r, Clock: testingclock.NewFakePassiveClock(keystest.Epoch), Settings: defaults}
}

// space returns a namespace, which is terminating if ending is true.
func space(name string, labels map[string]string, ending bool) *corev1.Namespace {
	n := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
	if ending {
		n.DeletionTimestamp = &metav1.Time{Time: keystest.Epoch}
		n.Finalizers = []string{"kubernetes"}
	}
	return n
}

// verdict describes the expected response of a validator.
type verdict struct {
	// denied holds substrings of the expected error. If it is empty, the request must be allowed.
	denied []string
	// warned holds substrings of the expected warnings. If it is empty, there must be no warnings.
	warned []string
}

func (v verdict) check(t *testing.T, warnings admission.Warnings, err error) {
	t.Helper()
	switch {
	case len(v.denied) == 0 && err != nil:
		t.Errorf("denied: %v", err)
	case len(v.denied) > 0 && err == nil:
		t.Errorf("not denied, want a denial with %q", v.denied)
	case len(v.denied) > 0:
		checkWords(t, err.Error(), v.denied)
	}
	switch text := strings.Join(warnings, "\n"); {
	case len(v.warned) == 0 && text != "":
		t.Errorf("warned: %s", text)
	case len(v.warned) > 0:
		checkWords(t, text, v.warned)
	}
}

func checkWords(t *testing.T, text string, words []string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("said %q, want %q in it", text, w)
		}
	}
}
