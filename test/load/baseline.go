// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
)

// baseline is the bare client. It makes the same writes as the manager, with its identity, but does not watch or wait. Keys
// and accounts have separate workers, as in the manager.
type baseline struct {
	client   client.Client
	accounts int
	prepared bool    // accounts exist
	writes   float64 // status writes an account, on average

	mu      sync.Mutex
	sizes   map[string]int
	members map[string][]*v1alpha1.APIKey
	full    int // accounts whose keys all exist

	keyQueue     chan *v1alpha1.APIKey
	accountQueue chan accountJob
}

// accountJob holds the writes of one account.
type accountJob struct {
	name   string
	keys   []*v1alpha1.APIKey
	writes int
}

func newBaseline(c client.Client, s dataset, writes float64) *baseline {
	return &baseline{
		client: c, accounts: s.accounts, prepared: s.accountsExist(), writes: writes, sizes: s.sizes(), members: map[string][]*v1alpha1.APIKey{},
		keyQueue: make(chan *v1alpha1.APIKey, len(s.keys)), accountQueue: make(chan accountJob, s.accounts),
	}
}

// created queues a key that has been created. An account is queued once its last key exists.
func (f *baseline) created(key *v1alpha1.APIKey) {
	key.ManagedFields = nil // the manager's cache strips them too
	f.mu.Lock()
	defer f.mu.Unlock()
	f.keyQueue <- key.DeepCopy()
	name := key.Spec.Account
	f.members[name] = append(f.members[name], key)
	if len(f.members[name]) < f.sizes[name] {
		return
	}
	f.accountQueue <- accountJob{name: name, keys: f.members[name], writes: share(f.writes*float64(f.accounts), f.full, f.accounts)}
	if f.full++; f.full == f.accounts {
		close(f.keyQueue)
		close(f.accountQueue)
	}
}

// work makes all writes, with n workers for keys and n for accounts.
func (f *baseline) work(ctx context.Context, n int) error {
	issued, recorded := make(chan error, 1), make(chan error, 1)
	go func() { issued <- drain(ctx, n, f.keyQueue, f.issue) }()
	go func() { recorded <- drain(ctx, n, f.accountQueue, f.record) }()
	return errors.Join(<-issued, <-recorded)
}

// issue makes the writes of one key: its Secret, its status and its Event.
func (f *baseline) issue(ctx context.Context, key *v1alpha1.APIKey) error {
	issued, err := keys.EffectiveFormat(key, nil).Generate(rand.Reader)
	if err != nil {
		return err
	}
	secret := bareSecret(key, issued.Material)
	if err := f.client.Create(ctx, secret); err != nil {
		return fmt.Errorf("create Secret %s: %w", secret.Name, err)
	}
	facts := keys.Facts{
		Key: key.DeepCopy(), Account: admitting(key), Settings: defaults, Now: now(),
		Secret: keys.JustIssuedSecret(secret.ResourceVersion, issued),
	}
	key.Status = keys.Describe(facts)
	announced := keys.Events(facts, key.Status)
	if err := f.client.Status().Update(ctx, key); err != nil {
		return fmt.Errorf("write the status of APIKey %s: %w", key.Name, err)
	}
	for _, e := range announced {
		if err := f.client.Create(ctx, bareEvent(key, e)); err != nil {
			return fmt.Errorf("create an Event about APIKey %s: %w", key.Name, err)
		}
	}
	return nil
}

// record makes the writes of one account: the account, and its status as often as the manager writes it.
func (f *baseline) record(ctx context.Context, job accountJob) error {
	account := &v1alpha1.Account{ObjectMeta: metav1.ObjectMeta{Name: job.name}}
	if err := f.obtain(ctx, account); err != nil {
		return fmt.Errorf("create Account %s: %w", job.name, err)
	}
	for i := range job.writes {
		account.ManagedFields = nil
		account.Status = keys.DescribeAccount(keys.AccountFacts{Account: account, Keys: job.keys, Settings: defaults, Now: now()})
		active := int32(len(job.keys) * i / job.writes)
		account.Status.Keys.Active = &active
		if err := f.client.Status().Update(ctx, account); err != nil {
			return fmt.Errorf("write the status of Account %s: %w", job.name, err)
		}
	}
	return nil
}

func (f *baseline) obtain(ctx context.Context, account *v1alpha1.Account) error {
	if f.prepared {
		return f.client.Get(ctx, client.ObjectKeyFromObject(account), account)
	}
	return f.client.Create(ctx, account)
}

// defaults are the default settings of the manager.
var defaults = keys.Settings{MaxKeys: defaultLimit, DeletionPolicy: v1alpha1.DeletionAllow}

// hostname is part of every Event of the manager.
var hostname, _ = os.Hostname()

func now() time.Time { return time.Now().UTC().Truncate(time.Second) }

// admitting returns an account in which the key has a slot.
func admitting(key *v1alpha1.APIKey) *v1alpha1.Account {
	slot := v1alpha1.Slot{Namespace: key.Namespace, Name: key.Name, UID: string(key.UID), Grant: "1", Label: key.Spec.Label}
	return &v1alpha1.Account{
		ObjectMeta: metav1.ObjectMeta{Name: key.Spec.Account},
		Status:     v1alpha1.AccountStatus{Slots: []v1alpha1.Slot{slot}},
	}
}

func bareSecret(key *v1alpha1.APIKey, material []byte) *corev1.Secret {
	controller := true
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: key.Namespace, Name: keys.SecretName(key),
			Labels: map[string]string{keys.LabelManagedBy: keys.ManagedBy, keys.LabelAccount: key.Spec.Account},
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: v1alpha1.GroupVersion.String(), Kind: "APIKey", Name: key.Name, UID: key.UID, Controller: &controller,
			}},
		},
		Type: corev1.SecretTypeOpaque,
		Data: map[string][]byte{keys.EntryCurrent: material},
	}
}

func bareEvent(key *v1alpha1.APIKey, e keys.Event) *eventsv1.Event {
	t := time.Now()
	return &eventsv1.Event{
		ObjectMeta:          metav1.ObjectMeta{Namespace: key.Namespace, Name: fmt.Sprintf("%s.%x", key.Name, t.UnixNano())},
		EventTime:           metav1.NewMicroTime(t),
		ReportingController: "apikey-manager", ReportingInstance: "apikey-manager-" + hostname,
		Action: e.Action, Reason: e.Reason, Note: e.Note, Type: corev1.EventTypeNormal,
		Regarding: corev1.ObjectReference{
			APIVersion: v1alpha1.GroupVersion.String(), Kind: "APIKey",
			Namespace: key.Namespace, Name: key.Name, UID: key.UID, ResourceVersion: key.ResourceVersion,
		},
	}
}
