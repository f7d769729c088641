// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/test/controlplane"
)

const (
	managerAccount, verifierAccount = "apikey-manager", "apikey-verifier"
	// verifierService is the name of the verifier's Service, and the audience of tokens for it.
	verifierService = "apikey-verifier"
)

// startPrograms starts the verifier and the manager to measure.
func (b *idleBench) startPrograms(ctx context.Context, p *idlePhase) (*manager, error) {
	v, err := b.startVerifier(ctx)
	if err != nil {
		return nil, err
	}
	p.programs = []idleProgram{{}, {name: "verifier", account: verifierAccount, process: v.Process, profiles: os.Getenv(profileVariable)}}
	if b.proxy, err = newUsageProxy(v.Usage); err != nil {
		return nil, err
	}
	m, err := b.startDeployed(ctx)
	if err != nil {
		return nil, err
	}
	p.programs[0] = idleProgram{name: "manager", account: managerAccount, process: m.Process, profiles: os.Getenv(profileVariable)}
	return m, nil
}

func (b *idleBench) startVerifier(ctx context.Context) (*controlplane.Verifier, error) {
	b.printf("Building the verifier")
	binary, err := controlplane.BuildVerifier(ctx)
	if err != nil {
		return nil, err
	}
	if b.profile != "" {
		binary = filepath.Join(b.plane.Dir(), "verifier")
		if err := b.buildProfiled(ctx, "verifier", binary); err != nil {
			return nil, err
		}
		if err := b.serveProfiles(); err != nil {
			return nil, err
		}
	}
	return b.plane.StartVerifier(ctx, controlplane.VerifierOptions{Binary: binary})
}

// startDeployed starts a manager as it is deployed: it elects a leader, serves its webhook and polls the verifier.
func (b *idleBench) startDeployed(ctx context.Context) (*manager, error) {
	if b.profile != "" {
		if err := b.serveProfiles(); err != nil {
			return nil, err
		}
	}
	flags, err := b.verifierFlags(ctx)
	if err != nil {
		return nil, err
	}
	metrics, err := controlplane.FreePort()
	if err != nil {
		return nil, err
	}
	webhook, err := controlplane.FreePort()
	if err != nil {
		return nil, err
	}
	if err := b.plane.InstallWebhooks(ctx, webhook); err != nil {
		return nil, err
	}
	m := &manager{began: time.Now(), address: net.JoinHostPort("127.0.0.1", strconv.Itoa(metrics)), client: &http.Client{}}
	flags = append(flags, "--leader-elect=true", "--metrics-bind-address="+m.address, "--metrics-secure=false")
	m.Manager, err = b.plane.StartManager(ctx, controlplane.ManagerOptions{Binary: b.builds[0].binary, WebhookPort: webhook, Flags: flags})
	return m, err
}

// verifierFlags adds the proxy to the verifier's Service, and returns the flags with which a manager polls it.
func (b *idleBench) verifierFlags(ctx context.Context) ([]string, error) {
	host, port, err := b.proxy.endpoint()
	if err != nil {
		return nil, err
	}
	name, ready := "usage", true
	admin, err := client.New(b.plane.Config(), client.Options{})
	if err != nil {
		return nil, err
	}
	err = admin.Create(ctx, &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: b.plane.Namespace(), Name: verifierService, Labels: map[string]string{discoveryv1.LabelServiceName: verifierService},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: &name, Port: &port}},
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{host}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}}},
	})
	if err != nil {
		return nil, fmt.Errorf("create the EndpointSlice of the verifier: %w", err)
	}
	token := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: []string{verifierService}}}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: b.plane.Namespace(), Name: managerAccount}}
	if err := admin.SubResource("token").Create(ctx, account, token); err != nil {
		return nil, fmt.Errorf("issue a token for the verifier: %w", err)
	}
	file := filepath.Join(b.plane.Dir(), "verifier-token")
	flags := []string{"--verifier-service=" + b.plane.Namespace() + "/" + verifierService, "--verifier-token-file=" + file}
	return flags, os.WriteFile(file, []byte(token.Status.Token), 0o600)
}
