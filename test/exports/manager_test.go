// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package exports_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
	"github.com/apikey-manager/apikey-manager/test/controlplane"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
	"github.com/apikey-manager/apikey-manager/test/schema/crd"
)

// suite is a control plane with a manager that may write ConfigMaps in the namespace of the samples.
type suite struct {
	controlplanetest.Objects

	plane *controlplane.ControlPlane
	admin client.WithWatch
}

var shared = controlplanetest.Shared[*suite]{New: newSuite}

func TestMain(m *testing.M) {
	const parallel = 8
	shared.Main(m, parallel)
}

func newSuite(ctx context.Context) (s *suite, err error) {
	s = &suite{}
	if s.plane, err = controlplane.Start(ctx, controlplane.Options{}); err != nil {
		return s, err
	}
	if s.admin, err = controlplanetest.NewClient(s.plane.Config()); err != nil {
		return s, err
	}
	s.Objects = controlplanetest.NewObjects(s.admin)
	if err := s.admin.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}); err != nil {
		return s, err
	}
	role := filepath.Join(s.plane.Root(), "config", "export-configmaps", "role.yaml")
	if _, err := s.kubectl(ctx, "apply", "-n", namespace, "-f", role); err != nil {
		return s, err
	}
	flags := []string{"--export-configmap-namespaces=" + namespace}
	_, err = controlplanetest.StartManager(ctx, s.plane, controlplane.ManagerOptions{Flags: flags})
	return s, err
}

// Stop stops the control plane.
func (s *suite) Stop() error {
	if s.plane == nil {
		return nil
	}
	return s.plane.Stop()
}

func (s *suite) kubectl(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, s.plane.Kubectl(), append([]string{"--kubeconfig=" + s.plane.Kubeconfig()}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// liveGateway reads the objects of a KeyExport from the API server as its gateway does.
type liveGateway struct {
	*suite

	file   string
	sample sample
	export *v1alpha1.KeyExport
}

// createExport creates the KeyExport of a sample.
func (s *suite) createExport(t *testing.T, file string) *liveGateway {
	t.Helper()
	g := &liveGateway{suite: s, file: file, sample: readSample(t, file)}
	obj := &unstructured.Unstructured{Object: g.sample.export}
	controlplanetest.Must(t, s.admin.Create(t.Context(), obj))
	g.export = &v1alpha1.KeyExport{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: obj.GetName(), UID: obj.GetUID()}}
	return g
}

// objects lists what the KeyExport owns, at one resourceVersion of the API server.
func (g *liveGateway) objects(ctx context.Context) ([]object, error) {
	var secrets corev1.SecretList
	var configMaps corev1.ConfigMapList
	if err := errors.Join(g.admin.List(ctx, &secrets, client.InNamespace(namespace)), g.admin.List(ctx, &configMaps, client.InNamespace(namespace))); err != nil {
		return nil, err
	}
	var found []object
	for _, o := range secrets.Items {
		if metav1.IsControlledBy(&o, g.export) {
			found = append(found, g.read("Secret", &o, string(o.Type), o.Data))
		}
	}
	for _, o := range configMaps.Items {
		if metav1.IsControlledBy(&o, g.export) {
			entries := map[string][]byte{}
			for name, value := range o.Data {
				entries[name] = []byte(value)
			}
			found = append(found, g.read("ConfigMap", &o, "", entries))
		}
	}
	return found, nil
}

func (g *liveGateway) read(kind string, o client.Object, secretType string, entries map[string][]byte) object {
	read := object{
		kind: kind, namespace: o.GetNamespace(), name: o.GetName(), secretType: secretType,
		labels: o.GetLabels(), annotations: o.GetAnnotations(), data: data{},
	}
	for name, value := range entries {
		read.data[name] = string(value)
	}
	return read
}

// accepts returns the keys that the gateway accepts at this moment, after the command of the sample that names Secrets has run.
func (g *liveGateway) accepts(t *testing.T) (accepted, error) {
	t.Helper()
	objects, err := g.objects(t.Context())
	if err != nil {
		return nil, err
	}
	if fill := listsOfSecrets[g.file]; fill != nil {
		fill(t, g.sample, objects)
	}
	return consumers[g.file](g.sample.resources, objects)
}

// await waits until the gateway accepts exactly the keys with the digests. Whatever it receives meanwhile, it must report nothing, unless
// the KeyExport has no keys yet.
func (g *liveGateway) await(t *testing.T, about string, digests []string) {
	t.Helper()
	slices.Sort(digests)
	began := false
	controlplanetest.Eventually(t, g.file+": "+about, func() error {
		got, err := g.accepts(t)
		if began = began || err == nil && len(got) > 0; err != nil && began {
			t.Errorf("%s: %s: the gateway reports: %v", g.file, about, err)
		}
		if diff := cmp.Diff(digests, got.digests()); diff != "" {
			return fmt.Errorf("it accepts other keys (-want +got):\n%s", diff)
		}
		return err
	})
}

// liveKeys holds the keys of the test by name.
type liveKeys map[string]*v1alpha1.APIKey

// digests returns the digests of all credentials in the status of the keys, except those of the named ones.
func (l liveKeys) digests(except ...string) []string {
	found := []string{}
	for name, k := range l {
		if !slices.Contains(except, name) {
			found = append(found, digestsOf(k)...)
		}
	}
	return found
}

// createKeys issues keys of account acme that every gateway must accept, and others that none must.
func (s *suite) createKeys(t *testing.T) liveKeys {
	t.Helper()
	policies := map[string]v1alpha1.ExportPolicy{"acme": v1alpha1.ExportKey, "forbidden": v1alpha1.ExportForbid}
	for name, exportPolicy := range policies {
		s.Create(t, controlplanetest.NewAccount(name, func(a *v1alpha1.AccountSpec) {
			a.ExportPolicy, a.Plan, a.Limits = exportPolicy, "pro", &v1alpha1.Limits{Unlimited: v1alpha1.SwitchEnabled}
		}))
	}
	usable := liveKeys{}
	for name, change := range map[string]func(*v1alpha1.APIKeySpec){
		"plain":     func(*v1alpha1.APIKeySpec) {},
		"switched":  func(*v1alpha1.APIKeySpec) {},
		"deleted":   func(*v1alpha1.APIKeySpec) {},
		"confined":  func(*v1alpha1.APIKeySpec) {},
		"rotated":   func(k *v1alpha1.APIKeySpec) { k.Rotation = &v1alpha1.Rotation{Overlap: "1h"} },
		"uuid":      func(k *v1alpha1.APIKeySpec) { k.Format = &v1alpha1.Format{Type: v1alpha1.FormatUUID} },
		"hostile":   func(k *v1alpha1.APIKeySpec) { k.Label, k.Metadata = `"}, {"x": "\`, tier("a\"b\\c {{ .Key }} 🛒") },
		"scoped":    func(k *v1alpha1.APIKeySpec) { k.Scopes = []string{"orders:read", "reports:*"} },
		"expires":   func(k *v1alpha1.APIKeySpec) { k.Expiration = time.Now().Add(time.Hour).UTC().Format(time.RFC3339) },
		"unlimited": func(k *v1alpha1.APIKeySpec) { k.RateLimits = nil },
	} {
		usable[name] = controlplanetest.NewKey(metav1.NamespaceDefault, name, "acme", change)
	}
	s.Issue(t, slices.Collect(maps.Values(usable))...)
	s.Issue(t, controlplanetest.NewKey(metav1.NamespaceDefault, "forbidden", "forbidden"))
	s.Issue(t, controlplanetest.NewKey(metav1.NamespaceDefault, "restricted", "acme", func(k *v1alpha1.APIKeySpec) { k.IPWhitelist = []string{"192.0.2.1"} }))
	return usable
}

func tier(value string) map[string]v1alpha1.MetadataValue {
	return map[string]v1alpha1.MetadataValue{"tier": v1alpha1.MetadataValue(value)}
}

// TestManager_EveryGatewayFollowsTheKeys runs the manager with the KeyExports of all samples, changes keys, and reads the objects from the
// API server as the gateways do.
func TestManager_EveryGatewayFollowsTheKeys(t *testing.T) {
	s := shared.Get(t)
	usable := s.createKeys(t)
	var gateways []*liveGateway
	for _, file := range slices.Sorted(maps.Keys(consumers)) {
		gateways = append(gateways, s.createExport(t, file))
	}
	await := func(about string, digests []string) {
		t.Helper()
		for _, g := range gateways {
			g.await(t, about, slices.Clone(digests))
		}
	}
	await("all keys", usable.digests())
	s.testConditions(t, gateways)
	s.testCommands(t, gateways)

	s.Change(t, usable["switched"], func(k *v1alpha1.APIKeySpec) { k.State = v1alpha1.KeyStateInactive })
	controlplanetest.Must(t, s.admin.Delete(t.Context(), usable["deleted"]))
	s.Change(t, usable["confined"], func(k *v1alpha1.APIKeySpec) { k.IPWhitelist = []string{"192.0.2.7"} })
	await("three keys withdrawn", usable.digests("switched", "deleted", "confined"))

	s.Change(t, usable["switched"], func(k *v1alpha1.APIKeySpec) { k.State = v1alpha1.KeyStateActive })
	await("a key switched on", usable.digests("deleted", "confined"))

	s.testRotation(t, gateways, usable["rotated"])
	await("a key rotated", usable.digests("deleted", "confined"))
}

// testConditions checks that each KeyExport says that it holds its keys, and which ones it withholds.
func (s *suite) testConditions(t *testing.T, gateways []*liveGateway) {
	t.Helper()
	for _, g := range gateways {
		controlplanetest.Eventually(t, g.file+": the status", func() error {
			if err := s.admin.Get(t.Context(), client.ObjectKeyFromObject(g.export), g.export); err != nil {
				return err
			}
			reasons := map[string]string{}
			for _, withheld := range g.export.Status.Withheld {
				reasons[withheld.Name] = withheld.Reason
			}
			want := map[string]string{"forbidden": v1alpha1.ReasonExportNotAllowed, "restricted": v1alpha1.ReasonAddressRestricted}
			for _, condition := range g.export.Status.Conditions {
				if condition.Type == "Ready" && condition.Status == metav1.ConditionTrue {
					if diff := cmp.Diff(want, reasons); diff != "" {
						return errors.New(diff)
					}
					return nil
				}
			}
			return fmt.Errorf("not Ready: %v", g.export.Status.Conditions)
		})
	}
}

// testCommands runs the commands of the samples that list Secrets with kubectl, and compares what they print with what the tests use.
func (s *suite) testCommands(t *testing.T, gateways []*liveGateway) {
	t.Helper()
	for _, g := range gateways {
		if listsOfSecrets[g.file] == nil {
			continue
		}
		command := commandOf(t, g.sample.source)
		out, err := s.kubectl(t.Context(), "get", "secrets", "-n", command[0], "-l", command[1], "-o", "go-template="+command[2])
		controlplanetest.Must(t, err)
		objects, err := g.objects(t.Context())
		controlplanetest.Must(t, err)
		printed := crd.Object{}
		controlplanetest.Must(t, json.Unmarshal([]byte(out), &printed))
		if diff := cmp.Diff(runListCommand(t, g.sample.source, objects), printed); diff != "" {
			t.Errorf("%s: kubectl prints another patch (-want +got):\n%s", g.file, diff)
		}
	}
}

// testRotation rotates a key, and checks that each gateway accepts the key that the application has at any time.
func (s *suite) testRotation(t *testing.T, gateways []*liveGateway, k *v1alpha1.APIKey) {
	t.Helper()
	former := s.Material(t, k)
	s.Change(t, k, func(spec *v1alpha1.APIKeySpec) {
		spec.Rotation.RequestedAt = keystest.Instant(time.Now())
	})
	controlplanetest.Eventually(t, "the application has another key", func() error {
		secret, err := controlplanetest.SecretOf(t.Context(), s.admin, k)
		if err != nil {
			return err
		}
		current := string(secret.Data[keys.EntryCurrent])
		for _, g := range gateways {
			got, err := g.accepts(t)
			if _, ok := got[digestOf(current)]; !ok || err != nil {
				t.Errorf("%s: the gateway does not accept the key that the application has: %v", g.file, err)
			}
		}
		if current == former {
			return errors.New("it has the former key")
		}
		return nil
	})
	s.AwaitStatus(t, k, "the former key is the previous one", func() error {
		if len(k.Status.Credentials) != 2 || controlplanetest.CredentialOf(k, v1alpha1.RolePrevious) == nil {
			return fmt.Errorf("it has %d credentials", len(k.Status.Credentials))
		}
		return nil
	})
}
