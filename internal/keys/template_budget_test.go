// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"fmt"
	"runtime"
	"strings"


	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// templateKey returns a key with as many scopes as the schema admits, and a template.
func templateKey(data map[string]string) (*v1alpha1.APIKey, *v1alpha1.Account) {
	k := &v1alpha1.APIKey{ObjectMeta: metav1.ObjectMeta{Namespace: "web", Name: "shop"}}
	k.Spec.Account, k.Spec.Label = "acme", strings.Repeat("ñ", 128)
	for i := range 64 {
		k.Spec.Scopes = append(k.Spec.Scopes, fmt.Sprintf("%s:%d", strings.Repeat("s", 120), i))
	}
	k.Spec.Secret = &v1alpha1.SecretSpec{Template: &v1alpha1.SecretTemplate{Data: data}}
	return k, &v1alpha1.Account{ObjectMeta: metav1.ObjectMeta{Name: "acme"}}
}

// fill repeats a piece until an entry is full.
func fill(head, piece, tail string) string {
	return head + strings.Repeat(piece, max(0, maxEntryText-len(head)-len(tail))/len(piece)) + tail
}

// everywhere puts one template into as many entries as are possible, beside one that holds the key.
func everywhere(text string) map[string]string {
	data := map[string]string{"a": "{{ .Key }}"}
	for i := range maxEntries - 1 {
		data[fmt.Sprintf("x%02d", i)] = text
	}
	return data
}

// hostileTemplates are programs that take what they can get, each in one entry.
var hostileTemplates = map[string]string{
	"doubling":              `{{$a := printf "%100000d" 1}}` + strings.Repeat(`{{$a = print $a $a}}`, 9) + `{{len $a}}`,
	"the one that was seen": `{{$a := printf "%1000000d" 1}}` + strings.Repeat(`{{$a = print $a $a}}`, 9) + `{{len $a}}`,
	"no variables":          `{{with printf "%60000d" 1}}{{with print . . .}}{{with print . .}}{{len .}}{{end}}{{end}}{{end}}`,
	"width by argument":     `{{printf "%*d" 1000000 1 | len}}`,
	"one argument often":    `{{$a := printf "%60000d" 1}}{{` + fill(`len (printf "`, "%[1]s", `" $a)`) + `}}`,
	"width of each scope":   `{{len (printf "%9000v" .Scopes)}}`,
	"precision":             `{{len (printf "%.300000f" 1.5)}}`,
	"verbs that do not fit": fill(`{{len (printf "`, "%d", `" .Scopes .Scopes .Scopes .Scopes .Scopes .Scopes)}}`),
	"joined":                `{{$a := printf "%5000d" 1}}{{len (join $a .Scopes)}}`,
	"escaped":               `{{$a := html (printf "%60000s" "<")}}{{$b := js $a}}{{$c := quote $b}}{{urlquery $c $c | len}}`,
	"many loops":            fill("", "{{range .Scopes}}{{.}}{{end}}", ""),
	"a long loop":           fill("{{range .Scopes}}", "{{.}}", "{{end}}"),
	"a long idle loop":      fill("{{range .Scopes}}", "{{$a:=1}}", "{{end}}"),
	"static text":           fill("", "𝔘", ""),
	"static text in a loop": fill("{{range .Scopes}}", "x", "{{end}}"),
	"small actions":         fill("", "{{1}}", ""),
	"variables":             fill("", "{{$a:=1}}", ""),
	"variables looked up":   strings.Repeat("{{$a:=1}}", 150) + fill("{{print ", "$ ", "}}"),
	"parentheses":           "{{" + strings.Repeat("(", 2000) + "1" + strings.Repeat(")", 2000) + "}}",
	"parentheses, hidden":   "{{" + strings.Repeat(`(print "{{" `, 250) + "1" + strings.Repeat(")", 250) + "}}",
	"conditions":            strings.Repeat("{{if 1}}", 270) + strings.Repeat("{{end}}", 270),
	"arguments":             fill("{{print ", "1 ", "}}"),
	"numbers":               fill("{{print ", "1i ", "}}"),
	"comparisons":           `{{$a := printf "%20000d" 1}}{{$b := print $a}}` + fill("{{eq $a ", "$b ", "}}"),
	"everything":            fill("", "{{.}}", ""),
	"everything by verb":    fill("", `{{printf "%#v" .}}`, ""),
	"calls":                 fill("", "{{len .Scopes|not}}", ""),
	"indexes":               fill("", "{{index .Scopes 9}}", ""),
	"slices":                fill("", "{{slice .Key 1 2}}", ""),
	"pipes":                 fill("{{1", "|len", "}}"),
	"chains":                fill("{{.", "a.", "a}}"),
	"and":                   fill("{{and ", "1 ", "}}"),
}

// allocated returns the bytes that f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}
