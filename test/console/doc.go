// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Package console runs the commands of README and docs in a shell, as a user types them, and compares their output with the page.
//
// Commands are the lines of `sh` blocks and the lines of `console` blocks that begin with "$ "; the other lines of a `console`
// block are the expected output. A block of any other language whose first line is a comment with a file name, such as
// "# key.yaml", is written to that file. A page is run from top to bottom in one shell.
//
// NotRun lists the commands that are not run, and RunBy the tests that run the others.
package console
