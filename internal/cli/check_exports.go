// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"
	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// configMapFlag is the flag of the manager that lists the namespaces in which it writes ConfigMaps.
const configMapFlag = "export-configmap-namespaces"

// configMapAction says how to let the manager write ConfigMaps. %s is the namespace.
const configMapAction = "let the manager write ConfigMaps in namespace %s: see docs/key-exports.md. Or let the KeyExports write Secrets"

// checkKeyExports checks that the manager may write the ConfigMaps that KeyExports ask for: by its flag, and by its permissions.
func (c *checker) checkKeyExports(ctx context.Context) checkResult {
	var list v1alpha1.KeyExportList
	if err := c.reader.List(ctx, &list); err != nil {
		return unlessReadable(err, "list keyexports.apikey-manager.io", installAction)
	}
	namespaces := configMapNamespaces(list.Items)
	if len(namespaces) == 0 {
		return ok("%s, none of which writes ConfigMaps", plural(len(list.Items), "KeyExport", "KeyExports"))
	}
	var manager appsv1.Deployment
	if err := c.reader.Get(ctx, client.ObjectKey{Namespace: c.verifier.namespace, Name: managerDeployment}, &manager); err != nil {
		return unlessReadable(err, "get deployments.apps in namespace "+c.verifier.namespace, installAction)
	}
	allowed := flagValues(&manager, configMapFlag)
	for _, namespace := range namespaces {
		if !slices.Contains(allowed, namespace) {
			return failed(fmt.Sprintf(configMapAction, namespace), "a KeyExport in namespace %s writes ConfigMaps, but --%s of the manager lists %s",
				namespace, configMapFlag, plural(len(allowed), "other namespace", "other namespaces"))
		}
	}
	for _, namespace := range namespaces {
		if r := c.checkConfigMapAccess(ctx, &manager, namespace); r.Status != checkOK {
			return r
		}
	}
	return ok("the manager may write ConfigMaps in %s", plural(len(namespaces), "namespace", "namespaces"))
}

// configMapNamespaces returns the namespaces of the KeyExports that write ConfigMaps.
func configMapNamespaces(list []v1alpha1.KeyExport) []string {
	var namespaces []string
	for i := range list {
		if list[i].Spec.Target.Kind == v1alpha1.ExportToConfigMap {
			namespaces = append(namespaces, list[i].Namespace)
		}
	}
	slices.Sort(namespaces)
	return slices.Compact(namespaces)
}

// flagValues returns the values of a flag that lists names, in the arguments of the first container of a Deployment.
func flagValues(d *appsv1.Deployment, name string) []string {
	if len(d.Spec.Template.Spec.Containers) == 0 {
		return nil
	}
	flags := new(cobra.Command).Flags()
	flags.ParseErrorsAllowlist.UnknownFlags = true
	values := flags.StringSlice(name, nil, "")
	_ = flags.Parse(d.Spec.Template.Spec.Containers[0].Args) // the values before an argument that is invalid
	return *values
}

// checkConfigMapAccess checks that the ServiceAccount of the manager may write ConfigMaps in a namespace.
func (c *checker) checkConfigMapAccess(ctx context.Context, manager *appsv1.Deployment, namespace string) checkResult {
	user := fmt.Sprintf("system:serviceaccount:%s:%s", manager.Namespace, manager.Spec.Template.Spec.ServiceAccountName)
	for _, verb := range []string{"get", "list", "watch", "create", "update", "delete"} {
		review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
			User:               user,
			ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: namespace, Verb: verb, Version: "v1", Resource: "configmaps"},
		}}
		if err := c.reader.Create(ctx, review); err != nil {
			return unlessReadable(err, "create subjectaccessreviews.authorization.k8s.io", "")
		}
		if !review.Status.Allowed {
			return failed(fmt.Sprintf(configMapAction, namespace), "%s may not %s configmaps in namespace %s", user, verb, namespace)
		}
	}
	return ok("allowed")
}
