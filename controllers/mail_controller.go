// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/util/retry"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/lookup"
	"github.com/apikey-manager/apikey-manager/internal/reminder"
)

// Mailer sends a mail to each of its addresses, and returns the result for each. It has its own timeout.
type Mailer interface {
	Send(ctx context.Context, mail reminder.Mail) []reminder.Delivery
}

// MailReconciler sends mail before keys expire. It has its own workers, so that a slow mail server does not delay the
// reconciliation of keys. It writes only the notifications and the history in a status.
type MailReconciler struct {
	client.Client
	// APIReader reads from the API server instead of the cache.
	APIReader client.Reader
	// Clock returns the current time.
	Clock clock.PassiveClock
	// Settings holds the defaults from the manager's flags.
	Settings keys.Settings
	// Mailer sends mail. It is nil without a mail server.
	Mailer Mailer
	// Events emits the events.
	Events EventEmitter
}

// Reconcile claims the mail that is due, sends it, and records the results. The claim is based on the version of the
// key in the API server, so that a stale cache does not cause a second mail.
func (r *MailReconciler) Reconcile(ctx context.Context, key *v1alpha1.APIKey) (ctrl.Result, error) {
	if !r.Settings.WatchesNamespace(key.Namespace) {
		return ctrl.Result{}, nil
	}
	facts, err := r.observe(ctx, key)
	if err != nil {
		return r.result(time.Time{}, err)
	}
	if len(key.Undecodable) > 0 || facts.Account != nil && len(facts.Account.Undecodable) > 0 {
		return ctrl.Result{}, nil // the recipients or the times may be among the fields that could not be decoded
	}
	plan := reminder.Decide(facts, r.Mailer != nil)
	if plan.Send != nil {
		if plan, err = r.countMails(ctx, &facts); err != nil {
			return r.result(time.Time{}, err)
		}
	}
	if err := r.updateStatus(ctx, facts.Key, plan.Notifications); err != nil {
		if plan.Send != nil {
			r.uncountMails(ctx, facts.Account, len(plan.Send.To))
		}
		return r.result(time.Time{}, err)
	}
	if plan.Send == nil {
		return r.result(plan.Next, nil)
	}
	deliveries := r.Mailer.Send(ctx, *plan.Send)
	facts.Now = r.now()
	ctx = context.WithoutCancel(ctx) // record what was sent even if the manager stops
	r.uncountMails(ctx, facts.Account, reminder.CountUnreached(deliveries))
	err = r.updateStatus(ctx, facts.Key, reminder.RecordDeliveries(facts.Key.Status.Notifications, *plan.Send, deliveries, facts.Now))
	if err != nil { // the key changed meanwhile, or the API server did not answer; the results must not be lost
		err = r.recordDeliveriesAgain(ctx, facts.Key, *plan.Send, deliveries)
	}
	return r.result(reminder.Decide(facts, true).Next, err)
}

// maxRecordTries is the number of attempts to write a count of mails after conflicts.
const maxRecordTries = 5

// countMails counts the mails of a plan in the status of the account, which limits their number. The count is written
// before the mail is claimed, so that two managers that send at the same time do not exceed the limit.
func (r *MailReconciler) countMails(ctx context.Context, facts *keys.Facts) (reminder.Plan, error) {
	if r.Settings.MaxMails == 0 {
		return reminder.Decide(*facts, true), nil
	}
	var err error
	for range maxRecordTries {
		var account v1alpha1.Account
		if err := r.APIReader.Get(ctx, client.ObjectKey{Name: facts.Key.Spec.Account}, &account); err != nil {
			return reminder.Plan{}, fmt.Errorf("read account %s: %w", facts.Key.Spec.Account, err)
		}
		facts.Account = &account
		plan := reminder.Decide(*facts, true)
		if plan.Send == nil {
			return plan, nil
		}
		account.Status.Mail = reminder.CountMails(&account, len(plan.Send.To), facts.Now)
		if err = r.Status().Update(ctx, &account); err == nil {
			return plan, nil
		}
		if err = fmt.Errorf("count the mails of account %s: %w", account.Name, err); !isStale(err) {
			return reminder.Plan{}, err
		}
	}
	return reminder.Plan{}, err
}

// uncountMails subtracts mails that were counted and not passed to the mail server. If that fails they remain counted:
// fewer mails than the limit may be sent, but not more.
func (r *MailReconciler) uncountMails(ctx context.Context, counted *v1alpha1.Account, n int) {
	if r.Settings.MaxMails == 0 || n == 0 {
		return
	}
	for range maxRecordTries {
		var account v1alpha1.Account
		if err := r.APIReader.Get(ctx, client.ObjectKeyFromObject(counted), &account); err != nil || account.UID != counted.UID {
			return
		}
		account.Status.Mail = reminder.UncountMails(&account, counted.Status.Mail, n)
		if err := r.Status().Update(ctx, &account); !isStale(err) {
			return
		}
	}
}

// recordBackoff determines how often results are written until the API server accepts them: for about six seconds, which is
// longer than a restart of a connection takes and shorter than claimLifetime of a mail.
var recordBackoff = wait.Backoff{Steps: 8, Duration: 50 * time.Millisecond, Factor: 2}

// recordDeliveriesAgain records the results on the current version of the key. Without them, the mail would be sent again when
// its claim ends.
func (r *MailReconciler) recordDeliveriesAgain(
	ctx context.Context,
	key *v1alpha1.APIKey,
	mail reminder.Mail,
	deliveries []reminder.Delivery,
) error {
	mayRecord := func(err error) bool { return !apierrors.IsInvalid(err) }
	return retry.OnError(recordBackoff, mayRecord, func() error {
		var live v1alpha1.APIKey
		if err := r.APIReader.Get(ctx, client.ObjectKeyFromObject(key), &live); err != nil || live.UID != key.UID || len(live.Undecodable) > 0 {
			return client.IgnoreNotFound(err)
		}
		return r.updateStatus(ctx, &live, reminder.RecordDeliveries(live.Status.Notifications, mail, deliveries, r.now()))
	})
}

func (r *MailReconciler) observe(ctx context.Context, key *v1alpha1.APIKey) (keys.Facts, error) {
	account, err := lookup.Account(ctx, r, key.Spec.Account)
	return keys.Facts{Key: key.DeepCopy(), Account: account, Settings: r.Settings, Now: r.now()}, err
}

// updateStatus writes the notifications and their history if they changed, and emits events. The write fails if the
// key changed since it was read.
func (r *MailReconciler) updateStatus(ctx context.Context, key *v1alpha1.APIKey, list []v1alpha1.NotificationStatus) error {
	before := key.Status.Notifications
	if equality.Semantic.DeepEqual(before, list) {
		return nil
	}
	happened := reminder.Events(before, list)
	key.Status.Notifications = list
	key.Status.History = keys.AppendHistory(key.Status.History, happened, r.now())
	if err := r.Status().Update(ctx, key); err != nil {
		return fmt.Errorf("write the notifications of APIKey %s: %w", key.Name, err)
	}
	r.Events.emit(key, happened)
	return nil
}

func (r *MailReconciler) now() time.Time { return r.Clock.Now().UTC().Truncate(time.Second) }

func (r *MailReconciler) result(next time.Time, err error) (ctrl.Result, error) {
	switch {
	case isStale(err):
		return ctrl.Result{RequeueAfter: staleRequeueAfter}, nil
	case err != nil:
		return ctrl.Result{}, err
	case next.IsZero():
		return ctrl.Result{}, nil
	}
	return ctrl.Result{RequeueAfter: requeueAfter(next, r.Clock.Now())}, nil
}

// mailWorkers is the number of mails that are sent at the same time.
const mailWorkers = 4

// SetupWithManager adds the controller to a manager.
func (r *MailReconciler) SetupWithManager(mgr ctrl.Manager, o Options) error {
	options := controllerOptions(o)
	options.MaxConcurrentReconciles = mailWorkers
	return ctrl.NewControllerManagedBy(mgr).
		Named("apikey-mail").
		For(&v1alpha1.APIKey{}, builder.WithPredicates(predicate.Funcs{UpdateFunc: affectsReminders})).
		Watches(&v1alpha1.Account{}, accountSpecHandler(r), builder.WithPredicates(specChanged, exceptCreation)).
		WithOptions(options).
		Complete(reconcile.AsReconciler(mgr.GetClient(), r))
}

// affectsReminders reports whether an update of a key may change when mail about it is due.
func affectsReminders(e event.UpdateEvent) bool {
	was, is := e.ObjectOld.(*v1alpha1.APIKey), e.ObjectNew.(*v1alpha1.APIKey) //nolint:forcetypeassert // watched as APIKey
	return was.Generation != is.Generation || len(was.Undecodable) != len(is.Undecodable) || was.Status.State != is.Status.State ||
		!was.Status.ExpirationTime.Equal(is.Status.ExpirationTime)
}

// accountSpecHandler enqueues all keys of an account.
func accountSpecHandler(reader client.Reader) handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, o client.Object) []reconcile.Request {
		list, err := lookup.Keys(ctx, reader, keys.IndexAccount, o.GetName())
		if err != nil {
			ctrl.LoggerFrom(ctx).Error(err, "Could not enqueue the keys of an account", "account", o.GetName())
			return nil
		}
		found := make([]reconcile.Request, len(list))
		for i, k := range list {
			found[i] = reconcile.Request{NamespacedName: client.ObjectKeyFromObject(k)}
		}
		return found
	})
}
