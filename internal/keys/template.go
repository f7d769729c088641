// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/template"
	"text/template/parse"
	"time"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// maxEntry bounds one rendered entry of a Secret, which is at most 1 MiB in all.
const maxEntry = 64 << 10

// templateFunctions are pure: no environment, no randomness, no time.
var templateFunctions = template.FuncMap{
	"quote":  quote,
	"b64enc": func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) },
	"lower":  strings.ToLower,
	"upper":  strings.ToUpper,
	"join":   func(separator string, list []string) string { return strings.Join(list, separator) },
}

// quote writes a JSON string, which is a YAML string too.
func quote(s string) (string, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(s)
	return strings.TrimSuffix(out.String(), "\n"), err
}

// templateValues are what a template may use. The names are part of the API.
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
}

func valuesOf(k *v1alpha1.APIKey, a *v1alpha1.Account, c Contents) templateValues {
	v := templateValues{
		Key: string(c.Current.Material), PreviousKey: string(c.Previous.Material), KeyID: c.Current.ID,
		Account: k.Spec.Account, Label: k.Spec.Label, Scopes: EffectiveScopes(k, a), Namespace: k.Namespace, Name: k.Name,
	}
	zone := ""
	if a != nil {
		v.ExternalID, zone = a.Spec.ExternalID, a.Spec.TimeZone
	}
	if t, err := ResolveExpiration(k.Spec.Expiration, zone); err == nil && t != nil {
		v.Expiration = t.Format(time.RFC3339)
	}
	return v
}

// renderEntries renders the entries of a template. Its error names the entry and the position in it, and holds no
// value.
func renderEntries(data map[string]string, values templateValues) (map[string][]byte, error) {
	entries := make(map[string][]byte, len(data))
	for _, name := range slices.Sorted(maps.Keys(data)) {
		t, err := parseEntry(name, data[name])
		if err != nil {
			return nil, err
		}
		out := &bounded{left: maxEntry}
		if err := t.Execute(out, values); err != nil {
			return nil, err
		}
		if out.Len() > 0 { // an entry that renders to nothing is left out: some consumers take each entry as a client
			entries[name] = out.Bytes()
		}
	}
	return entries, nil
}

// parseEntry parses a template and refuses what could keep a worker busy for ever.
func parseEntry(name, text string) (*template.Template, error) {
	t, err := template.New(name).Funcs(templateFunctions).Option("missingkey=error").Parse(text)
	if err != nil {
		return nil, err
	}
	if len(t.Templates()) > 1 {
		return nil, fmt.Errorf("template: %s: define and block are not available", name)
	}
	if t.Tree == nil {
		return t, nil
	}
	return t, refuseLoops(t.Tree, t.Root, false)
}

// refuseLoops allows range over .Scopes alone, and not within another.
func refuseLoops(tree *parse.Tree, node parse.Node, inRange bool) error {
	refuse := func(n parse.Node, what string) error {
		location, _ := tree.ErrorContext(n)
		return fmt.Errorf("template: %s: %s", location, what)
	}
	switch n := node.(type) {
	case *parse.ListNode:
		if n == nil {
			return nil
		}
		for _, child := range n.Nodes {
			if err := refuseLoops(tree, child, inRange); err != nil {
				return err
			}
		}
	case *parse.IfNode:
		return errors.Join(refuseLoops(tree, n.List, inRange), refuseLoops(tree, n.ElseList, inRange))
	case *parse.WithNode:
		return errors.Join(refuseLoops(tree, n.List, inRange), refuseLoops(tree, n.ElseList, inRange))
	case *parse.RangeNode:
		if p := n.Pipe.Cmds; inRange || len(p) != 1 || len(p[0].Args) != 1 || p[0].Args[0].String() != ".Scopes" {
			return refuse(n, "range is available over .Scopes alone, and not within another range")
		}
		return errors.Join(refuseLoops(tree, n.List, true), refuseLoops(tree, n.ElseList, inRange))
	case *parse.TemplateNode:
		return refuse(n, "template is not available")
	}
	return nil
}

// bounded is a buffer that refuses to grow beyond its bound.
type bounded struct {
	bytes.Buffer
	left int
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.left -= len(p); b.left < 0 {
		return 0, fmt.Errorf("the entry is longer than %d bytes: %w", maxEntry, io.ErrShortWrite)
	}
	return b.Buffer.Write(p)
}

// checkTemplate finds what is wrong with a key's template by rendering it with a stand-in for the key. The key must
// stand in one entry as it is, so that the manager can find it in the Secret again.
func checkTemplate(k *v1alpha1.APIKey, a *v1alpha1.Account) error {
	t := secretTemplate(k)
	if t == nil || len(t.Data) == 0 {
		return nil
	}
	standIn := Credential{Material: Material(strings.Repeat("K", 64)), Identity: Identity{ID: "stand-in", Hint: "KKKK"}}
	entries, err := renderEntries(t.Data, valuesOf(k, a, Contents{Current: standIn, Previous: standIn}))
	if err != nil {
		return err
	}
	alone, err := renderEntries(t.Data, valuesOf(k, a, Contents{Current: standIn}))
	if err != nil {
		return err
	}
	for name := range entries {
		if bytes.Contains(alone[name], standIn.Material) {
			return nil
		}
	}
	return errors.New("no entry holds {{ .Key }} as it is: one must, so that the manager can find the key again")
}

func secretTemplate(k *v1alpha1.APIKey) *v1alpha1.SecretTemplate {
	if k.Spec.Secret == nil {
		return nil
	}
	return k.Spec.Secret.Template
}
