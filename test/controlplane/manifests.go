// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os/exec"
	"strconv"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// fieldManager is the field manager of the applied objects. The manager owns the CA bundles of the webhooks.
const fieldManager = "test-controlplane"

// manifests holds the objects of a kustomization, grouped by how they are installed.
type manifests struct {
	crds     []*apiextensionsv1.CustomResourceDefinition
	spaces   []*unstructured.Unstructured
	rest     []*unstructured.Unstructured
	webhooks []*unstructured.Unstructured
	// The Deployments are not applied, because nothing runs pods. They name the ServiceAccounts and the environment variables.
	manager, verifier appsv1.Deployment
}

// render builds a kustomization with kubectl, as `kubectl apply -k` does.
func render(ctx context.Context, kubectl, dir string) (manifests, error) {
	var out, problem bytes.Buffer
	cmd := exec.CommandContext(ctx, kubectl, "kustomize", dir)
	cmd.Stdout, cmd.Stderr = &out, &problem
	if err := cmd.Run(); err != nil {
		return manifests{}, fmt.Errorf("kubectl kustomize %s: %w: %s", dir, err, problem.String())
	}
	var m manifests
	decoder := yaml.NewYAMLOrJSONDecoder(&out, 4096)
	for {
		object := &unstructured.Unstructured{}
		if err := decoder.Decode(&object.Object); errors.Is(err, io.EOF) {
			return m, nil
		} else if err != nil {
			return manifests{}, fmt.Errorf("read what %s installs: %w", dir, err)
		}
		if err := m.add(object); err != nil {
			return manifests{}, fmt.Errorf("read %s %s: %w", object.GetKind(), object.GetName(), err)
		}
	}
}

func (m *manifests) add(object *unstructured.Unstructured) error {
	switch object.GetKind() {
	case "": // an empty document
	case "CustomResourceDefinition":
		crd := &apiextensionsv1.CustomResourceDefinition{}
		m.crds = append(m.crds, crd)
		return runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, crd)
	case "Namespace":
		m.spaces = append(m.spaces, object)
	case "ValidatingWebhookConfiguration":
		m.webhooks = append(m.webhooks, object)
	case "Deployment":
		return m.addDeployment(object)
	default:
		m.rest = append(m.rest, object)
	}
	return nil
}

func (m *manifests) addDeployment(object *unstructured.Unstructured) error {
	var deployment appsv1.Deployment
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &deployment); err != nil {
		return err
	}
	for _, container := range deployment.Spec.Template.Spec.Containers {
		switch container.Name {
		case "manager":
			m.manager = deployment
		case "verifier":
			m.verifier = deployment
		}
	}
	return nil
}

// install installs everything except the webhooks: the CRDs first, and namespaces before the objects in them.
func (c *ControlPlane) install(ctx context.Context, m *manifests) error {
	if _, err := envtest.InstallCRDs(c.admin.config, envtest.CRDInstallOptions{CRDs: m.crds, MaxTime: time.Minute}); err != nil {
		return err
	}
	if err := c.apply(ctx, m.spaces); err != nil {
		return err
	}
	return c.apply(ctx, m.rest)
}

func (c *ControlPlane) apply(ctx context.Context, objects []*unstructured.Unstructured) error {
	for _, object := range objects {
		wanted := client.ApplyConfigurationFromUnstructured(object.DeepCopy())
		if err := c.client.Apply(ctx, wanted, client.FieldOwner(fieldManager), client.ForceOwnership); err != nil {
			return fmt.Errorf("apply %s %s: %w", object.GetKind(), object.GetName(), err)
		}
	}
	return nil
}

// InstallWebhooks installs the webhooks of the manifests with the URL of a manager on 127.0.0.1:port in place of its Service. The
// manager sets the CA bundle.
func (c *ControlPlane) InstallWebhooks(ctx context.Context, port int) error {
	var local []*unstructured.Unstructured
	for _, object := range c.manifests.webhooks {
		pointed, err := pointAt(object, net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			return fmt.Errorf("point %s at port %d: %w", object.GetName(), port, err)
		}
		local = append(local, pointed)
	}
	return c.apply(ctx, local)
}

func pointAt(object *unstructured.Unstructured, host string) (*unstructured.Unstructured, error) {
	var configuration admissionv1.ValidatingWebhookConfiguration
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &configuration); err != nil {
		return nil, err
	}
	for i := range configuration.Webhooks {
		config := &configuration.Webhooks[i].ClientConfig
		if service := config.Service; service != nil {
			address := url.URL{Scheme: "https", Host: host}
			if service.Path != nil {
				address.Path = *service.Path
			}
			local := address.String()
			config.URL, config.Service = &local, nil
		}
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&configuration)
	return &unstructured.Unstructured{Object: content}, err
}
