// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package tenants_test

import (
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
	"github.com/apikey-manager/apikey-manager/test/mailbox"
)

// outcome is something that a user may try to cause. The outcomes are tried in order.
type outcome struct {
	// name is the name of the outcome in the document, if any role can cause it through keys.
	name string
	// direct does the same without keys, as a dry run. It is nil if only the manager has the permissions.
	direct func(*tenant) error
	// throughKeys tries to cause the outcome through APIKeys and Accounts, and reports whether it did.
	throughKeys func(*tenant) bool
}

var outcomes = slices.Concat(secretOutcomes(), typeOutcomes(), metadataOutcomes(), tokenOutcomes(), accountOutcomes(), keyOutcomes(), exportOutcomes())

// secretOutcomes returns the outcomes that concern Secrets.
func secretOutcomes() []outcome {
	return []outcome{
		{"an Opaque Secret of a free name, with a generated key as its only entry", createSecret("", nil), declareOpaque},
		{"the same in any other namespace", createSecretIn(elsewhere), declareElsewhere},
		{"a Secret with entries of the user's own", createSecret("", nil), declareEntries},
		{"a change of what an existing template makes of a Secret", patchSecret("templated"), changeTemplate},
		{"the end of what an existing template makes of a Secret", patchSecret("untemplated"), removeTemplate},
		{"the key's label, expiration or scopes where an existing template puts them in its Secret", patchSecret("templated"), changeValues},
		{"another credential in the Secret of an existing key", patchSecret("templated"), rotate},
		{"the deletion of an existing key's Secret, with the key", deleteSecret("doomed"), deleteKey},
		{"a deleted key that stays, with its Secret, slot and account, as long as a finalizer of the user's does", nil, keepByFinalizer},
		{"the knowledge that a Secret of a name exists", getSecret("present"), probeSecret},
		{"a change of a Secret that no key owns", patchSecret("present"), takeSecret},
		{"the content of a Secret", getSecret("templated"), readSecret},
	}
}

func secretOf(namespace, secretType string, data map[string]string) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "direct"}, Type: corev1.SecretType(secretType), StringData: data,
	}
}

func createSecret(secretType string, data map[string]string) func(*tenant) error {
	return func(u *tenant) error {
		return u.c.Create(u.Context(), secretOf(u.namespace, secretType, data), client.DryRunAll)
	}
}

func createSecretIn(namespace string) func(*tenant) error {
	return func(u *tenant) error { return u.c.Create(u.Context(), secretOf(namespace, "", nil), client.DryRunAll) }
}

func patchSecret(name string) func(*tenant) error {
	return func(u *tenant) error {
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: u.namespace, Name: name}}
		return u.c.Patch(u.Context(), secret, controlplanetest.MergePatch(`{"stringData":{"config":"x"}}`), client.DryRunAll)
	}
}

func deleteSecret(name string) func(*tenant) error {
	return func(u *tenant) error {
		return u.c.Delete(u.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: u.namespace, Name: name}}, client.DryRunAll)
	}
}

func getSecret(name string) func(*tenant) error {
	return func(u *tenant) error {
		return u.c.Get(u.Context(), client.ObjectKey{Namespace: u.namespace, Name: name}, &corev1.Secret{})
	}
}

func declareOpaque(u *tenant) bool {
	key := u.key("opaque")
	key.Spec.Secret = &v1alpha1.SecretSpec{Name: "free-name"}
	if u.createKey(key) == nil {
		return false
	}
	secret := u.secret("free-name")
	return secret != nil && secret.Type == corev1.SecretTypeOpaque && len(secret.Data) == 1 && len(secret.Data["api-key"]) > 0
}

func declareElsewhere(u *tenant) bool {
	key := controlplanetest.NewKey(elsewhere, u.id+"-declared", u.account)
	return u.createKey(key) != nil && u.get(u.T, elsewhere, key.Name, &corev1.Secret{})
}

// createTemplated returns the Secret of a new key with a template, or nil if there is none.
func (u *tenant) createTemplated(name string, template v1alpha1.SecretTemplate) *corev1.Secret {
	u.Helper()
	key := u.key(name)
	key.Spec.Secret = &v1alpha1.SecretSpec{Template: &template}
	if u.createKey(key) == nil {
		return nil
	}
	return u.secret(name)
}

func declareEntries(u *tenant) bool {
	secret := u.createTemplated("entries", v1alpha1.SecretTemplate{Data: map[string]string{"config": "mine", "api-key": "{{ .Key }}"}})
	return secret != nil && string(secret.Data["config"]) == "mine"
}

func changeTemplate(u *tenant) bool {
	return u.change("templated", `{"spec":{"secret":{"template":{"labels":{"example.com/of":"the-user"}}}}}`) &&
		u.secret("templated").Labels["example.com/of"] == "the-user"
}

func removeTemplate(u *tenant) bool {
	return u.change("untemplated", `{"spec":{"secret":null}}`) && u.secret("untemplated").Data["config"] == nil
}

func changeValues(u *tenant) bool {
	return u.change("templated", `{"spec":{"label":"of-the-user"}}`) && string(u.secret("templated").Data["config"]) == "label: of-the-user"
}

func rotate(u *tenant) bool {
	before := string(u.secret("templated").Data["api-key"])
	if !u.change("templated", fmt.Sprintf(`{"spec":{"rotation":{"requestedAt":%q,"overlap":"0s"}}}`, time.Now().UTC().Format(time.RFC3339))) {
		return false
	}
	controlplanetest.Until(u.T, "the key was not rotated", func() bool { return string(u.secret("templated").Data["api-key"]) != before })
	return true
}

func deleteKey(u *tenant) bool {
	if !u.allowed(u.c.Delete(u.Context(), u.key("doomed"))) {
		return false
	}
	controlplanetest.Until(u.T, "the Secret of a deleted key is still there", func() bool { return u.secret("doomed") == nil })
	return true
}

func keepByFinalizer(u *tenant) bool {
	key := u.key("finalized")
	if !u.allowed(u.c.Patch(u.Context(), key, controlplanetest.MergePatch(`{"metadata":{"finalizers":["example.com/keep"]}}`))) || !u.allowed(u.c.Delete(u.Context(), key)) {
		return false
	}
	u.awaitCollector()
	err := u.admin.Delete(u.Context(), &v1alpha1.Account{ObjectMeta: metav1.ObjectMeta{Name: u.account}}, client.DryRunAll)
	return u.get(u.T, u.namespace, key.Name, key) && u.secret(key.Name) != nil && apierrors.IsForbidden(err)
}

// awaitCollector waits until the garbage collector has processed the objects that exist now.
func (u *tenant) awaitCollector() {
	u.Helper()
	orphan := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
		Namespace: u.namespace, GenerateName: "orphan-", OwnerReferences: []metav1.OwnerReference{absentOwner},
	}}
	u.Create(u.T, orphan)
	controlplanetest.Until(u.T, "an orphan was not collected", func() bool {
		return !u.get(u.T, u.namespace, orphan.Name, &corev1.ConfigMap{})
	})
}

// absentOwner makes the garbage collector delete the object that refers to it.
var absentOwner = metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: "absent", UID: "00000000-0000-4000-8000-000000000000"}

func probeSecret(u *tenant) bool {
	key := u.key("probing")
	key.Spec.Secret = &v1alpha1.SecretSpec{Name: "present"}
	if u.createKey(key) == nil {
		return false
	}
	ready := meta.FindStatusCondition(key.Status.Conditions, v1alpha1.ConditionReady)
	return ready.Reason == v1alpha1.ReasonSecretConflict
}

func takeSecret(u *tenant) bool {
	before := u.secret("present")
	key := u.key("taking")
	key.Spec.Secret = &v1alpha1.SecretSpec{Name: "present"}
	if u.createKey(key) != nil {
		u.change("taking", `{"spec":{"state":"Revoked"}}`)
		u.allowed(u.c.Delete(u.Context(), key))
		u.awaitCollector()
	}
	after := u.secret("present")
	return after == nil || after.ResourceVersion != before.ResourceVersion
}

// accountOutcomes returns the outcomes that concern Accounts, and what the manager does for them.
func accountOutcomes() []outcome {
	return []outcome{
		{"a new Account with an empty spec, of a name the user may use", createAccount("created"), func(u *tenant) bool {
			return u.createKeyFor("new", u.created)
		}},
		{"a new Account of another name", createAccount("unusable"), func(u *tenant) bool {
			return u.createKeyFor("unusable", u.createdUnusable)
		}},
		{"a slot of an account the user may use", patchAccountStatus, takeSlot},
		{"an Account the user may use that can't be deleted", nil, holdAccount},
		{"facts of an account the user may use: its limit, scopes and policies", getAccount, readScopes},
		{"the rate limits of an account the user may use", getAccount, readRateLimits},
		{"all metadata of an account the user may use", getAccount, readMetadata},
		{"more keys than the account's limit", nil, exceedLimit},
		{"mail, from the manager's sender, to addresses of the user's choosing", nil, sendMail},
		{"Events about the key, from the manager", createEvent, causeEvents},
	}
}

func createAccount(suffix string) func(*tenant) error {
	return func(u *tenant) error {
		account := &v1alpha1.Account{ObjectMeta: metav1.ObjectMeta{Name: u.id + "-direct-" + suffix}}
		return u.c.Create(u.Context(), account, client.DryRunAll)
	}
}

// createKeyFor creates a key of an account, and reports whether the account exists afterwards.
func (u *tenant) createKeyFor(name, account string) bool {
	u.Helper()
	return u.createKey(controlplanetest.NewKey(u.namespace, name, account)) != nil && u.get(u.T, "", account, &v1alpha1.Account{})
}

func patchAccountStatus(u *tenant) error {
	account := &v1alpha1.Account{ObjectMeta: metav1.ObjectMeta{Name: u.account}}
	return u.c.Status().Patch(u.Context(), account, controlplanetest.MergePatch(`{"status":{"slots":[]}}`), client.DryRunAll)
}

func takeSlot(u *tenant) bool {
	key := u.createKey(u.key("slot"))
	if key == nil {
		return false
	}
	var account v1alpha1.Account
	return u.get(u.T, "", u.account, &account) &&
		slices.ContainsFunc(account.Status.Slots, func(s v1alpha1.Slot) bool { return s.UID == string(key.UID) })
}

func holdAccount(u *tenant) bool {
	if u.createKey(controlplanetest.NewKey(u.namespace, "holding", u.small)) == nil {
		return false
	}
	held := &v1alpha1.Account{ObjectMeta: metav1.ObjectMeta{Name: u.small}}
	return apierrors.IsForbidden(u.admin.Delete(u.Context(), held, client.DryRunAll))
}

func exceedLimit(u *tenant) bool {
	for i := range 3 {
		u.createKey(controlplanetest.NewKey(u.namespace, fmt.Sprintf("exceeding-%d", i), u.small))
	}
	var list v1alpha1.APIKeyList
	if err := u.admin.List(u.Context(), &list, client.InNamespace(u.namespace), client.MatchingFields{"spec.account": u.small}); err != nil {
		u.Fatal(err)
	}
	issued := 0
	for i := range list.Items {
		if len(list.Items[i].Status.Credentials) > 0 {
			issued++
		}
	}
	return issued > 1
}

func getAccount(u *tenant) error {
	return u.c.Get(u.Context(), client.ObjectKey{Name: u.account}, &v1alpha1.Account{})
}

func sendMail(u *tenant) bool {
	key, to := u.key("mailing"), u.id+"@example.com"
	key.Spec.Expiration = time.Now().UTC().Add(72 * time.Hour).Format(time.RFC3339)
	key.Spec.Notification = &v1alpha1.Notification{Emails: []string{to}}
	if u.createKey(key) == nil {
		return false
	}
	controlplanetest.Until(u.T, "no mail came to "+to, func() bool {
		return slices.ContainsFunc(u.mail.Mails(), func(m mailbox.Mail) bool { return m.To == to })
	})
	return true
}

func createEvent(u *tenant) error {
	return u.c.Create(u.Context(), &eventsv1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: u.namespace, Name: "direct"}, EventTime: metav1.NowMicro(), Type: "Normal",
		Action: "Issue", Reason: "Issued", ReportingController: "manager", ReportingInstance: "manager",
		Regarding: corev1.ObjectReference{Namespace: u.namespace, Name: "x"},
	}, client.DryRunAll)
}

func causeEvents(u *tenant) bool {
	key := u.createKey(u.key("noisy"))
	if key == nil {
		return false
	}
	controlplanetest.Until(u.T, "there is no Event about a key", func() bool {
		var list eventsv1.EventList
		if err := u.admin.List(u.Context(), &list, client.InNamespace(u.namespace)); err != nil {
			u.Fatal(err)
		}
		return slices.ContainsFunc(list.Items, func(e eventsv1.Event) bool { return e.Regarding.UID == key.UID })
	})
	return true
}
