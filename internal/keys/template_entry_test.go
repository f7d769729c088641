// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/credential"
)

// entryKey returns a key and its account with as many and as long scopes, metadata and rate limits as the schema allows,
// and a credential.
func entryKey() (*v1alpha1.APIKey, *v1alpha1.Account, v1alpha1.Credential) {
	k, a := templateKey(nil)
	k.UID = "00000000-0000-4000-8000-000000000000"
	for i := range maxRateLimits {
		requests := int32(1_000_000_000)
		a.Spec.RateLimits = append(a.Spec.RateLimits, v1alpha1.RateLimit{Name: fmt.Sprintf("r%s%d", strings.Repeat("l", 29), i), Requests: &requests, Unit: "Minute"})
	}
	return k, a, v1alpha1.Credential{ID: "id", Hint: "hint", SHA256: strings.Repeat("0", 64), IssuedAt: metav1.Time{}, Role: v1alpha1.RoleCurrent}
}

// Templates that are hostile to the template of a Secret are so to that of an entry, within the same limits.
func TestEntryTemplate_Budget(t *testing.T) { //nolint:paralleltest // it measures allocations
	k, a, c := entryKey()
	render := func(value string, content v1alpha1.ExportContent) (result []byte, err error) {
		compiled, err := CompileEntryTemplate(v1alpha1.ExportEntry{Name: "x", Value: value}, content)
		if err != nil {
			return nil, err
		}
		_, result, err = compiled.Render(k, a, c, credential.Material("key"))
		return result, err
	}
	hostile := map[string]string{
		"rate limits":      fill("", "{{ range .RateLimits }}{{ . }}{{ .Name }}{{ .Requests }}{{ end }}", ""),
		"printed values":   fill("", `{{ printf "%+v" . }}`, ""),
		"Go syntax":        fill("", `{{ printf "%#v" . }}`, ""),
		"printed limits":   fill("", `{{ printf "%9999v" .RateLimits }}`, ""),
		"escaped":          fill("", `{{ js . }}`, ""),
		"escaped and more": fill("", `{{ html (js (urlquery .RateLimits)) }}`, ""),
	}
	eachHostile(func(name string, data map[string]string) {
		for _, text := range data {
			hostile[name] = strings.ReplaceAll(text, ".PreviousKey", ".Key")
		}
	})
	refused := 0
	for name, text := range hostile {
		for _, content := range []v1alpha1.ExportContent{v1alpha1.ExportContentDigest, v1alpha1.ExportContentKey} {
			var err error
			if n := allocated(func() { _, err = render(text, content) }); n > maxAllocated {
				t.Errorf("%s: a rendering allocates %d KiB", name, n>>10)
			}
			if err != nil {
				refused++
				if !IsTemplateError(err) || strings.Contains(err.Error(), "entryValues") {
					t.Errorf("%s: %v", name, err)
				}
			}
		}
	}
	if refused == 0 {
		t.Error("no template is refused")
	}
}

// Range over each list counts as often as the schema allows elements, whatever the key has.
func TestEntryTemplate_RangeIsCounted(t *testing.T) {
	t.Parallel()
	for value, most := range map[string]int{".Scopes": maxScopes, ".Metadata": maxMetadata, ".RateLimits": maxRateLimits} {
		text := func(n int) string {
			return "{{ range " + value + " }}" + strings.Repeat("{{len $}}", n) + "{{ end }}"
		}
		// {{len $}} has seven nodes: the action, the pipeline, two commands, len, $ and write.
		fits := (maxOperations/most - 10) / 7
		if _, err := CompileEntryTemplate(v1alpha1.ExportEntry{Name: "x", Value: text(min(fits, 400))}, v1alpha1.ExportContentDigest); err != nil {
			t.Errorf("%s, %d actions: %v", value, fits, err)
		}
		if fits > 400 {
			continue // the text is too long
		}
		_, err := CompileEntryTemplate(v1alpha1.ExportEntry{Name: "x", Value: text(fits + 5)}, v1alpha1.ExportContentDigest)
		if err == nil || !strings.HasSuffix(err.Error(), errEntryOperations.Error()) || !strings.HasPrefix(err.Error(), "entry.value:1:") {
			t.Errorf("%s, %d actions: %v", value, fits+5, err)
		}
	}
}

// Values of one kind of template are not available in the other.
func TestEntryTemplate_OwnValues(t *testing.T) {
	t.Parallel()
	for _, field := range []string{"Digest", "Role", "UID", "Plan", "RateLimits"} {
		k, a := templateKey(map[string]string{"key": "{{ .Key }}", "x": "{{ ." + field + " }}"})
		if err := checkTemplate(k, a); err == nil || !strings.Contains(err.Error(), "can't evaluate field "+field) {
			t.Errorf("in a Secret, .%s: got %v", field, err)
		}
	}
	k, a := templateKey(map[string]string{"key": "{{ .Key }}{{ range .RateLimits }}{{ end }}"})
	if err := checkTemplate(k, a); err == nil || !strings.Contains(err.Error(), errRange.Error()) {
		t.Errorf("in a Secret, range over .RateLimits: got %v", err)
	}
}

func TestEntryTemplate_MetadataNames(t *testing.T) {
	t.Parallel()
	compiled, err := CompileEntryTemplate(v1alpha1.ExportEntry{Name: "{{ .Metadata.a }}", Value: "{{ index .Metadata \"b\" }}{{ $m := .Metadata }}{{ $m.c }}{{ index $m `d` }}{{ .Metadata.a }} \"Upper\" .Key"}, v1alpha1.ExportContentDigest)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a", "c", "b", "d"}, compiled.MetadataNames()); diff != "" {
		t.Error(diff)
	}
}

// The bound of what fmt makes of the values of an entry holds for all of them.
func TestEntryValues_PrintedWithinBound(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringN(0, 5, 20)
		limits := []entryRateLimit{}
		for range rapid.IntRange(0, 60).Draw(t, "limits") {
			limits = append(limits, entryRateLimit{text.Draw(t, "name"), rapid.Int32().Draw(t, "requests"), text.Draw(t, "unit")})
		}
		values := entryValues{KeyID: text.Draw(t, "id"), Scopes: rapid.SliceOf(text).Draw(t, "scopes"), Metadata: rapid.MapOf(text, text).Draw(t, "metadata"), RateLimits: limits}
		for _, value := range append([]any{values, entryKeyValues{values, text.Draw(t, "key")}, limits}, anyOf(limits)...) {
			if made, most := len(fmt.Sprint(value)), printed(value); made > most {
				t.Fatalf("%v makes %d bytes, and %d are said", value, made, most)
			}
			for _, format := range []string{"%v", "%+v", "%#v", "%q", "%x", "% #x", "%9v", "%-20.7v", "%d"} {
				if made, most := len(fmt.Sprintf(format, value)), printfMost([]any{format, value}); made > most {
					t.Fatalf("%s of %v makes %d bytes, and %d are said", format, value, made, most)
				}
			}
		}
	})
}

func anyOf[T any](list []T) []any {
	values := make([]any, len(list))
	for i := range list {
		values[i] = list[i]
	}
	return values
}
