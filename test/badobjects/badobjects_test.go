// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Package badobjects_test checks, with the binaries of the manager and the verifier on a real API server, that an
// object that cannot be decoded does not affect other objects. Such objects are written while CustomResourceDefinitions
// without rules are installed.
package badobjects_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/test/controlplane"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

// suite holds a control plane with a manager and verifiers.
type suite struct {
	plane       *controlplane.ControlPlane
	admin       client.Client
	definitions client.Client
	options     controlplane.ManagerOptions
	metrics     string
	manager     *controlplane.Manager
	verifiers   []*controlplane.Verifier
	material    map[string]string
}

// broken holds the merge patches that make a key undecodable, and those that repair it, by the name of the key. A patch
// is applied to the status if status is true.
var broken = map[string]struct {
	patch, mend string
	status      bool
	field       string
}{
	"rotation":   {patch: `{"spec":{"rotation":"daily"}}`, mend: `{"spec":{"rotation":null}}`, field: "spec.rotation"},
	"label":      {patch: `{"spec":{"label":5}}`, field: "spec.label"},
	"whitelist":  {patch: `{"spec":{"ipWhitelist":{"a":"b"}}}`, mend: `{"spec":{"ipWhitelist":null}}`, field: "spec.ipWhitelist"},
	"account":    {patch: `{"spec":{"account":["acme"]}}`, field: "spec.account"},
	"expiration": {patch: `{"status":{"expirationTime":"2026-12-01t09:00:00z"}}`, mend: `{"status":{"expirationTime":null}}`, status: true, field: "status.expirationTime"},
}

const (
	// good is a key of an account that has only valid keys.
	good = "good"
	// kept is a key that cannot be decoded, of an account that forbids deletion.
	kept = "kept"
	// poor is a key of an account that cannot be decoded.
	poor = "poor"
)

// gone lists the keys that are deleted: one that could be repaired, and one whose account is immutable. The slots in
// the status of the account determine the policy that applies to them.
var gone = []string{"label", "account"}

// TestBadObjects runs its subtests in order. Each depends on the previous ones.
func TestBadObjects(t *testing.T) {
	s := start(t)
	s.issueAll(t)
	must(t, s.manager.Stop(controlplanetest.Timeout))
	s.breakAll(t)
	t.Run("running verifiers reject only these keys", s.testVerdicts)
	s.startManager(t)
	s.verifiers = append(s.verifiers, s.startVerifier(t)) // becomes ready although it lists them
	t.Run("new verifiers reject only these keys", s.testVerdicts)
	t.Run("a key of another account can be deactivated", s.testSwitchOff)
	t.Run("a restarted manager issues other keys", s.testIssue)
	t.Run("logs and metrics name these keys", s.testNames)
	t.Run("these keys keep their slots", s.testSlots)
	t.Run("the deletion policy of the account applies", s.testDeletion)
	t.Run("these keys can be repaired", s.testMending)
	t.Run("the webhook rejects new ones and names the field", s.testAdmission)
}

func start(t *testing.T) *suite {
	t.Helper()
	port, err := controlplane.FreePort()
	must(t, err)
	plane := controlplanetest.Start(t, controlplane.Options{WebhookPort: port, WithoutControllers: true})
	s := &suite{plane: plane, admin: controlplanetest.Connect(t, plane.Config()), material: map[string]string{}}
	scheme := runtime.NewScheme()
	must(t, apiextensionsv1.AddToScheme(scheme))
	s.definitions, err = client.New(plane.Config(), client.Options{Scheme: scheme})
	must(t, err)
	metrics, err := controlplane.FreePort()
	must(t, err)
	s.metrics = "127.0.0.1:" + strconv.Itoa(metrics)
	s.options = controlplane.ManagerOptions{WebhookPort: port, Flags: []string{"--metrics-bind-address=" + s.metrics, "--metrics-secure=false"}}
	s.options.Binary, err = controlplane.BuildManager(t.Context())
	must(t, err)
	s.startManager(t)
	for range 2 {
		s.verifiers = append(s.verifiers, s.startVerifier(t))
	}
	return s
}

func (s *suite) startManager(t *testing.T) {
	t.Helper()
	var err error
	s.manager, err = s.plane.StartManager(t.Context(), s.options)
	must(t, err)
}

func (s *suite) startVerifier(t *testing.T) *controlplane.Verifier {
	t.Helper()
	binary, err := controlplane.BuildVerifier(t.Context())
	must(t, err)
	v, err := s.plane.StartVerifier(t.Context(), controlplane.VerifierOptions{
		Binary: binary, Log: filepath.Join(s.plane.Dir(), fmt.Sprintf("verifier-%d.log", len(s.verifiers))),
	})
	must(t, err)
	return v
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// issueAll issues the keys before any object is broken.
func (s *suite) issueAll(t *testing.T) {
	t.Helper()
	policy := v1alpha1.AccountSpec{Limits: &v1alpha1.Limits{MaxKeys: new(int32(10))}}
	s.create(t, &v1alpha1.Account{ObjectMeta: metav1.ObjectMeta{Name: "acme"}, Spec: policy})
	policy.DeletionPolicy = v1alpha1.DeletionForbid
	s.create(t, &v1alpha1.Account{ObjectMeta: metav1.ObjectMeta{Name: "strict"}, Spec: policy})
	for name := range broken {
		s.issue(t, name, "acme")
	}
	s.issue(t, kept, "strict")
	s.issue(t, poor, "poor")
	s.issue(t, good, "globex")
	for name := range s.material {
		s.comesToSay(t, name, "VALID")
	}
}

func (s *suite) create(t *testing.T, o client.Object) {
	t.Helper()
	controlplanetest.Eventually(t, o.GetName()+" is created", func() error { return s.admin.Create(t.Context(), o) })
}

// issue creates a key and waits until the manager has issued it.
func (s *suite) issue(t *testing.T, name, account string) {
	t.Helper()
	k := &v1alpha1.APIKey{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: v1alpha1.APIKeySpec{Account: account}}
	s.create(t, k)
	controlplanetest.Eventually(t, "APIKey "+name+" is issued", func() error {
		if err := s.admin.Get(t.Context(), client.ObjectKeyFromObject(k), k); err != nil {
			return err
		}
		return differs(string(k.Status.State), string(v1alpha1.StateActive))
	})
	secret := &corev1.Secret{}
	must(t, s.admin.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: keys.SecretName(k)}, secret))
	s.material[name] = string(secret.Data[keys.EntryCurrent])
}

// breakAll writes objects that cannot be decoded, under CustomResourceDefinitions without rules.
func (s *suite) breakAll(t *testing.T) {
	t.Helper()
	s.removePolicies(t)
	restore := s.loosen(t)
	never := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": v1alpha1.GroupVersion.String(), "kind": "APIKey", "metadata": map[string]any{"namespace": "default", "name": "never"}, "spec": "acme",
	}}
	controlplanetest.Eventually(t, "the policies are gone", func() error { return s.admin.Create(t.Context(), never) })
	for name, b := range broken {
		s.patch(t, "APIKey", name, b.patch, b.status)
	}
	s.patch(t, "APIKey", kept, `{"spec":{"notification":7}}`, false)
	s.patch(t, "Account", "poor", `{"spec":{"limits":"many"}}`, false)
	restore()
}

// removePolicies removes the policies on keys, because they reject objects that they cannot read. Earlier releases did
// not have them.
func (s *suite) removePolicies(t *testing.T) {
	t.Helper()
	for _, name := range []string{"apikey-manager-account-use", "apikey-manager-secret-template"} {
		binding := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding", "metadata": map[string]any{"name": name},
		}}
		must(t, s.admin.Delete(t.Context(), binding))
	}
}

// loosen installs CustomResourceDefinitions that accept every object. restore installs the released ones again.
func (s *suite) loosen(t *testing.T) (restore func()) {
	t.Helper()
	shipped := map[string]apiextensionsv1.CustomResourceDefinitionVersion{}
	for _, name := range []string{"apikeys.apikey-manager.io", "accounts.apikey-manager.io"} {
		s.define(t, name, func(v *apiextensionsv1.CustomResourceDefinitionVersion) {
			shipped[name] = *v.DeepCopy()
			v.Schema.OpenAPIV3Schema = &apiextensionsv1.JSONSchemaProps{Type: "object", XPreserveUnknownFields: new(true)}
			v.SelectableFields = nil
		})
	}
	s.awaitRules(t, false)
	return func() {
		for name, version := range shipped {
			s.define(t, name, func(v *apiextensionsv1.CustomResourceDefinitionVersion) { *v = version })
		}
		s.awaitRules(t, true)
	}
}

func (s *suite) define(t *testing.T, name string, change func(*apiextensionsv1.CustomResourceDefinitionVersion)) {
	t.Helper()
	definition := &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: name}}
	must(t, s.definitions.Get(t.Context(), client.ObjectKeyFromObject(definition), definition))
	change(&definition.Spec.Versions[0])
	must(t, s.definitions.Update(t.Context(), definition))
}

// awaitRules waits until the API server uses the installed CustomResourceDefinitions.
func (s *suite) awaitRules(t *testing.T, strict bool) {
	t.Helper()
	for _, kind := range []string{"APIKey", "Account"} {
		controlplanetest.Eventually(t, "the definition of "+kind+" is in force", func() error {
			empty := map[string]any{"account": "probe", "label": "", "displayName": ""} // accepted by the webhook
			probe := &unstructured.Unstructured{Object: map[string]any{"apiVersion": v1alpha1.GroupVersion.String(), "kind": kind, "spec": empty}}
			probe.SetName("probe")
			if kind == "APIKey" {
				probe.SetNamespace("default")
			}
			if err := s.admin.Create(t.Context(), probe, client.DryRunAll); (err != nil) != strict {
				return fmt.Errorf("dry run: %w", err)
			}
			return nil
		})
	}
}

// patch writes without the Go types, as kubectl does.
func (s *suite) patch(t *testing.T, kind, name, patch string, status bool) {
	t.Helper()
	must(t, s.tryPatch(t.Context(), kind, name, patch, status))
}

func (s *suite) tryPatch(ctx context.Context, kind, name, patch string, status bool) error {
	o := &unstructured.Unstructured{}
	o.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(kind))
	o.SetName(name)
	if kind == "APIKey" {
		o.SetNamespace("default")
	}
	raw := client.RawPatch(types.MergePatchType, []byte(patch))
	if status {
		return s.admin.Status().Patch(ctx, o, raw)
	}
	return s.admin.Patch(ctx, o, raw)
}

func (s *suite) testVerdicts(t *testing.T) {
	for name := range s.material {
		want := "INACTIVE"
		if name == good {
			want = "VALID"
		}
		s.comesToSay(t, name, want)
	}
}

func (s *suite) testSwitchOff(t *testing.T) {
	s.patch(t, "APIKey", good, `{"spec":{"state":"Inactive"}}`, false)
	s.comesToSay(t, good, "INACTIVE")
	s.patch(t, "APIKey", good, `{"spec":{"state":"Active"}}`, false)
	s.comesToSay(t, good, "VALID")
}

func (s *suite) testIssue(t *testing.T) {
	s.issue(t, "fresh", "initech")
	s.comesToSay(t, "fresh", "VALID")
	s.issue(t, "neighbour", "acme") // in the same account
	s.comesToSay(t, "neighbour", "VALID")
}

// testNames checks that every undecodable object is logged once, on a line of its own, and counted in the metrics.
func (s *suite) testNames(t *testing.T) {
	wanted := []string{"spec.notification", `"spec.limits"`}
	for _, b := range broken {
		wanted = append(wanted, b.field)
	}
	for _, log := range append(logs(s.verifiers), s.manager.Log) {
		text, err := os.ReadFile(log)
		must(t, err)
		for _, field := range wanted {
			if !bytes.Contains(text, []byte(field)) {
				t.Errorf("%s does not name %s", log, field)
			}
		}
		if n := bytes.Count(text, []byte("Ignored an object")); n != len(broken)+3 { // kept, never and the account
			t.Errorf("%s sets an object aside in %d lines:\n%s", log, n, text)
		}
	}
	total := len(broken) + 2 // kept and never
	s.counts(t, "http://"+s.metrics, fmt.Sprintf(`apikey_manager_undecodable_objects{kind="APIKey"} %d`, total))
	s.counts(t, "http://"+s.metrics, `apikey_manager_undecodable_objects{kind="Account"} 1`)
	for _, v := range s.verifiers {
		s.counts(t, "http://"+v.Metrics, fmt.Sprintf(`apikey_verifier_undecodable_objects{kind="APIKey"} %d`, total))
		s.counts(t, "http://"+v.Metrics, `apikey_verifier_undecodable_objects{kind="Account"} 1`)
	}
}

func logs(verifiers []*controlplane.Verifier) []string {
	var list []string
	for _, v := range verifiers {
		list = append(list, v.Log)
	}
	return list
}

func (s *suite) counts(t *testing.T, address, line string) {
	t.Helper()
	controlplanetest.Eventually(t, "there is "+line, func() error {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address+"/metrics", nil)
		if err != nil {
			return err
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return err
		}
		defer func() { _ = response.Body.Close() }()
		text, err := io.ReadAll(response.Body)
		if err == nil && !bytes.Contains(text, []byte(line)) {
			err = fmt.Errorf("not found in %d bytes", len(text))
		}
		return err
	})
}

func (s *suite) testSlots(t *testing.T) {
	account := &v1alpha1.Account{}
	must(t, s.admin.Get(t.Context(), client.ObjectKey{Name: "acme"}, account))
	held := map[string]bool{}
	for _, slot := range account.Status.Slots {
		held[slot.Name] = true
	}
	for name := range broken {
		if !held[name] {
			t.Errorf("APIKey %s lost its slot", name)
		}
	}
	if held["never"] {
		t.Error("a key that cannot be decoded was granted a slot")
	}
}

func (s *suite) testDeletion(t *testing.T) {
	remove := func(name string) error {
		return s.admin.Delete(t.Context(), &v1alpha1.APIKey{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}})
	}
	if err := remove(kept); err == nil || !strings.Contains(err.Error(), "account strict forbids the deletion of keys") {
		t.Errorf("delete a key of an account that forbids it: got %v", err)
	}
	must(t, remove("never"))
	for _, name := range gone {
		must(t, remove(name))
		s.comesToSay(t, name, "UNKNOWN")
	}
}

func (s *suite) testMending(t *testing.T) {
	for name, b := range broken {
		if !slices.Contains(gone, name) {
			s.patch(t, "APIKey", name, b.mend, b.status)
		}
	}
	s.patch(t, "APIKey", kept, `{"spec":{"notification":null}}`, false)
	s.patch(t, "Account", "poor", `{"spec":{"limits":null}}`, false)
	for name := range s.material {
		if !slices.Contains(gone, name) {
			s.comesToSay(t, name, "VALID")
		}
	}
	for _, v := range s.verifiers {
		s.counts(t, "http://"+v.Metrics, `apikey_verifier_undecodable_objects{kind="APIKey"} 0`)
	}
}

// testAdmission checks the webhook with CustomResourceDefinitions that have no rules of their own.
func (s *suite) testAdmission(t *testing.T) {
	restore := s.loosen(t)
	defer restore()
	for _, o := range []struct{ kind, name, patch, want string }{
		{"APIKey", good, `{"spec":{"rotation":"daily"}}`, "spec.rotation cannot be decoded"},
		{"Account", "acme", `{"spec":{"limits":"many"}}`, "spec.limits cannot be decoded"},
	} {
		controlplanetest.Eventually(t, "the webhook refuses "+o.patch, func() error {
			err := s.tryPatch(t.Context(), o.kind, o.name, o.patch, false)
			if err == nil || !strings.Contains(err.Error(), o.want) {
				return fmt.Errorf("got %w", err)
			}
			return nil
		})
	}
}

// comesToSay waits until every verifier returns the wanted verdict for the named key.
func (s *suite) comesToSay(t *testing.T, name, want string) {
	t.Helper()
	for _, v := range s.verifiers {
		controlplanetest.Eventually(t, "a verifier says "+want+" of "+name, func() error {
			got, err := controlplanetest.Verdict(t.Context(), v, s.material[name])
			return errors.Join(err, differs(got, want))
		})
	}
}

func differs(got, want string) error {
	if got != want {
		return fmt.Errorf("got %q, want %q", got, want)
	}
	return nil
}
