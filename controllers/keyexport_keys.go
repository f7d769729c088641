// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"bytes"
	"context"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/credential"
	"github.com/apikey-manager/apikey-manager/internal/export"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/lookup"
)

const (
	// maxSecretReads limits the Secrets of keys that one reconciliation reads, so that a large export is not late with
	// withdrawals while it reads many Secrets.
	maxSecretReads = 500
	// unreadableRecheckInterval separates two attempts to find a credential in a Secret. Changes of the Secret enqueue no KeyExport.
	unreadableRecheckInterval = 5 * time.Second
)

// selectedKey holds a key of which an export holds or withholds credentials.
type selectedKey struct {
	export.Candidate
	export.Evaluation
}

// observeKeys reads the keys and what decides about them from the cache.
func (r *KeyExportReconciler) observeKeys(ctx context.Context, run *exportRun) (err error) {
	if run.keys, err = r.AllObjects.Keys(ctx); err != nil {
		return err
	}
	accounts, err := r.AllObjects.Accounts(ctx)
	if err != nil {
		return err
	}
	run.accounts = lookup.ByName(accounts)
	run.namespaces, err = lookup.AllNamespaceLabels(ctx, r)
	return err
}

// evaluate returns the keys of which the export holds or withholds something.
func (run *exportRun) evaluate() []selectedKey {
	run.shared, run.observed = keys.FindSharedDigests(run.keys), make(map[types.UID]observedKey, len(run.keys))
	selected := make([]selectedKey, 0, len(run.keys))
	for _, k := range run.keys {
		c := run.candidate(k)
		e := run.rules.Evaluate(c, run.now)
		run.next = earliest(run.next, e.Next)
		if matters(e) {
			selected = append(selected, selectedKey{c, e})
		}
		run.observed[k.UID] = observedKey{version: k.ResourceVersion, matters: matters(e)}
	}
	return selected
}

// candidate returns a key and what decides about it.
func (run *exportRun) candidate(k *v1alpha1.APIKey) export.Candidate {
	return export.Candidate{
		Key: k, Account: run.accounts[k.Spec.Account], NamespaceLabels: run.namespaces[k.Namespace], Shadowed: run.shared.Shadowed(k),
	}
}

// identify finds the credentials of all keys in the objects that were read from the API server, whether or not verifiers accept
// them.
func (run *exportRun) identify() {
	fresh := export.Objects{}
	for name, o := range run.state.objects {
		if !o.identified {
			fresh[name], o.identified = export.Object{Items: o.items}, true
		}
	}
	if len(fresh) == 0 {
		return
	}
	issued := make(map[types.UID][]v1alpha1.Credential, len(run.keys))
	for _, k := range run.keys {
		shadowed := run.shared.Shadowed(k)
		issued[k.UID] = slices.DeleteFunc(slices.Clone(k.Status.Credentials), func(c v1alpha1.Credential) bool {
			return slices.Contains(shadowed, c.SHA256)
		})
	}
	for digest, material := range run.rules.Identify(fresh, issued) {
		run.state.renderedOf(digest).material = material
	}
}

// renderedOf returns what is known of a credential.
func (s *exportState) renderedOf(digest string) *renderedEntry {
	known := s.rendered[digest]
	if known == nil {
		known = &renderedEntry{}
		s.rendered[digest] = known
	}
	return known
}

// render returns the entries of the credentials that the objects are to hold, and records the keys that are withheld.
func (r *KeyExportReconciler) render(ctx context.Context, run *exportRun, selected []selectedKey) []export.Entry {
	desired := make([]export.Entry, 0, len(selected))
	used := 0
	for _, s := range selected {
		if s.Withheld != "" {
			run.withhold(s.Key, s.Withheld)
		}
		for _, c := range s.Credentials {
			known := run.state.renderedOf(c.SHA256)
			if !known.used {
				known.used = true
				used++
			}
			if entry, ok := r.renderCredential(ctx, run, s.Candidate, c, known); ok {
				desired = append(desired, entry)
			}
		}
	}
	run.state.pruneRendered(used)
	return desired
}

// pruneRendered drops the entries that this reconciliation did not use.
func (s *exportState) pruneRendered(used int) {
	if used == len(s.rendered) {
		for _, known := range s.rendered {
			known.used = false
		}
		return
	}
	for digest, known := range s.rendered {
		if !known.used {
			delete(s.rendered, digest)
		}
		known.used = false
	}
}

func (run *exportRun) withhold(k *v1alpha1.APIKey, reason string) {
	run.withheld = append(run.withheld, export.Withheld{Key: client.ObjectKeyFromObject(k), Reason: reason})
}

// renderCredential returns the entry of a credential. It returns false if the credential is withheld.
func (r *KeyExportReconciler) renderCredential(
	ctx context.Context,
	run *exportRun,
	c export.Candidate,
	cred v1alpha1.Credential,
	known *renderedEntry,
) (export.Entry, bool) {
	if run.export.Spec.Content == v1alpha1.ExportContentKey && known.material == nil {
		if known.material = r.findMaterial(ctx, run, c.Key, cred, known); known.material == nil {
			run.incomplete = true
			return export.Entry{}, false
		}
	}
	if !known.isCurrent(run, c) {
		known.entry, known.err = run.rules.Render(c, cred, known.material)
		known.setVersions(run, c)
	}
	if known.err != nil {
		run.withhold(c.Key, v1alpha1.ReasonInvalidEntry)
		return export.Entry{}, false
	}
	return known.entry, true
}

// isCurrent reports whether an entry was made from these versions of the objects.
func (e *renderedEntry) isCurrent(run *exportRun, c export.Candidate) bool {
	account, externalID := accountVersion(c.Account)
	return e.uid == c.Key.UID && e.key == c.Key.ResourceVersion && e.account == account && e.externalID == externalID &&
		e.generation == run.state.generation
}

func (e *renderedEntry) setVersions(run *exportRun, c export.Candidate) {
	e.uid, e.key, e.generation = c.Key.UID, c.Key.ResourceVersion, run.state.generation
	e.account, e.externalID = accountVersion(c.Account)
}

// accountVersion returns what identifies the version of an account. Its external ID depends on other accounts, too.
func accountVersion(a *v1alpha1.Account) (version, externalID string) {
	if a == nil {
		return "", ""
	}
	return a.ResourceVersion, a.Spec.ExternalID
}

// findMaterial returns a credential that the objects of the export do not hold yet, or nil if it is withheld: the credential that
// this process staged, or one in the Secret of its key.
func (r *KeyExportReconciler) findMaterial(
	ctx context.Context,
	run *exportRun,
	k *v1alpha1.APIKey,
	c v1alpha1.Credential,
	known *renderedEntry,
) credential.Material {
	if r.staged != nil {
		if issued, ok := r.staged.get(k.UID); ok && issued.Material.SHA256() == c.SHA256 {
			return issued.Material
		}
	}
	if run.onlyWithdraw {
		return nil
	}
	material, ok := r.readMaterial(ctx, run, k, c, known)
	if material == nil && ok && c.Role != v1alpha1.RoleStaged { // another process may have staged it: it is not in the Secret yet
		run.withhold(k, v1alpha1.ReasonKeyNotReadable)
		run.retry = earliest(run.retry, run.now.Add(unreadableRecheckInterval)) // the cache may not contain the Secret yet
	}
	return material
}

// readMaterial reads a credential from the Secret of its key. It returns false if it did not look for it. A version of the Secret
// in which the credential was not found is not read again.
func (r *KeyExportReconciler) readMaterial(
	ctx context.Context,
	run *exportRun,
	k *v1alpha1.APIKey,
	c v1alpha1.Credential,
	known *renderedEntry,
) (credential.Material, bool) {
	version := r.secretVersion(ctx, k)
	if version == "" || version == known.unreadable {
		return nil, true
	}
	if run.secretReads >= maxSecretReads {
		run.retry = run.now // the rest follows in the next reconciliation
		return nil, false
	}
	run.secretReads++
	var secret corev1.Secret
	if err := r.APIReader.Get(ctx, client.ObjectKey{Namespace: k.Namespace, Name: keys.SecretName(k)}, &secret); err != nil {
		log.FromContext(ctx).Info("Could not read the Secret of an APIKey", "apikey", client.ObjectKeyFromObject(k), "cause", errorKind(err))
		run.retry = earliest(run.retry, run.now.Add(unreadableRecheckInterval))
		return nil, true
	}
	found := keys.FindCredentials(k, secret.Data)
	for _, f := range []credential.Credential{found.Current, found.Previous} {
		if f.Material.SHA256() == c.SHA256 {
			known.unreadable = ""
			return f.Material, true
		}
	}
	known.unreadable = version
	return nil, true
}

// secretVersion returns the version of a key's Secret, or "" if the key has none.
func (r *KeyExportReconciler) secretVersion(ctx context.Context, k *v1alpha1.APIKey) string {
	seen := metav1.PartialObjectMetadata{TypeMeta: secretMeta}
	err := r.Get(ctx, client.ObjectKey{Namespace: k.Namespace, Name: keys.SecretName(k)}, &seen)
	if err != nil || !metav1.IsControlledBy(&seen, k) {
		return ""
	}
	return seen.ResourceVersion
}

// place decides on the writes. While additions are limited, or if the export only withdraws, the objects keep what they hold of
// the desired entries, and receive nothing else. An export that only withdraws creates no object.
func (run *exportRun) place(desired []export.Entry) export.Placement {
	current := run.state.contents()
	if run.withdrawsOnly() {
		placement := run.rules.Place(current, current.Kept(desired))
		placement.Writes = slices.DeleteFunc(placement.Writes, func(w export.Write) bool { return run.withdrawals(w) == 0 })
		return placement
	}
	placement := run.rules.Place(current, desired)
	if run.export.Spec.Layout == v1alpha1.ExportLayoutObjects || len(placement.Writes) == 0 {
		return placement
	}
	if run.adds(placement) {
		allowed, next := run.state.additions.allowed(run.now, maxAdditions)
		if allowed {
			run.state.additions.use(1)
			return placement
		}
		run.retry = earliest(run.retry, next)
		placement = run.rules.Place(current, current.Kept(desired))
	}
	return run.limitWithdrawals(placement)
}

// limitWithdrawals delays the writes of a placement by up to half a second if there were many: keys of a user that are switched off
// one after the other must not cause a version of a large object each without limit.
func (run *exportRun) limitWithdrawals(p export.Placement) export.Placement {
	allowed, next := run.state.withdrawals.allowed(run.now, maxWithdrawals)
	if allowed {
		run.state.withdrawals.use(len(p.Writes))
		return p
	}
	for _, w := range p.Writes {
		run.removes += run.withdrawals(w)
	}
	if len(p.Writes) > 0 {
		run.retry = earliest(run.retry, next)
	}
	p.Writes = nil
	return p
}

// withdrawsOnly reports whether no credential may be added.
func (run *exportRun) withdrawsOnly() bool { return run.onlyWithdraw || run.unreadable != nil }

// adds reports whether a placement writes an object for another reason than to withdraw credentials, or not only for that.
func (run *exportRun) adds(p export.Placement) bool {
	return slices.ContainsFunc(p.Writes, func(w export.Write) bool { return run.withdrawals(w) == 0 || run.addsItems(w) })
}

// addsItems reports whether an object holds a value after a write that it does not hold before.
func (run *exportRun) addsItems(w export.Write) bool {
	known := run.state.objects[w.Name]
	for name, item := range w.Items {
		if known == nil || !bytes.Equal(known.items[name].Value, item.Value) {
			return true
		}
	}
	return false
}
