// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/credential"
)

// The entries of the template of a KeyExport, by the paths of their fields below spec.
const (
	entryName  = "entry.name"
	entryValue = "entry.value"
)

// The most elements that the schema allows in the values that the template of a KeyExport can range over.
const (
	maxScopes     = 64
	maxMetadata   = 32 // 16 of the key, and 16 of the account
	maxRateLimits = 8
)

var (
	errEntryRange      = errors.New("range is available over .Scopes, .Metadata and .RateLimits only, and not within another range")
	errEntryOperations = fmt.Errorf(
		"the templates of an entry take more than %d steps, counting range %d times over .Scopes, %d over .Metadata and %d over "+
			".RateLimits: shorten them",
		maxOperations, maxScopes, maxMetadata, maxRateLimits,
	)
)

// entryValues holds the values that the template of a KeyExport may use. The field names are part of the API.
type entryValues struct {
	KeyID      string
	Account    string
	ExternalID string
	Label      string
	Scopes     []string
	Expiration string
	Namespace  string
	Name       string
	UID        string
	Role       string
	Plan       string
	Metadata   map[string]string
	RateLimits []entryRateLimit
	Digest     string
}

// entryKeyValues holds the values that the template of a KeyExport with content Key may use.
type entryKeyValues struct {
	entryValues
	Key string
}

// entryRateLimit holds one rate limit as templates use it.
type entryRateLimit struct {
	Name     string
	Requests int32
	Unit     string
}

// DigestPrefix precedes the hexadecimal digits in the value .Digest of templates.
const DigestPrefix = "sha256:"

func entryValuesOf(k *v1alpha1.APIKey, a *v1alpha1.Account, c *v1alpha1.Credential) entryValues {
	common := valuesOf(k, a, SecretCredentials{})
	v := entryValues{
		KeyID: c.ID, Account: common.Account, ExternalID: common.ExternalID, Label: common.Label, Scopes: common.Scopes,
		Expiration: common.Expiration, Namespace: common.Namespace, Name: common.Name, UID: string(k.UID), Role: string(c.Role),
		Metadata: common.Metadata, Digest: DigestPrefix + c.SHA256,
	}
	if a == nil {
		return v
	}
	v.Plan = a.Spec.Plan
	for _, l := range EffectiveRateLimits(k.Spec.RateLimits, a.Spec.RateLimits) {
		v.RateLimits = append(v.RateLimits, entryRateLimit{Name: l.Name, Requests: requestsOf(l), Unit: string(l.Unit)})
	}
	return v
}

// eachEntryString calls f for each string in a value of the template of a KeyExport, and returns how many there are. A
// rate limit has two more, empty ones, for its brackets.
func eachEntryString(value any, f func(string)) int {
	switch v := value.(type) {
	case entryRateLimit:
		return eachString([]string{v.Name, strconv.Itoa(int(v.Requests)), v.Unit, "", ""}, f)
	case []entryRateLimit:
		n := 0
		for _, l := range v {
			n += eachEntryString(l, f)
		}
		return max(1, n)
	case entryValues:
		fields := []string{
			v.KeyID, v.Account, v.ExternalID, v.Label, v.Expiration, v.Namespace, v.Name, v.UID, v.Role, v.Plan, v.Digest,
		}
		return eachString(fields, f) + eachString(v.Scopes, f) + eachString(v.Metadata, f) + eachEntryString(v.RateLimits, f)
	case entryKeyValues:
		return eachEntryString(v.entryValues, f) + eachString([]string{v.Key, "", ""}, f)
	}
	return 0
}

// EntryTemplate renders the name and the value of an entry of a KeyExport. It must not be used by several goroutines at a
// time.
type EntryTemplate struct {
	compiled *compiledTemplate
	content  v1alpha1.ExportContent
	text     string
}

// CompileEntryTemplate parses the templates of an entry. Both must be set. Under content Key, that of the value may use
// .Key. They have the functions and the limits of the template of a Secret.
func CompileEntryTemplate(e v1alpha1.ExportEntry, content v1alpha1.ExportContent) (*EntryTemplate, error) {
	compiled, err := compileEntries(map[string]string{entryName: e.Name, entryValue: e.Value}, ranges{
		lengths:  map[string]int{".Scopes": maxScopes, ".Metadata": maxMetadata, ".RateLimits": maxRateLimits},
		errRange: errEntryRange, errOperations: errEntryOperations,
	})
	if err != nil {
		return nil, entryError(err)
	}
	return &EntryTemplate{compiled: compiled, content: content, text: e.Name + "\n" + e.Value}, nil
}

var errEntryTooMany = &TemplateError{"the key has more scopes, metadata or rate limits than the schema allows"}

// Render returns the entry of a credential of a key. It uses material only under content Key.
func (t *EntryTemplate) Render(
	k *v1alpha1.APIKey,
	a *v1alpha1.Account,
	c v1alpha1.Credential,
	material credential.Material,
) (name string, value []byte, err error) {
	values := entryValuesOf(k, a, &c)
	if len(values.Scopes) > maxScopes || len(values.Metadata) > maxMetadata || len(values.RateLimits) > maxRateLimits {
		return "", nil, errEntryTooMany
	}
	entries, err := t.compiled.renderWith(func(entry string) any {
		if t.content == v1alpha1.ExportContentKey && entry == entryValue { // names are not secret
			return entryKeyValues{values, string(material)}
		}
		return values
	})
	if err != nil {
		return "", nil, entryError(err)
	}
	return string(entries[entryName]), entries[entryValue], nil
}

// metadataReference matches how a template may refer to an entry of metadata by name: as a field, or in quotes. All other
// values begin with an upper-case letter.
var metadataReference = regexp.MustCompile(`\.([a-z][A-Za-z0-9]*)|["` + "`" + `]([a-z][A-Za-z0-9]*)["` + "`" + `]`)

// MetadataNames returns the names of the metadata that the templates may refer to, at most as many as a key can have.
func (t *EntryTemplate) MetadataNames() []string {
	var fields, quoted []string
	for _, match := range metadataReference.FindAllStringSubmatch(t.text, -1) {
		if match[1] != "" {
			fields = append(fields, match[1])
		} else {
			quoted = append(quoted, match[2])
		}
	}
	var names []string
	for _, name := range append(fields, quoted...) {
		if IsMetadataName(name) && !slices.Contains(names, name) && len(names) < maxMetadata {
			names = append(names, name)
		}
	}
	return names
}

// unknownValue matches the error of text/template for a value that does not exist.
var unknownValue = regexp.MustCompile(`can't evaluate field (\w+) in type keys\.entry(Key)?Values`)

// entryError returns an error of the template of a KeyExport as users understand it: with the path of the field instead of
// the name of a template, and without names of types.
func entryError(err error) error {
	message := strings.TrimPrefix(err.Error(), "template: ")
	return &TemplateError{unknownValue.ReplaceAllString(message, "there is no value .$1")}
}
