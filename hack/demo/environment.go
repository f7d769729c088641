// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/apikey-manager/apikey-manager/test/controlplane"
	"github.com/apikey-manager/apikey-manager/test/mailbox"
)

// environment holds what runs during the demo: a control plane, the manager, a mail server and a gateway.
type environment struct {
	plane   *controlplane.ControlPlane
	manager *controlplane.Manager
	log     string // the manager's log file, which is kept if the demo fails
	mailbox *mailbox.Server
	mails   string // the folder in which the mail server stores mails
	gateway gateway
}

// start starts a control plane and the manager, which it builds unless binary names one. The caller must stop the returned
// environment, also after an error.
func start(ctx context.Context, out io.Writer, binary string) (*environment, error) {
	env := &environment{}
	webhooks, err := controlplane.FreePort()
	if err != nil {
		return env, err
	}
	if binary == "" {
		err = timed(out, "Building bin/manager", func() (err error) {
			binary, err = controlplane.BuildManager(ctx)
			return err
		})
		if err != nil {
			return env, err
		}
	}
	err = timed(out, "Starting a control plane and installing config/default", func() (err error) {
		env.plane, err = controlplane.Start(ctx, controlplane.Options{WebhookPort: webhooks})
		return err
	})
	if err != nil {
		return env, err
	}
	return env, timed(out, "Starting the manager", func() error { return env.startManager(ctx, binary, webhooks) })
}

func (env *environment) startManager(ctx context.Context, binary string, webhooks int) error {
	file, err := os.CreateTemp("", "apikey-manager-*.log")
	if err != nil {
		return err
	}
	env.log = file.Name()
	if err := file.Close(); err != nil {
		return err
	}
	if err := env.startMailbox(); err != nil {
		return err
	}
	env.manager, err = env.plane.StartManager(ctx, controlplane.ManagerOptions{
		Binary: binary, Log: env.log, WebhookPort: webhooks,
		Flags: []string{
			"--smtp-host=127.0.0.1", "--smtp-tls=none", fmt.Sprintf("--smtp-port=%d", env.mailbox.Port()),
			"--smtp-from=API keys <api-keys@example.com>",
		},
	})
	return err
}

// startMailbox starts a mail server that stores the mails it receives.
func (env *environment) startMailbox() (err error) {
	env.mails = filepath.Join(env.plane.Dir(), "mail")
	if err := os.Mkdir(env.mails, 0o700); err != nil {
		return err
	}
	env.mailbox, err = mailbox.Start(env.mails)
	return err
}

// stop stops everything and removes the manager's log, which is kept if there is a problem to investigate.
func (env *environment) stop(problem error) error {
	var err error
	if env.mailbox != nil {
		err = env.mailbox.Close()
	}
	err = errors.Join(err, env.gateway.stop())
	if env.plane != nil {
		err = errors.Join(err, env.plane.Stop())
	}
	switch {
	case env.log == "":
		return err
	case problem == nil:
		return errors.Join(err, os.Remove(env.log))
	case strings.Contains(problem.Error(), env.log):
		return err // the error names the log already
	default:
		return errors.Join(err, fmt.Errorf("the manager's log: %s", env.log))
	}
}

// variables returns the environment variables of the commands: the path of kubectl, a kubeconfig, a cache of their own, and
// the addresses and folders that the commands use.
func (env *environment) variables() []string {
	variables := append(os.Environ(),
		"PATH="+filepath.Dir(env.plane.Kubectl())+string(os.PathListSeparator)+os.Getenv("PATH"),
		"KUBECONFIG="+env.plane.Kubeconfig(),
		"MAIL="+env.mails, "CHANGES="+filepath.Join(env.mails, "changes"),
		"SHOP=http://"+env.gateway.address, "VERIFIER=http://"+env.gateway.verifier,
		"KUBECACHEDIR="+filepath.Join(env.plane.Dir(), "cache"),
	)
	if env.gateway.limited != nil {
		variables = append(variables, "LIMITED="+env.gateway.limited.URL)
	}
	return variables
}

// waitForInterrupt prints how to reach the environment and waits until ctx ends. It returns an error only if ctx ended
// because the manager did.
func (env *environment) waitForInterrupt(ctx context.Context, out io.Writer) error {
	_, err := fmt.Fprintf(out, `
Everything is running. In another terminal, in this folder:

  export KUBECONFIG=%s
  export PATH=%s:$PATH
  export SHOP=http://%s       # an application behind a gateway that verifies keys
  export VERIFIER=http://%s   # the verifier, which the gateway asks
  kubectl apply -f config/samples/account.yaml -f config/samples/apikey.yaml
  kubectl get apikeys,accounts -A

The manager's log is %s. Press Ctrl-C to stop everything.
`, env.plane.Kubeconfig(), filepath.Dir(env.plane.Kubectl()), env.gateway.address, env.gateway.verifier, env.log)
	if err != nil {
		return err
	}
	<-ctx.Done()
	select {
	case <-env.manager.Done():
		return env.manager.Err()
	default:
		_, err := fmt.Fprintln(out, "\nStopping.")
		return err
	}
}

func timed(out io.Writer, title string, do func() error) error {
	began := time.Now()
	if _, err := fmt.Fprintf(out, "%s ... ", title); err != nil {
		return err
	}
	err := do()
	result := "done"
	switch {
	case errors.Is(err, context.Canceled):
		result = "interrupted"
	case err != nil:
		result = "failed"
	}
	_, printing := fmt.Fprintf(out, "%s (%.1f s)\n", result, time.Since(began).Seconds())
	return errors.Join(err, printing)
}
