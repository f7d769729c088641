// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/apikey-manager/apikey-manager/internal/credential"
)

// This file reads keys. A key comes from standard input or from a prompt, and never from an argument: arguments end up in
// the history of the shell and in the list of processes.

const (
	// maxKeyLine limits the length of a line with a key.
	maxKeyLine = 4 << 10
	// maxKeyLines limits the number of keys that one command reads.
	maxKeyLines = 10_000
)

var errKeyTooLong = fmt.Errorf("a line is longer than %d bytes: pass one key on each line", maxKeyLine)

// readKey reads one key: from a prompt that does not echo it if in is a terminal, otherwise from in up to its end. A line break
// at the end is not part of the key.
func readKey(ctx context.Context, in io.Reader, prompt io.Writer) (credential.Material, error) {
	if terminal, ok := terminalOf(in); ok {
		return promptForKey(ctx, terminal, prompt)
	}
	var key credential.Material
	err := eachKeyLine(in, func(_ int, line credential.Material) error {
		if key != nil {
			return errors.New("standard input has more than one line: pass one key")
		}
		key = bytes.Clone(line)
		return nil
	})
	if err == nil && key == nil {
		err = errors.New("standard input is empty: pass the key there, for example from a file with < key.txt")
	}
	return key, err
}

// terminalOf returns the file descriptor of a stream if it is a terminal.
func terminalOf(stream any) (int, bool) {
	file, ok := stream.(*os.File)
	if !ok {
		return 0, false
	}
	descriptor := int(file.Fd())
	return descriptor, term.IsTerminal(descriptor)
}

// promptForKey reads a key from a terminal without echo. If ctx ends first, it turns the echo on again.
func promptForKey(ctx context.Context, terminal int, prompt io.Writer) (credential.Material, error) {
	before, err := term.GetState(terminal)
	if err != nil {
		return nil, fmt.Errorf("read the state of the terminal: %w", err)
	}
	type result struct {
		key credential.Material
		err error
	}
	done := make(chan result, 1)
	fmt.Fprint(prompt, "API key (is not shown): ")
	defer fmt.Fprintln(prompt)
	go func() {
		key, err := term.ReadPassword(terminal)
		done <- result{bytes.TrimSpace(key), err}
	}()
	select {
	case <-ctx.Done():
		return nil, errors.Join(context.Cause(ctx), term.Restore(terminal, before))
	case r := <-done:
		if r.err == nil && len(r.key) == 0 {
			r.err = errors.New("no key was entered")
		}
		return r.key, r.err
	}
}

// eachKeyLine calls use with the number and the content of each line that is not blank. White space around a key is not part of
// it. The content is overwritten afterwards.
func eachKeyLine(in io.Reader, use func(number int, key credential.Material) error) error {
	scanner := bufio.NewScanner(in)
	buffer := make([]byte, 0, maxKeyLine+1)
	defer func() { clear(buffer[:cap(buffer)]) }()
	scanner.Buffer(buffer, maxKeyLine+1)
	for number := 1; scanner.Scan(); number++ {
		if number > maxKeyLines {
			return fmt.Errorf("standard input has more than %d lines: split it", maxKeyLines)
		}
		if line := bytes.TrimSpace(scanner.Bytes()); len(line) > 0 {
			if err := use(number, line); err != nil {
				return err
			}
		}
	}
	if errors.Is(scanner.Err(), bufio.ErrTooLong) {
		return errKeyTooLong
	}
	return scanner.Err()
}

// tokenHint matches the public part of a Token, such as ak_8GkQ2vLx0RtW.
var tokenHint = regexp.MustCompile(`^[a-z][a-z0-9]{0,15}_[0-9A-Za-z]{12}$`)

// isLikeKey reports whether an argument may be a whole key. Key IDs and hints are shorter, or have the form of a hint.
func isLikeKey(argument string) bool {
	return !tokenHint.MatchString(argument) && credential.CheckImported(credential.Material(argument)) == ""
}

// noArguments rejects arguments without repeating them, because they may be a key.
func noArguments(what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) > 0 {
			return fmt.Errorf("takes no arguments: pass %s on standard input. "+
				"If it was an argument, it is in the history of your shell: rotate it", what)
		}
		return nil
	}
}

// oneArgument requires one argument.
func oneArgument(what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != 1 {
			return fmt.Errorf("takes one argument: %s", what)
		}
		return nil
	}
}
