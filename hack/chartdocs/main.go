// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Command chartdocs writes charts/apikey-manager/README.md from the comments in values.yaml.
package main

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/template"

	"go.yaml.in/yaml/v3"
)

//go:embed readme.md.tmpl
var page string

// value is a row of the table: a field of values.yaml.
type value struct {
	Name, Default, Description string
}

func main() {
	if err := write(filepath.Join("charts", "apikey-manager")); err != nil {
		fmt.Fprintln(os.Stderr, "chartdocs:", err)
		os.Exit(1)
	}
}

// write writes the README of a chart.
func write(chart string) error {
	data, err := os.ReadFile(filepath.Join(chart, "values.yaml"))
	if err != nil {
		return err
	}
	values, err := read(data)
	if err != nil {
		return fmt.Errorf("read values.yaml: %w", err)
	}
	var b bytes.Buffer
	if err := template.Must(template.New("README.md").Parse(page)).Execute(&b, values); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(chart, "README.md"), b.Bytes(), 0o644)
}

// read returns all fields of values.yaml in their order.
func read(data []byte) ([]value, error) {
	var document yaml.Node
	if err := yaml.Unmarshal(data, &document); err != nil {
		return nil, err
	}
	return fields(document.Content[0], "")
}

// fields returns the fields of a mapping, with those of the mappings in it. Each one must have a comment.
func fields(mapping *yaml.Node, prefix string) ([]value, error) {
	var list []value
	for i := 0; i < len(mapping.Content); i += 2 {
		key, content := mapping.Content[i], mapping.Content[i+1]
		v := value{Name: prefix + key.Value, Description: description(key)}
		if content.Kind != yaml.MappingNode || len(content.Content) == 0 || isMapOfUser(v.Name) {
			var err error
			if v.Default, err = compact(content); err != nil {
				return nil, fmt.Errorf("%s: %w", v.Name, err)
			}
			if v.Description == "" {
				return nil, fmt.Errorf("%s has no comment", v.Name)
			}
			list = append(list, v)
			continue
		}
		inner, err := fields(content, v.Name+".")
		if err != nil {
			return nil, err
		}
		list = append(list, inner...)
	}
	return list, nil
}

// isMapOfUser reports whether a field is a mapping whose keys the user chooses.
func isMapOfUser(name string) bool {
	return strings.HasSuffix(name, "abels") || strings.HasSuffix(name, ".resources")
}

// description returns the comment above a field as one line. The licence at the top of the file ends with an empty line.
func description(key *yaml.Node) string {
	comment := key.HeadComment
	if i := strings.LastIndex(comment, "\n\n"); i >= 0 {
		comment = comment[i+2:]
	}
	var words []string
	for line := range strings.Lines(comment) {
		words = append(words, strings.Fields(strings.TrimPrefix(line, "#"))...)
	}
	return strings.Join(words, " ")
}

// compact returns a default value as JSON, or nothing if the value is long: values.yaml shows it.
func compact(node *yaml.Node) (string, error) {
	const long = 100
	var v any
	if err := node.Decode(&v); err != nil {
		return "", err
	}
	text, err := json.Marshal(v)
	if err != nil || len(text) > long {
		return "see `values.yaml`", err
	}
	return "`" + string(text) + "`", nil
}
