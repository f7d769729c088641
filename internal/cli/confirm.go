// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// errDeclined means that the user answered a question with no.
var errDeclined = errors.New("canceled: nothing was changed")

// confirm asks a question, if there is one, and returns an error unless the user answers yes. It does not ask if yes is set.
func (e *environment) confirm(ctx context.Context, question string, yes bool) error {
	if yes || question == "" {
		return nil
	}
	if !e.interactive {
		return usageErrorf("the command asks for confirmation, but standard input is not a terminal: pass --yes to confirm")
	}
	fmt.Fprint(e.ErrOut, printable(question), " [y/N] ")
	answer, err := e.readLine(ctx)
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	default:
		return errDeclined
	}
}

// readLine reads a line from the terminal, unless ctx ends first.
func (e *environment) readLine(ctx context.Context) (string, error) {
	const maxAnswer = 64
	type line struct {
		text string
		err  error
	}
	read := make(chan line, 1) // so that the goroutine ends also if ctx ends first
	go func() {
		text, err := bufio.NewReader(io.LimitReader(e.In, maxAnswer)).ReadString('\n')
		if errors.Is(err, io.EOF) {
			err = nil
		}
		read <- line{text, err}
	}()
	select {
	case answer := <-read:
		return answer.text, answer.err
	case <-ctx.Done():
		fmt.Fprintln(e.ErrOut)
		return "", ctx.Err()
	}
}

// question asks whether to do something to keys, and names them. Of a long list it names the first.
func question(action, consequence string, list []v1alpha1.APIKey) string {
	const maxNamed = 20
	var text strings.Builder
	for i := range list[:min(len(list), maxNamed)] {
		fmt.Fprintf(&text, "  %s\n", identify(&list[i]))
	}
	if len(list) > maxNamed {
		fmt.Fprintf(&text, "  and %d more\n", len(list)-maxNamed)
	}
	return fmt.Sprintf("%s%s %s? %s", text.String(), action, count(len(list)), consequence)
}

// identify names a key, its account, its label and its state.
func identify(k *v1alpha1.APIKey) string {
	text := fmt.Sprintf("%s/%s of account %s", k.Namespace, k.Name, k.Spec.Account)
	if k.Spec.Label != "" {
		text += fmt.Sprintf(", label %q", k.Spec.Label)
	}
	if k.Status.State != "" {
		text += ", " + string(k.Status.State)
	}
	return text
}

func count(keys int) string {
	if keys == 1 {
		return "this key"
	}
	return fmt.Sprintf("these %d keys", keys)
}
