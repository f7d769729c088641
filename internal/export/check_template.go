// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package export

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/credential"
)

// This file checks the templates of an export when it is compiled: it renders them for a placeholder, a key that does not
// exist. Then it renders them with texts in the placeholder that change the meaning of JSON unless the template quotes
// them.

// placeholder holds the texts of the key and its account that users choose freely, for which templates are checked.
type placeholder struct {
	label, externalID, metadata string
}

// plain holds texts without special characters. The metadata is a number, so that a template may use it as one.
var plain = placeholder{"label", "external-id", "1"}

// hostileTexts change the meaning of JSON in which they are not quoted: within a string, and outside of strings.
var hostileTexts = []string{`1","key":"1`, `1,"key":1`, `\`}

// checkTemplate returns an error if the templates do not render to an entry that a gateway understands.
func (x *Export) checkTemplate() error {
	if !strings.Contains(x.spec.Entry.Value, "{{") {
		return specError(x.errLacking())
	}
	entry, err := x.renderPlaceholder(plain)
	if err != nil {
		return specError(err)
	}
	if x.spec.Layout == v1alpha1.ExportLayoutEntries {
		if err := x.checkNames(); err != nil {
			return err
		}
	}
	var value any
	if x.json = json.Unmarshal(entry.Value, &value) == nil && isContainer(value); !x.json {
		return nil
	}
	if !isPlainJSON(entry.Value) {
		return specError(errJSON)
	}
	return x.checkQuoting(entry.Value)
}

// isContainer reports whether a decoded JSON value is an object or a list.
func isContainer(value any) bool {
	switch value.(type) {
	case map[string]any, []any:
		return true
	}
	return false
}

func specError(err error) error { return fmt.Errorf("spec.%w", err) }

func (x *Export) errLacking() error {
	if x.spec.Content == v1alpha1.ExportContentKey {
		return errNoKey
	}
	return errNoDigest
}

// checkNames refuses a name that is the same for all credentials.
func (x *Export) checkNames() error {
	if strings.Contains(x.spec.Entry.Name, "{{") {
		return nil
	}
	return errors.New("spec.entry.name: must differ for each credential, since an object can't have two entries of the same name: " +
		"use a template, such as {{ .KeyID }}")
}

// checkQuoting refuses a template in which a text changes the structure of the JSON value.
func (x *Export) checkQuoting(value []byte) error {
	want := structureOf(value)
	for _, text := range hostileTexts {
		for _, probe := range []struct {
			name string
			with placeholder
		}{
			{".Label", placeholder{text, plain.externalID, plain.metadata}},
			{".ExternalID", placeholder{plain.label, text, plain.metadata}},
			{".Metadata", placeholder{plain.label, plain.externalID, text}},
		} {
			x.json = false
			entry, err := x.renderPlaceholder(probe.with)
			if x.json = true; err == nil && structureOf(entry.Value) != want {
				return fmt.Errorf("spec.entry.value: must not use %s without quote, because a user could add to the JSON value: "+
					"write {{ quote %s }}, without quotation marks around it", probe.name, exampleOf(probe.name))
			}
		}
	}
	return nil
}

// isQuoted reports whether the texts that users chose stay within the strings of a JSON value: it has the same structure if they have
// no character with a meaning in JSON. checkQuoting does not reach the branches of a template that only some texts take.
func (x *Export) isQuoted(c Candidate, cred v1alpha1.Credential, material credential.Material, value []byte) bool {
	plainKey, plainAccount, changed := withoutSyntax(c)
	if !changed {
		return true
	}
	_, want, err := x.template.Render(plainKey, plainAccount, cred, material)
	return err == nil && structureOf(value) == structureOf(want)
}

// jsonSyntax matches the characters with a meaning in JSON.
var jsonSyntax = regexp.MustCompile(`["\\{}\[\],:]`)

// withoutSyntax returns a key and its account in whose texts letters replace the characters with a meaning in JSON. changed is false
// if there are none.
func withoutSyntax(c Candidate) (k *v1alpha1.APIKey, a *v1alpha1.Account, changed bool) {
	replace := func(text string) string {
		changed = changed || jsonSyntax.MatchString(text)
		return jsonSyntax.ReplaceAllString(text, "x")
	}
	replaceAll := func(metadata map[string]v1alpha1.MetadataValue) map[string]v1alpha1.MetadataValue {
		all := make(map[string]v1alpha1.MetadataValue, len(metadata))
		for name, text := range metadata {
			all[name] = v1alpha1.MetadataValue(replace(string(text)))
		}
		return all
	}
	key := *c.Key
	key.Spec.Label, key.Spec.Metadata = replace(key.Spec.Label), replaceAll(key.Spec.Metadata)
	if c.Account == nil {
		return &key, nil, changed
	}
	account := *c.Account
	account.Spec.ExternalID, account.Spec.Metadata = replace(account.Spec.ExternalID), replaceAll(account.Spec.Metadata)
	return &key, &account, changed
}

// exampleOf returns an example of the use of a value in a template.
func exampleOf(name string) string {
	if name == ".Metadata" {
		return name + ".name"
	}
	return name
}

// renderPlaceholder returns the entry of a credential of a key that does not exist.
func (x *Export) renderPlaceholder(p placeholder) (Entry, error) {
	material := credential.Material("live_0123456789abPlaceholderPlaceholderPlaceholder")
	requests := int32(1)
	limits := []v1alpha1.RateLimit{{Name: "requests", Requests: &requests, Unit: "Minute"}, {Name: "tokens", Requests: &requests, Unit: "Day"}}
	k := &v1alpha1.APIKey{
		ObjectMeta: metav1.ObjectMeta{Namespace: "namespace", Name: "name", UID: "00000000-0000-4000-8000-000000000000"},
		Spec: v1alpha1.APIKeySpec{
			Account: "account", Label: p.label, Scopes: []string{"1", "2"}, Expiration: "2027-01-01T00:00:00Z",
			Metadata: map[string]v1alpha1.MetadataValue{},
		},
	}
	names := x.template.MetadataNames()
	if len(names) == 0 {
		names = []string{"name"} // for a template that uses all metadata
	}
	for _, name := range names {
		k.Spec.Metadata[name] = v1alpha1.MetadataValue(p.metadata)
	}
	a := &v1alpha1.Account{
		ObjectMeta: metav1.ObjectMeta{Name: "account"},
		Spec:       v1alpha1.AccountSpec{ExternalID: p.externalID, Plan: "plan", RateLimits: limits},
	}
	cred := v1alpha1.Credential{ID: "0123456789ab", Hint: "live_0123456789ab", SHA256: material.SHA256(), Role: v1alpha1.RoleCurrent}
	return x.Render(Candidate{Key: k, Account: a}, cred, material)
}

// isPlainJSON reports whether a text is JSON in which no object has the same name twice, also if upper and lower case are
// not distinguished, as some gateways don't.
func isPlainJSON(text []byte) bool {
	s := structureOf(text)
	return s != "" && !strings.HasPrefix(s, repeated)
}

// repeated begins the structure of JSON with an object that has the same name twice.
const repeated = "!"

// structureOf returns a text that is the same for two JSON texts that differ only in strings and numbers, apart from the
// names in objects. It returns "" if the text is not JSON.
func structureOf(text []byte) string {
	if !json.Valid(text) {
		return ""
	}
	s := structure{decoder: json.NewDecoder(bytes.NewReader(text))}
	s.decoder.UseNumber()
	if s.value() != nil {
		return ""
	}
	if _, err := s.decoder.Token(); !errors.Is(err, io.EOF) {
		return ""
	}
	if s.repeats {
		return repeated + s.out.String()
	}
	return s.out.String()
}

// structure collects the structure of a JSON text.
type structure struct {
	decoder *json.Decoder
	out     strings.Builder
	repeats bool
}

func (s *structure) value() error {
	token, err := s.decoder.Token()
	if err != nil {
		return err
	}
	delimiter, ok := token.(json.Delim)
	if !ok {
		s.out.WriteString("v ")
		return nil
	}
	s.out.WriteString(delimiter.String())
	var names []string
	for s.decoder.More() {
		if delimiter == '{' {
			name, err := s.decoder.Token()
			if err != nil {
				return err
			}
			folded := strings.ToLower(fmt.Sprint(name))
			s.repeats = s.repeats || slices.Contains(names, folded)
			names = append(names, folded)
			fmt.Fprintf(&s.out, "%q:", name)
		}
		if err := s.value(); err != nil {
			return err
		}
	}
	end, err := s.decoder.Token()
	fmt.Fprint(&s.out, end)
	return err
}
