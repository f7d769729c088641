// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/apikey-manager/apikey-manager/internal/version"
)

// versions holds what the command version prints.
type versions struct {
	Client version.Info `json:"client"`
	// Manager and Verifier are the tags of the images on the cluster. They are empty if the user may not see them.
	Manager  string `json:"manager,omitempty"`
	Verifier string `json:"verifier,omitempty"`
}

// versionOptions holds the flags of the command version.
type versionOptions struct {
	*environment

	output     resultOutput
	onlyClient bool
	// systemNamespace is the namespace of the manager and the verifier.
	systemNamespace string
}

func (e *environment) versionCommand() *cobra.Command {
	o := &versionOptions{environment: e}
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Print the versions of the plugin, the manager and the verifier",
		Example: "  kubectl apikey version --client -o json",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context()) },
	}
	cmd.Flags().BoolVar(&o.onlyClient, "client", false, "print the version of the plugin only, without connecting to a cluster")
	o.output.bind(cmd)
	cmd.Flags().StringVar(&o.systemNamespace, "manager-namespace", defaultSystemNamespace, "the `namespace` of the manager and the verifier")
	return cmd
}

func (o *versionOptions) run(ctx context.Context) error {
	if err := o.output.validate(); err != nil {
		return err
	}
	result := versions{Client: version.Get()}
	var err error
	if !o.onlyClient {
		result.Manager, result.Verifier, err = o.installed(ctx)
	}
	return errors.Join(o.print(result), err)
}

// installed returns the versions on the cluster.
func (o *versionOptions) installed(ctx context.Context) (manager, verifier string, err error) {
	c, err := o.client()
	if err != nil {
		return "", "", err
	}
	return installedVersions(ctx, c, o.systemNamespace)
}

func (o *versionOptions) print(result versions) error {
	if !o.output.isText() {
		return o.output.print(result, o.Out)
	}
	fmt.Fprintf(o.Out, "kubectl-apikey %s\n", result.Client)
	if o.onlyClient {
		return nil
	}
	const unseen = "unknown: not installed in namespace %s, or no right to see it\n"
	for _, program := range []struct{ name, version string }{{"manager", result.Manager}, {"verifier", result.Verifier}} {
		if program.version == "" {
			fmt.Fprintf(o.Out, program.name+" "+unseen, o.systemNamespace)
		} else {
			fmt.Fprintf(o.Out, "%s %s\n", program.name, program.version)
		}
	}
	return nil
}
