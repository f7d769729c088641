// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package schema_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	"sigs.k8s.io/yaml"

	"github.com/apikey-manager/apikey-manager/test/schema/crd"
)

// samples returns the files that `kubectl apply -f config/samples` applies.
func samples(t *testing.T) map[string][]byte {
	t.Helper()
	found := map[string][]byte{}
	for _, file := range glob(t, "config/samples/*.yaml") {
		found[filepath.Base(file)] = contents(t, file)
	}
	return found
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	root, err := crd.Root()
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(pattern)))
	if err != nil || len(files) == 0 {
		t.Fatalf("no file is %s (%v)", pattern, err)
	}
	return files
}

func contents(t *testing.T, file string) []byte {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestSamples_AreAccepted(t *testing.T) {
	t.Parallel()
	kinds, err := load()
	if err != nil {
		t.Fatal(err)
	}
	accounts, wanted := map[string]bool{}, map[string]string{}
	for name, data := range samples(t) {
		obj, err := crd.Decode(data)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		kind, err := kinds.For(obj)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		_, errs := kind.Create(t.Context(), obj)
		for _, err := range errs {
			t.Errorf("%s: %v", name, err)
		}
		switch obj["kind"] {
		case "Account":
			account, _ := get(obj, []string{"metadata", "name"}).(string)
			accounts[account] = true
		case "APIKey":
			wanted[name], _ = get(obj, []string{"spec", "account"}).(string)
		}
	}
	for name, account := range wanted {
		if !accounts[account] {
			t.Errorf("%s names account %s, which is not a sample", name, account)
		}
	}
	if len(accounts) < 2 || len(wanted) < 3 {
		t.Errorf("there are %d accounts and %d keys, fewer than expected", len(accounts), len(wanted))
	}
}

// TestSamples_DeploymentMountsSecretOfSampleKey checks that the sample Deployment, which is not validated by the
// schemas, matches the sample key.
func TestSamples_DeploymentMountsSecretOfSampleKey(t *testing.T) {
	t.Parallel()
	deployment := &appsv1.Deployment{}
	if err := yaml.UnmarshalStrict(contents(t, glob(t, "config/samples/workload/deployment.yaml")[0]), deployment); err != nil {
		t.Fatal(err)
	}
	key, err := crd.Decode(samples(t)["apikey.yaml"])
	if err != nil {
		t.Fatal(err)
	}
	pod := deployment.Spec.Template
	if diff := cmp.Diff(deployment.Spec.Selector.MatchLabels, pod.Labels); diff != "" {
		t.Errorf("the selector does not match the pods (-selector +pods):\n%s", diff)
	}
	if namespace := get(key, []string{"metadata", "namespace"}); deployment.Namespace != namespace {
		t.Errorf("the deployment is in %s, the key in %s", deployment.Namespace, namespace)
	}
	volume, mount := pod.Spec.Volumes[0], pod.Spec.Containers[0].VolumeMounts[0]
	if name := get(key, []string{"metadata", "name"}); volume.Secret.SecretName != name {
		t.Errorf("the deployment mounts Secret %s, the key writes %s", volume.Secret.SecretName, name)
	}
	if file := pod.Spec.Containers[0].Env[0].Value; mount.Name != volume.Name || file != mount.MountPath+"/api-key" {
		t.Errorf("the application reads %s, the key is in %s/api-key", file, mount.MountPath)
	}
}
