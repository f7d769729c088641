// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"fmt"
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/template"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// templateKey returns a key with a template, and its account, with as many and as long scopes and metadata as the schema
// allows.
func templateKey(data map[string]string) (*v1alpha1.APIKey, *v1alpha1.Account) {
	k := &v1alpha1.APIKey{ObjectMeta: metav1.ObjectMeta{Namespace: "web", Name: "shop"}}
	k.Spec.Account, k.Spec.Label = "acme", strings.Repeat("ñ", 128)
	for i := range 64 {
		k.Spec.Scopes = append(k.Spec.Scopes, fmt.Sprintf("%s:%d", strings.Repeat("s", 120), i))
	}
	k.Spec.Secret = &v1alpha1.SecretSpec{Template: &v1alpha1.SecretTemplate{Data: data}}
	a := &v1alpha1.Account{ObjectMeta: metav1.ObjectMeta{Name: "acme"}}
	k.Spec.Metadata, a.Spec.Metadata = map[string]v1alpha1.MetadataValue{}, map[string]v1alpha1.MetadataValue{}
	for i := range 16 {
		value := v1alpha1.MetadataValue(strings.Repeat("𝔘", 256))
		k.Spec.Metadata[fmt.Sprintf("k%s%d", strings.Repeat("o", 60), i)] = value
		a.Spec.Metadata[fmt.Sprintf("a%s%d", strings.Repeat("f", 60), i)] = value
	}
	return k, a
}

// fill repeats a text up to the greatest length of an entry.
func fill(head, piece, tail string) string {
	return head + strings.Repeat(piece, max(0, maxEntryText-len(head)-len(tail))/len(piece)) + tail
}

// everywhere returns a template with the text in as many entries as possible, and one entry that contains the key.
func everywhere(text string) map[string]string {
	data := map[string]string{"a": "{{ .Key }}"}
	for i := range maxEntries - 1 {
		data[fmt.Sprintf("x%02d", i)] = text
	}
	return data
}

// hostileTemplates lists programs that use as much of a resource as they can, each in one entry.
var hostileTemplates = map[string]string{
	"doubling":              `{{$a := printf "%100000d" 1}}` + strings.Repeat(`{{$a = print $a $a}}`, 9) + `{{len $a}}`,
	"the one that was seen": `{{$a := printf "%1000000d" 1}}` + strings.Repeat(`{{$a = print $a $a}}`, 9) + `{{len $a}}`,
	"no variables":          `{{with printf "%60000d" 1}}{{with print . . .}}{{with print . .}}{{len .}}{{end}}{{end}}{{end}}`,
	"width by argument":     `{{printf "%*d" 1000000 1 | len}}`,
	"one argument often":    fill(`{{$a := printf "%60000d" 1}}{{len (printf "`, "%[1]s", `" $a)}}`),
	"width of each scope":   `{{len (printf "%9000v" .Scopes)}}`,
	"precision":             `{{len (printf "%.300000f" 1.5)}}`,
	"verbs that do not fit": fill(`{{len (printf "`, "%d", `" .Scopes .Scopes .Scopes .Scopes .Scopes .Scopes)}}`),
	"joined":                `{{$a := printf "%5000d" 1}}{{len (join $a .Scopes)}}`,
	"escaped":               `{{$a := html (printf "%60000s" "<")}}{{$b := js $a}}{{$c := quote $b}}{{urlquery $c $c | len}}`,
	"many loops":            fill("", "{{range .Scopes}}{{.}}{{end}}", ""),
	"a long loop":           fill("{{range .Scopes}}", "{{.}}", "{{end}}"),
	"a long idle loop":      fill("{{range .Scopes}}", "{{$a:=1}}", "{{end}}"),
	"metadata in a loop":    fill("{{range .Metadata}}", "{{.}}", "{{end}}"),
	"metadata loops":        fill("", "{{range .Metadata}}{{end}}", ""),
	"pairs of metadata":     fill("{{range $k, $v := .Metadata}}", "{{$k}}{{$v}}", "{{end}}"),
	"metadata":              fill("", "{{.Metadata}}", ""),
	"metadata escaped":      fill("", "{{html .Metadata | js | len}}", ""),
	"metadata by verb":      fill("", `{{printf "%#v" .Metadata | len}}`, ""),
	"metadata not printed":  fill("", `{{printf "%.0s" .Metadata}}`, ""),
	"width of metadata":     `{{len (printf "%9000v" .Metadata)}}`,
	"indexes of metadata":   fill("", `{{index .Metadata "a"}}`, ""),
	"static text":           strings.Repeat("𝔘", maxEntryText),
	"static text in a loop": fill("{{range .Scopes}}", "x", "{{end}}"),
	"small actions":         fill("", "{{1}}", ""),
	"variables":             fill("", "{{$a:=1}}", ""),
	"variables looked up":   fill(strings.Repeat("{{$a:=1}}", 150)+"{{print ", "$ ", "}}"),
	"parentheses":           "{{" + strings.Repeat("(", 2000) + "1" + strings.Repeat(")", 2000) + "}}",
	"parentheses, hidden":   "{{" + strings.Repeat(`(print "{{" `, 250) + "1" + strings.Repeat(")", 250) + "}}",
	"conditions":            strings.Repeat("{{if 1}}", 270) + strings.Repeat("{{end}}", 270),
	"arguments":             fill("{{print ", "1 ", "}}"),
	"numbers":               fill("{{print ", "1i ", "}}"),
	"comparisons":           fill(`{{$a := printf "%20000d" 1}}{{$b := print $a}}{{ne $a $b}}{{eq $a `, `$b `, "}}"),
	"everything":            fill("", "{{.}}", ""),
	"everything by verb":    fill("", `{{printf "%#v" .}}`, ""),
	"calls":                 fill("", "{{len .Scopes|not}}", ""),
	"indexes":               fill("", "{{index .Scopes 9}}", ""),
	"slices":                fill("", "{{slice .Key 1 2}}", ""),
	"pipes":                 fill("{{1", "|len", "}}"),
	"chains":                fill("{{.", "a.", "a}}"),
	"and":                   fill("{{and ", "1 ", "}}"),
}

// allocated returns the bytes that f allocates. Tests that call it must not run in parallel.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// maxAllocated limits the bytes that parsing and rendering a template may allocate.
const maxAllocated = 4 << 20

// eachHostile calls f with each program, in one entry and in all entries.
func eachHostile(f func(name string, data map[string]string)) {
	for name, text := range hostileTemplates {
		f(name, map[string]string{"a": "{{ .Key }}", "x": text})
		f(name+", everywhere", everywhere(text))
	}
}

// TestTemplate_Budget is not parallel, because it measures allocations.
func TestTemplate_Budget(t *testing.T) { //nolint:paralleltest // see above
	eachHostile(func(name string, data map[string]string) {
		k, a := templateKey(data)
		var err error
		if n := allocated(func() { err = checkTemplate(k, a) }); n > maxAllocated {
			t.Errorf("%s: a check allocates %d KiB", name, n>>10)
		}
		if err != nil && (!IsTemplateError(err) || !strings.HasPrefix(err.Error(), "template: x")) {
			t.Errorf("%s: the error does not name the entry: %v", name, err)
		}
	})
}

func TestTemplate_BudgetErrorsHavePositions(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"{{len .Key}}\n {{$a := printf \"%100000d\" 1}}{{print $a $a}}":        "template: x:2:32: error calling print: " + errMade.Error(),
		"one\n{{printf \"%*d\" 1000000 1 | len}}":                              "template: x:2:2: error calling printf: " + errMade.Error(),
		"one\n{{printf \"%d %[1]d %[1]300000d\" 1 | len}}":                     "template: x:2:2: error calling printf: " + errMade.Error(),
		"{{$a := printf \"%40000d\" 1}}\n{{$a}}{{$a}}":                         "template: x:2:8: " + errEntry.Error(),
		"{{range .Scopes}}" + strings.Repeat("x", 1500) + "\n{{.}}{{end}}":     "template: x:1:17: " + errEntry.Error(),
		"{{range .Scopes}}" + strings.Repeat("\n{{len .}}", 50) + "{{end}}":    "template: x:12:2: " + errOperations.Error(),
		"{{range .Metadata}}" + strings.Repeat("\n{{len .}}", 99) + "{{end}}":  "template: x:22:9: " + errOperations.Error(),
		strings.Repeat("(", 101):                                               "template: x:1: " + errDepth.Error(),
		strings.Repeat("{{if 1}}", 51) + "yes" + strings.Repeat("{{end}}", 51): "template: x:1:389: " + errDepth.Error(),
		strings.Repeat("é", maxEntryText+1):                                    "template: x:1: " + errText.Error(),
	} {
		k, a := templateKey(map[string]string{"key": "{{ .Key }}", "x": text})
		if err := checkTemplate(k, a); err == nil || err.Error() != want {
			t.Errorf("%.60q: got %v, want %s", text, err, want)
		}
	}
}

// Entries that are within the budget one by one exceed it together.
func TestTemplate_EntriesShareBudget(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"made": `{{printf "%9000d" 1 | len}}`, "written": "{{range .Scopes}}" + strings.Repeat("x", 150) + "{{end}}", "steps": "{{range .Scopes}}{{.}}{{end}}",
	} {
		k, a := templateKey(map[string]string{"key": "{{ .Key }}", "x": text})
		if err := checkTemplate(k, a); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		k, a = templateKey(everywhere(text))
		if err := checkTemplate(k, a); !IsTemplateError(err) {
			t.Errorf("%s: %d times as much is admitted", name, maxEntries)
		}
	}
}

// builtins returns the names of text/template's functions, from its source.
func builtins(t *testing.T) []string {
	t.Helper()
	found, err := build.Import("text/template", "", build.FindOnly)
	if err != nil {
		t.Fatal(err)
	}
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(found.Dir, "funcs.go"), nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	ast.Inspect(file, func(n ast.Node) bool {
		if f, ok := n.(*ast.FuncDecl); ok {
			return f.Name.Name == "builtins"
		}
		if pair, ok := n.(*ast.KeyValueExpr); ok {
			if name, ok := pair.Key.(*ast.BasicLit); ok {
				unquoted, _ := strconv.Unquote(name.Value)
				names = append(names, unquoted)
			}
		}
		return true
	})
	return names
}

// TestTemplate_EveryFunctionHasABudget fails if a function without a budget is added, here or in text/template.
func TestTemplate_EveryFunctionHasABudget(t *testing.T) {
	t.Parallel()
	all := builtins(t)
	if !slices.Contains(all, "urlquery") {
		t.Fatalf("text/template has the functions %q, and urlquery is not among them: is this its source?", all)
	}
	for _, name := range append(all, slices.Collect(maps.Keys(templateFunctions))...) {
		_, metered := templateFunctions[name]
		constant := slices.Contains(templateBuiltins, name)
		if !metered && !constant { // what is in neither list must not be callable
			_, err := compileTemplate(map[string]string{"x": "{{" + name + " .Key}}"}, templateValues{})
			if err == nil || !strings.Contains(err.Error(), "not defined") {
				t.Errorf("%s has no budget, and templates may call it: %v", name, err)
			}
		}
		if metered && constant {
			t.Errorf("%s has a budget, and is called without", name)
		}
	}
}

// TestTemplate_FunctionsStayWithinBound calls each function with the values that produce the longest results.
func TestTemplate_FunctionsStayWithinBound(t *testing.T) {
	t.Parallel()
	list := []string{"a", "<", "\x00", "\xff", "\u0080", "\U000e0001", strings.Repeat("<", 50)}
	values := []any{1, -1 << 63, 1.5e300, -1e-300, complex(1e300, 1e300), 'x', byte(7), true, nil, list, []string{}, templateValues{Key: "k", Scopes: list}, templateValues{}}
	metadata := map[string]string{"a": "", "b": "\xff", "c": strings.Repeat("<", 50)}
	values = append(values, metadata, map[string]string{}, map[string]string(nil), templateValues{Metadata: metadata}, templateValues{Scopes: list, Metadata: metadata})
	for _, piece := range append(list, "\u2028", "\"", "'", "&", "İ", "Ⱥ", "ⱥ", "\n", "=", " ", "%s", "%#q", "% #x", "%d", "%+q", "%v", "%#v", "%[1]s", "%9d", "%*d", "%U", "%e", "%b", "%.99f") {
		values = append(values, piece, strings.Repeat(piece, 100))
	}
	for name, f := range templateFunctions {
		for _, first := range values {
			check := func(args ...any) {
				result, err := f.call(args)
				if n, most := length(result), f.most(args); err == nil && n > most {
					t.Errorf("%s makes %d bytes of %.40q, and says %d at most", name, n, args, most)
				}
				_, err = (&budget{left: length(result) - 1}).metered(f)(args...)
				if err == nil {
					t.Errorf("%s %.40q ignores the budget", name, args)
				}
			}
			check(first)
			for _, second := range values {
				check(first, second)
			}
		}
	}
}

// TestTemplate_BuiltinsAllocateNothing is not parallel, because it measures allocations.
func TestTemplate_BuiltinsAllocateNothing(t *testing.T) { //nolint:paralleltest // see above
	calls := map[string]string{
		"and": "and .Key .Key", "or": "or .Key .Key", "not": "not .Key", "len": "len .Key", "index": "index .Key 0", "slice": "slice .Key 1",
	}
	for _, name := range templateBuiltins {
		if calls[name] == "" {
			t.Errorf("%s is not measured", name)
			continue
		}
		compiled, err := compileTemplate(map[string]string{"x": "{{$x := " + calls[name] + "}}"}, templateValues{})
		if err != nil {
			t.Fatal(err)
		}
		values := templateValues{Key: strings.Repeat("k", 10<<20)}
		if n := allocated(func() { _, err = compiled.render(values) }); n > 100<<10 || err != nil {
			t.Errorf("%s allocates %d KiB for a string of 10 MiB: %v", name, n>>10, err)
		}
	}
}

// The comparisons are those of text/template, with errors that contain no value.
func TestTemplate_Comparisons(t *testing.T) {
	t.Parallel()
	values := []string{`"a"`, `"b"`, `""`, "1", "-2", "'x'", "120", "1.5", "-0.5", "true", "false", ".Key", ".Scopes", ".", "nil", `(index "a" 0)`, "97"}
	k := templateValues{Key: "secret-key", Scopes: []string{"secret-key"}}
	for _, name := range []string{"eq", "ne", "lt", "le", "gt", "ge"} {
		for _, x := range values {
			for _, y := range values {
				text := "{{" + name + " " + x + " " + y + "}}"
				var want strings.Builder
				wantErr := template.Must(template.New("x").Parse(text)).Execute(&want, k)
				compiled, err := compileTemplate(map[string]string{"x": text}, k)
				if err != nil {
					t.Fatal(err)
				}
				got, err := compiled.render(k)
				if (err != nil) != (wantErr != nil) || err == nil && string(got["x"]) != want.String() {
					t.Errorf("%s is %s, %v; text/template says %s, %v", text, got["x"], err, want.String(), wantErr)
				}
				if err != nil && strings.Contains(err.Error(), "secret-key") {
					t.Errorf("%s: the error holds the key", text)
				}
			}
		}
	}
}

// pieces lists the texts of which FuzzTemplate_Budget composes programs.
var pieces = []string{
	"{{range .Scopes}}", "{{range $k, $v := .Metadata}}", ".Metadata", `"k0"`, "{{if .Key}}", "{{with .Label}}", "{{else}}", "{{end}}", "{{end}}", "{{break}}", "{{continue}}", "{{", "}}", "(", ")", "|", " ", "\n",
	"{{$a := print .Label}}", "{{$a = print $a $a}}", "{{$b := $a}}", "$a", "$b", "$", ".", ".Key", ".Scopes", ".Label", "$.Key", `","`, `"<\x00\u2028"`, "9", "99999", "1000000", "-7", "1.5e300",
	"print ", "println ", "printf ", "html ", "js ", "urlquery ", "join ", "quote ", "b64enc ", "lower ", "upper ", "len ", "index ", "slice ", "eq ", "lt ", "and ", "or ", "not ",
	`"%d"`, `"%[1]s%[1]s%[1]s"`, `"%99999s"`, `"%*d"`, `"%.9999f"`, `"%#v%+v"`, `"% #x"`, `"%q %q"`, `"%9999v"`, `"%d%d%d%d"`, `"%!"`,
	`{{$a = printf "%s%s%s%[1]s%[1]s" $a $a $a}}`, "{{js $a | quote | html | len}}", "{{join $a .Scopes | len}}", "{{$a}}", "{{.}}", "x",
}

// FuzzTemplate_Budget composes templates of pieces, one per byte of program, in addition to the given text, and
// measures what checking them costs.
func FuzzTemplate_Budget(f *testing.F) {
	for _, text := range hostileTemplates {
		f.Add([]byte{18, 19, 19, 19, 71}, text, byte(64))
	}
	f.Add([]byte{0, 18, 68, 68, 68, 7}, "{{ .Key }}", byte(3))
	f.Fuzz(func(t *testing.T, program []byte, text string, scopes byte) {
		var made strings.Builder
		for _, b := range program {
			made.WriteString(pieces[int(b)%len(pieces)])
		}
		k, a := templateKey(map[string]string{"a": "{{ .Key }}", "made": made.String(), "text": text})
		k.Spec.Scopes = k.Spec.Scopes[:scopes%65]
		if scopes > 127 {
			k.Spec.Secret.Template.Data = everywhere(made.String())
		}
		var err error
		if n := allocated(func() { err = checkTemplate(k, a) }); n > maxAllocated {
			t.Errorf("a check allocates %d KiB", n>>10)
		}
		if err != nil {
			if !IsTemplateError(err) {
				t.Errorf("not a template's error: %v", err)
			}
			return
		}
		c, err := compileTemplate(k.Spec.Secret.Template.Data, valuesOf(k, a, SecretCredentials{}))
		if err != nil {
			t.Fatal(err)
		}
		issued, _ := EffectiveFormat(k, a).Generate(strings.NewReader(strings.Repeat("0123456789abcdef", 99)))
		entries, err := c.renderEntries(k, a, SecretCredentials{Current: issued})
		if err != nil {
			if strings.Contains(err.Error(), string(issued.Material[20:])) {
				t.Error("an error holds the key")
			}
			return // this key is not as others to the template
		}
		total := 0
		for _, value := range entries {
			total += len(value)
			if len(value) > maxEntry {
				t.Errorf("an entry of %d bytes", len(value))
			}
		}
		if total+c.budget.left > maxBytesMade || c.operations > maxOperations {
			t.Errorf("%d bytes in all, %d left, %d operations", total, c.budget.left, c.operations)
		}
	})
}

// FuzzTemplate_Printf searches for a format that exceeds its upper bound.
func FuzzTemplate_Printf(f *testing.F) {
	for _, format := range []string{"%d", "%*d", "%[2]*.[1]*f", "%5 %1000d", "%[%100d]", "%[1]s%[1]s", "%%%9d", "%!%z", "% #x", "%#q", "%.99x", "%-099v", "%T%p%U%c", "%0 +#*.*[9]e", "%1000270A", "%10000009d"} {
		f.Add(format, "<\x00\xff", 7, 1.5)
	}
	f.Fuzz(func(t *testing.T, format, s string, n int, x float64) {
		for _, args := range [][]any{{format}, {format, s}, {format, n, s}, {format, s, n, []string{s, s, ""}}, {format, map[string]string{s: s, "": ""}, n}, {format, n, x, templateValues{Key: s, Scopes: []string{s}, Metadata: map[string]string{s: s}}, nil, true, byte(n)}} {
			most := printfMost(args)
			if most > 1<<22 {
				continue // refused
			}
			if made := len(fmt.Sprintf(args[0].(string), args[1:]...)); made > most {
				t.Errorf("%q makes %d bytes, and %d are said", args, made, most)
			}
		}
	})
}

func BenchmarkTemplate(b *testing.B) {
	eachHostile(func(name string, data map[string]string) {
		k, a := templateKey(data)
		verdict := "admitted"
		if checkTemplate(k, a) != nil {
			verdict = "refused"
		}
		b.Run(verdict+"/"+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_ = checkTemplate(k, a)
			}
		})
	})
	b.Run("admitted/a JSON file", func(b *testing.B) {
		k, a := templateKey(map[string]string{"credentials.json": `{"key": {{ quote .Key }}, "scopes": [{{ range $i, $s := .Scopes }}{{ if $i }}, {{ end }}{{ quote $s }}{{ end }}]}`})
		b.ReportAllocs()
		for b.Loop() {
			if err := checkTemplate(k, a); err != nil {
				b.Fatal(err)
			}
		}
	})
}
