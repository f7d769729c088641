// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package chart_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/smoketest"
	"github.com/apikey-manager/apikey-manager/test/controlplane"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

// installation is a control plane on which config/default was applied, with an issued key.
type installation struct {
	controlplanetest.Objects
	plane  *controlplane.ControlPlane
	client client.WithWatch

	key    *v1alpha1.APIKey
	secret *corev1.Secret
}

// TestInstallation takes an installation from kustomize to helm, and through upgrades, an uninstall and a second installation, while
// a key and its Secret stay as they are.
func TestInstallation(t *testing.T) {
	t.Parallel()
	i := newInstallation(t)
	for _, step := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"all renders are valid", i.validateRenders},
		{"from kustomize", i.installOverKustomize},
		{"helm test", i.smokeTest},
		{"upgrade", i.upgrade},
		{"watch namespaces", i.watchNamespaces},
		{"ConfigMaps", i.configMaps},
		{"uninstall", i.uninstall},
		{"install again", i.installAgain},
		{"uninstall without crds.keep", i.uninstallWithoutKeep},
	} {
		if !t.Run(step.name, step.run) {
			return
		}
	}
}

func newInstallation(t *testing.T) *installation {
	t.Helper()
	i := &installation{plane: controlplanetest.Start(t, controlplane.Options{WithoutControllers: true})}
	i.client = controlplanetest.Connect(t, i.plane.Config())
	i.Objects = controlplanetest.NewObjects(i.client)
	i.kubectl(t, nil, "apply", "--server-side", "--force-conflicts", "--kustomize", filepath.Join(root(t), "config", "default"))
	for _, name := range []string{"shop", "billing", "gateway"} {
		i.Create(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
	}
	manager := i.startManager(t)
	i.key = controlplanetest.NewKey("default", "kept", "acme")
	i.Issue(t, i.key)
	i.secret = i.Secret(t, i.key)
	controlplanetest.Must(t, manager.Stop(controlplanetest.Timeout))
	return i
}

func (i *installation) startManager(t *testing.T, flags ...string) *controlplane.Manager {
	t.Helper()
	m, err := controlplanetest.StartManager(t.Context(), i.plane, controlplane.ManagerOptions{Flags: flags})
	controlplanetest.Must(t, err)
	return m
}

// kubectl runs kubectl as an administrator.
func (i *installation) kubectl(t *testing.T, input []byte, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), i.plane.Kubectl(), append([]string{"--kubeconfig", i.plane.Kubeconfig()}, args...)...)
	cmd.Stdin = bytes.NewReader(input)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("kubectl %v: %v\n%s", args, err, out)
	}
}

// helm runs helm as an administrator, and returns its output.
func (i *installation) helm(t *testing.T, args ...string) string {
	t.Helper()
	out, err := i.tryHelm(t, args...)
	if err != nil {
		t.Fatalf("helm %v: %v\n%s", args, err, out)
	}
	return out
}

func (i *installation) tryHelm(t *testing.T, args ...string) (string, error) {
	t.Helper()
	return helm(t, append(args, "--namespace", namespace, "--kubeconfig", i.plane.Kubeconfig())...)
}

// expectKept fails the test unless the key and its Secret are those that were issued first.
func (i *installation) expectKept(t *testing.T) {
	t.Helper()
	key := &v1alpha1.APIKey{ObjectMeta: metav1.ObjectMeta{Namespace: i.key.Namespace, Name: i.key.Name}}
	i.Read(t, key)
	secret := i.Secret(t, key)
	if key.UID != i.key.UID || secret.UID != i.secret.UID || secret.ResourceVersion != i.secret.ResourceVersion {
		t.Errorf("the key or its Secret changed")
	}
}

// definitions returns the CRDs.
func (i *installation) definitions(t *testing.T) []apiextensionsv1.CustomResourceDefinition {
	t.Helper()
	var list apiextensionsv1.CustomResourceDefinitionList
	controlplanetest.Must(t, i.client.List(t.Context(), &list, client.MatchingLabels{"app.kubernetes.io/component": "crd"}))
	return list.Items
}

// validateRenders sends what the chart renders to the API server, which validates it strictly and stores nothing.
func (i *installation) validateRenders(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "*.values.yaml"))
	controlplanetest.Must(t, err)
	withoutDefinition := []string{"monitoring.coreos.com/v1", "cert-manager.io/v1"}
	for _, args := range append([][]string{nil}, mapped(files, func(file string) []string { return []string{"--values", file} })...) {
		var manifests []byte
		for _, object := range render(t, args...) {
			if slices.Contains(withoutDefinition, object.GetAPIVersion()) {
				continue
			}
			text, err := yaml.Marshal(object)
			controlplanetest.Must(t, err)
			manifests = append(append(manifests, "---\n"...), text...)
		}
		i.kubectl(t, manifests, "apply", "--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict", "-f", "-")
	}
}

func mapped[A, B any](list []A, f func(A) B) []B {
	var out []B
	for _, a := range list {
		out = append(out, f(a))
	}
	return out
}

func (i *installation) installOverKustomize(t *testing.T) {
	if out, err := i.tryHelm(t, "install", release, chartDir(t)); err == nil || !strings.Contains(out, "invalid ownership metadata") {
		t.Fatalf("helm took over objects without being told to: %v\n%s", err, out)
	}
	out := i.helm(t, "install", release, chartDir(t), "--take-ownership", "--force-conflicts")
	for _, want := range []string{"kubectl wait apikey/shop-key", "http://apikey-verifier.apikey-manager-system.svc:8080/authz"} {
		if !strings.Contains(out, want) {
			t.Errorf("the notes do not contain %q:\n%s", want, out)
		}
	}
	for _, definition := range i.definitions(t) {
		if definition.Labels["app.kubernetes.io/managed-by"] != "Helm" {
			t.Errorf("%s has the labels %v", definition.Name, definition.Labels)
		}
	}
	i.expectKept(t)
}

// smokeTest runs the command of the chart's test pod with its permissions.
func (i *installation) smokeTest(t *testing.T) {
	objects := render(t, "--show-only=templates/tests/smoke_test.yaml")
	pod := objects["Pod "+namespace+"/"+smoketest.Name]
	delete(objects, "Pod "+namespace+"/"+smoketest.Name)
	if pod == nil || len(objects) == 0 {
		t.Fatal("the chart has no test")
	}
	for _, object := range objects {
		i.Create(t, object)
	}
	// No Service leads to the manager here, so that the API server would refuse all deletions. The next upgrade restores the webhooks.
	controlplanetest.Must(t, i.client.Delete(t.Context(), &admissionv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "apikey-manager"},
	}))
	manager := i.startManager(t)
	verifiers, err := controlplanetest.NewVerifiers(t.Context(), i.plane)
	controlplanetest.Must(t, err)
	verifier := verifiers.Start(t, controlplane.VerifierOptions{})
	args := containers(t, pod, "spec")[0]["args"].([]any) //nolint:forcetypeassert // the test ends if it is not
	if len(args) != 3 || args[0] != "smoke-test" || args[1] != "--namespace="+namespace ||
		args[2] != "--verifier=http://apikey-verifier.apikey-manager-system.svc:8080" {
		t.Errorf("the arguments of the pod are %v", args)
	}
	binary, err := controlplane.BuildManager(t.Context())
	controlplanetest.Must(t, err)
	cmd := exec.CommandContext(t.Context(), binary, "smoke-test", "--namespace="+namespace, "--verifier=http://"+verifier.HTTP,
		"--kubeconfig="+i.kubeconfigOf(t, smoketest.Name))
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "the verifier answers INACTIVE for the key\n") {
		t.Fatalf("%v\n%s", err, out)
	}
	if regexp.MustCompile(`_[0-9A-Za-z]{40,}`).Match(out) {
		t.Error("the output contains a key")
	}
	var left v1alpha1.APIKeyList
	controlplanetest.Must(t, i.client.List(t.Context(), &left, client.InNamespace(namespace)))
	if len(left.Items) > 0 {
		t.Errorf("%d keys are left", len(left.Items))
	}
	for _, object := range objects {
		controlplanetest.Must(t, i.client.Delete(t.Context(), object))
	}
	controlplanetest.Must(t, manager.Stop(controlplanetest.Timeout))
}

// kubeconfigOf writes a kubeconfig with a token of a ServiceAccount.
func (i *installation) kubeconfigOf(t *testing.T, account string) string {
	t.Helper()
	config, file := i.plane.Config(), clientcmdapi.NewConfig()
	file.Clusters["c"] = &clientcmdapi.Cluster{Server: config.Host, CertificateAuthorityData: config.CAData}
	file.AuthInfos["u"] = &clientcmdapi.AuthInfo{Token: controlplanetest.Token(t, i.client, namespace, account)}
	file.Contexts["x"] = &clientcmdapi.Context{Cluster: "c", AuthInfo: "u"}
	file.CurrentContext = "x"
	path := filepath.Join(t.TempDir(), "kubeconfig")
	controlplanetest.Must(t, clientcmd.WriteToFile(*file, path))
	return path
}

func (i *installation) upgrade(t *testing.T) {
	denies := func(name string) bool {
		policy := &admissionv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: name}}
		i.Read(t, policy)
		return len(policy.Spec.Validations) != 1 || policy.Spec.Validations[0].Expression != "true"
	}
	const accountUse, keyExport = "apikey-manager-account-use", "apikey-manager-key-export"
	// kubectl still owns the fields that it applied before, which takes --force-conflicts.
	i.helm(t, "upgrade", release, chartDir(t), "--force-conflicts",
		"--set=manager.replicas=3,accountUse.enabled=false,keyExports.policy.enabled=false,networkPolicy.enabled=false")
	deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "apikey-manager"}}
	i.Read(t, deployment)
	if *deployment.Spec.Replicas != 3 || denies(accountUse) || denies(keyExport) {
		t.Errorf("after the upgrade, there are %d replicas, account-use denies: %t, key-export denies: %t",
			*deployment.Spec.Replicas, denies(accountUse), denies(keyExport))
	}
	i.helm(t, "upgrade", release, chartDir(t), "--force-conflicts", "--reset-values")
	if !denies(accountUse) || !denies(keyExport) {
		t.Errorf("account-use denies: %t, key-export denies: %t", denies(accountUse), denies(keyExport))
	}
	i.expectKept(t)
}

// watchNamespaces proves that the manager issues keys with the Role of a namespace, and that it cannot touch Secrets elsewhere.
func (i *installation) watchNamespaces(t *testing.T) {
	asManager := controlplanetest.Connect(t, i.plane.ManagerConfig())
	if problem := asManager.List(t.Context(), &corev1.SecretList{}); problem != nil {
		t.Fatalf("by default, the manager lists Secrets everywhere: %v", problem)
	}
	i.helm(t, "upgrade", release, chartDir(t), "--force-conflicts", "--set=watchNamespaces={shop,billing}")
	manager := i.startManager(t, "--watch-namespaces=shop,billing")
	outside := controlplanetest.NewKey("default", "outside", "watched")
	inside := controlplanetest.NewKey("shop", "inside", "watched")
	ignored, exported := newExport("default", v1alpha1.ExportToSecret), newExport("shop", v1alpha1.ExportToSecret)
	i.Create(t, outside, ignored, exported)
	i.Issue(t, inside)
	i.Change(t, inside, func(s *v1alpha1.APIKeySpec) { s.State = v1alpha1.KeyStateInactive })
	i.Become(t, v1alpha1.StateInactive, inside)
	i.Read(t, outside)
	if len(outside.Status.Conditions) > 0 || len(outside.Status.Credentials) > 0 {
		t.Errorf("the key in another namespace has the status %+v", outside.Status)
	}
	i.expectExportWhereWatched(t, ignored, exported)
	expectForbidden(t, asManager, "default")
	expectForbidden(t, asManager, "kube-system")
	controlplanetest.Must(t, asManager.List(t.Context(), &corev1.SecretList{}, client.InNamespace("shop")))
	i.expectKept(t)
	controlplanetest.Must(t, manager.Stop(controlplanetest.Timeout))

	i.helm(t, "upgrade", release, chartDir(t), "--force-conflicts", "--reset-values")
	manager = i.startManager(t)
	i.Become(t, v1alpha1.StateActive, outside)
	controlplanetest.Must(t, manager.Stop(controlplanetest.Timeout))
}

// expectExportWhereWatched fails the test unless the manager carries out the KeyExport in a watched namespace, with the digests of
// keys of all namespaces, and not the one in another namespace. It deletes them.
func (i *installation) expectExportWhereWatched(t *testing.T, ignored, exported *v1alpha1.KeyExport) {
	t.Helper()
	i.awaitExport(t, exported, v1alpha1.ReasonExported)
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: exported.Namespace, Name: "gateway-keys"}}
	i.Read(t, secret)
	if len(secret.Data[i.key.Status.KeyID]) == 0 {
		t.Errorf("the KeyExport has not the key of another namespace: its entries are %d", len(secret.Data))
	}
	if i.Read(t, ignored); len(ignored.Status.Conditions) > 0 {
		t.Errorf("the KeyExport in another namespace has the status %+v", ignored.Status)
	}
	for _, object := range []client.Object{ignored, exported, secret} {
		controlplanetest.Must(t, i.client.Delete(t.Context(), object))
	}
}

// expectForbidden fails the test unless all access to Secrets of a namespace is forbidden.
func expectForbidden(t *testing.T, c client.Client, namespace string) {
	t.Helper()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "kept"}}
	for verb, try := range map[string]func(context.Context) error{
		"list everywhere": func(ctx context.Context) error { return c.List(ctx, &corev1.SecretList{}) },
		"list": func(ctx context.Context) error {
			return c.List(ctx, &corev1.SecretList{}, client.InNamespace(namespace))
		},
		"get": func(ctx context.Context) error {
			return c.Get(ctx, client.ObjectKeyFromObject(secret), &corev1.Secret{})
		},
		"create": func(ctx context.Context) error { return c.Create(ctx, secret.DeepCopy()) },
		"update": func(ctx context.Context) error { return c.Update(ctx, secret.DeepCopy()) },
		"delete": func(ctx context.Context) error { return c.Delete(ctx, secret.DeepCopy()) },
	} {
		if err := try(t.Context()); !apierrors.IsForbidden(err) {
			t.Errorf("%s Secrets in %s: %v", verb, namespace, err)
		}
	}
}

func (i *installation) uninstall(t *testing.T) {
	before := i.definitions(t)
	i.helm(t, "uninstall", release)
	var deployments appsv1.DeploymentList
	controlplanetest.Must(t, i.client.List(t.Context(), &deployments, client.InNamespace(namespace)))
	if len(deployments.Items) > 0 || len(before) != 3 || len(i.definitions(t)) != 3 {
		t.Errorf("after the uninstall there are %d Deployments and %d of %d CRDs", len(deployments.Items), len(i.definitions(t)), len(before))
	}
	var policies admissionv1.ValidatingAdmissionPolicyBindingList
	controlplanetest.Must(t, i.client.List(t.Context(), &policies, client.MatchingLabels{"app.kubernetes.io/component": "policy"}))
	if len(policies.Items) != 3 {
		t.Errorf("%d policies are left", len(policies.Items))
	}
	i.expectKept(t)
}

func (i *installation) installAgain(t *testing.T) {
	before := i.definitions(t)
	i.helm(t, "install", release, chartDir(t))
	for n, definition := range i.definitions(t) {
		if definition.UID != before[n].UID {
			t.Errorf("%s was created again", definition.Name)
		}
	}
	i.expectKept(t)
}

// uninstallWithoutKeep proves what the README warns of.
func (i *installation) uninstallWithoutKeep(t *testing.T) {
	i.helm(t, "upgrade", release, chartDir(t), "--force-conflicts", "--set=crds.keep=false")
	i.helm(t, "uninstall", release)
	controlplanetest.Eventually(t, "the CRDs are deleted", func() error {
		if n := len(i.definitions(t)); n > 0 {
			return apierrors.NewConflict(apiextensionsv1.Resource("customresourcedefinitions"), "", os.ErrExist)
		}
		return nil
	})
}
