// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/pager"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/version"
)

// pageSize is how many objects are read by one request.
const pageSize = 500

// newScheme returns the built-in kinds, CustomResourceDefinitions, APIKeys and Accounts.
func newScheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	err := errors.Join(clientgoscheme.AddToScheme(scheme), apiextensionsv1.AddToScheme(scheme), v1alpha1.AddToScheme(scheme))
	return scheme, err
}

// config returns the configuration of the client that kubectl's global flags determine.
func (e *environment) config() (*rest.Config, error) {
	config, err := e.flags.ToRESTConfig()
	if err != nil {
		return nil, fmt.Errorf("load the kubeconfig: %w", err)
	}
	config = rest.CopyConfig(config)
	config.UserAgent = "kubectl-apikey/" + version.Get().Version
	config.QPS = -1 // the API server limits its clients
	config.WarningHandler = warningPrinter{e}
	return config, nil
}

// warningPrinter prints warnings of the API server.
type warningPrinter struct{ env *environment }

// HandleWarningHeader prints a warning.
func (p warningPrinter) HandleWarningHeader(code int, _, text string) {
	const miscellaneous = 299 // the only code that Kubernetes uses
	if code == miscellaneous && text != "" {
		p.env.notef("Warning: %s", text)
	}
}

// client returns a client that kubectl's global flags determine.
func (e *environment) client() (client.WithWatch, error) {
	config, err := e.config()
	if err != nil {
		return nil, err
	}
	scheme, err := newScheme()
	if err != nil {
		return nil, fmt.Errorf("register kinds: %w", err)
	}
	return client.NewWithWatch(config, client.Options{Scheme: scheme})
}

// namespace returns the namespace of --namespace, or the one of the current context.
func (e *environment) namespace() (string, error) {
	namespace, _, err := e.flags.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return "", fmt.Errorf("load the kubeconfig: %w", err)
	}
	return namespace, nil
}

// namespaceOrAll returns the namespace, or all namespaces ("") if all is set.
func (e *environment) namespaceOrAll(all bool) (string, error) {
	if all {
		return corev1.NamespaceAll, nil
	}
	return e.namespace()
}

// eachKey calls visit for each APIKey that the options select. It reads them in pages, and stops at the first error.
func eachKey(ctx context.Context, c client.Client, options client.ListOptions, visit func(*v1alpha1.APIKey) error) error {
	pages := pager.New(func(ctx context.Context, page metav1.ListOptions) (runtime.Object, error) {
		options := options
		options.Limit, options.Continue = page.Limit, page.Continue
		list := &v1alpha1.APIKeyList{}
		return list, c.List(ctx, list, &options)
	})
	pages.PageSize = pageSize
	return pages.EachListItem(ctx, metav1.ListOptions{}, func(object runtime.Object) error {
		k, ok := object.(*v1alpha1.APIKey)
		if !ok {
			return fmt.Errorf("list APIKeys: the API server returned a %T", object)
		}
		return visit(k)
	})
}
