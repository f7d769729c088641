// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/export"
	"github.com/apikey-manager/apikey-manager/internal/keys"
)

// ExportRecorder records how long withdrawals from the objects of KeyExports take.
type ExportRecorder interface {
	// Withdrawn records how long it took to withdraw credentials.
	Withdrawn(took time.Duration)
	// Pending records since when a withdrawal is to be written. The zero time means that there is none.
	Pending(name types.NamespacedName, since time.Time)
	// Forget drops a KeyExport that is deleted.
	Forget(name types.NamespacedName)
}

// KeyExportReconciler writes the objects of KeyExports.
type KeyExportReconciler struct {
	client.Client
	// APIReader reads from the API server instead of the cache.
	APIReader client.Reader
	// AllObjects reads all APIKeys and Accounts from the cache.
	AllObjects AllObjectsReader
	// Objects updates the objects of KeyExports.
	Objects ObjectUpdater
	// Clock returns the current time.
	Clock clock.PassiveClock
	// Settings holds the defaults from the manager's flags.
	Settings keys.Settings
	// ConfigMapNamespaces lists the namespaces in which the manager may write ConfigMaps.
	ConfigMapNamespaces []string
	// Events emits the events.
	Events EventEmitter
	// Recorder records withdrawals. It may be nil.
	Recorder ExportRecorder

	// staged holds the credentials that the APIKeyReconciler of this process is to write to Secrets.
	staged      *stagedCredentials
	states      exportStates
	undecodable undecodableLog
}

// +kubebuilder:rbac:groups=apikey-manager.io,resources=keyexports,verbs=get;list;watch
// +kubebuilder:rbac:groups=apikey-manager.io,resources=keyexports/status,verbs=update
// The permission to write ConfigMaps is not among these: it is granted in the namespaces of --export-configmap-namespaces only.

const (
	// maxExportRounds limits the rounds of one Reconcile. A round follows one whose facts were stale.
	maxExportRounds = 4
	// exportRecheckInterval separates two attempts of a write that cannot succeed before a user changes something. Not every
	// such change enqueues the KeyExport.
	exportRecheckInterval = time.Minute
	// lateWithdrawalRecheckInterval replaces it while a withdrawal is to be written.
	lateWithdrawalRecheckInterval = 5 * time.Second
	// minExportBackoff and maxExportBackoff limit the time between two attempts of a write that failed.
	minExportBackoff, maxExportBackoff = 50 * time.Millisecond, 5 * time.Second
)

// exportRun holds the facts of one reconciliation of a KeyExport.
type exportRun struct {
	export *v1alpha1.KeyExport
	state  *exportState
	rules  *export.Export
	now    time.Time
	// onlyWithdraw reports whether nothing may be added, because the spec is invalid or the KeyExport is being deleted.
	onlyWithdraw bool
	// unreadable holds the error of the object that could not be read, or nil. Then no credential may be added either, because the
	// object may hold it.
	unreadable error

	// keys holds all keys, accounts all accounts by name, as their keys use them, and namespaces the labels of all namespaces.
	keys       []*v1alpha1.APIKey
	accounts   map[string]*v1alpha1.Account
	namespaces map[string]map[string]string
	// unchanged reports whether the last reconciliation had the same result, so that there is nothing to do.
	unchanged bool
	// shared holds the digests that several keys have, observed the keys that were evaluated, and desired the entries that the
	// objects are to hold.
	shared   keys.SharedDigests
	observed map[types.UID]observedKey
	desired  []export.Entry

	violation *keys.Violation
	withheld  []export.Withheld
	// next is the next time at which the export changes by time alone, retry the time of another reconciliation.
	next, retry time.Time
	// removes is the number of credentials to withdraw that are not withdrawn yet.
	removes int
	// placed reports whether removes is known.
	placed bool
	// incomplete reports whether a credential was not found.
	incomplete bool
	// secretReads is the number of Secrets of keys that were read.
	secretReads int
}

// Reconcile makes the objects of a KeyExport hold exactly the credentials that they should. It observes, decides, performs the
// writes, describes the result, updates the status and announces.
func (r *KeyExportReconciler) Reconcile(ctx context.Context, e *v1alpha1.KeyExport) (ctrl.Result, error) {
	if r.undecodable.setAside(ctx, e); !exportIsReconciled(e, r.Settings) {
		return ctrl.Result{}, nil
	}
	now := r.Clock.Now()
	state, changed := r.states.get(e, now)
	state.startWithdrawals(changed, now)
	run := &exportRun{export: e, state: state, now: now}
	run.compile(r.Settings)
	err := r.rounds(ctx, run)
	r.recordWithdrawals(run, err)
	if isStale(err) {
		log.FromContext(ctx).V(1).Info("Facts were stale", "cause", err.Error())
		return ctrl.Result{RequeueAfter: staleRequeueAfter}, nil
	}
	if statusErr := r.updateStatus(ctx, run, err); isStale(statusErr) {
		return ctrl.Result{RequeueAfter: staleRequeueAfter}, nil
	} else if statusErr != nil {
		return ctrl.Result{}, errors.Join(err, statusErr)
	}
	return r.result(ctx, run, err)
}

// rounds runs rounds until one is not based on stale facts.
func (r *KeyExportReconciler) rounds(ctx context.Context, run *exportRun) error {
	if violation := r.checkTarget(run); violation != nil {
		run.violation = violation
		return nil
	}
	var err error
	for range maxExportRounds {
		if err = r.round(ctx, run); !isStale(err) {
			return err
		}
	}
	return err
}

// round observes the keys and the objects, and performs the writes.
func (r *KeyExportReconciler) round(ctx context.Context, run *exportRun) error {
	run.withheld, run.next, run.retry, run.removes, run.placed, run.unreadable = nil, time.Time{}, time.Time{}, 0, false, nil
	run.shared, run.incomplete = nil, false
	if err := r.observeObjects(ctx, run); err != nil {
		return err
	}
	violation, err := r.checkSiblings(ctx, run)
	if violation != nil || err != nil {
		run.violation = cmp.Or(run.violation, violation)
		return cmp.Or(err, run.unreadable)
	}
	if err := r.observeKeys(ctx, run); err != nil {
		return err
	}
	if run.unchanged = run.unreadable == nil && r.isUnchanged(ctx, run); run.unchanged {
		run.next = run.state.snapshot.next
		return nil
	}
	run.state.snapshot = nil
	selected := run.evaluate()
	run.identify()
	run.desired = r.render(ctx, run, selected)
	placement := run.place(run.desired)
	run.withheld = append(run.withheld, placement.Withheld...)
	return cmp.Or(r.perform(ctx, run, placement.Writes), run.unreadable)
}

// perform performs writes in order. After one that fails it skips those that must not be performed without it, so that no
// credential is in two objects. It returns the first error.
func (r *KeyExportReconciler) perform(ctx context.Context, run *exportRun, writes []export.Write) error {
	run.placed = run.unreadable == nil
	var first error
	failed := map[string]bool{}
	isBlocked := func(name string) bool { return failed[name] }
	for _, w := range writes {
		if isBlocked(w.Name) || slices.ContainsFunc(w.After, isBlocked) {
			failed[w.Name] = true
			run.removes += run.withdrawals(w)
			continue
		}
		withdrawals := run.withdrawals(w)
		violation, err := r.write(ctx, run, w)
		if violation != nil || err != nil {
			failed[w.Name] = true
			run.removes += withdrawals
			run.violation, first = cmp.Or(run.violation, violation), cmp.Or(first, err)
			continue
		}
		if withdrawals > 0 && r.Recorder != nil {
			r.Recorder.Withdrawn(r.Clock.Now().Sub(run.state.pendingSince))
		}
	}
	return first
}

// compile compiles the spec. If it is invalid, the export only withdraws credentials that verifiers do not accept.
func (run *exportRun) compile(settings keys.Settings) {
	s := run.state
	if s.generation != run.export.Generation || s.rules == nil {
		s.generation = run.export.Generation
		if s.rules, s.compileErr = export.Compile(run.export); s.compileErr == nil {
			s.compileErr = settings.CheckExportDomains(&run.export.Spec.Target).ToAggregate()
		}
		if s.compileErr != nil {
			s.rules, _ = export.Compile(withoutCriteria(run.export, settings)) // nil if the API server accepted what the schema refuses
		}
	}
	run.rules, run.onlyWithdraw = s.rules, s.compileErr != nil || !run.export.DeletionTimestamp.IsZero()
	if s.compileErr != nil {
		run.violation = &keys.Violation{Reason: v1alpha1.ReasonInvalidSpec, Message: s.compileErr.Error()}
	}
}

// withoutCriteria returns a KeyExport with the same target, except for reserved and invalid labels and annotations, that selects all keys.
func withoutCriteria(e *v1alpha1.KeyExport, settings keys.Settings) *v1alpha1.KeyExport {
	all := &v1alpha1.KeyExport{ObjectMeta: e.ObjectMeta}
	all.Spec = v1alpha1.KeyExportSpec{
		Content: e.Spec.Content, Layout: e.Spec.Layout, Target: withValidMetadata(e.Spec.Target), AddressRestricted: e.Spec.AddressRestricted,
	}
	all.Spec.Target.Labels = settings.WithoutReservedNames(all.Spec.Target.Labels)
	all.Spec.Target.Annotations = settings.WithoutReservedNames(all.Spec.Target.Annotations)
	return all
}

// withValidMetadata returns a target without the labels and annotations that are invalid. The schema accepts some of them.
func withValidMetadata(target v1alpha1.ExportTarget) v1alpha1.ExportTarget {
	valid := func(one v1alpha1.ExportTarget) bool {
		return len(keys.ValidateExportTarget(&one, field.NewPath("target"))) == 0
	}
	t := *target.DeepCopy()
	maps.DeleteFunc(t.Labels, func(name, value string) bool {
		return !valid(v1alpha1.ExportTarget{Type: t.Type, Labels: map[string]string{name: value}})
	})
	maps.DeleteFunc(t.Annotations, func(name, value string) bool {
		return !valid(v1alpha1.ExportTarget{Type: t.Type, Annotations: map[string]string{name: value}})
	})
	return t
}

// checkTarget returns why the objects cannot be written, or nil.
func (r *KeyExportReconciler) checkTarget(run *exportRun) *keys.Violation {
	namespace := run.export.Namespace
	switch {
	case run.rules == nil:
		return run.violation
	case run.export.Spec.Target.Kind == v1alpha1.ExportToConfigMap && !slices.Contains(r.ConfigMapNamespaces, namespace):
		return &keys.Violation{
			Reason: v1alpha1.ReasonConfigMapsNotAllowed,
			Message: fmt.Sprintf("The manager may not write ConfigMaps in namespace %s: add it to --export-configmap-namespaces, "+
				"or create the KeyExport again with target.kind: Secret", namespace),
		}
	}
	return nil
}

// updateStatus writes the status if it changed, and emits events. The write fails if the KeyExport changed since it was read.
func (r *KeyExportReconciler) updateStatus(ctx context.Context, run *exportRun, err error) error {
	if run.unchanged {
		return nil
	}
	before := run.state.newer(run.export)
	after := export.Describe(export.Facts{
		Export: before, Objects: run.state.contents(), Withheld: run.withheld, Violation: run.violation, Err: err, Now: run.now,
	})
	if !equality.Semantic.DeepEqual(before.Status, after) {
		next := before.DeepCopy()
		next.Status = after
		if err := r.Status().Update(ctx, next); err != nil {
			run.state.latest = nil
			return fmt.Errorf("write the status of KeyExport %s: %w", next.Name, err)
		}
		run.state.latest = next
		r.emit(before, after)
	}
	if err == nil {
		run.takeSnapshot(after)
	}
	return nil
}

// newer returns the KeyExport as this process wrote it last, if the cache does not contain that write yet and the spec is the
// same. Otherwise, it returns the given one.
func (s *exportState) newer(cached *v1alpha1.KeyExport) *v1alpha1.KeyExport {
	if s.latest != nil && s.latest.Generation == cached.Generation && earlier(cached.ResourceVersion, s.latest.ResourceVersion) {
		return s.latest
	}
	return cached
}

// emit emits an event if Ready became False for another reason, and if it became True after that.
func (r *KeyExportReconciler) emit(e *v1alpha1.KeyExport, after v1alpha1.KeyExportStatus) {
	was := meta.FindStatusCondition(e.Status.Conditions, v1alpha1.ConditionReady)
	is := meta.FindStatusCondition(after.Conditions, v1alpha1.ConditionReady)
	switch {
	case is == nil || was != nil && was.Reason == is.Reason:
	case is.Status == "False":
		r.Events.Recorder.Eventf(e, nil, corev1.EventTypeWarning, is.Reason, "Export", "%s", is.Message)
	case is.Status == "True":
		r.Events.Recorder.Eventf(e, nil, corev1.EventTypeNormal, is.Reason, "Export", "%s", is.Message)
	}
}

// result returns the time of the next reconciliation, or the error of this one.
func (r *KeyExportReconciler) result(ctx context.Context, run *exportRun, err error) (ctrl.Result, error) {
	recheck := exportRecheckInterval
	if run.removes > 0 {
		recheck = lateWithdrawalRecheckInterval
	}
	next := earliest(run.next, run.retry)
	switch {
	case keys.IsRefused(err):
		log.FromContext(ctx).Info("The API server refused a write", "cause", keys.PublicMessage(err))
		next = earliest(next, run.now.Add(recheck))
	case err != nil:
		return ctrl.Result{}, err
	case run.violation != nil:
		next = earliest(next, run.now.Add(recheck))
	}
	return ctrl.Result{RequeueAfter: requeueAfter(next, r.Clock.Now())}, nil
}

// earliest returns the earlier of two times. The zero time means never.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// forget drops what is known of a KeyExport that is deleted.
func (r *KeyExportReconciler) forget(e client.Object) {
	name := client.ObjectKeyFromObject(e)
	r.states.forget(name)
	if r.Recorder != nil {
		r.Recorder.Forget(name)
	}
}

// SetupWithManager adds the controller to a manager.
func (r *KeyExportReconciler) SetupWithManager(mgr ctrl.Manager, o Options) error {
	options := controllerOptions(o)
	options.RateLimiter = workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](minExportBackoff, maxExportBackoff)
	controlled := ctrl.NewControllerManagedBy(mgr).
		For(&v1alpha1.KeyExport{}, builder.WithPredicates(specChanged)).
		Watches(&v1alpha1.KeyExport{}, r.siblingHandler()).
		Watches(&v1alpha1.APIKey{}, r.keyHandler()).
		Watches(&v1alpha1.Account{}, r.accountHandler()).
		WatchesMetadata(&corev1.Namespace{}, r.namespaceHandler(), builder.WithPredicates(predicate.LabelChangedPredicate{})).
		WatchesMetadata(&corev1.Secret{}, r.objectHandler()).
		WithOptions(options)
	if len(r.ConfigMapNamespaces) > 0 {
		controlled = controlled.WatchesMetadata(&corev1.ConfigMap{}, r.objectHandler())
	}
	return controlled.Complete(reconcile.AsReconciler(mgr.GetClient(), r))
}
