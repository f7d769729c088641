// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"bytes"
	"fmt"
)

// The limits of one rendering, for all entries of a template together. A template is a program that the manager runs for
// any user who may write an APIKey.
const (
	// maxEntry limits the bytes of one rendered entry. All entries of a Secret together may have 1 MiB.
	maxEntry = 64 << 10
	// maxBytesMade limits the bytes that a rendering produces: the arguments and results of functions, and the output.
	maxBytesMade = 256 << 10
	// maxOperations limits the nodes of the parsed template that a rendering can visit.
	maxOperations = 8 << 10
	// maxDepth limits how deeply the nodes of a template are nested.
	maxDepth = 100
	// maxEntries and maxEntryText are the limits in the schema of APIKeys.
	maxEntries   = 32
	maxEntryText = 4096
)

var (
	errMade = fmt.Errorf(
		"the template produces more than %d bytes, counting all entries and intermediate results: shorten it",
		maxBytesMade,
	)
	errEntry      = fmt.Errorf("the entry is longer than %d bytes", maxEntry)
	errOperations = fmt.Errorf(
		"the template takes more than %d steps, counting all entries, and range once per scope or metadata entry: shorten it",
		maxOperations,
	)
	errDepth = fmt.Errorf("actions and parentheses are nested more than %d deep", maxDepth)
	errText  = fmt.Errorf("the entry has a template of more than %d characters", maxEntryText)
)

// budget holds the remainder of maxBytesMade during one rendering. Every function of a template reduces it.
type budget struct {
	left int
	// entry receives the entry that is being rendered.
	entry bytes.Buffer
}

// spend subtracts n bytes from the budget.
func (b *budget) spend(n int) error {
	if n > b.left {
		b.left = 0
		return errMade
	}
	b.left -= n
	return nil
}

// function implements a function of templates.
type function struct {
	// call computes the result. It is called only if the result of most for its arguments fits the budget.
	call func(args []any) (any, error)
	// most returns an upper bound of the bytes that call can produce from its arguments.
	most func(args []any) int
}

// metered returns f as templates call it: the bytes of its arguments and of its result are subtracted from the budget.
// It does not compute a result that might exceed the budget.
func (b *budget) metered(f function) func(args ...any) (any, error) {
	return func(args ...any) (any, error) {
		taken := 0
		for _, arg := range args {
			taken += length(arg)
		}
		if err := b.spend(taken); err != nil {
			return nil, err
		}
		if f.most(args) > b.left {
			return nil, b.spend(b.left + 1)
		}
		result, err := f.call(args)
		if err != nil {
			return nil, err
		}
		return result, b.spend(length(result))
	}
}

// write appends a value to the entry. A call of it follows each text and each action of a template, so that the error
// for a result that is too long has its position.
func (b *budget) write(value any) (string, error) {
	if printed(value) > b.left {
		return "", b.spend(b.left + 1)
	}
	before := b.entry.Len()
	switch v := value.(type) {
	case nil:
		b.entry.WriteString("<no value>") // as text/template does
	case string:
		b.entry.WriteString(v)
	default:
		fmt.Fprint(&b.entry, v)
	}
	if b.entry.Len() > maxEntry {
		return "", errEntry
	}
	return "", b.spend(b.entry.Len() - before)
}

// length returns the bytes of the strings in a value.
func length(value any) int {
	n := 0
	eachString(value, func(s string) { n += len(s) })
	return n
}

// printedNumber is an upper bound of what fmt makes of a number without a width: %f of the largest complex number has
// 620 digits.
const printedNumber = 700

// printed returns the most bytes that fmt.Sprint makes of a value.
func printed(value any) int {
	const (
		scalar      = 64
		punctuation = 32 // the brackets and separators of all values of a template are 19 bytes if the values are empty
	)
	n := 0
	if parts := eachString(value, func(s string) { n += len(s) + 1 }); parts == 0 {
		n = scalar
	}
	return n + punctuation
}

// eachString calls f for each string in a value of a template, and returns how many there are.
func eachString(value any, f func(string)) int {
	switch v := value.(type) {
	case string:
		f(v)
		return 1
	case []string:
		for _, s := range v {
			f(s)
		}
		return max(1, len(v))
	case map[string]string:
		for name, s := range v {
			f(name)
			f(s)
		}
		return max(1, 2*len(v))
	case templateValues:
		fields := []string{v.Key, v.PreviousKey, v.KeyID, v.Account, v.ExternalID, v.Label, v.Expiration, v.Namespace, v.Name}
		return eachString(fields, f) + eachString(v.Scopes, f) + eachString(v.Metadata, f)
	case entryRateLimit, []entryRateLimit, entryValues, entryKeyValues:
		return eachEntryString(v, f)
	}
	return 0
}
