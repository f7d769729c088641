// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/credential"
)

// listColumns are the columns that a list of keys may have, in any order.
var listColumns = []string{"name", "account", "label", "key", "sha256", "hint"}

// keyDigest matches a SHA-256 as sha256sum prints it.
var keyDigest = regexp.MustCompile(`^[0-9a-f]{64}$`)

// importList imports a CSV file with one key in each line. Keys that cannot be imported are reported at the end with the number of
// their line, and do not stop the others. It returns how many keys were imported.
func importList(ctx context.Context, c client.Client, spec importSpec, in io.Reader) (imported int, err error) {
	reader := csv.NewReader(io.LimitReader(in, maxKeyLines*maxKeyLine))
	header, err := reader.Read()
	if err != nil {
		return 0, errors.New("the list has no header: its first line must name the columns, such as name,account,label,key")
	}
	if err := checkHeader(header); err != nil {
		return 0, err
	}
	var problems []error
	for line := 2; ; line++ {
		record, err := reader.Read()
		switch {
		case errors.Is(err, io.EOF):
			return imported, errors.Join(problems...)
		case err != nil: // the error of the reader may repeat the line
			return imported, errors.Join(append(problems, fmt.Errorf("line %d is not CSV with %d columns", line, len(header)))...)
		case line > maxKeyLines+1:
			return imported, errors.Join(append(problems, fmt.Errorf("the list has more than %d keys: split it", maxKeyLines))...)
		}
		if err := importRow(ctx, c, spec, header, record); err != nil {
			problems = append(problems, fmt.Errorf("line %d: %w", line, err))
			continue
		}
		imported++
	}
}

// checkHeader returns an error unless the columns suffice to import keys.
func checkHeader(header []string) error {
	for i, column := range header {
		if !slices.Contains(listColumns, column) || slices.Contains(header[:i], column) {
			return fmt.Errorf("column %d of the list must be one of %s, each at most once", i+1, strings.Join(listColumns, ", "))
		}
	}
	hasKey := slices.Contains(header, "key") || slices.Contains(header, "sha256") && slices.Contains(header, "hint")
	if !slices.Contains(header, "name") || !hasKey {
		return errors.New("the list must have the columns name, and key or sha256 and hint")
	}
	return nil
}

// importRow imports one key of a list. The account of the row takes precedence over --account.
func importRow(ctx context.Context, c client.Client, spec importSpec, header, record []string) error {
	row := map[string]string{}
	for i, column := range header {
		row[column] = strings.TrimSpace(record[i])
	}
	spec.Name, spec.Label, spec.Hint = row["name"], row["label"], row["hint"]
	if row["account"] != "" {
		spec.Account = row["account"]
	}
	switch {
	case spec.Name == "" || isLikeKey(spec.Name):
		return errors.New("the column name must have the name of the APIKey")
	case spec.Account == "":
		return errors.New("no account: add a column, or set --account")
	case row["key"] != "":
		_, err := importKey(ctx, c, spec, credential.Material(row["key"]))
		return err
	case spec.WithSecret:
		return errors.New("--with-secret needs the key itself in column key")
	case !keyDigest.MatchString(row["sha256"]):
		return errors.New("the column sha256 must have 64 lower-case hexadecimal digits, as printed by sha256sum")
	}
	_, err := importDigest(ctx, c, spec, v1alpha1.Import{SHA256: row["sha256"], Hint: spec.Hint})
	return err
}
