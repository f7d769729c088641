// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package exports_test

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"
	"text/template"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/apikey-manager/apikey-manager/test/schema/crd"
)

// listCommand matches the command in the comment of a sample that lists Secrets of an account and prints a patch.
var listCommand = regexp.MustCompile(`(?s)kubectl get secrets -n (\S+) -l (\S+) -o go-template='([^']*)' \|\s+kubectl patch \S+ (\S+) -n (\S+) --type=merge`)

// commandOf returns the command of a sample as it is without the comment signs: namespace, selector, template, name and namespace.
func commandOf(t *testing.T, text string) []string {
	t.Helper()
	var lines []string
	for line := range strings.Lines(text) {
		lines = append(lines, strings.TrimPrefix(line, "#"))
	}
	found := listCommand.FindStringSubmatch(strings.Join(lines, ""))
	if found == nil {
		t.Fatal("the sample has no command that lists Secrets")
	}
	return found[1:]
}

// runListCommand returns the patch that the command of a sample prints for the objects.
func runListCommand(t *testing.T, text string, objects []object) crd.Object {
	t.Helper()
	command := commandOf(t, text)
	selector, err := labels.Parse(command[1])
	if err != nil {
		t.Fatal(err)
	}
	items := []any{}
	for _, o := range objects {
		if o.kind == "Secret" && o.namespace == command[0] && selector.Matches(labels.Set(o.labels)) {
			items = append(items, crd.Object{"metadata": crd.Object{"name": o.name}})
		}
	}
	var out strings.Builder
	if err := template.Must(template.New("").Parse(command[2])).Execute(&out, crd.Object{"items": items}); err != nil {
		t.Fatal(err)
	}
	patch := crd.Object{}
	if err := json.Unmarshal([]byte(out.String()), &patch); err != nil {
		t.Fatalf("the command prints %s: %v", out.String(), err)
	}
	return patch
}

// TestCommand_ListsSecretsOfTheAccount runs the commands of the samples whose gateways name each Secret.
func TestCommand_ListsSecretsOfTheAccount(t *testing.T) {
	t.Parallel()
	for file, fill := range listsOfSecrets {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			s := readSample(t, file)
			target, _ := s.export["spec"].(crd.Object)["target"].(crd.Object)
			of := func(name, account, key string) object {
				objectLabels := data{"apikey-manager.io/account": account}
				for label, value := range target["labels"].(crd.Object) {
					objectLabels[label], _ = value.(string)
				}
				return secret(name, objectLabels, data{"key": key})
			}
			all := []object{of("one", "acme", "k1"), of("two", "acme", "k2"), of("three", "fabrikam", "k3"), of("four", "acme", "k4").elsewhere()}
			for _, objects := range [][]object{all, all[2:]} {
				fill(t, s, objects)
				got, err := consumers[file](s.resources, objects)
				want := []string{digestOf("k1"), digestOf("k2")}
				if len(objects) < len(all) {
					want = nil
				}
				slices.Sort(want)
				if diff := cmp.Diff(want, got.digests()); diff != "" || err != nil {
					t.Errorf("it reports %v and accepts other keys than those of the account (-want +got):\n%s", err, diff)
				}
			}
		})
	}
}

// listsOfSecrets holds what the command of a sample does to the resources, for gateways that name each Secret.
var listsOfSecrets = map[string]func(t *testing.T, s sample, objects []object){
	"apisix.yaml": fillAPISIXConsumer,
	"kong.yaml":   fillKongConsumer,
}
