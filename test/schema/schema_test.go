// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Package schema_test tests every rule of the CustomResourceDefinitions without a control plane.
package schema_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/apikey-manager/apikey-manager/test/schema/crd"
)

// load reads the CustomResourceDefinitions once for all tests.
var load = sync.OnceValues(func() (crd.Kinds, error) {
	root, err := crd.Root()
	if err != nil {
		return nil, err
	}
	return crd.Load(root)
})

func kindOf(t *testing.T, name string) *crd.Kind {
	t.Helper()
	kinds, err := load()
	if err != nil {
		t.Fatal(err)
	}
	kind, ok := kinds[name]
	if !ok {
		t.Fatalf("no CustomResourceDefinition of kind %s", name)
	}
	return kind
}

// change describes changes of the base object: each path, with dots between the fields, is set to the value, or removed
// if the value is absent.
type change map[string]any

// absent is the value that removes a field.
type absent struct{}

func (c change) to(base crd.Object) crd.Object {
	for path, value := range c {
		set(base, strings.Split(path, "."), value)
	}
	return base
}

func set(obj crd.Object, path []string, value any) {
	for _, name := range path[:len(path)-1] {
		next, ok := obj[name].(crd.Object)
		if !ok {
			next = crd.Object{}
			obj[name] = next
		}
		obj = next
	}
	last := path[len(path)-1]
	if _, remove := value.(absent); remove {
		delete(obj, last)
		return
	}
	obj[last] = decoded(value)
}

// tables holds the cases of one kind by topic.
type tables map[string]testCases

// testCases holds cases by their description.
type testCases map[string]testCase

// testCase describes a change of the base object and the expected response of the API server.
type testCase struct {
	// from is the change that produces the stored object. If it is set, the test is an update.
	from change
	// change is the change that produces the object in the request.
	change change
	// wantErrors lists all expected errors as "field: text": the error names the field, and its message contains the
	// text.
	wantErrors []string
	// want holds expected fields of the stored object.
	want change
}

func (tc testCase) run(t *testing.T, kind *crd.Kind, base func() crd.Object) (crd.Object, field.ErrorList) {
	t.Helper()
	if tc.from != nil {
		return kind.Update(t.Context(), tc.change.to(base()), tc.from.to(base()))
	}
	return kind.Create(t.Context(), tc.change.to(base()))
}

// check runs the cases of one kind.
func check(t *testing.T, kindName string, base func() crd.Object, all tables) {
	t.Helper()
	kind := kindOf(t, kindName)
	for about, cases := range all {
		for name, tc := range cases {
			t.Run(about+"/"+name, func(t *testing.T) {
				t.Parallel()
				stored, errs := tc.run(t, kind, base)
				compareErrors(t, errs, tc.wantErrors)
				for path, want := range tc.want {
					if got := get(stored, strings.Split(path, ".")); got != want {
						t.Errorf("stored %s = %v, want %v", path, got, want)
					}
				}
			})
		}
	}
}

func get(obj crd.Object, path []string) any {
	for _, name := range path[:len(path)-1] {
		next, ok := obj[name].(crd.Object)
		if !ok {
			return absent{}
		}
		obj = next
	}
	value, ok := obj[path[len(path)-1]]
	if !ok {
		return absent{}
	}
	return value
}

// compareErrors matches each error with an expected one, and reports errors and expectations without a match.
func compareErrors(t *testing.T, errs field.ErrorList, wantErrors []string) {
	t.Helper()
	missing := slices.Clone(wantErrors)
	for _, err := range errs {
		i := slices.IndexFunc(missing, func(want string) bool {
			path, text, _ := strings.Cut(want, ": ")
			return err.Field == path && strings.Contains(err.ErrorBody(), text)
		})
		if i < 0 {
			t.Errorf("unexpected error: %v", err)
			continue
		}
		missing = slices.Delete(missing, i, i+1)
	}
	for _, want := range missing {
		t.Errorf("no error is %q", want)
	}
}

// list returns a list as decoded from JSON.
func list(values ...any) []any {
	for i, value := range values {
		values[i] = decoded(value)
	}
	if values == nil {
		return []any{}
	}
	return values
}

// decoded returns a number as decoded from JSON.
func decoded(value any) any {
	if number, ok := value.(int); ok {
		return int64(number)
	}
	return value
}

// many returns a list of n different strings.
func many(n int, format string) []any {
	texts := make([]any, 0, n)
	for i := range n {
		texts = append(texts, fmt.Sprintf(format, i))
	}
	return texts
}
