// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"bytes"
	"crypto/sha3"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"text/template"
	"text/template/parse"
	"time"
	"unicode/utf8"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// TemplateError describes why a key's template does not render. Its message names the entry and the position, and
// contains no value.
type TemplateError struct{ message string }

// Error implements error.
func (e *TemplateError) Error() string { return e.message }

// IsTemplateError reports whether an error was caused by a key's template. It persists until the template, or what it
// uses, is changed.
func IsTemplateError(err error) bool {
	_, ok := errors.AsType[*TemplateError](err)
	return ok
}

// templateValues holds the values that a template may use. The field names are part of the API.
type templateValues struct {
	Key         string
	PreviousKey string
	KeyID       string
	Account     string
	ExternalID  string
	Label       string
	Scopes      []string
	Expiration  string
	Namespace   string
	Name        string
	// Metadata is left out of the JSON if there is none, so that the template hash of a Secret that was written before
	// it existed stays the same.
	Metadata map[string]string `json:",omitempty"`
}

func valuesOf(k *v1alpha1.APIKey, a *v1alpha1.Account, c SecretCredentials) templateValues {
	v := templateValues{
		Key: string(c.Current.Material), PreviousKey: string(c.Previous.Material), KeyID: c.Current.ID,
		Account: k.Spec.Account, Label: k.Spec.Label, Scopes: EffectiveScopes(k, a), Namespace: k.Namespace, Name: k.Name,
	}
	zone := ""
	if a != nil {
		v.ExternalID, zone = a.Spec.ExternalID, a.Spec.TimeZone
	}
	v.Metadata = metadataOf(k, a)
	if t, err := ResolveExpiration(k.Spec.Expiration, zone); err == nil && t != nil {
		v.Expiration = t.Format(time.RFC3339)
	}
	return v
}

// compiledTemplate holds the entries of a key's template, parsed and checked against the limit on operations.
type compiledTemplate struct {
	names      []string
	root       *template.Template
	ranges     ranges
	operations int
	budget     budget
}

// compileTemplate parses the entries of a Secret's template that is rendered with values that have as many elements as
// these.
func compileTemplate(data map[string]string, values templateValues) (*compiledTemplate, error) {
	return compileEntries(data, ranges{
		lengths:  map[string]int{".Scopes": max(1, len(values.Scopes)), ".Metadata": max(1, len(values.Metadata))},
		errRange: errRange, errOperations: errOperations,
	})
}

// compileEntries parses the entries of a template that may range over some of its values.
func compileEntries(data map[string]string, over ranges) (*compiledTemplate, error) {
	c := &compiledTemplate{names: slices.Sorted(maps.Keys(data)), ranges: over}
	if len(data) > maxEntries {
		return nil, &TemplateError{fmt.Sprintf("template: it has %d entries, and at most %d are allowed", len(data), maxEntries)}
	}
	functions, known := template.FuncMap{writeFunction: c.budget.write}, map[string]any{}
	for name, f := range templateFunctions {
		functions[name], known[name] = c.budget.metered(f), f
	}
	for _, name := range templateBuiltins {
		known[name] = name
	}
	c.root = template.New("").Option("missingkey=error").Funcs(functions)
	for _, name := range c.names {
		if err := c.parse(name, data[name], known); err != nil {
			return nil, &TemplateError{withoutSource(err.Error())}
		}
	}
	return c, nil
}

// parse parses an entry in which only the known functions are defined.
func (c *compiledTemplate) parse(name, text string, known map[string]any) error {
	switch {
	case utf8.RuneCountInString(text) > maxEntryText:
		return fmt.Errorf("template: %s:1: %w", name, errText)
	case nestsTooDeep(text):
		return fmt.Errorf("template: %s:1: %w", name, errDepth)
	}
	trees, err := parse.Parse(name, text, "", "", known)
	if err != nil {
		return err
	}
	if len(trees) > 1 {
		return fmt.Errorf("template: %s: define and block are not available", name)
	}
	t, err := c.root.AddParseTree(name, trees[name])
	if err != nil {
		return err
	}
	return c.admit(t.Tree, t.Root, visit{weight: 1})
}

// nestsTooDeep reports whether a text may have so many nested parentheses that parsing it would take megabytes of
// stack. It counts parentheses outside of actions too.
func nestsTooDeep(text string) bool {
	depth := 0
	for i := range len(text) {
		switch {
		case strings.HasPrefix(text[i:], "{{"):
			depth = 0
		case text[i] == '(':
			depth++
		case text[i] == ')':
			depth = max(0, depth-1)
		}
		if depth > maxDepth {
			return true
		}
	}
	return false
}

// render renders the entries with the values of a key, within the budget of one rendering.
func (c *compiledTemplate) render(values any) (map[string][]byte, error) {
	return c.renderWith(func(string) any { return values })
}

// renderWith renders each entry with values of its own.
func (c *compiledTemplate) renderWith(valuesFor func(name string) any) (map[string][]byte, error) {
	entries := make(map[string][]byte, len(c.names))
	c.budget.left = maxBytesMade
	for _, name := range c.names {
		c.budget.entry.Reset()
		if err := c.root.ExecuteTemplate(io.Discard, name, valuesFor(name)); err != nil {
			return nil, &TemplateError{withoutSource(err.Error())}
		}
		if c.budget.entry.Len() > 0 { // leave out empty entries: some gateways take each entry for a client
			entries[name] = bytes.Clone(c.budget.entry.Bytes())
		}
	}
	return entries, nil
}

// withoutSource removes the quotation of the template from an error of text/template.
func withoutSource(message string) string {
	before, after, found := strings.Cut(message, ": executing ")
	if !found {
		return message
	}
	_, reason, found := strings.Cut(after, ">: ")
	if !found {
		return message
	}
	return before + ": " + strings.TrimPrefix(reason, "error calling "+writeFunction+": ")
}

// errNoKey is the error of a template whose output does not contain the key.
var errNoKey = &TemplateError{"no entry contains {{ .Key }} unchanged: one must, for every key, so that the manager can find the key again"}

// renderEntries renders the entries of a template with the given credentials. findCredential finds the current one in
// the result.
func (c *compiledTemplate) renderEntries(
	k *v1alpha1.APIKey,
	a *v1alpha1.Account,
	credentials SecretCredentials,
) (map[string][]byte, error) {
	entries, err := c.render(valuesOf(k, a, credentials))
	if err != nil || len(credentials.Current.Material) == 0 {
		return entries, err
	}
	current := v1alpha1.Credential{Hint: credentials.Current.Hint, SHA256: credentials.Current.Material.SHA256()}
	if _, found := findCredential(entries, current); !found {
		return nil, errNoKey
	}
	return entries, nil
}

// renderTemplate renders the entries of a key's template with the given credentials.
func renderTemplate(k *v1alpha1.APIKey, a *v1alpha1.Account, credentials ...SecretCredentials) (map[string][]byte, error) {
	compiled, err := compileTemplate(k.Spec.Secret.Template.Data, valuesOf(k, a, SecretCredentials{}))
	if err != nil {
		return nil, err
	}
	var entries map[string][]byte
	for _, c := range credentials {
		if entries, err = compiled.renderEntries(k, a, c); err != nil {
			return nil, err
		}
		if err := checkRequiredEntries(k.Spec.Secret.Template.Type, entries); err != nil {
			return nil, err
		}
	}
	return entries, nil
}

// TemplateCheck caches the result of checking the template of one key in one state of its spec and account.
type TemplateCheck struct {
	once sync.Once
	err  error
}

// result checks the template on the first call. A nil TemplateCheck checks it on every call.
func (t *TemplateCheck) result(k *v1alpha1.APIKey, a *v1alpha1.Account) error {
	if t == nil {
		return checkTemplate(k, a)
	}
	t.once.Do(func() { t.err = checkTemplate(k, a) })
	return t.err
}

// checkTemplate returns the error of a key's template, or nil. It renders the template as Render does, with and without
// a previous key. It uses placeholder keys that are derived from everything that the template can use, so that no
// template can contain them.
func checkTemplate(k *v1alpha1.APIKey, a *v1alpha1.Account) error {
	if t := secretTemplate(k); t == nil || len(t.Data) == 0 {
		return nil
	}
	source, err := placeholderSource(k, a)
	if err != nil {
		return err
	}
	current, err := EffectiveFormat(k, a).Generate(source)
	if err != nil {
		return err
	}
	previous, err := EffectiveFormat(k, a).Generate(source)
	if err != nil {
		return err
	}
	_, err = renderTemplate(k, a, SecretCredentials{Current: current}, SecretCredentials{Current: current, Previous: previous})
	return err
}

// placeholderSource returns bytes that are derived from everything that a rendering uses, except its credentials.
func placeholderSource(k *v1alpha1.APIKey, a *v1alpha1.Account) (io.Reader, error) {
	source := sha3.NewSHAKE256()
	data := secretTemplate(k).Data
	for _, name := range slices.Sorted(maps.Keys(data)) {
		if _, err := fmt.Fprintf(source, "%d %s %d %s\n", len(name), name, len(data[name]), data[name]); err != nil {
			return nil, err
		}
	}
	return source, json.NewEncoder(source).Encode(valuesOf(k, a, SecretCredentials{}))
}

// templateSource returns everything from which a Secret is rendered, except its credentials.
func templateSource(k *v1alpha1.APIKey, a *v1alpha1.Account) []byte {
	source := struct {
		Template    *v1alpha1.SecretTemplate
		Values      templateValues
		PreviousKey v1alpha1.PreviousKeyPolicy `json:",omitempty"`
	}{Template: secretTemplate(k)}
	if source.Template != nil {
		source.Values = valuesOf(k, a, SecretCredentials{})
		if !usesMetadata(source.Template) {
			source.Values.Metadata = nil
		}
	}
	if includesPrevious(k) {
		source.PreviousKey = v1alpha1.PreviousKeyInclude
	}
	text, err := json.Marshal(source)
	if err != nil {
		return nil
	}
	return text
}

func secretTemplate(k *v1alpha1.APIKey) *v1alpha1.SecretTemplate {
	if k.Spec.Secret == nil {
		return nil
	}
	return k.Spec.Secret.Template
}
