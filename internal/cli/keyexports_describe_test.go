// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/credential"
	"github.com/apikey-manager/apikey-manager/internal/export"
)

// currentMaterial and previousMaterial are the credentials of the key in these tests.
const (
	currentMaterial  = "ak_b1b2b3b4b5b6_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG123456"
	previousMaterial = "ak_a1a2a3a4a5a6_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG654321"
)

// exportedShopKey returns a key in rotation that has no whitelist, and its account.
func exportedShopKey(changes ...func(*v1alpha1.APIKey, *v1alpha1.Account)) (*v1alpha1.APIKey, *v1alpha1.Account) {
	k, a := shopKey(), &v1alpha1.Account{ObjectMeta: metav1.ObjectMeta{Name: "acme", Labels: map[string]string{"tier": "gold"}}}
	k.UID, k.Spec.IPWhitelist = "k1", nil
	k.Status.Credentials[0].SHA256 = credential.Material(currentMaterial).SHA256()
	k.Status.Credentials[1].SHA256 = credential.Material(previousMaterial).SHA256()
	a.Spec.ExportPolicy = v1alpha1.ExportKey
	for _, change := range changes {
		change(k, a)
	}
	return k, a
}

// keysSecret returns the Secret of gatewayKeys.
func keysSecret(x *v1alpha1.KeyExport, data map[string]string) *corev1.Secret {
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "gateway", Name: "api-keys"}, Data: map[string][]byte{}}
	s.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apikey-manager.io/v1alpha1", Kind: "KeyExport", Name: x.Name, UID: x.UID, Controller: new(true)}}
	for name, value := range data {
		s.Data[name] = []byte(value)
	}
	return s
}

// describedExport runs a command against objects. Reads of forbidden resources fail.
func describedExport(t *testing.T, key string, forbidden string, objects ...client.Object) string {
	t.Helper()
	scheme, err := newScheme()
	if err != nil {
		t.Fatal(err)
	}
	deny := func(resource string) error {
		return apierrors.NewForbidden(schema.GroupResource{Resource: resource}, "", fmt.Errorf("not allowed"))
	}
	c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).WithInterceptorFuncs(interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, options ...client.GetOption) error {
			if kind := fmt.Sprintf("%T", o); strings.HasSuffix(kind, forbidden) && forbidden != "" {
				return deny(kind)
			}
			return c.Get(ctx, key, o, options...)
		},
		List: func(ctx context.Context, c client.WithWatch, o client.ObjectList, options ...client.ListOption) error {
			if kind := fmt.Sprintf("%T", o); strings.HasSuffix(kind, forbidden) && forbidden != "" {
				return deny(kind)
			}
			return c.List(ctx, o, options...)
		},
	}).Build()
	x := &v1alpha1.KeyExport{}
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: "gateway", Name: "api"}, x); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	e := &environment{IOStreams: genericiooptions.IOStreams{Out: &out, ErrOut: &out}, clock: clocktesting.NewFakePassiveClock(now)}
	if key != "" {
		namespace, name, _ := strings.Cut(key, "/")
		if err := e.explainKeyInExport(t.Context(), c, x, namespace, name); err != nil {
			t.Fatal(err)
		}
	} else {
		d := exportDescription{now: now}
		var list []*v1alpha1.APIKey
		list, d.keysErr = readAllKeys(t.Context(), c)
		d.exportFacts = newExportFacts(t.Context(), c, x, list)
		if err := e.printDescription(d.write); err != nil {
			t.Fatal(err)
		}
	}
	for _, secret := range []string{currentMaterial, previousMaterial, credential.Material(currentMaterial).SHA256(), credential.Material(previousMaterial).SHA256()} {
		if strings.Contains(out.String(), secret) {
			t.Fatal("the description contains a key or a digest")
		}
	}
	return out.String()
}

func shops() *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shops", Labels: map[string]string{"team": "shop"}}}
}

func TestDescribeKeyExport_Golden(t *testing.T) {
	x := gatewayKeys()
	x.Spec.Scopes, x.Spec.AccountSelector = []string{"orders:read"}, &metav1.LabelSelector{MatchLabels: map[string]string{"tier": "gold"}}
	x.Spec.Entry = &v1alpha1.ExportEntry{Value: "{\n  \"key\": {{ quote .Key }}\n}"}
	x.Status.Objects, x.Status.ObjectCount = append(x.Status.Objects, "api-keys-1"), new(int32(3))
	k, a := exportedShopKey()
	secret := keysSecret(x, map[string]string{
		"b1b2b3b4b5b6": `{"key":"` + currentMaterial + `"}`, "a1a2a3a4a5a6": `{"key":"` + previousMaterial + `"}`, "foreign": "x",
	})
	golden(t, "keyexport-describe.txt", describedExport(t, "", "", x, k, a, shops(), secret))
}

func TestDescribeKeyExport_WithoutRights(t *testing.T) {
	t.Parallel()
	x := gatewayKeys()
	k, a := exportedShopKey()
	secret := keysSecret(x, map[string]string{"b1b2b3b4b5b6": currentMaterial})
	contains(t, describedExport(t, "", "APIKeyList", x, k, a, shops(), secret), "Keys of entries:", "unknown: *v1alpha1.APIKeyList", "b1b2b3b4b5b6 unknown")
	contains(t, describedExport(t, "", "Secret", x, k, a, shops(), secret), "api-keys unknown: *v1.Secret")
	foreign := keysSecret(x, map[string]string{"b1b2b3b4b5b6": currentMaterial})
	foreign.OwnerReferences = nil
	contains(t, describedExport(t, "", "", x, k, a, shops(), foreign), "api-keys unknown: the KeyExport does not own it")
}

func TestDescribeKeyExport_ExplainsKey(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		change    func(*v1alpha1.KeyExport, *v1alpha1.APIKey, *v1alpha1.Account)
		forbidden string
		want      []string
	}{
		"exported": {nil, "", []string{"Selected: yes", "Accepted by verifiers: yes, 2 credentials", "Withheld: no", "b1b2b3b4b5b6 Current", "a1a2a3a4a5a6 Previous"}},
		"of another account": {
			func(x *v1alpha1.KeyExport, _ *v1alpha1.APIKey, _ *v1alpha1.Account) {
				x.Spec.Accounts = []string{"contoso"}
			}, "",
			[]string{"Selected: no: the key does not meet spec.accounts", "Withheld: no"},
		},
		"without a scope and a label": {
			func(x *v1alpha1.KeyExport, _ *v1alpha1.APIKey, _ *v1alpha1.Account) {
				x.Spec.Scopes, x.Spec.NamespaceSelector = []string{"orders:write"}, &metav1.LabelSelector{MatchLabels: map[string]string{"team": "till"}}
				x.Spec.AccountSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"tier": "gold"}}
			}, "", []string{"Selected: no: the key does not meet spec.namespaceSelector and spec.scopes"},
		},
		"inactive": {
			func(_ *v1alpha1.KeyExport, k *v1alpha1.APIKey, _ *v1alpha1.Account) {
				k.Spec.State = v1alpha1.KeyStateInactive
			}, "",
			[]string{"Selected: yes", "Accepted by verifiers: no: the key is Active: The key is in use. See kubectl apikey describe shop-key -n shops"},
		},
		"forbidden by its account": {
			func(_ *v1alpha1.KeyExport, _ *v1alpha1.APIKey, a *v1alpha1.Account) { a.Spec.ExportPolicy = "" }, "",
			[]string{"Accepted by verifiers: yes", "Withheld: ExportNotAllowed: the exportPolicy of its account"},
		},
		"with a whitelist": {
			func(_ *v1alpha1.KeyExport, k *v1alpha1.APIKey, _ *v1alpha1.Account) {
				k.Spec.IPWhitelist = []string{"192.0.2.0/24"}
			}, "",
			[]string{"Withheld: AddressRestricted: it may be used from some addresses only"},
		},
		"withheld by the manager": {
			func(x *v1alpha1.KeyExport, _ *v1alpha1.APIKey, _ *v1alpha1.Account) {
				x.Status.Withheld = []v1alpha1.WithheldKey{{Namespace: "shops", Name: "shop-key", Reason: v1alpha1.ReasonKeyNotReadable}}
			}, "", []string{"Withheld: KeyNotReadable: its Secret does not hold it"},
		},
		"without the right to read its account": {nil, "Account", []string{"Not read: *v1alpha1.Account", "Accepted by verifiers: unknown: you may not read"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := gatewayKeys()
			k, a := exportedShopKey()
			if tc.change != nil {
				tc.change(x, k, a)
			}
			secret := keysSecret(x, map[string]string{"b1b2b3b4b5b6": currentMaterial, "a1a2a3a4a5a6": previousMaterial})
			out := describedExport(t, "shops/shop-key", tc.forbidden, x, k, a, shops(), secret)
			contains(t, out, tc.want...)
		})
	}
}

func TestDescribeTarget(t *testing.T) {
	t.Parallel()
	s := gatewayKeys().Spec
	s.Target.Type = "nginx.org/apikey"
	contains(t, describeTarget(&s), "Secret api-keys of type nginx.org/apikey; further ones are called api-keys-1, api-keys-2")
	s.Layout = v1alpha1.ExportLayoutObjects
	contains(t, describeTarget(&s), "a Secret of type nginx.org/apikey for each credential, called api-keys-<digits of the digest>")
}

// Every reason has an action.
func TestWithheldActions(t *testing.T) {
	t.Parallel()
	for _, reason := range []string{
		v1alpha1.ReasonExportNotAllowed, v1alpha1.ReasonAddressRestricted, v1alpha1.ReasonKeyNotReadable, v1alpha1.ReasonDuplicateKey,
		v1alpha1.ReasonDuplicateEntry, v1alpha1.ReasonInvalidEntry, v1alpha1.ReasonExportFull,
	} {
		if withheldActions[reason] == "" {
			t.Errorf("%s has no action", reason)
		}
	}
}

func TestStateInExport(t *testing.T) {
	t.Parallel()
	k, a := exportedShopKey()
	at := func(d time.Duration) export.Evaluation {
		compiled, err := export.Compile(gatewayKeys())
		if err != nil {
			t.Fatal(err)
		}
		return compiled.Evaluate(export.Candidate{Key: k, Account: a, NamespaceLabels: map[string]string{}}, now.Add(d))
	}
	for name, tc := range map[string]struct {
		change     func(*v1alpha1.KeyExport)
		evaluation export.Evaluation
		want       string
	}{
		"exported":              {nil, at(0), "Exported "},
		"expired":               {nil, at(60 * 24 * time.Hour), "NotAccepted verifiers do not accept the key"},
		"withheld by rule":      {nil, export.Evaluation{Withheld: v1alpha1.ReasonAddressRestricted}, "Withheld AddressRestricted"},
		"withheld by status":    {func(x *v1alpha1.KeyExport) { x.Status.Withheld[0].Name = "shop-key" }, at(0), "Withheld ExportNotAllowed"},
		"an older generation":   {func(x *v1alpha1.KeyExport) { x.Generation = 2 }, at(0), "NotReady Exported"},
		"without any condition": {func(x *v1alpha1.KeyExport) { x.Status.Conditions = nil }, at(0), "NotReady "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := gatewayKeys()
			if tc.change != nil {
				tc.change(x)
			}
			if state, reason := stateInExport(x, k, tc.evaluation); state+" "+reason != tc.want {
				t.Errorf("got %s %s, want %s", state, reason, tc.want)
			}
		})
	}
}

// contains fails the test unless a text contains all others, whatever the spaces between words.
func contains(t *testing.T, text string, parts ...string) {
	t.Helper()
	text = strings.Join(strings.Fields(text), " ")
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%q is missing in\n%s", part, text)
		}
	}
}
