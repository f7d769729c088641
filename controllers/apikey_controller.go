// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/lookup"
)

// APIKeyReconciler reconciles APIKeys.
type APIKeyReconciler struct {
	client.Client
	// APIReader reads from the API server instead of the cache.
	APIReader client.Reader
	// Clock returns the current time.
	Clock clock.PassiveClock
	// Random is the source of key material.
	Random io.Reader
	// Settings holds the defaults from the manager's flags.
	Settings keys.Settings
	// Events emits the events.
	Events EventEmitter

	// creating holds the names of the accounts whose creation is in progress.
	creating sync.Map
	// staged holds the credentials that are to be written to Secrets.
	staged stagedCredentials
	// confirmed holds Secrets that need not be read again in the same reconciliation.
	confirmed confirmedSecrets
	// written holds the versions of keys that the cache does not contain yet.
	written writtenKeys
	// new holds the keys without a status.
	new newKeys
	// propagation reports whether verifiers know the staged credentials. It is nil without verifiers.
	propagation *credentialPropagation
	// exports finds out which keys are exported. It is nil without KeyExports, in tests.
	exports *exportLookup
	// repairs holds recent repairs of Secrets.
	repairs     repairs
	undecodable undecodableLog
}

// errStaleFacts means that the facts of a reconciliation are out of date. It is not a failure: the key is reconciled
// again.
var errStaleFacts = errors.New("the facts have changed meanwhile")

// errImpossibleStep means that a step is impossible because the Secret cannot be changed. The facts hold the reason.
var errImpossibleStep = errors.New("the Secret can't be changed")

// +kubebuilder:rbac:groups=apikey-manager.io,resources=apikeys,verbs=get;list;watch;delete
// +kubebuilder:rbac:groups=apikey-manager.io,resources=apikeys/status,verbs=update
// +kubebuilder:rbac:groups=apikey-manager.io,resources=accounts,verbs=get;list;watch;create;patch
// The manager deletes Secrets of KeyExports, and no Secret of an APIKey. Becoming the owner of one that exists, which adoption is,
// takes the right to delete it where admission plugin OwnerReferencesPermissionEnforcement is on.
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get;list;watch;create;update;delete
// +kubebuilder:rbac:groups="",resources=namespaces,verbs=get;list;watch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// maxRounds limits the rounds of one Reconcile. A rotation that does not wait for verifiers takes three.
const maxRounds = 8

// Reconcile runs rounds for a key until there is nothing left to do. A round consists of observe, decide, perform,
// describe, patch and announce. A further round is based on the status that the previous one wrote, because the cache
// may not contain it yet.
func (r *APIKeyReconciler) Reconcile(ctx context.Context, key *v1alpha1.APIKey) (ctrl.Result, error) {
	if !r.Settings.WatchesNamespace(key.Namespace) || r.undecodable.setAside(ctx, key) {
		return ctrl.Result{}, nil
	}
	if r.written.isAhead(key, r.Clock.Now()) {
		return r.result(ctx, time.Time{}, errStaleFacts)
	}
	facts, err := r.observe(ctx, key)
	if err != nil {
		return r.result(ctx, time.Time{}, err)
	}
	defer func() {
		r.repairs.put(key, facts.Repairs, facts.Now)
		r.confirmed.drop(key.UID)
	}()
	for range maxRounds {
		r.observeStaged(ctx, &facts)
		plan := keys.Decide(facts)
		log.FromContext(ctx).V(1).Info("Decided", "steps", plan.Steps, "why", plan.Why)
		wrote, err := r.round(ctx, &facts, plan)
		if err != nil || !wrote {
			return r.result(ctx, keys.NextCheck(facts), err)
		}
	}
	return r.result(ctx, keys.NextCheck(facts), nil)
}

// round carries out a plan, writes the status and emits events. It reports whether a further round may find something
// to do.
func (r *APIKeyReconciler) round(ctx context.Context, facts *keys.Facts, plan keys.Plan) (bool, error) {
	before := *facts
	facts.Err = r.perform(ctx, facts, plan.Steps)
	facts.Repairs = facts.Repairs.After(before, plan, facts.Err == nil)
	if isStale(facts.Err) || plan.DeletesKey() { // if the deletion fails, the status is still correct
		return false, facts.Err
	}
	after := keys.Describe(*facts)
	wrote, err := r.updateStatus(ctx, facts, after)
	if err != nil {
		return false, errors.Join(facts.Err, err)
	}
	if keys.IsTemplateError(facts.Err) {
		return false, nil // the status contains the reason, and a retry would fail again
	}
	if keys.IsRefused(facts.Err) {
		log.FromContext(ctx).Info("The API server refused a write", "cause", keys.PublicMessage(facts.Err))
		return false, nil // the status contains the reason and the time of the next attempt
	}
	offered := before.Secret.Ownership == keys.SecretMissing &&
		facts.Secret.Ownership == keys.SecretOffered // the cache contains only labelled Secrets
	return wrote || offered, facts.Err
}

// observe reads the facts of a round. It reads only from the cache if nothing has changed.
func (r *APIKeyReconciler) observe(ctx context.Context, key *v1alpha1.APIKey) (keys.Facts, error) {
	facts, err := lookup.Facts(ctx, r, key.DeepCopy(), r.Settings, r.Clock.Now())
	if err != nil {
		return facts, err
	}
	facts.Template = &keys.TemplateCheck{}
	facts.FirstSeen = r.new.firstSeen(key, facts.Now)
	if facts.Account != nil {
		declaring, err := lookup.Accounts(ctx, r, facts.Account.Spec.ExternalID)
		if err != nil {
			return facts, err
		}
		facts.Account = keys.WithHeldExternalID(facts.Account, declaring)
	}
	facts.Repairs = r.repairs.get(facts.Key, facts.Now)
	if facts.Secret, err = r.observeSecret(ctx, facts.Key, facts.Account); err != nil {
		return facts, err
	}
	facts.Duplicates, err = r.duplicates(ctx, &facts)
	return facts, err
}

// observeStaged sets the facts about the credential that the key's status staged: whether this process holds it, and
// whether all verifiers know it. It is unknown whether the gateways of KeyExports do.
func (r *APIKeyReconciler) observeStaged(ctx context.Context, facts *keys.Facts) {
	issued, has := r.staged.get(facts.Key.UID)
	facts.Staged, facts.Propagated = keys.ObservedCredential{}, false
	if next := keys.LastStaged(&facts.Key.Status); has && next != nil && next.SHA256 == issued.Material.SHA256() {
		known, exported := r.propagation.done(facts.Key), r.exports.mayExport(ctx, facts.Key)
		facts.Staged, facts.Propagated = keys.ObserveCredential(issued), known && !exported
	}
}

// duplicates returns the other keys in the cache that have, or have revoked, a credential of this key.
func (r *APIKeyReconciler) duplicates(ctx context.Context, facts *keys.Facts) ([]*v1alpha1.APIKey, error) {
	var others []*v1alpha1.APIKey
	for _, digest := range facts.Digests() {
		list, err := lookup.Keys(ctx, r, keys.IndexDigest, digest)
		if err != nil {
			return nil, err
		}
		for _, k := range list {
			if k.UID != facts.Key.UID {
				others = append(others, k)
			}
		}
	}
	return others, nil
}

var secretMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}

// observeSecret returns the state of the key's Secret. It reads the Secret itself only if its metadata differs from
// the status. After a restart no unchanged Secret is read.
func (r *APIKeyReconciler) observeSecret(
	ctx context.Context,
	key *v1alpha1.APIKey,
	account *v1alpha1.Account,
) (keys.ObservedSecret, error) {
	seen := metav1.PartialObjectMetadata{TypeMeta: secretMeta}
	err := r.Get(ctx, client.ObjectKey{Namespace: key.Namespace, Name: keys.SecretName(key)}, &seen)
	if client.IgnoreNotFound(err) != nil {
		return keys.ObservedSecret{}, fmt.Errorf("read the metadata of Secret %s: %w", keys.SecretName(key), err)
	}
	ref := key.Status.SecretRef
	switch {
	case apierrors.IsNotFound(err) && ref == nil:
		return keys.ObservedSecret{Ownership: keys.SecretMissing}, nil // the creation fails if that is wrong
	case err == nil && keys.StatusDescribesSecret(key) && ref.ResourceVersion == seen.ResourceVersion &&
		keys.OwnershipOf(&seen, key) == keys.SecretOwned && // a restored status may contain the version of another Secret
		keys.IsRenderedFrom(key, account, seen.Annotations):
		return keys.SecretFromStatus(key), nil
	}
	observed, _, _, err := r.readSecret(ctx, key, account)
	return observed, err
}

// updateStatus writes the status if it changed, and emits events. The write fails if the key changed since it was
// read.
func (r *APIKeyReconciler) updateStatus(ctx context.Context, facts *keys.Facts, after v1alpha1.APIKeyStatus) (bool, error) {
	if equality.Semantic.DeepEqual(facts.Key.Status, after) {
		return false, nil
	}
	next := facts.Key.DeepCopy()
	next.Status = after
	if err := r.Status().Update(ctx, next); err != nil {
		return false, fmt.Errorf("write the status of APIKey %s: %w", next.Name, err)
	}
	r.Events.emit(next, keys.Events(*facts, after))
	next.Status = after // not as the API server returned it, so that a further round compares equal values
	facts.Key = next
	r.confirmed.confirm(next)
	r.written.put(next, r.Clock.Now())
	r.new.drop(next.UID)
	facts.Secret.JustIssued, facts.JustStaged, facts.JustFenced, facts.Repairs.Written = false, false, false, ""
	r.staged.prune(next)
	if keys.LastStaged(&after) == nil {
		r.propagation.forget(next.UID)
	}
	return true, nil
}

// result returns the time of the next reconciliation, or the error of this one.
func (r *APIKeyReconciler) result(ctx context.Context, next time.Time, err error) (ctrl.Result, error) {
	switch {
	case isStale(err):
		log.FromContext(ctx).V(1).Info("Facts were stale", "cause", err.Error())
		return ctrl.Result{RequeueAfter: staleRequeueAfter}, nil
	case err != nil:
		return ctrl.Result{}, err
	}
	return ctrl.Result{RequeueAfter: requeueAfter(next, r.Clock.Now())}, nil
}

// SetupWithManager adds the controller to a manager.
func (r *APIKeyReconciler) SetupWithManager(mgr ctrl.Manager, o Options) error {
	controlled := ctrl.NewControllerManagedBy(mgr)
	if r.propagation != nil {
		controlled = controlled.WatchesRawSource(source.Channel(r.propagation.enqueueCh, &handler.EnqueueRequestForObject{}))
	}
	return controlled.
		For(&v1alpha1.APIKey{}, builder.WithPredicates(specChanged)).
		Owns(&corev1.Secret{}, builder.OnlyMetadata, builder.WithPredicates(exceptCreation)).
		Watches(&v1alpha1.APIKey{}, r.siblingHandler()).
		Watches(&v1alpha1.APIKey{}, r.duplicateHandler()).
		Watches(&v1alpha1.APIKey{}, r.forgetHandler()).
		Watches(&v1alpha1.Account{}, r.accountHandler()).
		WatchesMetadata(&corev1.Namespace{}, r.namespaceHandler(), builder.WithPredicates(predicate.LabelChangedPredicate{}, exceptCreation)).
		WithOptions(controllerOptions(o)).
		Complete(reconcile.AsReconciler(mgr.GetClient(), r))
}
