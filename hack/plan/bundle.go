// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/credential"
	"github.com/apikey-manager/apikey-manager/internal/keys"
)

// bundle holds the objects of the given manifests.
type bundle struct {
	keys       []*v1alpha1.APIKey
	accounts   []*v1alpha1.Account
	secrets    map[string]*corev1.Secret // by namespace/name
	namespaces map[string]map[string]string
}

// defaults are the settings of a manager that runs without flags.
var defaults = keys.Settings{MaxKeys: 5, DeletionPolicy: v1alpha1.DeletionAllow, ReservedDomains: []string{"argocd.argoproj.io"}}

func parse(data []byte) (*bundle, error) {
	b := &bundle{secrets: map[string]*corev1.Secret{}, namespaces: map[string]map[string]string{}}
	documents := utilyaml.NewDocumentDecoder(io.NopCloser(bytes.NewReader(data)))
	defer func() { _ = documents.Close() }()
	buf := make([]byte, len(data)+1)
	for {
		n, err := documents.Read(buf)
		if errors.Is(err, io.EOF) {
			return b, nil
		}
		if err != nil {
			return nil, err
		}
		if err := b.add(buf[:n]); err != nil {
			return nil, err
		}
	}
}

// add adds the objects of one document to the bundle. Kinds that have no effect on keys are ignored.
func (b *bundle) add(document []byte) error {
	var header struct {
		Kind  string `json:"kind"`
		Items []any  `json:"items"`
	}
	if err := yaml.Unmarshal(document, &header); err != nil {
		return err
	}
	switch header.Kind {
	case "List", "APIKeyList", "AccountList", "SecretList", "NamespaceList":
		for _, item := range header.Items {
			text, err := yaml.Marshal(item)
			if err != nil {
				return err
			}
			if err := b.add(text); err != nil {
				return err
			}
		}
		return nil
	case "APIKey":
		return decode(document, func(k *strictKey) { b.keys = append(b.keys, complete((*v1alpha1.APIKey)(k))) })
	case "Account":
		return decode(document, func(a *strictAccount) { b.accounts = append(b.accounts, (*v1alpha1.Account)(a)) })
	case "Secret":
		return decode(document, func(s *corev1.Secret) { b.secrets[s.Namespace+"/"+s.Name] = s })
	case "Namespace":
		return decode(document, func(n *corev1.Namespace) { b.namespaces[n.Name] = n.Labels })
	}
	return nil
}

// strictKey and strictAccount are types without the custom decoding of APIKey and Account, so that unknown fields are errors.
type (
	strictKey     v1alpha1.APIKey
	strictAccount v1alpha1.Account
)

func decode[T any](document []byte, keep func(*T)) error {
	var object T
	if err := yaml.UnmarshalStrict(document, &object); err != nil {
		return fmt.Errorf("%T: %w", object, err)
	}
	keep(&object)
	return nil
}

// complete fills in what the API server would set, so that a manifest that was never applied can be planned for.
func complete(k *v1alpha1.APIKey) *v1alpha1.APIKey {
	if k.Namespace == "" {
		k.Namespace = "default"
	}
	if k.UID == "" {
		k.UID = "not-created-yet"
	}
	if k.Generation == 0 {
		k.Generation = 1
	}
	if k.Spec.State == "" {
		k.Spec.State = v1alpha1.KeyStateActive
	}
	return k
}

// explanation is the printed result for one account or key.
type explanation struct {
	Account string                  `json:"account,omitempty"`
	APIKey  string                  `json:"apikey,omitempty"`
	Secret  keys.Ownership          `json:"secret,omitempty"`
	Steps   []string                `json:"steps,omitempty"`
	Next    string                  `json:"next,omitempty"`
	Why     string                  `json:"why,omitempty"`
	Status  *v1alpha1.APIKeyStatus  `json:"status,omitempty"`
	Record  *v1alpha1.AccountStatus `json:"record,omitempty"`
}

// explain prints the status that the manager would give each account, then the plan and the status for each key.
func (b *bundle) explain(out io.Writer, now time.Time) error {
	accounts := map[string]*v1alpha1.Account{}
	for _, a := range b.accounts {
		status := keys.DescribeAccount(keys.AccountFacts{
			Account: a, Keys: b.keysOf(a.Name), NamespaceLabels: b.namespaces, Confirmed: map[string]bool{}, Settings: defaults, Now: now,
		})
		if err := write(out, explanation{Account: a.Name, Record: &status}); err != nil {
			return err
		}
		after := a.DeepCopy()
		after.Status = status
		accounts[a.Name] = after
	}
	for _, k := range b.keys {
		if err := write(out, b.explainKey(k, accounts[k.Spec.Account], now)); err != nil {
			return err
		}
	}
	return nil
}

func (b *bundle) explainKey(k *v1alpha1.APIKey, a *v1alpha1.Account, now time.Time) explanation {
	facts := keys.Facts{
		Key:             k,
		Account:         a,
		NamespaceLabels: b.namespaces[k.Namespace],
		Siblings:        b.siblings(k),
		Secret:          b.observeSecret(k, a),
		Settings:        defaults,
		Now:             now,
		Repairs:         keys.ResumeRepairs(k, now),
	}
	facts.Duplicates = b.duplicates(facts)
	if next := keys.LastStaged(&k.Status); next != nil { // as in the manager that staged the credential
		facts.Staged = keys.ObservedCredential{SHA256: next.SHA256, PublicPart: credential.PublicPart{ID: next.ID, Hint: next.Hint}}
	}
	plan, status := keys.Decide(facts), keys.Describe(facts)
	e := explanation{APIKey: k.Namespace + "/" + k.Name, Secret: facts.Secret.Ownership, Why: plan.Why, Status: &status}
	for _, step := range plan.Steps {
		e.Steps = append(e.Steps, step.String())
	}
	if next := keys.NextCheck(facts); !next.IsZero() {
		e.Next = next.UTC().Format(time.RFC3339)
	}
	return e
}

func (b *bundle) observeSecret(k *v1alpha1.APIKey, a *v1alpha1.Account) keys.ObservedSecret {
	secret := b.secrets[k.Namespace+"/"+keys.SecretName(k)]
	if secret == nil {
		return keys.ObservedSecret{Ownership: keys.SecretMissing}
	}
	content := keys.SecretContent{Labels: secret.Labels, Annotations: secret.Annotations, Type: string(secret.Type), Data: secret.Data}
	observed, _ := keys.ObserveSecret(k, a, secret, content)
	return observed
}

func (b *bundle) duplicates(f keys.Facts) []*v1alpha1.APIKey {
	var list []*v1alpha1.APIKey
	for _, digest := range f.Digests() {
		for _, other := range b.keys {
			if other != f.Key && slices.Contains(keys.KeyDigests(other), digest) {
				list = append(list, other)
			}
		}
	}
	return list
}

func (b *bundle) keysOf(account string) []*v1alpha1.APIKey {
	var list []*v1alpha1.APIKey
	for _, k := range b.keys {
		if k.Spec.Account == account {
			list = append(list, k)
		}
	}
	return list
}

func (b *bundle) siblings(k *v1alpha1.APIKey) []*v1alpha1.APIKey {
	if k.Spec.Label == "" {
		return nil
	}
	var list []*v1alpha1.APIKey
	for _, other := range b.keysOf(k.Spec.Account) {
		if other != k && keys.AccountLabel(other) == keys.AccountLabel(k) {
			list = append(list, other)
		}
	}
	return list
}

func write(out io.Writer, e explanation) error {
	text, err := yaml.Marshal(e)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "---\n%s", text)
	return err
}
