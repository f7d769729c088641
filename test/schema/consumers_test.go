// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package schema_test

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/credential"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/test/schema/crd"
)

// consumer reads a Secret as a product does, and returns the keys that the product would accept, by client name.
type consumer func(t *testing.T, key *v1alpha1.APIKey, secret keys.SecretContent) map[string]string

var consumers = map[string]consumer{
	"authorino.yaml":     authorino,
	"envoy-gateway.yaml": envoyGateway,
	"json.yaml":          jsonFile,
	"kong.yaml":          kong,
	"two-headers.yaml":   twoHeaders,
}

// TestConsumers_ReadKeysFromRenderedSamples renders each sample for an issued key and for a key in an overlap, and
// checks that its consumer reads the key from the Secret.
func TestConsumers_ReadKeysFromRenderedSamples(t *testing.T) {
	t.Parallel()
	account := &v1alpha1.Account{}
	if err := yaml.UnmarshalStrict(samples(t)["account.yaml"], account); err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, file := range glob(t, "config/samples/consumers/*.yaml") {
		files = append(files, filepath.Base(file))
		read, ok := consumers[filepath.Base(file)]
		if !ok {
			t.Errorf("no consumer reads %s", file)
			continue
		}
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			key := sampleKey(t, contents(t, file))
			account := account.DeepCopy()
			account.Name = key.Spec.Account
			current, previous := mint(t, key, account), mint(t, key, account)
			for about, c := range map[string]keys.SecretCredentials{
				"issued":            {Current: current},
				"within an overlap": {Current: current, Previous: previous},
			} {
				secret := render(t, key, account, c)
				if secret.Labels[keys.LabelManagedBy] != keys.ManagedBy || secret.Labels[keys.LabelAccount] != account.Name {
					t.Errorf("%s: the Secret lacks the manager's own labels: %v", about, secret.Labels)
				}
				let := read(t, key, secret)
				if got := slices.Collect(maps.Values(let)); len(got) != 1 || got[0] != string(current.Material) {
					t.Errorf("%s: the consumer does not read the one key that the Secret is for", about)
				}
				checkFound(t, about, key, account, secret, current)
			}
			if left := render(t, key, account, keys.SecretCredentials{Revoked: true}).Data; len(left) > 0 {
				t.Errorf("revoked: the consumer would accept entries %v as keys", slices.Sorted(maps.Keys(left)))
			}
		})
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(consumers)), files); diff != "" {
		t.Errorf("consumers and samples differ (-consumers +samples):\n%s", diff)
	}
}

// checkFound checks that the manager finds the key in the rendered Secret and would not write the Secret again.
func checkFound(t *testing.T, about string, key *v1alpha1.APIKey, account *v1alpha1.Account, secret keys.SecretContent, current credential.Credential) {
	t.Helper()
	key = key.DeepCopy()
	key.Status.Credentials = []v1alpha1.Credential{{
		ID: current.ID, Hint: current.Hint, SHA256: current.Material.SHA256(), IssuedAt: metav1.NewTime(time.Unix(0, 0)), Role: v1alpha1.RoleCurrent,
	}}
	observed, _ := keys.InspectSecret(key, account, secret, "1")
	if observed.Current.SHA256 != current.Material.SHA256() || observed.Current.PublicPart != current.PublicPart {
		t.Errorf("%s: the manager does not find the key in its Secret", about)
	}
	if about == "issued" && observed.Drifted {
		t.Errorf("%s: the manager would write the Secret again", about)
	}
}

func sampleKey(t *testing.T, data []byte) *v1alpha1.APIKey {
	t.Helper()
	obj, err := crd.Decode(data)
	if err != nil {
		t.Fatal(err)
	}
	_, errs := kindOf(t, "APIKey").Create(t.Context(), obj)
	compareErrors(t, errs, nil)
	key := &v1alpha1.APIKey{}
	if err := yaml.UnmarshalStrict(data, key); err != nil {
		t.Fatal(err)
	}
	return key
}

func mint(t *testing.T, key *v1alpha1.APIKey, account *v1alpha1.Account) credential.Credential {
	t.Helper()
	issued, err := keys.EffectiveFormat(key, account).Generate(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return issued
}

func render(t *testing.T, key *v1alpha1.APIKey, account *v1alpha1.Account, c keys.SecretCredentials) keys.SecretContent {
	t.Helper()
	secret, err := keys.Render(key, account, c)
	if err != nil {
		t.Fatal(err)
	}
	return secret
}

// kong selects Secrets by their labels and reads the key from the entry key. Kong converts all entries to fields of the
// credential and uses those that a key-auth credential has.
func kong(t *testing.T, _ *v1alpha1.APIKey, secret keys.SecretContent) map[string]string {
	t.Helper()
	watched := labels.SelectorFromSet(labels.Set{"konghq.com/credential": "key-auth", "konghq.com/secret": "true"})
	if !watched.Matches(labels.Set(secret.Labels)) {
		t.Errorf("Kong does not watch a Secret with labels %v", secret.Labels)
	}
	for _, field := range []string{"ttl", "tags", "kongCredType"} {
		if _, there := secret.Data[field]; there {
			t.Errorf("Kong would interpret entry %s differently", field)
		}
	}
	return map[string]string{"key": string(secret.Data["key"])}
}

// authorino selects Secrets by its own selector and by that of the AuthConfig, and reads the key from the entry
// api_key.
func authorino(t *testing.T, _ *v1alpha1.APIKey, secret keys.SecretContent) map[string]string {
	t.Helper()
	for _, selector := range []labels.Set{{"authorino.kuadrant.io/managed-by": "authorino"}, {"group": "friends"}} {
		if !labels.SelectorFromSet(selector).Matches(labels.Set(secret.Labels)) {
			t.Errorf("%v does not select a Secret with labels %v", selector, secret.Labels)
		}
	}
	return map[string]string{"api_key": string(secret.Data["api_key"])}
}

// envoyGateway reads every entry as a client. Each client must have a key, and no two clients the same key.
func envoyGateway(t *testing.T, _ *v1alpha1.APIKey, secret keys.SecretContent) map[string]string {
	t.Helper()
	if secret.Type != "Opaque" {
		t.Errorf("the Secret is of type %s, not Opaque", secret.Type)
	}
	clients, seen := map[string]string{}, map[string]bool{}
	for client, key := range secret.Data {
		if len(key) == 0 || seen[string(key)] {
			t.Errorf("client %s has no key of its own", client)
		}
		clients[client], seen[string(key)] = string(key), true
	}
	if _, ok := clients["contoso-client"]; !ok {
		t.Error("there is no client contoso-client")
	}
	return clients
}

// jsonFile decodes the JSON file and checks each of its fields.
func jsonFile(t *testing.T, key *v1alpha1.APIKey, secret keys.SecretContent) map[string]string {
	t.Helper()
	type file struct {
		Account     string   `json:"account"`
		Label       string   `json:"label"`
		KeyID       string   `json:"keyID"`
		Key         string   `json:"key"`
		PreviousKey string   `json:"previousKey"`
		Scopes      []string `json:"scopes"`
	}
	var got file
	decoder := json.NewDecoder(bytes.NewReader(secret.Data["credentials.json"]))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&got); err != nil {
		t.Fatalf("credentials.json is not valid JSON: %v", err)
	}
	identity, err := keys.EffectiveFormat(key, nil).Parse(credential.Material(got.Key))
	if err != nil {
		t.Fatal(err)
	}
	want := file{Account: key.Spec.Account, Label: key.Spec.Label, KeyID: identity.ID, Scopes: key.Spec.Scopes}
	public := got
	public.Key, public.PreviousKey = "", ""
	if diff := cmp.Diff(want, public); diff != "" {
		t.Errorf("credentials.json differs (-want +got):\n%s", diff)
	}
	if got.PreviousKey == got.Key {
		t.Error("the previous key is the current one")
	}
	return map[string]string{"key": got.Key}
}

var (
	alphanumeric = regexp.MustCompile(`^[0-9A-Za-z]{101,}$`)
	uuid         = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
)

// twoHeaders copies each entry to the header of the same name.
func twoHeaders(t *testing.T, _ *v1alpha1.APIKey, secret keys.SecretContent) map[string]string {
	t.Helper()
	company, key := string(secret.Data["X-FF-Company"]), string(secret.Data["X-FF-API-Key"])
	if !uuid.MatchString(company) {
		t.Errorf("X-FF-Company is %q, not the customer's UUID", company)
	}
	if !alphanumeric.MatchString(key) {
		t.Errorf("X-FF-API-Key is not alphanumeric with over 100 characters: it has %d", len(key))
	}
	return map[string]string{"X-FF-API-Key": key}
}

// TestConsumers_JSONIsValidForEveryLabel checks that the text of a label cannot break the JSON.
func TestConsumers_JSONIsValidForEveryLabel(t *testing.T) {
	t.Parallel()
	account := &v1alpha1.Account{ObjectMeta: metav1.ObjectMeta{Name: "acme"}}
	for _, label := range []string{`"}`, `\`, "<b>&", "Campaña 🛒", "a\u2028b", "a\tb", strings.Repeat("ñ", 128)} {
		key := sampleKey(t, contents(t, glob(t, "config/samples/consumers/json.yaml")[0]))
		key.Spec.Label = label
		jsonFile(t, key, render(t, key, account, keys.SecretCredentials{Current: mint(t, key, account)}))
	}
}

// TestConsumers_SayWhatServersDoNotLearn checks that each sample says first that its Secret does not change when the key
// ceases to be valid, and what to use instead.
func TestConsumers_SayWhatServersDoNotLearn(t *testing.T) {
	t.Parallel()
	for _, file := range glob(t, "config/samples/consumers/*.yaml") {
		_, text, _ := strings.Cut(string(contents(t, file)), "\n\n")
		first, _, _ := strings.Cut(strings.ReplaceAll(text, "\n# ", " "), "\n#\n")
		for _, want := range []string{"does not", "deactivated", "suspended", "KeyExport (docs/key-exports.md)", "the verifier"} {
			if !strings.Contains(first, want) {
				t.Errorf("%s: the first sentences do not say %q: %s", filepath.Base(file), want, first)
			}
		}
	}
}
