// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package schema_test

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/apikey-manager/apikey-manager/test/schema/crd"
)

// TestCoverage_EveryRuleAcceptsAndRejects walks the schemas. For each limit and each CEL rule there must be a case that
// is rejected by it, and an accepted case with a value in that place. It fails if a rule is added without a test.
func TestCoverage_EveryRuleAcceptsAndRejects(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		base   func() crd.Object
		all    tables
		status bool
	}{
		"APIKey":    {base: baseKey, all: keyTables()},
		"Account":   {base: baseAccount, all: accountTables()},
		"KeyExport": {base: baseExport, all: exportTables(), status: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kind := kindOf(t, name)
			seen := observe(t, kind, tc.base, tc.all)
			root := kind.Schema()
			seen.compare(t, "", root.XValidations, nil)
			spec := root.Properties["spec"]
			seen.walk(t, "spec", &spec)
			if status := root.Properties["status"]; tc.status {
				delete(status.Properties, "conditions") // the limits of metav1.Condition
				seen.walk(t, "status", &status)
			}
		})
	}
}

// sightings records the constraints and values of the cases.
type sightings struct {
	refused  map[string]map[string]bool // path -> constraint or message
	accepted map[string]bool            // path with a value in an accepted object
	updated  map[string]bool            // as accepted, if the stored object had a value, too
}

func observe(t *testing.T, kind *crd.Kind, base func() crd.Object, all tables) *sightings {
	t.Helper()
	seen := &sightings{refused: map[string]map[string]bool{}, accepted: map[string]bool{"": true}, updated: map[string]bool{"": true}}
	for _, cases := range all {
		for _, tc := range cases {
			stored, errs := tc.run(t, kind, base)
			for _, err := range errs {
				seen.refuse(err)
			}
			if len(errs) > 0 {
				continue
			}
			values(stored, "", seen.accepted)
			if tc.from != nil {
				values(stored, "", seen.updated)
			}
		}
	}
	return seen
}

// values records the path of each value in an object.
func values(value any, path string, into map[string]bool) {
	into[path] = true
	switch value := value.(type) {
	case crd.Object:
		for name, child := range value {
			values(child, strings.TrimPrefix(path+"."+name, "."), into)
		}
	case []any:
		for _, child := range value {
			values(child, path+"[]", into)
		}
	}
}

var index = regexp.MustCompile(`\[\d+\]`)

// constraints lists the errors of the OpenAPI schema by keyword.
var constraints = []struct {
	keyword string
	kind    field.ErrorType
	detail  string
}{
	{keyword: "enum", kind: field.ErrorTypeNotSupported},
	{keyword: "maxLength", kind: field.ErrorTypeTooLong},
	{keyword: "maxItems", kind: field.ErrorTypeTooMany},
	{keyword: "required", kind: field.ErrorTypeRequired},
	{keyword: "set", kind: field.ErrorTypeDuplicate},
	{keyword: "pattern", kind: field.ErrorTypeInvalid, detail: "should match"},
	{keyword: "minLength", kind: field.ErrorTypeInvalid, detail: "chars long"},
	{keyword: "minItems", kind: field.ErrorTypeInvalid, detail: "items"},
	{keyword: "minProperties", kind: field.ErrorTypeInvalid, detail: "properties"},
	{keyword: "minimum", kind: field.ErrorTypeInvalid, detail: "greater than or equal"},
	{keyword: "maximum", kind: field.ErrorTypeInvalid, detail: "less than or equal"},
}

func (s *sightings) refuse(err *field.Error) {
	path := index.ReplaceAllString(strings.TrimPrefix(err.Field, "<nil>"), "[]")
	if s.refused[path] == nil {
		s.refused[path] = map[string]bool{}
	}
	s.refused[path][err.Detail] = true
	for _, constraint := range constraints {
		if err.Type == constraint.kind && strings.Contains(err.Detail, constraint.detail) {
			s.refused[path][constraint.keyword] = true
		}
	}
}

func (s *sightings) walk(t *testing.T, path string, schema *apiextensionsv1.JSONSchemaProps) {
	t.Helper()
	s.compare(t, path, schema.XValidations, declared(schema))
	for _, name := range schema.Required {
		if !s.refused[path+"."+name]["required"] {
			t.Errorf("no case leaves out %s.%s, which is required", path, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(schema.Properties)) {
		child := schema.Properties[name]
		s.walk(t, path+"."+name, &child)
	}
	if schema.Items != nil {
		if schema.XListType != nil && *schema.XListType == "set" && !s.refused[path+"[]"]["set"] {
			t.Errorf("no case has the same item of %s twice", path)
		}
		s.walk(t, path+"[]", schema.Items.Schema)
	}
}

// declared returns the limits of one value.
func declared(schema *apiextensionsv1.JSONSchemaProps) []string {
	has := map[string]bool{
		"enum":      len(schema.Enum) > 0,
		"maxLength": schema.MaxLength != nil,
		"maxItems":  schema.MaxItems != nil || schema.MaxProperties != nil,
		"pattern":   schema.Pattern != "",
		"minLength": schema.MinLength != nil,
		"minItems":  schema.MinItems != nil,
		"minimum":   schema.Minimum != nil,
		"maximum":   schema.Maximum != nil,
		// An object with a default for one of its fields is never empty when it is validated.
		"minProperties": schema.MinProperties != nil && *schema.MinProperties > 0 && !hasDefault(schema),
	}
	maps.DeleteFunc(has, func(_ string, there bool) bool { return !there })
	return slices.Sorted(maps.Keys(has))
}

func hasDefault(schema *apiextensionsv1.JSONSchemaProps) bool {
	for _, child := range schema.Properties {
		if child.Default != nil {
			return true
		}
	}
	return false
}

func (s *sightings) compare(t *testing.T, path string, rules apiextensionsv1.ValidationRules, keywords []string) {
	t.Helper()
	for _, keyword := range keywords {
		if !s.refused[path][keyword] {
			t.Errorf("no case is refused for %s of %s", keyword, path)
		}
		if !s.accepted[path] {
			t.Errorf("no accepted case has %s, so the values that %s accepts are not tested", path, keyword)
		}
	}
	for _, rule := range rules {
		if rule.Message == "" || strings.ContainsAny(rule.Message, "\n") {
			t.Errorf("the message of rule %q of %s is not one line", rule.Rule, path)
		}
		if !s.refuses(path+rule.FieldPath, rule.Message) {
			t.Errorf("no case is refused for %q at %s", rule.Message, path+rule.FieldPath)
		}
		accepted := s.accepted
		if strings.Contains(rule.Rule, "oldSelf") {
			accepted = s.updated
		}
		if !accepted[path] {
			t.Errorf("no accepted case tests %q of %s", rule.Message, path)
		}
	}
}

// refuses reports whether a case was rejected with the message. If a rule could not be evaluated, the error ends with
// the message.
func (s *sightings) refuses(path, message string) bool {
	for detail := range s.refused[strings.TrimPrefix(path, ".")] {
		if strings.HasSuffix(detail, message) {
			return true
		}
	}
	return false
}
