// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package schema_test

import (
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

// TestExplain_DescribesEveryFieldAndValue walks the descriptions that kubectl explain shows. Each field must have a
// description, and the description of a field with enumerated values must name each of them.
func TestExplain_DescribesEveryFieldAndValue(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"APIKey", "Account", "KeyExport"} {
		schema := kindOf(t, name).Schema()
		for _, part := range []string{"spec", "status"} {
			checkExplained(t, name+"."+part, schema.Properties[part])
		}
	}
}

func checkExplained(t *testing.T, path string, s apiextensionsv1.JSONSchemaProps) {
	t.Helper()
	if len(strings.Fields(s.Description)) < 2 {
		t.Errorf("%s is not described", path)
	}
	for _, value := range s.Enum {
		if word := strings.Trim(string(value.Raw), `"`); !strings.Contains(s.Description, word) {
			t.Errorf("%s: the description does not name %s: %q", path, word, s.Description)
		}
	}
	for name, field := range s.Properties {
		checkExplained(t, path+"."+name, field)
	}
	if s.Items != nil && s.Items.Schema != nil {
		for name, field := range s.Items.Schema.Properties {
			checkExplained(t, path+"[]."+name, field)
		}
	}
}
