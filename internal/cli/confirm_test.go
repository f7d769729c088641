// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

func TestConfirm(t *testing.T) {
	for name, tc := range map[string]struct {
		answer           string
		interactive, yes bool
		want             error
		asks             bool
	}{
		"yes":                   {"yes\n", true, false, nil, true},
		"y in upper case":       {" Y \n", true, false, nil, true},
		"no":                    {"no\n", true, false, errDeclined, true},
		"just enter":            {"\n", true, false, errDeclined, true},
		"the end of the input":  {"", true, false, errDeclined, true},
		"a long answer":         {strings.Repeat("y", 1000), true, false, errDeclined, true},
		"--yes does not ask":    {"", false, true, nil, false},
		"no terminal to ask on": {"yes\n", false, false, codeError{code: exitUsage}, false},
	} {
		t.Run(name, func(t *testing.T) {
			streams, in, _, errOut := genericiooptions.NewTestIOStreams()
			in.WriteString(tc.answer)
			e := &environment{IOStreams: streams, interactive: tc.interactive}
			err := e.confirm(t.Context(), "Delete?", tc.yes)
			wantCode, isCode := errors.AsType[codeError](tc.want)
			gotCode, _ := errors.AsType[codeError](err)
			if isCode && gotCode.code != wantCode.code || !isCode && !errors.Is(err, tc.want) {
				t.Errorf("confirm = %v, want %v", err, tc.want)
			}
			if asks := strings.Contains(errOut.String(), "Delete? [y/N] "); asks != tc.asks {
				t.Errorf("it asks: %t, want %t", asks, tc.asks)
			}
		})
	}
}

func TestQuestion_NamesWhatWillBeDeleted(t *testing.T) {
	list := []v1alpha1.APIKey{
		{ObjectMeta: metav1.ObjectMeta{Namespace: "shops", Name: "a"}, Spec: v1alpha1.APIKeySpec{Account: "acme", Label: "Tienda \x1b[2J"}},
		{ObjectMeta: metav1.ObjectMeta{Namespace: "shops", Name: "b"}, Spec: v1alpha1.APIKeySpec{Account: "acme"}, Status: v1alpha1.APIKeyStatus{State: v1alpha1.StateActive}},
	}
	want := "  shops/a of account acme, label \"Tienda \\x1b[2J\"\n  shops/b of account acme, Active\nDelete these 2 keys? What is deleted cannot be recovered."
	if got := question("Delete", "What is deleted cannot be recovered.", list); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	many := make([]v1alpha1.APIKey, 25)
	for i := range many {
		many[i].Name = fmt.Sprint("key-", i)
	}
	if got := question("Delete", "", many); !strings.Contains(got, "key-19 ") || strings.Contains(got, "key-20 ") || !strings.Contains(got, "and 5 more") {
		t.Errorf("got %s", got)
	}
}
