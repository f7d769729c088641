// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package smoketest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/smoketest"
)

const material = "ak_v1ReF6fIcrOF_secret"

// issuing returns a client whose keys have the given status of condition Ready as soon as they are read.
func issuing(t *testing.T, ready metav1.ConditionStatus, objects ...client.Object) client.Client {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: smoketest.Name}, Data: map[string][]byte{keys.EntryCurrent: []byte(material)},
	}
	return fake.NewClientBuilder().WithScheme(scheme).WithObjects(append(objects, secret)...).WithInterceptorFuncs(interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, options ...client.GetOption) error {
			if err := c.Get(ctx, key, o, options...); err != nil {
				return err
			}
			if k, is := o.(*v1alpha1.APIKey); is {
				k.Status.KeyID = "v1ReF6fIcrOF"
				k.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: ready, Reason: "LimitReached", Message: "full"}}
			}
			return nil
		},
	}).Build()
}

// verifier returns the URL of a server that answers with a code for each request of /v1/verify.
func verifier(t *testing.T, c client.Client, answer func(presented string, state v1alpha1.KeyState) string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var question struct{ Key string }
		key := &v1alpha1.APIKey{}
		if json.NewDecoder(r.Body).Decode(&question) != nil ||
			c.Get(r.Context(), client.ObjectKey{Namespace: "default", Name: smoketest.Name}, key) != nil {
			w.WriteHeader(http.StatusInternalServerError)
		}
		_, _ = fmt.Fprintf(w, `{"code":%q}`, answer(question.Key, key.Spec.State))
	}))
	t.Cleanup(server.Close)
	return server.URL + "/"
}

func honest(presented string, state v1alpha1.KeyState) string {
	switch {
	case presented != material:
		return "UNKNOWN"
	case state == v1alpha1.KeyStateInactive:
		return "INACTIVE"
	}
	return "VALID"
}

func TestRun(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		ready  metav1.ConditionStatus
		answer func(string, v1alpha1.KeyState) string
		left   []client.Object
		want   string // part of the error
	}{
		"a working installation": {ready: metav1.ConditionTrue, answer: honest},
		"objects of an earlier run": {ready: metav1.ConditionTrue, answer: honest, left: []client.Object{
			&v1alpha1.Account{ObjectMeta: metav1.ObjectMeta{Name: smoketest.Name}},
			&v1alpha1.APIKey{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: smoketest.Name}},
		}},
		"a key that is not issued": {ready: metav1.ConditionFalse, answer: honest, want: "the manager has not issued the key: LimitReached: full"},
		"a verifier that accepts everything": {
			ready: metav1.ConditionTrue, answer: func(string, v1alpha1.KeyState) string { return "VALID" },
			want: `the verifier answers "VALID" for a wrong key`,
		},
		"a verifier that knows no key": {
			ready: metav1.ConditionTrue, answer: func(string, v1alpha1.KeyState) string { return "UNKNOWN" },
			want: "the verifier does not answer VALID: it answers UNKNOWN",
		},
		"a verifier that misses changes": {
			ready: metav1.ConditionTrue, answer: func(presented string, _ v1alpha1.KeyState) string { return honest(presented, "") },
			want: "the verifier does not answer INACTIVE: it answers VALID",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			c := issuing(t, tc.ready, tc.left...)
			test := smoketest.Test{Client: c, HTTP: http.DefaultClient, Verifier: verifier(t, c, tc.answer), Namespace: "default", Out: &out}
			limit := time.Minute
			if tc.want != "" {
				limit = 2 * time.Second
			}
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			err := test.Run(ctx)
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
			if strings.Contains(out.String()+fmt.Sprint(err), material) {
				t.Error("the output contains the key")
			}
		})
	}
}
