// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package tenants_test

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

const (
	gateway = "gateway" // the namespace with the KeyExports
	victim  = "victim"  // the namespace and the account of another tenant
)

// exportScene holds KeyExports in the namespace of a gateway, a victim with a key, and a tenant who attacks them.
type exportScene struct {
	*tenant

	victim *v1alpha1.APIKey
	// entry is the value of the victim's entry in KeyExport `labels`, which never changes.
	entry string
}

// exports tests what a tenant with the role edit in one namespace can do to KeyExports and to what they export.
func (f *fixture) exports(t *testing.T) {
	s := f.newExportScene(t)
	for _, step := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"a tenant cannot read, create, change or delete KeyExports", s.tryExports},
		{"a tenant cannot touch what is exported", s.tryObjects},
		{"a tenant cannot have a namespace selected", s.tryNamespaceLabels},
		{"a tenant cannot name the account of another", s.tryAccount},
		{"a tenant cannot take the entry of another", s.tryEntry},
		{"a tenant cannot import the key of another", s.tryImport},
		{"a tenant with hostile values harms only its own key", s.tryHostileValues},
		{"a key that is switched off cannot be kept exported", s.trySwitchedOff},
	} {
		t.Run(step.name, func(t *testing.T) {
			s.T = t
			step.run(t)
		})
	}
}

func (f *fixture) newExportScene(t *testing.T) *exportScene {
	t.Helper()
	u := &tenant{
		T: t, fixture: f, access: access{role: "edit", use: true}, c: nil, id: "mallory", namespace: "mallory", account: "mallory",
		small: "mallory-small", keeping: "mallory-keeping", created: "mallory-created",
	}
	for name, labels := range map[string]map[string]string{gateway: nil, victim: {"team": "payments"}, u.namespace: nil} {
		f.Create(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}})
	}
	for _, name := range []string{victim, u.account} {
		f.Create(t, controlplanetest.NewAccount(name, func(a *v1alpha1.AccountSpec) {
			a.Limits, a.LabelPolicy = &v1alpha1.Limits{Unlimited: v1alpha1.SwitchEnabled}, v1alpha1.LabelShared
			a.ExportPolicy, a.ImportPolicy = v1alpha1.ExportKey, v1alpha1.ImportAllow
		}))
	}
	u.bind(t, u.namespace)
	u.letUse(t)
	u.connect(t)
	s := &exportScene{tenant: u, victim: controlplanetest.NewKey(victim, "victim", victim, func(k *v1alpha1.APIKeySpec) {
		k.Label, k.Metadata = "shop", map[string]v1alpha1.MetadataValue{"note": "of the victim"}
	})}
	f.Issue(t, s.victim)
	s.createExports(t)
	return s
}

// createExports creates the KeyExports, as an administrator, and waits until they contain the victim's key.
func (s *exportScene) createExports(t *testing.T) {
	t.Helper()
	both := []string{victim, s.account}
	payments := &metav1.LabelSelector{MatchLabels: map[string]string{"team": "payments"}}
	for name, spec := range map[string]v1alpha1.KeyExportSpec{
		"digests":  {},
		"keys":     {Content: v1alpha1.ExportContentKey, Accounts: both},
		"payments": {Content: v1alpha1.ExportContentKey, Accounts: both, NamespaceSelector: payments},
		// Naming entries by what tenants choose is unwise, but must not give a tenant the entry of another.
		"labels": {Accounts: both, Entry: &v1alpha1.ExportEntry{
			Name: `{{ .Label }}`, Value: `{"keyHash":{{ quote .Digest }},"note":{{ quote .Metadata.note }},"account":{{ quote .Account }}}`,
		}},
		"scopes": {Accounts: both, Entry: &v1alpha1.ExportEntry{Name: `{{ index .Scopes 0 }}-{{ .KeyID }}`}},
	} {
		spec.Target = v1alpha1.ExportTarget{Kind: v1alpha1.ExportToSecret, Name: name}
		s.Create(t, &v1alpha1.KeyExport{ObjectMeta: metav1.ObjectMeta{Namespace: gateway, Name: name}, Spec: spec})
	}
	s.Create(t, &v1alpha1.KeyExport{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "near"},
		Spec:       v1alpha1.KeyExportSpec{Target: v1alpha1.ExportTarget{Kind: v1alpha1.ExportToSecret, Name: "near"}},
	})
	for _, name := range []string{"digests", "keys", "payments", "labels"} {
		s.awaitExported(t, name, s.victim, true)
	}
	s.entry = s.exported(t, "labels")["shop"]
	if !strings.Contains(s.entry, `"account":"victim"`) {
		t.Fatalf("the entry of the victim is %s", s.entry)
	}
}

// exported returns the entries of a KeyExport in the namespace of the gateway.
func (s *exportScene) exported(t *testing.T, name string) map[string]string {
	t.Helper()
	var secret corev1.Secret
	s.get(t, gateway, name, &secret)
	entries := map[string]string{}
	for name, value := range secret.Data {
		entries[name] = string(value)
	}
	return entries
}

// holds reports whether a KeyExport holds a credential of a key, or the credential itself, in any entry.
func (s *exportScene) holds(t *testing.T, name string, key *v1alpha1.APIKey) bool {
	t.Helper()
	s.Read(t, key)
	secret := s.Secret(t, key)
	entries := s.exported(t, name)
	for _, credential := range key.Status.Credentials {
		for value := range maps.Values(entries) {
			if strings.Contains(value, credential.SHA256) || len(secret.Data["api-key"]) > 0 && strings.Contains(value, string(secret.Data["api-key"])) {
				return true
			}
		}
	}
	return false
}

// awaitExported waits until a KeyExport holds a key, or does not hold it.
func (s *exportScene) awaitExported(t *testing.T, name string, key *v1alpha1.APIKey, want bool) {
	t.Helper()
	controlplanetest.Until(t, fmt.Sprintf("KeyExport %s holds key %s: not %t", name, key.Name, want), func() bool {
		return s.holds(t, name, key) == want
	})
}

// awaitWithheld waits until a KeyExport withholds a key of the tenant for a reason, and holds the victim's key.
func (s *exportScene) awaitWithheld(t *testing.T, export, key, reason string) {
	t.Helper()
	e := &v1alpha1.KeyExport{ObjectMeta: metav1.ObjectMeta{Namespace: gateway, Name: export}}
	controlplanetest.Eventually(t, "KeyExport "+export+" withholds key "+key, func() error {
		s.Read(t, e)
		for _, withheld := range e.Status.Withheld {
			if withheld.Namespace == s.namespace && withheld.Name == key && withheld.Reason == reason {
				return nil
			}
		}
		return fmt.Errorf("withheld: %v", e.Status.Withheld)
	})
	if !meta.IsStatusConditionTrue(e.Status.Conditions, v1alpha1.ConditionReady) {
		t.Errorf("KeyExport %s is not ready: %v", export, e.Status.Conditions)
	}
	s.expectVictim(t)
}

// expectVictim fails the test unless the victim's entries are those from the beginning.
func (s *exportScene) expectVictim(t *testing.T) {
	t.Helper()
	if got := s.exported(t, "labels")["shop"]; got != s.entry {
		t.Errorf("the entry of the victim changed from %s to %s", s.entry, got)
	}
	for _, name := range []string{"digests", "keys", "payments"} {
		if !s.holds(t, name, s.victim) {
			t.Errorf("KeyExport %s does not hold the victim's key", name)
		}
	}
}

// issue creates a key of the tenant with the changes, and returns it when the manager has reconciled it.
func (s *exportScene) issue(name string, changes ...func(*v1alpha1.APIKeySpec)) *v1alpha1.APIKey {
	s.Helper()
	key := s.createKey(controlplanetest.NewKey(s.namespace, name, s.account, changes...))
	if key == nil {
		s.Fatalf("the tenant may not create key %s", name)
	}
	return key
}

func (s *exportScene) tryExports(t *testing.T) {
	for _, namespace := range []string{s.namespace, gateway} {
		name := map[string]string{s.namespace: "near", gateway: "keys"}[namespace]
		is := func() *v1alpha1.KeyExport {
			return &v1alpha1.KeyExport{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
		}
		own := is()
		own.Name, own.Spec.Target = "own", v1alpha1.ExportTarget{Kind: v1alpha1.ExportToSecret, Name: "own"}
		for what, err := range map[string]error{
			"get":    s.c.Get(t.Context(), client.ObjectKeyFromObject(is()), is()),
			"list":   s.c.List(t.Context(), &v1alpha1.KeyExportList{}, client.InNamespace(namespace)),
			"create": s.c.Create(t.Context(), own),
			"change": s.c.Patch(t.Context(), is(), controlplanetest.MergePatch(`{"spec":{"content":"Key","namespaceSelector":null}}`)),
			"label":  s.c.Patch(t.Context(), is(), controlplanetest.MergePatch(`{"metadata":{"labels":{"a":"b"}}}`)),
			"keep":   s.c.Patch(t.Context(), is(), controlplanetest.MergePatch(`{"metadata":{"finalizers":["example.com/keep"]}}`)),
			"status": s.c.Status().Patch(t.Context(), is(), controlplanetest.MergePatch(`{"status":{"keys":7}}`)),
			"delete": s.c.Delete(t.Context(), is()),
			"purge":  s.c.DeleteAllOf(t.Context(), &v1alpha1.KeyExport{}, client.InNamespace(namespace)),
		} {
			if s.allowed(err) {
				t.Errorf("the tenant may %s a KeyExport in %s", what, namespace)
			}
		}
	}
	s.expectVictim(t)
}

func (s *exportScene) tryObjects(t *testing.T) {
	planted := func(name string) *corev1.Secret {
		return &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: gateway, Name: name, Labels: map[string]string{"app.kubernetes.io/managed-by": "apikey-manager"}},
			StringData: map[string]string{"shop": "sha256:planted"},
		}
	}
	for what, err := range map[string]error{
		"read":                 s.c.Get(t.Context(), client.ObjectKey{Namespace: gateway, Name: "keys"}, &corev1.Secret{}),
		"list":                 s.c.List(t.Context(), &corev1.SecretList{}, client.InNamespace(gateway)),
		"change":               s.c.Patch(t.Context(), planted("keys"), controlplanetest.MergePatch(`{"stringData":{"shop":"planted"}}`)),
		"plant the next":       s.c.Create(t.Context(), planted("keys-1")),
		"delete":               s.c.Delete(t.Context(), planted("keys")),
		"plant with ConfigMap": s.c.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: gateway, Name: "keys"}}),
	} {
		if s.allowed(err) {
			t.Errorf("the tenant may %s an object of a KeyExport", what)
		}
	}
	key := controlplanetest.NewKey(gateway, "keys", s.account)
	if s.allowed(s.c.Create(t.Context(), key)) {
		t.Error("the tenant may create a key whose Secret is called like that of a KeyExport")
	}
	s.expectVictim(t)
}

func (s *exportScene) tryNamespaceLabels(t *testing.T) {
	key := s.issue("mine")
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.namespace}}
	if s.allowed(s.c.Patch(t.Context(), namespace, controlplanetest.MergePatch(`{"metadata":{"labels":{"team":"payments"}}}`))) {
		t.Error("the tenant may label its namespace")
	}
	labelled := s.issue("labelled-mine")
	if !s.allowed(s.c.Patch(t.Context(), labelled, controlplanetest.MergePatch(`{"metadata":{"labels":{"team":"payments"}}}`))) {
		t.Error("the tenant may not label its key")
	}
	s.awaitExported(t, "digests", key, true)
	s.awaitExported(t, "keys", labelled, true)
	if s.holds(t, "payments", key) || s.holds(t, "payments", labelled) {
		t.Error("a KeyExport holds keys of a namespace that it does not select")
	}
	s.expectVictim(t)
}

func (s *exportScene) tryAccount(t *testing.T) {
	if s.allowed(s.c.Create(t.Context(), controlplanetest.NewKey(s.namespace, "of-victim", victim))) {
		t.Error("the tenant may create a key of another account")
	}
	key := s.issue("moving")
	if s.allowed(s.c.Patch(t.Context(), key.DeepCopy(), controlplanetest.MergePatch(`{"spec":{"account":"victim"}}`))) {
		t.Error("the tenant may move a key to another account")
	}
	forged := s.victim.DeepCopy()
	forged.ObjectMeta = metav1.ObjectMeta{Namespace: s.namespace, Name: "forged"}
	forged.Spec = v1alpha1.APIKeySpec{Account: s.account}
	if !s.allowed(s.c.Create(t.Context(), forged)) {
		t.Fatal("the tenant may not create a key")
	}
	s.awaitStatus(forged)
	if forged.Status.KeyID == s.victim.Status.KeyID {
		t.Error("the tenant wrote the status of a key")
	}
	s.expectVictim(t)
}

func (s *exportScene) tryEntry(t *testing.T) {
	controlplanetest.SleepUntil(t, s.victim.CreationTimestamp.Add(time.Second)) // keys of one second have no known order
	s.issue("colliding", func(k *v1alpha1.APIKeySpec) {
		k.Label, k.Metadata = "shop", map[string]v1alpha1.MetadataValue{"note": "mine"}
	})
	s.awaitWithheld(t, "labels", "colliding", v1alpha1.ReasonDuplicateEntry)
	injected := `x","account":"victim","keyHash":"sha256:00`
	injecting := s.issue("injecting", func(k *v1alpha1.APIKeySpec) {
		k.Label, k.Metadata = "injecting", map[string]v1alpha1.MetadataValue{"note": v1alpha1.MetadataValue(injected)}
	})
	s.awaitExported(t, "labels", injecting, true)
	if got := s.exported(t, "labels")["injecting"]; strings.Count(got, `"account"`) != 1 || !strings.HasSuffix(got, `"account":"mallory"}`) {
		t.Errorf("the value of an entry was forged: %s", got)
	}
	s.expectVictim(t)
}

func (s *exportScene) tryImport(t *testing.T) {
	current := controlplanetest.CredentialOf(s.victim, v1alpha1.RoleCurrent)
	if current == nil {
		t.Fatal("the victim's key has no credential")
	}
	key := controlplanetest.NewKey(s.namespace, "importing", s.account, func(k *v1alpha1.APIKeySpec) {
		k.Import = &v1alpha1.Import{SHA256: current.SHA256, Hint: "ak_"}
	})
	before := s.exported(t, "digests")
	if s.createKey(key) == nil {
		t.Log("the import is refused")
		return
	}
	later := s.issue("after-the-import")
	s.awaitExported(t, "digests", later, true)
	for name, value := range s.exported(t, "digests") {
		if strings.Contains(value, current.SHA256) && before[name] != value {
			t.Errorf("the victim's digest is in entry %s, too", name)
		}
	}
	s.expectVictim(t)
}

func (s *exportScene) tryHostileValues(t *testing.T) {
	long := strings.Repeat("a", 250)
	for name, label := range map[string]string{
		"dots": "..", "slash": "../../etc/passwd", "template": "{{ .Digest }}", "space": "a b", "unicode": "ｓｈｏｐ", "quotes": `"` + "`'",
		"tag": "<script>", "separator": "shop\u00a0",
	} {
		s.issue("hostile-"+name, func(k *v1alpha1.APIKeySpec) {
			k.Label = label
			k.Metadata = map[string]v1alpha1.MetadataValue{"note": v1alpha1.MetadataValue(`\"}}` + long)}
		})
		s.awaitWithheld(t, "labels", "hostile-"+name, v1alpha1.ReasonInvalidEntry)
	}
	s.awaitWithheld(t, "scopes", "hostile-dots", v1alpha1.ReasonInvalidEntry) // it has no scope
	for i := range 16 {
		s.issue(fmt.Sprintf("many-%d", i), func(k *v1alpha1.APIKeySpec) {
			k.Label, k.Metadata = fmt.Sprintf("many-%d", i), map[string]v1alpha1.MetadataValue{}
			for n := range 16 {
				k.Metadata[fmt.Sprintf("entry%d", n)] = v1alpha1.MetadataValue(strings.Repeat("\U0001F511", 60))
			}
		})
	}
	s.expectVictim(t)
}

func (s *exportScene) trySwitchedOff(t *testing.T) {
	s.Change(t, s.victim, func(k *v1alpha1.APIKeySpec) { k.State = v1alpha1.KeyStateInactive })
	digest := controlplanetest.CredentialOf(s.victim, v1alpha1.RoleCurrent).SHA256
	for _, name := range []string{"digests", "keys", "payments", "labels"} {
		s.awaitExported(t, name, s.victim, false)
	}
	key := controlplanetest.NewKey(s.namespace, "reviving", s.account, func(k *v1alpha1.APIKeySpec) {
		k.Label, k.Import = "reviving", &v1alpha1.Import{SHA256: digest, Hint: "ak_"}
	})
	s.createKey(key)
	later := s.issue("after-the-revival")
	s.awaitExported(t, "digests", later, true)
	controlplanetest.Consistently(t, "the digest of an inactive key stays withdrawn", func() error {
		for name, value := range s.exported(t, "digests") {
			if strings.Contains(value, digest) {
				return errors.New("it is in entry " + name)
			}
		}
		return nil
	})
}
