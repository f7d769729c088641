// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// access holds the configuration of a client of the API server, in memory and as a kubeconfig file.
type access struct {
	config     *rest.Config
	kubeconfig string
}

// asServiceAccount returns access with a token that the API server issues for a ServiceAccount, as a pod on a cluster has it.
// Its permissions are those of the shipped bindings.
func (c *ControlPlane) asServiceAccount(ctx context.Context, namespace, name string) (access, error) {
	lifetime := int64((30 * 24 * time.Hour).Seconds())
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &lifetime}}
	if err := c.client.SubResource("token").Create(ctx, account, request); err != nil {
		return access{}, fmt.Errorf("issue a token for ServiceAccount %s/%s: %w", namespace, name, err)
	}
	config := rest.AnonymousClientConfig(c.admin.config)
	config.BearerToken = request.Status.Token
	return c.writeKubeconfig(config, name)
}

func (c *ControlPlane) writeKubeconfig(config *rest.Config, user string) (access, error) {
	file := clientcmdapi.NewConfig()
	file.Clusters[clusterName] = &clientcmdapi.Cluster{Server: config.Host, CertificateAuthorityData: config.CAData}
	file.AuthInfos[user] = &clientcmdapi.AuthInfo{
		Token:                 config.BearerToken,
		ClientCertificateData: config.CertData,
		ClientKeyData:         config.KeyData,
	}
	file.Contexts[user] = &clientcmdapi.Context{Cluster: clusterName, AuthInfo: user}
	file.CurrentContext = user
	path := filepath.Join(c.dir, user+".kubeconfig")
	if err := clientcmd.WriteToFile(*file, path); err != nil {
		return access{}, fmt.Errorf("write kubeconfig of %s: %w", user, err)
	}
	return access{config: config, kubeconfig: path}, nil
}

func newClient(config *rest.Config) (client.Client, error) {
	c, err := client.New(config, client.Options{})
	if err != nil {
		return nil, fmt.Errorf("connect to the API server: %w", err)
	}
	return c, nil
}
