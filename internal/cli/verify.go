// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
)

// verifyOptions holds the flags of the command verify.
type verifyOptions struct {
	*environment

	output   resultOutput
	verifier verifierFlags
	scopes   []string
	account  string
	clientIP string
}

func (e *environment) verifyCommand() *cobra.Command {
	o := &verifyOptions{environment: e}
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Ask the verifier whether a key is valid",
		Long: `Ask the verifier whether a key is valid, and explain its answer.

The key is read from standard input, or from a prompt that does not show it. The verifier is reached by a port-forward, which takes
the rights to get services, to list pods and to create pods/portforward in its namespace, or at --url.

The exit code is 0 if the key is valid, 3 if the verifier rejects it, and 1 if the verifier could not be asked.`,
		Example: `  # Type the key
  kubectl apikey verify

  # Is a key valid for a client and a scope?
  kubectl apikey verify --client-ip=192.0.2.7 --scope=orders:read < key.txt`,
		Args: noArguments("the key"),
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context()) },
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&o.scopes, "scope", nil, "a `scope` that the key must have (repeatable)")
	flags.StringVar(&o.account, "account", "", "the `account` to which the key must belong")
	flags.StringVar(&o.clientIP, "client-ip", "", "the `address` of the client, for keys with an ipWhitelist")
	o.output.bind(cmd)
	o.verifier.bind(cmd)
	flags.StringVar(&o.verifier.namespace, "verifier-namespace", defaultSystemNamespace, "the `namespace` of the Service apikey-verifier")
	e.completeAccountFlag(cmd)
	return cmd
}

// errNotValid is returned for a key that the verifier rejects. The command has printed why.
var errNotValid = codeError{errors.New("the key is not valid"), exitNegative}

// run reads a key, asks a verifier about it, and prints the result.
func (o *verifyOptions) run(ctx context.Context) error {
	if err := errors.Join(o.output.validate(), o.verifier.validate()); err != nil { // before the user types a key
		return err
	}
	key, err := readKey(ctx, o.In, o.ErrOut)
	if err != nil {
		return err
	}
	asked, end, err := o.verifier.connect(ctx, o.environment)
	if err != nil {
		return err
	}
	defer end()
	result, err := asked.verify(ctx, verifyRequest{Key: string(key), IP: o.clientIP, Scopes: o.scopes, Account: o.account})
	if err != nil {
		return err
	}
	result.Explanation = explainVerdict(result)
	if err := o.print(result); err != nil {
		return err
	}
	switch {
	case result.Valid:
		return nil
	case result.Code == "NOT_SYNCED": // the verifier does not know
		return errors.New("the verifier could not check the key")
	}
	return errNotValid
}

func (o *verifyOptions) print(result *verifyResult) error {
	if !o.output.isText() {
		return o.output.print(result, o.Out)
	}
	_, err := fmt.Fprintln(o.Out, printable(result.Code+": "+result.Explanation))
	return err
}
