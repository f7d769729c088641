// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

const (
	clusterName = "local"
	// startStopTimeout limits the start and the stop of each process. It allows for a busy laptop.
	startStopTimeout = 90 * time.Second
)

// Options configure a control plane. The zero value suits most tests.
type Options struct {
	// Manifests is the kustomization to install, relative to the root of the repository. It defaults to config/default.
	Manifests string
	// WebhookPort is the port of 127.0.0.1 on which a manager will serve the webhooks. If it is not 0, the webhooks are
	// installed, and the API server rejects the requests that they match until that manager runs.
	WebhookPort int
	// WithoutControllers omits kube-controller-manager, for tests that need neither garbage collection nor the deletion of
	// namespaces, to save processor time.
	WithoutControllers bool
	// Tokens enables the tokens that are stored in Secrets, as kubeadm does: those of ServiceAccounts and bootstrap tokens.
	Tokens bool
	// APIServerFlags and EtcdFlags are further flags of kube-apiserver and etcd, without dashes: {"audit-log-path": "..."}.
	APIServerFlags, EtcdFlags map[string]string
}

// ControlPlane is a running control plane.
type ControlPlane struct {
	root, dir, assets string

	env        *envtest.Environment
	logs       []*os.File
	client     client.Client
	manifests  manifests
	admin      access
	manager    access
	verifier   access
	controlled *Process // kube-controller-manager
	tokens     bool

	mu      sync.Mutex // tests start managers and verifiers concurrently
	running []*Process
}

// Start starts a control plane and installs the manifests, except for workloads. The caller must call Stop.
func Start(ctx context.Context, options Options) (*ControlPlane, error) {
	c, err := prepare(options)
	if err != nil {
		return nil, err
	}
	if err := c.start(ctx, options); err != nil {
		return nil, errors.Join(err, c.Stop())
	}
	return c, nil
}

// Config returns an administrator's client configuration.
func (c *ControlPlane) Config() *rest.Config { return rest.CopyConfig(c.admin.config) }

// Kubeconfig returns the path of the administrator's kubeconfig.
func (c *ControlPlane) Kubeconfig() string { return c.admin.kubeconfig }

// ManagerConfig returns the client configuration of the manager's ServiceAccount, which has the shipped permissions.
func (c *ControlPlane) ManagerConfig() *rest.Config { return rest.CopyConfig(c.manager.config) }

// ManagerKubeconfig returns the path of the manager's kubeconfig.
func (c *ControlPlane) ManagerKubeconfig() string { return c.manager.kubeconfig }

// VerifierConfig returns the client configuration of the verifier's ServiceAccount, which has the shipped permissions.
func (c *ControlPlane) VerifierConfig() *rest.Config { return rest.CopyConfig(c.verifier.config) }

// VerifierKubeconfig returns the path of the verifier's kubeconfig.
func (c *ControlPlane) VerifierKubeconfig() string { return c.verifier.kubeconfig }

// Namespace returns the namespace of the manager and the verifier.
func (c *ControlPlane) Namespace() string { return c.manifests.manager.Namespace }

// Kubectl returns the path of kubectl.
func (c *ControlPlane) Kubectl() string { return filepath.Join(c.assets, kubectl) }

// HasControllers reports whether kube-controller-manager runs, so that garbage collection and the deletion of namespaces work.
func (c *ControlPlane) HasControllers() bool { return c.controlled != nil }

// Root returns the root folder of the repository.
func (c *ControlPlane) Root() string { return c.root }

// Dir returns the folder of logs, kubeconfigs and data. Stop removes it.
func (c *ControlPlane) Dir() string { return c.dir }

func prepare(options Options) (*ControlPlane, error) {
	root, err := Root()
	if err != nil {
		return nil, err
	}
	binaries, err := assets(root)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "apikey-manager-controlplane-")
	if err != nil {
		return nil, err
	}
	c := &ControlPlane{root: root, dir: dir, assets: binaries, tokens: options.Tokens}
	if err := c.configure(options); err != nil {
		return nil, errors.Join(err, c.Stop())
	}
	return c, nil
}

// configure configures etcd and the API server. It sets their data folders, because those that envtest creates do not survive a
// restart of the process.
func (c *ControlPlane) configure(options Options) error {
	c.env = &envtest.Environment{ControlPlaneStartTimeout: startStopTimeout, ControlPlaneStopTimeout: startStopTimeout}
	c.env.ControlPlane.KubectlPath = c.Kubectl()
	store := &envtest.Etcd{Path: filepath.Join(c.assets, etcd), DataDir: filepath.Join(c.dir, "etcd")}
	server := c.env.ControlPlane.GetAPIServer()
	server.Path, server.CertDir = filepath.Join(c.assets, apiServer), filepath.Join(c.dir, "certificates")
	c.env.ControlPlane.Etcd = store
	var err error
	if store.Err, err = c.log(etcd); err != nil {
		return err
	}
	if server.Err, err = c.log(apiServer); err != nil {
		return err
	}
	flags := server.Configure().
		Set("max-requests-inflight", "4000").
		Set("max-mutating-requests-inflight", "4000").
		Set("endpoint-reconciler-type", "none").
		// Without this flag, a stop waits a minute for open watches to end.
		Set("shutdown-watch-termination-grace-period", "1s").
		// OpenShift enables this plugin. It requires permission to update the owner's finalizers to set blockOwnerDeletion.
		Set("enable-admission-plugins", "OwnerReferencesPermissionEnforcement")
	if options.Tokens {
		flags.Set("enable-bootstrap-token-auth", "true")
	}
	for name, value := range options.APIServerFlags {
		flags.Set(name, value)
	}
	for name, value := range options.EtcdFlags {
		store.Configure().Set(name, value)
	}
	return errors.Join(os.Mkdir(store.DataDir, 0o700), os.Mkdir(server.CertDir, 0o700))
}

func (c *ControlPlane) log(name string) (*os.File, error) {
	file, err := os.Create(c.logOf(name))
	if err == nil {
		c.logs = append(c.logs, file)
	}
	return file, err
}

func (c *ControlPlane) logOf(name string) string { return filepath.Join(c.dir, name+".log") }

func (c *ControlPlane) start(ctx context.Context, options Options) error {
	if options.Manifests == "" {
		options.Manifests = filepath.Join("config", "default")
	}
	for _, step := range []func(context.Context, Options) error{
		c.readManifests, c.startServers, c.installManifests, c.startControllers,
	} {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		if err := step(ctx, options); err != nil {
			return err
		}
	}
	return nil
}

func (c *ControlPlane) readManifests(ctx context.Context, options Options) (err error) {
	c.manifests, err = render(ctx, c.Kubectl(), filepath.Join(c.root, options.Manifests))
	return err
}

func (c *ControlPlane) startServers(context.Context, Options) error {
	config, err := c.env.Start()
	if err != nil {
		return fmt.Errorf("start etcd and kube-apiserver: %w\netcd: %s\nkube-apiserver: %s",
			err, Tail(c.logOf(etcd), 1000), Tail(c.logOf(apiServer), 2000))
	}
	if c.client, err = newClient(config); err != nil {
		return err
	}
	c.admin, err = c.writeKubeconfig(config, "admin")
	return err
}

func (c *ControlPlane) installManifests(ctx context.Context, options Options) (err error) {
	if err := c.install(ctx, &c.manifests); err != nil {
		return err
	}
	if options.WebhookPort != 0 {
		if err := c.InstallWebhooks(ctx, options.WebhookPort); err != nil {
			return err
		}
	}
	if c.Namespace() == "" {
		return nil // these manifests have no manager
	}
	if c.manager, err = c.asServiceAccount(ctx, c.Namespace(), c.manifests.manager.Spec.Template.Spec.ServiceAccountName); err != nil {
		return err
	}
	if account := c.manifests.verifier.Spec.Template.Spec.ServiceAccountName; account != "" {
		c.verifier, err = c.asServiceAccount(ctx, c.Namespace(), account)
	}
	return err
}

// launch starts a program with further environment variables. Stop stops it.
func (c *ControlPlane) launch(environment []string, log, program string, args ...string) (*Process, error) {
	p, err := startProcess(log, environment, program, args...)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running = append(c.running, p)
	return p, nil
}

// environmentOf returns the environment variables of the containers of a Deployment, NAME=value.
func environmentOf(d *appsv1.Deployment) []string {
	var list []string
	for _, container := range d.Spec.Template.Spec.Containers {
		for _, variable := range container.Env {
			if variable.ValueFrom == nil {
				list = append(list, variable.Name+"="+variable.Value)
			}
		}
	}
	return list
}

// Stop stops all processes, managers and verifiers first, and removes Dir. It may be called more than once.
func (c *ControlPlane) Stop() error {
	c.mu.Lock()
	running := c.running
	c.mu.Unlock()
	var problems []error
	for _, p := range running {
		problems = append(problems, p.Stop(startStopTimeout))
	}
	problems = append(problems, c.StopControllers())
	if c.env != nil {
		problems = append(problems, c.env.Stop())
	}
	for _, file := range c.logs {
		_ = file.Close()
	}
	return errors.Join(append(problems, os.RemoveAll(c.dir))...)
}
