// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
)

// AccountReconciler keeps the record of which keys hold a slot of an account.
type AccountReconciler struct {
	client.Client
	// APIReader reads from the API server itself, past the cache.
	APIReader client.Reader
	// Clock tells the time.
	Clock clock.PassiveClock
	// Settings are what the manager's flags say.
	Settings keys.Settings

	undecodable undecodableLog
}

// +kubebuilder:rbac:groups=apikey-manager.io,resources=accounts/status,verbs=update

// Reconcile runs one round for an account. Its only step is the write of the record.
func (r *AccountReconciler) Reconcile(ctx context.Context, account *v1alpha1.Account) (ctrl.Result, error) {
	if r.undecodable.setAside(ctx, account) {
		return ctrl.Result{}, nil
	}
	facts, err := r.observe(ctx, account)
	if err != nil {
		return ctrl.Result{}, err
	}
	err = r.updateStatus(ctx, account, keys.DescribeAccount(facts))
	if isStale(err) {
		log.FromContext(ctx).V(1).Info("Facts were stale", "cause", err.Error())
		return ctrl.Result{RequeueAfter: staleRequeueAfter}, nil
	}
	if err != nil {
		return ctrl.Result{}, err
	}
	return ctrl.Result{RequeueAfter: requeueAfter(time.Time{}, r.Clock.Now())}, nil
}

func (r *AccountReconciler) observe(ctx context.Context, account *v1alpha1.Account) (keys.AccountFacts, error) {
	facts := keys.AccountFacts{
		Account: account, Settings: r.Settings, Now: r.Clock.Now().UTC().Truncate(time.Second),
		NamespaceLabels: map[string]map[string]string{}, Confirmed: map[string]bool{},
	}
	var err error
	if facts.Keys, err = keysOf(ctx, r, keys.IndexAccount, account.Name); err != nil {
		return facts, err
	}
	if facts.Declaring, err = accountsDeclaring(ctx, r, account.Spec.ExternalID); err != nil {
		return facts, err
	}
	for _, k := range facts.Keys {
		if _, known := facts.NamespaceLabels[k.Namespace]; known {
			continue
		}
		if facts.NamespaceLabels[k.Namespace], err = namespaceLabels(ctx, r, account, k.Namespace); err != nil {
			return facts, err
		}
	}
	return facts, r.confirm(ctx, facts)
}

// confirm asks the API server about what a cache is not to be trusted with: that a slot's holder is gone, and that a
// key without a slot is owed one.
func (r *AccountReconciler) confirm(ctx context.Context, facts keys.AccountFacts) error {
	missing, unrecorded := keys.UnconfirmedSlots(facts)
	for _, slot := range missing {
		live, err := r.readKey(ctx, slot.Namespace, slot.Name)
		if err != nil {
			return err
		}
		facts.Confirmed[slot.UID] = live == nil || string(live.UID) != slot.UID
	}
	for _, k := range unrecorded {
		live, err := r.readKey(ctx, k.Namespace, k.Name)
		if err != nil {
			return err
		}
		facts.Confirmed[string(k.UID)] = live != nil && live.UID == k.UID && keys.RetainsSlot(live, facts.Account)
	}
	return nil
}

// readKey reads a key from the API server; nil: it does not exist.
func (r *AccountReconciler) readKey(ctx context.Context, namespace, name string) (*v1alpha1.APIKey, error) {
	var key v1alpha1.APIKey
	err := r.APIReader.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, &key)
	if apierrors.IsNotFound(err) {
		return nil, nil //nolint:nilnil // nil is the key that does not exist
	}
	if err != nil {
		return nil, fmt.Errorf("read APIKey %s/%s: %w", namespace, name, err)
	}
	return &key, nil
}

// updateStatus writes the record if it changed, provided that nobody wrote the account meanwhile: this is where the limit is
// kept.
func (r *AccountReconciler) updateStatus(ctx context.Context, account *v1alpha1.Account, after v1alpha1.AccountStatus) error {
	if equality.Semantic.DeepEqual(account.Status, after) {
		return nil
	}
	next := account.DeepCopy()
	next.Status = after
	if err := r.Status().Update(ctx, next); err != nil {
		return fmt.Errorf("write the status of Account %s: %w", account.Name, err)
	}
	return nil
}
