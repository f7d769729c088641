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

// environment is what runs while the story is told.
type environment struct {
	plane   *controlplane.ControlPlane
	manager *controlplane.Manager
	log     string // the manager's; it outlives a failure
	mailbox *mailbox.Server
	mails   string // the folder that the mailbox keeps mails in
	gateway gateway
}

// start builds the manager, unless there is one, and starts it on a control plane. What it returns is to be stopped, also after an error.
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
	err = timed(out, "Starting a control plane, with what config/default installs", func() (err error) {
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

// startMailbox starts a mail server that keeps what it gets.
func (env *environment) startMailbox() (err error) {
	env.mails = filepath.Join(env.plane.Dir(), "mail")
	if err := os.Mkdir(env.mails, 0o700); err != nil {
		return err
	}
	env.mailbox, err = mailbox.Start(env.mails)
	return err
}

// stop stops everything. The manager's log goes too, unless there is a problem that somebody will want to look into.
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
		return err // it has said so
	default:
		return errors.Join(err, fmt.Errorf("the manager's log: %s", env.log))
	}
}

// variables is what kubectl needs: itself, the kubeconfig, and a cache of its own.
func (env *environment) variables() []string {
	return append(os.Environ(),
		"PATH="+filepath.Dir(env.plane.Kubectl())+string(os.PathListSeparator)+os.Getenv("PATH"),
		"KUBECONFIG="+env.plane.Kubeconfig(),
		"MAIL="+env.mails, "CHANGES="+filepath.Join(env.mails, "changes"),
		"SHOP=http://"+env.gateway.address,
		"KUBECACHEDIR="+filepath.Join(env.plane.Dir(), "cache"),
	)
}

// waitForInterrupt waits for the end of ctx, which is an error only if the manager's end brought it.
func (env *environment) waitForInterrupt(ctx context.Context, out io.Writer) error {
	_, err := fmt.Fprintf(out, `
It is up. In another terminal, in this folder:

  export KUBECONFIG=%s
  export PATH=%s:$PATH
  export SHOP=http://%s   # an application behind a gateway that asks the verifier
  kubectl apply -f config/samples/account.yaml -f config/samples/apikey.yaml
  kubectl get apikeys,accounts -A

The manager's log is %s. Ctrl-C stops everything.
`, env.plane.Kubeconfig(), filepath.Dir(env.plane.Kubectl()), env.gateway.address, env.log)
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
