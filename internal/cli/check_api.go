// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/discovery"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/config/crd"
)

const (
	webhookConfiguration = "apikey-manager"
	keyWebhook           = "apikeys.apikey-manager.io"
	templatePolicy       = "apikey-manager-secret-template"
	exportPolicy         = "apikey-manager-key-export"

	installAction = "install apikey-manager: see docs/install.md"
)

// checkResources checks that the API server serves the kinds. Every authenticated user may ask for that.
func (c *checker) checkResources(context.Context) checkResult {
	api, err := discovery.NewDiscoveryClientForConfig(c.rest)
	if err != nil {
		return failed("", "%v", err)
	}
	list, err := api.ServerResourcesForGroupVersion(v1alpha1.GroupVersion.String())
	if err != nil {
		return unlessReadable(err, "discover "+v1alpha1.GroupVersion.String(), installAction)
	}
	served := map[string]bool{}
	for _, r := range list.APIResources {
		served[r.Name] = true
	}
	for _, name := range []string{"apikeys", "apikeys/status", "accounts", "accounts/status", "keyexports", "keyexports/status"} {
		if !served[name] {
			return failed(installAction, "%s does not serve %s", v1alpha1.GroupVersion, name)
		}
	}
	return ok("the API server serves apikeys, accounts and keyexports of %s", v1alpha1.GroupVersion)
}

// checkDefinitions checks that the CRDs are established and have the schema of this version.
func (c *checker) checkDefinitions(ctx context.Context) checkResult {
	files, err := crd.Bases.ReadDir("bases")
	if err != nil {
		return failed("", "%v", err)
	}
	for _, file := range files {
		text, err := crd.Bases.ReadFile("bases/" + file.Name())
		if err != nil {
			return failed("", "%v", err)
		}
		if r := c.checkDefinition(ctx, text); r.Status != checkOK {
			return r
		}
	}
	return ok("established, with the schema of this version")
}

func (c *checker) checkDefinition(ctx context.Context, text []byte) checkResult {
	var want, is apiextensionsv1.CustomResourceDefinition
	if err := yaml.Unmarshal(text, &want); err != nil {
		return failed("", "%v", err)
	}
	if err := c.reader.Get(ctx, client.ObjectKey{Name: want.Name}, &is); err != nil {
		return unlessReadable(err, "get customresourcedefinitions.apiextensions.k8s.io", installAction)
	}
	for _, condition := range is.Status.Conditions {
		if condition.Type == apiextensionsv1.Established && condition.Status != apiextensionsv1.ConditionTrue {
			return failed("kubectl describe crd "+want.Name, "%s is not established: %s", want.Name, condition.Message)
		}
	}
	if !equality.Semantic.DeepEqual(schemasOf(&want), schemasOf(&is)) {
		return failed("install the CRDs and the plugin of the same version", "the schema of %s is not that of version %s", want.Name, c.version)
	}
	return ok("established")
}

// schemasOf returns the schema of each version that a CRD serves.
func schemasOf(definition *apiextensionsv1.CustomResourceDefinition) map[string]*apiextensionsv1.CustomResourceValidation {
	schemas := map[string]*apiextensionsv1.CustomResourceValidation{}
	for _, version := range definition.Spec.Versions {
		if version.Served {
			schemas[version.Name] = version.Schema
		}
	}
	return schemas
}

// checkPolicies checks that the policies on templates and on KeyExports are bound. Without them, users could write Secrets through
// templates, and export the keys of other namespaces.
func (c *checker) checkPolicies(ctx context.Context) checkResult {
	for _, policy := range []struct{ name, action string }{
		{templatePolicy, "apply config/secret-template: without it, users who may not write Secrets can do so through the template of a key"},
		{exportPolicy, "apply config/key-export: without it, users with a role in one namespace can export the keys of all others"},
	} {
		if r := c.checkPolicy(ctx, policy.name, policy.action); r.Status != checkOK {
			return r
		}
	}
	return ok("%s and %s are bound", templatePolicy, exportPolicy)
}

// checkPolicy checks that an admission policy exists and is bound.
func (c *checker) checkPolicy(ctx context.Context, name, action string) checkResult {
	var policy admissionv1.ValidatingAdmissionPolicy
	if err := c.reader.Get(ctx, client.ObjectKey{Name: name}, &policy); err != nil {
		return unlessReadable(err, "get validatingadmissionpolicies.admissionregistration.k8s.io", action)
	}
	var binding admissionv1.ValidatingAdmissionPolicyBinding
	if err := c.reader.Get(ctx, client.ObjectKey{Name: name}, &binding); err != nil {
		return unlessReadable(err, "get validatingadmissionpolicybindings.admissionregistration.k8s.io", action)
	}
	if binding.Spec.PolicyName != name {
		return failed(action, "the binding is for another policy, %s", binding.Spec.PolicyName)
	}
	return ok("%s is bound", name)
}

// checkWebhooks checks that the webhooks are registered with a certificate authority.
func (c *checker) checkWebhooks(ctx context.Context) checkResult {
	var configuration admissionv1.ValidatingWebhookConfiguration
	if err := c.reader.Get(ctx, client.ObjectKey{Name: webhookConfiguration}, &configuration); err != nil {
		return unlessReadable(err, "get validatingwebhookconfigurations.admissionregistration.k8s.io", installAction)
	}
	for _, webhook := range configuration.Webhooks {
		if len(webhook.ClientConfig.CABundle) == 0 {
			return failed("read the log of the manager: it writes the caBundle", "webhook %s has no caBundle", webhook.Name)
		}
	}
	return ok("%s with a caBundle", plural(len(configuration.Webhooks), "webhook", "webhooks"))
}

// checkWebhookAnswers creates, as a dry run, a key that only the webhook rejects.
func (c *checker) checkWebhookAnswers(ctx context.Context) checkResult {
	probe := &v1alpha1.APIKey{
		ObjectMeta: metav1.ObjectMeta{Namespace: c.keyNamespace, GenerateName: "kubectl-apikey-check-"},
		Spec: v1alpha1.APIKeySpec{Account: "kubectl-apikey-check", Secret: &v1alpha1.SecretSpec{
			// The schema accepts this name of an entry, and the webhook rejects it.
			Template: &v1alpha1.SecretTemplate{Data: map[string]string{"..": "{{ .Key }}"}},
		}},
	}
	err := c.reader.Create(ctx, probe, client.DryRunAll)
	switch {
	case err == nil:
		return failed("read the log of the manager, and check that the API server reaches its port 9443 (NetworkPolicy, firewall)",
			"a key that the webhook rejects was accepted: the API server does not reach the webhook")
	case strings.Contains(err.Error(), fmt.Sprintf("admission webhook %q denied the request", keyWebhook)):
		return ok("rejects an invalid key")
	case apierrors.IsForbidden(err):
		return unknown("name a namespace in which you may create keys and Secrets with -n",
			"no right to create, as a dry run, an APIKey with a template in namespace %s", c.keyNamespace)
	}
	return unlessReadable(err, "create apikeys", "name an existing namespace with -n")
}
