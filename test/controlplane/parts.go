// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/discovery"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// StopAPIServer stops kube-apiserver only. Connections to it are then refused.
func (c *ControlPlane) StopAPIServer() error { return c.env.ControlPlane.APIServer.Stop() }

// StartAPIServer restarts kube-apiserver with the same address and certificates, and waits until it is ready.
func (c *ControlPlane) StartAPIServer(ctx context.Context) error {
	if err := c.env.ControlPlane.APIServer.Start(); err != nil {
		return fmt.Errorf("%w\n%s", err, Tail(c.logOf(apiServer), 2000))
	}
	return c.AwaitReady(ctx)
}

// EtcdURL returns the address of etcd.
func (c *ControlPlane) EtcdURL() string { return c.env.ControlPlane.Etcd.URL.String() }

// StopEtcd stops etcd only. The API server then answers with errors and timeouts.
func (c *ControlPlane) StopEtcd() error { return c.env.ControlPlane.Etcd.Stop() }

// StartEtcd restarts etcd with its data. Call AwaitReady to wait until the API server has reconnected.
func (c *ControlPlane) StartEtcd() error {
	if err := c.env.ControlPlane.Etcd.Start(); err != nil {
		return fmt.Errorf("%w\n%s", err, Tail(c.logOf(etcd), 1000))
	}
	return nil
}

// BackUpEtcd stops etcd, copies its data, starts it again, and returns the folder of the backup.
func (c *ControlPlane) BackUpEtcd(ctx context.Context) (backup string, err error) {
	backup = filepath.Join(c.dir, "backup")
	if err := c.StopEtcd(); err != nil {
		return "", err
	}
	if err := os.CopyFS(backup, os.DirFS(c.env.ControlPlane.Etcd.DataDir)); err != nil {
		return "", err
	}
	if err := c.StartEtcd(); err != nil {
		return "", err
	}
	return backup, c.AwaitReady(ctx)
}

// RestoreEtcd restarts etcd with the data of a backup. Resource versions continue from the backup.
func (c *ControlPlane) RestoreEtcd(backup string) error {
	data := c.env.ControlPlane.Etcd.DataDir
	if err := errors.Join(c.StopEtcd(), os.RemoveAll(data), os.CopyFS(data, os.DirFS(backup)), os.Chmod(data, 0o700)); err != nil {
		return err
	}
	return c.StartEtcd()
}

// AwaitReady waits until the API server is ready.
func (c *ControlPlane) AwaitReady(ctx context.Context) error {
	d, err := discovery.NewDiscoveryClientForConfig(c.admin.config)
	if err != nil {
		return err
	}
	return poll(ctx, "the API server is not ready", func(ctx context.Context) bool {
		var status int
		d.RESTClient().Get().AbsPath("/readyz").Timeout(5 * time.Second).Do(ctx).StatusCode(&status)
		return status == http.StatusOK
	})
}

// controllers are the controllers of kube-controller-manager that keys depend on.
var controllers = []string{
	"garbage-collector-controller", "namespace-controller", "serviceaccount-controller", "clusterrole-aggregation-controller",
}

// tokenControllers are the controllers that issue and delete the tokens of Options.Tokens.
var tokenControllers = []string{"serviceaccount-token-controller", "bootstrap-signer-controller", "token-cleaner-controller"}

// controllerFlags returns the flags of kube-controller-manager. It signs tokens with the key of the API server.
func (c *ControlPlane) controllerFlags() []string {
	names := controllers
	if c.tokens {
		names = slices.Concat(controllers, tokenControllers)
	}
	flags := []string{
		"--kubeconfig=" + c.admin.kubeconfig,
		"--controllers=" + strings.Join(names, ","),
		"--leader-elect=false",
		"--secure-port=0",
		"--kube-api-qps=200", "--kube-api-burst=400",
	}
	if c.tokens {
		flags = append(flags, "--service-account-private-key-file="+filepath.Join(c.dir, "certificates", "sa-signer.key"))
	}
	return flags
}

func (c *ControlPlane) startControllers(ctx context.Context, options Options) error {
	if options.WithoutControllers || !exists(filepath.Join(c.assets, controllerManager)) {
		return nil
	}
	return c.StartControllers(ctx)
}

// StartControllers starts kube-controller-manager and waits until its controllers work. The CRDs must be installed first, so that
// the garbage collector watches their resources from the start.
func (c *ControlPlane) StartControllers(ctx context.Context) (err error) {
	c.controlled, err = StartProcess(c.logOf(controllerManager), filepath.Join(c.assets, controllerManager), c.controllerFlags()...)
	if err != nil {
		return err
	}
	var account corev1.ServiceAccount
	err = poll(ctx, "kube-controller-manager is not working", func(ctx context.Context) bool {
		return c.controlled.ended() || c.client.Get(ctx, client.ObjectKey{Namespace: "default", Name: "default"}, &account) == nil
	})
	return errors.Join(err, c.controlled.Err())
}

// StopControllers stops kube-controller-manager.
func (c *ControlPlane) StopControllers() error {
	if c.controlled == nil {
		return nil
	}
	return c.controlled.Stop(startStopTimeout)
}

func poll(ctx context.Context, otherwise string, done func(context.Context) bool) error {
	err := wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, startStopTimeout, true, func(ctx context.Context) (bool, error) {
		return done(ctx), nil
	})
	if err != nil {
		return fmt.Errorf("%s: %w", otherwise, err)
	}
	return nil
}
