// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/spf13/cobra"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/controllers"
	"github.com/apikey-manager/apikey-manager/internal/smoketest"
)

// newSmokeTestCommand returns the command that `helm test` runs.
func newSmokeTestCommand() *cobra.Command {
	const defaultTimeout = 2 * time.Minute
	var caFile string
	var timeout time.Duration
	test := &smoketest.Test{}
	cmd := &cobra.Command{
		Use:   "smoke-test",
		Short: "Test an installation: issue a key, ask the verifier about it, and delete it again",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			test.Out = cmd.OutOrStdout()
			return runSmokeTest(ctx, test, caFile)
		},
	}
	f := cmd.Flags()
	f.StringVar(&test.Namespace, "namespace", envOr("POD_NAMESPACE", "default"), "`namespace` in which to issue the key (env POD_NAMESPACE)")
	f.StringVar(&test.Verifier, "verifier", "http://apikey-verifier.apikey-manager-system.svc:8080", "`URL` of the verifier")
	f.StringVar(&caFile, "verifier-ca-file", "", "`file` with the CA certificates for the verifier; defaults to those of the system")
	f.DurationVar(&timeout, "timeout", defaultTimeout, "how long the test may take")
	f.AddGoFlag(flag.CommandLine.Lookup("kubeconfig"))
	return cmd
}

// runSmokeTest runs a test with the permissions of the kubeconfig or of the pod.
func runSmokeTest(ctx context.Context, test *smoketest.Test, caFile string) error {
	config, err := ctrl.GetConfig() // reads --kubeconfig
	if err != nil {
		return fmt.Errorf("load the kubeconfig: %w", err)
	}
	scheme, err := controllers.NewScheme()
	if err != nil {
		return err
	}
	if test.Client, err = client.New(config, client.Options{Scheme: scheme}); err != nil {
		return fmt.Errorf("create the client: %w", err)
	}
	if test.HTTP, err = httpClient(caFile); err != nil {
		return err
	}
	return test.Run(ctx)
}

// httpClient returns a client that trusts the CA certificates of a file, or those of the system.
func httpClient(caFile string) (*http.Client, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if caFile != "" {
		pem, err := os.ReadFile(caFile) //nolint:gosec // the path is a flag
		if err != nil {
			return nil, fmt.Errorf("--verifier-ca-file: %w", err)
		}
		if config.RootCAs = x509.NewCertPool(); !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, errors.New("--verifier-ca-file: no certificate in it")
		}
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: config}}, nil
}
