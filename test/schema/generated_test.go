// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package schema_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/credential"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
	"github.com/apikey-manager/apikey-manager/internal/reminder"
	"github.com/apikey-manager/apikey-manager/internal/verifier"
	"github.com/apikey-manager/apikey-manager/internal/verifier/server"
	"github.com/apikey-manager/apikey-manager/test/schema/crd"
)

var (
	objects = flag.Int("objects", defaultObjects(), "how many random objects to make")
	seed    = flag.Uint64("seed", 0, "seed of the random objects; 0: another one each time")
	only    = flag.Int("object", -1, "the number of the one object to make; -1: all")
)

// defaultObjects returns a lower number of objects with the race detector, which makes each object take thirty times as
// long.
func defaultObjects() int {
	if raceEnabled {
		return 5_000
	}
	return 100_000
}

// generatedNow is the current time for all random objects.
var generatedNow = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

// TestGenerated generates random objects from the schemas. Each object that the schema and its rules admit must be
// decoded, reconciled, described and verified without an error or a panic.
func TestGenerated(t *testing.T) {
	t.Parallel()
	total, from := *objects, *seed
	if testing.Short() {
		total /= 50
	}
	if from == 0 {
		from = rand.Uint64()
	}
	found := &population{present: map[string]int{}}
	found.makeAccounts(t, from)
	started := time.Now()
	var next atomic.Int64
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			w := newWorker(t, found)
			for i := int(next.Add(1)) - 1; i < total && !t.Failed(); i = int(next.Add(1)) - 1 {
				if *only < 0 || *only == i {
					w.one(t, from, i)
				}
			}
		})
	}
	workers.Wait()
	t.Logf("%d objects, %d admitted, %d of them with a status that cannot be decoded, in %s: -seed=%d", total, found.admitted, found.setAside, time.Since(started), from)
	if *only < 0 {
		found.check(t, total)
	}
}

// population holds the generated objects.
type population struct {
	mu                 sync.Mutex
	admitted, setAside int
	present            map[string]int
	// accounts holds the accounts of the keys.
	accounts []*v1alpha1.Account
}

// makeAccounts generates the accounts of the keys. Many keys share an account, because generating an account takes as
// long as generating a key.
func (p *population) makeAccounts(t *testing.T, from uint64) {
	t.Helper()
	const total = 200
	w := newWorker(t, p)
	for i := range total {
		p.accounts = append(p.accounts, w.accountFor(t, rand.New(rand.NewPCG(from, 1<<32+uint64(i)))))
	}
}

// check checks that the test is meaningful: enough objects were admitted, and each field occurred in at least one of
// them. The rarest field occurs in one of 4,500 objects, so this is checked only for large numbers of objects.
func (p *population) check(t *testing.T, total int) {
	t.Helper()
	const share, many = 0.3, 100_000
	if float64(p.admitted) < share*float64(total) {
		t.Errorf("only %d of %d objects were admitted", p.admitted, total)
	}
	if total < many {
		return
	}
	for _, name := range []string{"APIKey", "Account", "KeyExport"} {
		root := kindOf(t, name).Schema()
		want := map[string]bool{}
		for _, part := range []string{"spec", "status"} {
			schema := root.Properties[part]
			fieldsOf(&schema, name+"."+part, want)
		}
		for path := range want {
			if p.present[path] == 0 {
				t.Errorf("no admitted object has %s", path)
			}
		}
	}
}

// worker generates and checks objects.
type worker struct {
	found   *population
	kinds   crd.Kinds
	account *v1alpha1.Account
	index   *verifier.Index
	door    *server.Authorizer
	seen    map[string]bool
	facts   *rand.Rand
}

func newWorker(t *testing.T, found *population) *worker {
	t.Helper()
	kinds, err := load()
	if err != nil {
		t.Error(err)
		return nil
	}
	w := &worker{found: found, kinds: kinds, index: verifier.NewIndex(), seen: map[string]bool{}}
	w.index.SetComplete()
	finder, err := verifier.NewKeyExtractor([]string{"header:X-API-Key"})
	if err != nil {
		t.Error(err)
	}
	clients, err := verifier.NewClientIPResolver(nil)
	if err != nil {
		t.Error(err)
	}
	w.door, err = server.NewAuthorizer(server.AuthorizerOptions{Extractor: finder, ClientIP: clients, Clusters: verifier.NewClusters(w.index), Clock: clocktesting.NewFakePassiveClock(generatedNow)})
	if err != nil {
		t.Error(err)
	}
	return w
}

// one generates and checks the object with the given number.
func (w *worker) one(t *testing.T, from uint64, number int) {
	t.Helper()
	random := rand.New(rand.NewPCG(from, uint64(number)))
	name := []string{"APIKey", "APIKey", "APIKey", "Account", "APIKey", "APIKey", "APIKey", "KeyExport"}[number%8]
	var text []byte
	defer func() {
		if failure := recover(); failure != nil || t.Failed() {
			t.Errorf("replay with -seed=%d -object=%d: %v\n%s", from, number, failure, text)
		}
	}()
	w.facts, w.account = random, w.found.accounts[random.IntN(len(w.found.accounts))].DeepCopy()
	stored, errs := w.admitted(t, random, name)
	if len(errs) > 0 {
		return
	}
	var err error
	if text, err = json.Marshal(stored); err != nil {
		t.Error(err)
		return
	}
	w.note(name, stored)
	switch name {
	case "Account":
		account := &v1alpha1.Account{}
		w.decode(t, text, account, &account.Undecodable)
		w.lookAtAccount(t, account)
	case "KeyExport":
		e := &v1alpha1.KeyExport{}
		w.decode(t, text, e, &e.Undecodable)
		w.lookAtExport(t, e, stored)
	default:
		key := &v1alpha1.APIKey{}
		w.decode(t, text, key, &key.Undecodable)
		w.lookAtKey(t, key, stored)
	}
}

// admitted generates an object, and returns it with the errors of the API server.
func (w *worker) admitted(t *testing.T, random *rand.Rand, name string) (crd.Object, []error) {
	t.Helper()
	g := &crd.Generator{Random: random, Misses: []float64{0, 0.01, 0.02, 0.15}[random.IntN(4)]}
	kind := w.kinds[name]
	schema := kind.Schema()
	spec, status := schema.Properties["spec"], schema.Properties["status"]
	obj := crd.Object{"apiVersion": v1alpha1.GroupVersion.String(), "kind": name, "spec": g.Value(&spec)}
	obj["metadata"] = crd.Object{"name": "shop-key", "uid": "uid-1", "resourceVersion": "7", "generation": int64(1), "creationTimestamp": "2026-11-25T11:00:00Z"}
	if name != "Account" {
		obj["metadata"].(crd.Object)["namespace"] = "shop"
	}
	if random.IntN(2) == 0 {
		obj["status"] = g.Value(&status)
	}
	stored, found := kind.Create(t.Context(), obj)
	var errs []error
	for _, err := range found {
		errs = append(errs, err)
	}
	return stored, errs
}

// accountFor generates an account that the API server admits.
func (w *worker) accountFor(t *testing.T, random *rand.Rand) *v1alpha1.Account {
	t.Helper()
	stored, errs := w.admitted(t, random, "Account")
	account := &v1alpha1.Account{}
	text, err := json.Marshal(stored)
	if err != nil || len(errs) > 0 || json.Unmarshal(text, account) != nil {
		return keystest.NewAccount("acme")
	}
	return account
}

// decode decodes an object. Only a status may have fields that cannot be decoded, because users do not write it.
func (w *worker) decode(t *testing.T, text []byte, into any, undecodable *[]string) {
	t.Helper()
	if err := json.Unmarshal(text, into); err != nil {
		t.Errorf("decode: %v", err)
	}
	if len(keys.NewlyUndecodable(nil, *undecodable)) > 0 {
		t.Errorf("%q cannot be decoded", *undecodable)
	}
	if len(*undecodable) > 0 {
		w.found.mu.Lock()
		w.found.setAside++
		w.found.mu.Unlock()
	}
}

func (w *worker) lookAtAccount(t *testing.T, account *v1alpha1.Account) {
	t.Helper()
	for _, err := range keys.ValidateAccount(account) {
		if !strings.HasPrefix(err.Field, "spec.allowedNamespaces") { // a schema cannot validate the operators of selectors
			t.Errorf("the schema admits a value that the code rejects: %v", err)
		}
	}
	w.account = account
	w.lookAtAccountOf(keystest.Key("a", keystest.Issued(generatedNow)), keystest.Key("b"))
	w.index.PutAccount(account)
	w.index.DropAccount(account.Name)
}

func (w *worker) lookAtAccountOf(list ...*v1alpha1.APIKey) {
	f := keys.AccountFacts{
		Account: w.account, Keys: list, Settings: keystest.Settings, Now: generatedNow, Confirmed: map[string]bool{"uid-1": true},
		NamespaceLabels: map[string]map[string]string{"shop": {"team": "shop"}},
	}
	keys.UnconfirmedSlots(f)
	keys.WouldExceedLimit(f)
	keys.Admit(f)
	keys.DescribeAccount(f)
}

func (w *worker) lookAtKey(t *testing.T, key *v1alpha1.APIKey, stored crd.Object) {
	t.Helper()
	for _, err := range keys.ValidateAPIKey(key) {
		if !strings.HasPrefix(err.Field, "spec.secret.template") { // templates are validated by the code
			t.Errorf("the schema admits a value that the code rejects: %v", err)
		}
	}
	w.account.Name = key.Spec.Account
	w.lookAtAccountOf(key)
	if w.facts.IntN(2) == 0 {
		w.account.Status.Slots = []v1alpha1.Slot{keystest.SlotOf(key, "1")}
	}
	facts := keys.Facts{Key: key, Account: w.account, NamespaceLabels: map[string]string{"team": "shop"}, Settings: keystest.Settings, Now: generatedNow}
	facts.Secret.Ownership = []keys.Ownership{keys.SecretMissing, keys.SecretForeign, keys.SecretOrphaned, keys.SecretOwned}[w.facts.IntN(4)]
	if facts.Secret.Ownership == keys.SecretOwned {
		facts.Secret = keystest.SecretOf(key)
		facts.Secret.JustIssued = w.facts.IntN(2) == 0
	}
	keys.CheckPolicy(facts)
	keys.Decide(facts)
	reminder.Decide(facts, true)
	after := keys.Describe(facts)
	keys.Events(facts, after)
	if stored["status"] == nil && w.facts.IntN(5) == 0 { // a generated status was not written by the manager
		w.checkStatus(t, "APIKey", stored, after)
	}
	w.verdict(t, key)
}

// checkStatus checks that the API server accepts the status that the manager would write.
func (w *worker) checkStatus(t *testing.T, kind string, stored crd.Object, after any) {
	t.Helper()
	text, err := json.Marshal(after)
	if err != nil {
		t.Error(err)
		return
	}
	status := crd.Object{}
	if err := json.Unmarshal(text, &status); err != nil {
		t.Error(err)
	}
	obj := maps.Clone(stored)
	obj["status"] = normal(status)
	if _, errs := w.kinds[kind].Create(t.Context(), obj); len(errs) > 0 {
		t.Errorf("the API server rejects the status %s: %v", text, errs)
	}
}

// normal converts whole numbers in an object to integers, as the API server decodes them.
func normal(value any) any {
	switch value := value.(type) {
	case crd.Object:
		for name, child := range value {
			value[name] = normal(child)
		}
	case []any:
		for i, child := range value {
			value[i] = normal(child)
		}
	case float64:
		return int64(value)
	}
	return value
}

// verdict verifies a credential of the key over HTTP.
func (w *worker) verdict(t *testing.T, key *v1alpha1.APIKey) {
	t.Helper()
	material := credential.Material("material")
	for i := range key.Status.Credentials[:min(1, len(key.Status.Credentials))] {
		key.Status.Credentials[i].SHA256 = material.SHA256()
	}
	w.index.PutAccount(w.account)
	w.index.PutKey(key)
	question := fmt.Sprintf(`{"key":"material","ip":%q}`, []string{"192.0.2.7", "2001:db8::7", "::1"}[w.facts.IntN(3)])
	for _, handler := range []http.Handler{w.door.Verify(), w.door.Explain()} {
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/verify", strings.NewReader(question)))
		var said struct {
			Code string `json:"code"`
		}
		if err := json.Unmarshal(answer.Body.Bytes(), &said); err != nil || answer.Code != http.StatusOK || said.Code == "" {
			t.Errorf("the verifier answers %d %s (%v)", answer.Code, answer.Body, err)
		}
		if len(key.Undecodable) > 0 && said.Code == verifier.Valid.String() {
			t.Error("a key that cannot be decoded is accepted")
		}
	}
	w.index.DropKey(types.NamespacedName{Namespace: key.Namespace, Name: key.Name})
	w.index.DropAccount(w.account.Name)
}

// note records the fields of an admitted object.
func (w *worker) note(kind string, stored crd.Object) {
	paths := map[string]bool{}
	values(stored, kind, paths)
	w.found.mu.Lock()
	defer w.found.mu.Unlock()
	w.found.admitted++
	for path := range paths {
		w.found.present[path]++
	}
}

// TestInstants_SchemaAndCodeAgree checks that the code parses exactly the instants that the schema admits.
func TestInstants_SchemaAndCodeAgree(t *testing.T) {
	t.Parallel()
	from := *seed
	if from == 0 {
		from = rand.Uint64()
	}
	t.Logf("-seed=%d", from)
	g := &crd.Generator{Random: rand.New(rand.NewPCG(from, 0)), Misses: 0.3}
	kind := kindOf(t, "APIKey")
	spec := kind.Schema().Properties["spec"]
	expiration := spec.Properties["expiration"]
	outcomes := map[bool]int{}
	for range 5_000 {
		text := g.Value(&expiration).(string)
		instant, date := readable(keys.ParseInstant(text)), readable(keys.ParseDate(text))
		for path, reads := range map[string]bool{"rotation.requestedAt": instant, "rotation.revokeBefore": instant, "notification.date": date, "expiration": instant || date} {
			_, errs := kind.Create(t.Context(), change{"spec." + path: text}.to(baseKey()))
			if outcomes[reads]++; (len(errs) == 0) != reads {
				t.Fatalf("%s %q: the code parses it: %t, errors of the schema: %v", path, text, reads, errs)
			}
		}
	}
	if outcomes[true] < 1000 || outcomes[false] < 1000 {
		t.Errorf("%d were read, %d were not", outcomes[true], outcomes[false])
	}
}

func readable(_ time.Time, err error) bool { return err == nil }

// fieldsOf collects the paths of all fields below a schema, in the notation of values.
func fieldsOf(s *apiextensionsv1.JSONSchemaProps, path string, into map[string]bool) {
	into[path] = true
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		child := s.Properties[name]
		fieldsOf(&child, path+"."+name, into)
	}
	if s.Items != nil {
		fieldsOf(s.Items.Schema, path+"[]", into)
	}
}
