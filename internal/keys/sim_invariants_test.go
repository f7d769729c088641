// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys_test

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/credential"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
)

// This file checks the invariants of every simulation: after each write, and once nothing happens any more.

// rules specifies which invariants apply. Some of them depend on a constant policy.
type rules struct {
	// strict means that limits, counting and label policy do not change, and that accounts are not deleted.
	strict   bool
	counting v1alpha1.Counting
	limit    int
	// late means that limit and counting are set once, in an account that a manager created, and do not change again.
	late bool
}

// check checks the invariants that must hold at every instant.
func (r rules) check(w *fakeCluster) error {
	if r.late {
		return r.checkLate(w)
	}
	if !r.strict {
		return nil
	}
	holders, active := map[string]int{}, map[string]int{}
	for _, k := range w.keys() {
		s := w.secret(secretName(k))
		if keys.Issued(k) || (s != nil && s.owner == k.UID) {
			holders[k.Spec.Account]++
		}
		if k.Status.State == v1alpha1.StateActive {
			active[k.Spec.Account]++
		}
	}
	for _, a := range w.accounts() {
		if n := len(a.Status.Slots); n > r.limit {
			return fmt.Errorf("account %s records %d slots over a limit of %d", a.Name, n, r.limit)
		}
	}
	for account, n := range holders {
		if r.counting == v1alpha1.CountAll && n > r.limit {
			return fmt.Errorf("%d keys of account %s hold a credential or a Secret over a limit of %d", n, account, r.limit)
		}
	}
	for account, n := range active {
		if n > r.limit {
			return fmt.Errorf("%d keys of account %s are Active over a limit of %d", n, account, r.limit)
		}
	}
	return nil
}

// checkLate checks a policy that was written after keys were issued: never more keys than its limit are accepted under
// it.
func (r rules) checkLate(w *fakeCluster) error {
	accepted := 0
	for _, k := range w.keys() {
		if k.Status.State == v1alpha1.StateActive && k.Status.IPRestriction != "" {
			accepted++
		}
	}
	if accepted > r.limit {
		return fmt.Errorf("%d keys are Active and were accepted under a limit of %d", accepted, r.limit)
	}
	return nil
}

// killed reports whether the key's revokeBefore has passed and the credential was issued before it.
func killed(k *v1alpha1.APIKey, c *v1alpha1.Credential, now time.Time) bool {
	r := k.Spec.Rotation
	if r == nil || r.RevokeBefore == "" {
		return false
	}
	before := keystest.Time(r.RevokeBefore)
	return !now.Before(before.Time) && c.IssuedAt.Before(before)
}

// accepted returns the credentials that verifiers accept while the key is Active.
func accepted(k *v1alpha1.APIKey, now time.Time) []v1alpha1.Credential {
	return slices.DeleteFunc(slices.Clone(k.Status.Credentials), func(c v1alpha1.Credential) bool {
		return killed(k, &c, now) || c.NotAfter != nil && !now.Before(c.NotAfter.Time)
	})
}

func accepts(k *v1alpha1.APIKey, m credential.Material, now time.Time) bool {
	return slices.ContainsFunc(accepted(k, now), func(c v1alpha1.Credential) bool { return c.SHA256 == m.SHA256() })
}

// mostSkew is an upper bound of the error of a manager's clock.
const mostSkew = 3 * time.Second

// checkCredentials checks the credentials after every single write: no usable one is lost, and no new one is unusable.
func checkCredentials(w *fakeCluster) error {
	for _, k := range w.keys() {
		living := slices.DeleteFunc(accepted(k, w.now), func(c v1alpha1.Credential) bool { return c.Role == v1alpha1.RoleStaged })
		if len(living) > 2 {
			return fmt.Errorf("%s: verifiers accept %d credentials", full(k), len(living))
		}
		s := w.secret(secretName(k))
		if s == nil || s.owner != k.UID || k.Status.State != v1alpha1.StateActive || k.Spec.State == v1alpha1.KeyStateRevoked {
			continue
		}
		m, _ := s.consumed()
		is := currentOf(k.Status)
		switch {
		case accepts(k, m, w.now):
			delete(w.disturbed, s.name)
		case w.disturbed[s.name], is != nil && killed(k, is, w.now.Add(mostSkew)):
		default:
			return fmt.Errorf("%s is Active, and verifiers refuse what its Secret holds", full(k))
		}
	}
	return nil
}

// checkEnd checks a key that a manager deletes. observed is the version of its Secret that the manager has observed.
func checkEnd(w *fakeCluster, k *v1alpha1.APIKey, observed string, manager time.Time) error {
	a, s := w.account(k.Spec.Account), w.secret(secretName(k))
	fail := func(why string) error { return fmt.Errorf("%s is deleted, and %s", full(k), why) }
	switch {
	case a.Spec.DeletionPolicy == v1alpha1.DeletionForbid:
		return fail("its account forbids it")
	case a.Spec.Retention == nil:
		return fail("its account keeps such keys")
	case k.Spec.State == v1alpha1.KeyStateRevoked:
		// Only a user may have written a key since the manager observed the Secret, and not one that was issued to this APIKey.
		if current, _ := materialOf(k, s); len(current) > 0 && (s.version == observed || !w.disturbed[s.name] || issued(k, current)) {
			return fail("its Secret still holds a key")
		}
	case k.Spec.State != v1alpha1.KeyStateActive || k.Spec.Expiration == "" || k.Status.State != v1alpha1.StateExpired:
		return fail("it is neither expired nor revoked")
	}
	for _, t := range slices.Backward(k.Status.History) {
		if t.Reason == string(k.Status.State) && manager.Sub(t.Time.Time) < time.Minute {
			return fail("it has been so for less than any retention")
		}
	}
	return nil
}

// issued reports whether the status of a key has, or had, a credential.
func issued(k *v1alpha1.APIKey, m credential.Material) bool {
	return slices.Contains(keys.KeyDigests(k), m.SHA256())
}

// materialOf returns what the consumers of a key's own Secret take from it.
func materialOf(k *v1alpha1.APIKey, s *secret) (current, previous credential.Material) {
	if s == nil || s.owner != k.UID {
		return nil, nil
	}
	return s.consumed()
}

// overlapOf computes a key's overlap independently of the code under test.
func overlapOf(k *v1alpha1.APIKey) time.Duration {
	overlap, r := 24*time.Hour, k.Spec.Rotation
	if r == nil {
		return overlap
	}
	if r.Overlap != "" {
		overlap, _ = time.ParseDuration(string(r.Overlap))
	}
	if interval, _ := time.ParseDuration(string(r.Interval)); interval > 0 {
		overlap = min(overlap, interval)
	}
	return overlap
}

// checkSuccession checks the credentials in a status against those that they replace.
func checkSuccession(k *v1alpha1.APIKey, after v1alpha1.APIKeyStatus, now time.Time) error {
	for _, was := range k.Status.Credentials {
		is := of(after, was.SHA256)
		refused := slices.ContainsFunc(after.RevokedCredentials, func(r v1alpha1.RevokedCredential) bool { return r.SHA256 == was.SHA256 && r.IssuedAt == was.IssuedAt })
		switch {
		case is == nil && (killed(k, &was, now) || after.State == v1alpha1.StateRevoked) && !refused:
			return fmt.Errorf("a credential was revoked, and is forgotten")
		case is == nil && refused:
		case is == nil && was.Role == v1alpha1.RolePrevious && was.NotAfter.After(now) && !killed(k, &was, now) && currentOf(k.Status).SHA256 == currentOf(after).SHA256:
			return fmt.Errorf("the previous credential is gone before its end")
		case is == nil:
		case was.NotAfter != nil && (is.NotAfter == nil || is.NotAfter.After(was.NotAfter.Time)):
			return fmt.Errorf("a credential outlives its own end")
		case !is.IssuedAt.Equal(&was.IssuedAt):
			return fmt.Errorf("a credential was issued twice")
		case was.Role == v1alpha1.RolePrevious && is.Role != was.Role, was.Role == v1alpha1.RoleCurrent && is.Role == v1alpha1.RoleStaged:
			return fmt.Errorf("a %s credential has become %s", was.Role, is.Role)
		}
	}
	was, is := currentOf(k.Status), currentOf(after)
	if was == nil || is == nil || was.SHA256 == is.SHA256 {
		return nil
	}
	old, overlap := of(after, was.SHA256), overlapOf(k)
	switch {
	case (overlap == 0 || killed(k, was, now)) && old != nil:
		return fmt.Errorf("the credential that was replaced lives on without an overlap")
	case overlap == 0 || killed(k, was, now):
	case old == nil || old.Role != v1alpha1.RolePrevious || !old.NotAfter.Equal(&metav1.Time{Time: now.Add(overlap)}) && was.NotAfter == nil:
		return fmt.Errorf("the credential that was replaced does not live on for %s: %v", overlap, old)
	}
	return nil
}

func of(s v1alpha1.APIKeyStatus, digest string) *v1alpha1.Credential {
	for i, c := range s.Credentials {
		if c.SHA256 == digest {
			return &s.Credentials[i]
		}
	}
	return nil
}

// checkStatusWrite checks every status that a manager writes against the key before the write.
func checkStatusWrite(w *fakeCluster, k *v1alpha1.APIKey, after v1alpha1.APIKeyStatus, now time.Time) error {
	fail := func(format string, args ...any) error {
		return fmt.Errorf("status of "+full(k)+": "+format, args...)
	}
	if err := checkStatus(after, w.materials); err != nil {
		return fail("%w", err)
	}
	before, is := currentOf(k.Status), currentOf(after)
	if before != nil && is != nil {
		if err := checkSuccession(k, after, now); err != nil {
			return fail("%w", err)
		}
	}
	switch {
	case before != nil && is == nil:
		return fail("the credential is gone")
	case is != nil && (before == nil || before.SHA256 != is.SHA256) && !w.minted[is.SHA256] && (before != nil || !w.offered[is.SHA256]):
		return fail("a credential that no manager made was adopted")
	case after.State == v1alpha1.StateActive && k.Spec.State != v1alpha1.KeyStateActive:
		return fail("Active against the spec")
	case (after.State == v1alpha1.StateRevoked) != (k.Spec.State == v1alpha1.KeyStateRevoked):
		return fail("%s of a spec that says %s", after.State, k.Spec.State)
	case k.Status.State == v1alpha1.StateActive && after.State == v1alpha1.StatePending && (is == nil || !killed(k, is, now)) && !meta.IsStatusConditionFalse(after.Conditions, v1alpha1.ConditionAccepted):
		return fail("a key in use was put aside without a refusal")
	case strings.Contains(message(after, v1alpha1.ConditionAccepted), "APIKey "+full(k)+":"):
		return fail("it is in its own way: %s", message(after, v1alpha1.ConditionAccepted))
	case compareVersions(after.ReleasedGrant, k.Status.ReleasedGrant) < 0:
		return fail("the release of grant %s was taken back to %s", k.Status.ReleasedGrant, after.ReleasedGrant)
	}
	return nil
}

func compareVersions(a, b string) int {
	if len(a) != len(b) {
		return len(a) - len(b)
	}
	return strings.Compare(a, b)
}

func currentOf(s v1alpha1.APIKeyStatus) *v1alpha1.Credential {
	for i, c := range s.Credentials {
		if c.Role == v1alpha1.RoleCurrent {
			return &s.Credentials[i]
		}
	}
	return nil
}

// clockTime matches what looks like a time, an age or a version in a message.
var clockTime = regexp.MustCompile(`\d\d:\d\d|\d{4}-\d\d-\d\d|\bago\b|resourceVersion|generation`)

// checkStatus checks a status alone.
func checkStatus(s v1alpha1.APIKeyStatus, materials []credential.Material) error {
	texts := []string{s.KeyID}
	roles, ids := map[v1alpha1.CredentialRole]int{}, map[string]int{}
	for _, c := range s.Credentials {
		roles[c.Role]++
		ids[c.ID]++
		texts = append(texts, c.ID, c.Hint)
		if ids[c.ID] > 1 || roles[c.Role] > 1 && (c.Role != v1alpha1.RoleStaged || roles[c.Role] > 2) || c.Role != v1alpha1.RolePrevious && c.NotAfter != nil || c.Role == v1alpha1.RolePrevious && c.NotAfter == nil {
			return fmt.Errorf("credentials do not go together: %v", s.Credentials)
		}
	}
	for _, h := range s.History {
		texts = append(texts, h.Message)
	}
	if err := checkConditions(s.Conditions); err != nil {
		return err
	}
	for _, c := range s.Conditions {
		texts = append(texts, c.Message)
	}
	for _, m := range materials {
		secret := string([]byte(m))[9:] // past every hint but that of a Token
		if _, rest, ok := strings.Cut(secret, "_"); ok {
			secret = rest
		}
		for _, text := range texts {
			if strings.Contains(text, secret[:8]) {
				return fmt.Errorf("%q holds key material", text)
			}
		}
	}
	if s.State == "" {
		return nil
	}
	if valid := meta.IsStatusConditionTrue(s.Conditions, v1alpha1.ConditionValid); valid != (s.State == v1alpha1.StateActive) {
		return fmt.Errorf("state %s with condition Valid %t", s.State, valid)
	}
	if stalled, ready := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionStalled), meta.IsStatusConditionTrue(s.Conditions, v1alpha1.ConditionReady); stalled != nil && (ready || stalled.Status != metav1.ConditionTrue) {
		return fmt.Errorf("stalled %s with Ready %t", stalled.Status, ready)
	}
	if s.State == v1alpha1.StateActive && currentOf(s) == nil {
		return fmt.Errorf("state Active without a credential")
	}
	return nil
}

func checkConditions(conditions []metav1.Condition) error {
	for _, c := range conditions {
		switch {
		case c.Message == "" || len(c.Message) > 256 || !utf8.ValidString(c.Message):
			return fmt.Errorf("condition %s has a message of %d bytes", c.Type, len(c.Message))
		case strings.HasSuffix(c.Message, ".") && !strings.HasSuffix(c.Message, "...") || strings.ContainsAny(c.Message, "\n\r"):
			return fmt.Errorf("condition %s has a message that is not one sentence: %q", c.Type, c.Message)
		case !strings.HasPrefix(c.Message, "spec.") && clockTime.MatchString(c.Message):
			return fmt.Errorf("condition %s contains a time: %q", c.Type, c.Message)
		case c.LastTransitionTime.IsZero():
			return fmt.Errorf("condition %s has no time of transition", c.Type)
		}
	}
	return nil
}

// checkQuiet checks the invariants that must hold once nothing happens any more.
func checkQuiet(w *fakeCluster, settings keys.Settings) error {
	for _, a := range w.accounts() {
		if err := checkQuietAccount(w, a, settings); err != nil {
			return fmt.Errorf("account %s at rest: %w", a.Name, err)
		}
	}
	for _, k := range w.keys() {
		if err := checkQuietKey(w, k, settings); err != nil {
			return fmt.Errorf("%s at rest: %w", full(k), err)
		}
	}
	return nil
}

func checkQuietAccount(w *fakeCluster, a *v1alpha1.Account, settings keys.Settings) error {
	limit, unlimited := settings.Limit(a)
	exists, held := map[string]bool{}, map[string]bool{}
	labels := map[string]string{}
	for _, k := range w.keysOf(a.Name) {
		exists[string(k.UID)] = true
		if k.Status.State == v1alpha1.StateActive && k.Spec.Label != "" && a.Spec.LabelPolicy != v1alpha1.LabelShared {
			if other := labels[k.Spec.Label]; other != "" {
				return fmt.Errorf("label %s is Active on both %s and %s", k.Spec.Label, other, full(k))
			}
			labels[k.Spec.Label] = full(k)
		}
		if reasonOf(k, v1alpha1.ConditionAccepted) == v1alpha1.ReasonLimitReached && (unlimited || len(a.Status.Slots) < limit) {
			return fmt.Errorf("%s waits although %d of %d slots are taken", full(k), len(a.Status.Slots), limit)
		}
	}
	for _, slot := range a.Status.Slots {
		if !exists[slot.UID] || held[slot.UID] {
			return fmt.Errorf("slot of %s/%s (%s): its key is gone, or has two", slot.Namespace, slot.Name, slot.UID)
		}
		held[slot.UID] = true
	}
	return nil
}

func message(s v1alpha1.APIKeyStatus, conditionType string) string {
	if c := meta.FindStatusCondition(s.Conditions, conditionType); c != nil {
		return c.Message
	}
	return ""
}

func reasonOf(k *v1alpha1.APIKey, conditionType string) string {
	if c := meta.FindStatusCondition(k.Status.Conditions, conditionType); c != nil {
		return c.Reason
	}
	return ""
}

func checkQuietKey(w *fakeCluster, k *v1alpha1.APIKey, settings keys.Settings) error {
	s, state := w.secret(secretName(k)), k.Status.State
	a := w.account(k.Spec.Account)
	if reason := reasonOf(k, v1alpha1.ConditionReady); reason == v1alpha1.ReasonPending || reason == v1alpha1.ReasonWriteFailed || reason == "" {
		return fmt.Errorf("it still waits: %q", reason)
	}
	if k.Spec.State == v1alpha1.KeyStateRevoked {
		return checkQuietRevoked(w, k, s)
	}
	if conflict := reasonOf(k, v1alpha1.ConditionReady) == v1alpha1.ReasonSecretConflict; conflict {
		if s == nil || s.owner == k.UID {
			return fmt.Errorf("it speaks of a conflict that is none")
		}
		return nil
	}
	if reasonOf(k, v1alpha1.ConditionReady) == v1alpha1.ReasonSecretNotAdoptable {
		if observed, _ := inspect(s, k, a); observed.OfferProblem == "" {
			return fmt.Errorf("it speaks of a Secret that can't be adopted, and it is not offered one")
		}
		return nil
	}
	if c := meta.FindStatusCondition(k.Status.Conditions, v1alpha1.ConditionReady); k.Generation != k.Status.ObservedGeneration || c.ObservedGeneration != k.Generation {
		return fmt.Errorf("its status speaks of generation %d of %d", k.Status.ObservedGeneration, k.Generation)
	}
	if state == v1alpha1.StateSuspended && (a == nil || a.Spec.State != v1alpha1.AccountSuspended || !keys.Issued(k)) {
		return fmt.Errorf("it is Suspended, and its account is not, or it was never issued")
	}
	if state == v1alpha1.StatePending && reasonOf(k, v1alpha1.ConditionAccepted) == v1alpha1.ReasonAccountSuspended && keys.Issued(k) && !killed(k, currentOf(k.Status), w.now) {
		return fmt.Errorf("its account is suspended, and it is Pending")
	}
	if state != v1alpha1.StateActive {
		return checkQuietRefusal(w, k, a, settings)
	}
	if i := k.Spec.Import; i != nil && currentOf(k.Status).SHA256 == i.SHA256 && (s == nil || s.owner != k.UID) {
		if next := k.Status.NextRotationTime; !next.Equal(nextRotation(k)) || next != nil && !next.After(w.now) {
			return fmt.Errorf("it was imported, and its rotation is overdue")
		}
		return nil
	}
	var m, previous credential.Material
	if s != nil {
		m, previous = s.consumed()
	}
	switch {
	case s == nil || s.owner != k.UID:
		return fmt.Errorf("it is Active and has no Secret")
	case !s.labelled():
		return fmt.Errorf("its Secret has drifted")
	case digestText(m) != currentOf(k.Status).SHA256:
		return fmt.Errorf("its Secret does not hold the credential that verifiers know")
	case keys.LastStaged(&k.Status) != nil:
		return fmt.Errorf("a staged credential is left over")
	case len(previous) > 0 && !accepts(k, previous, w.now):
		return fmt.Errorf("its Secret holds a previous key that verifiers refuse")
	case len(accepted(k, w.now)) != len(k.Status.Credentials):
		return fmt.Errorf("a credential is listed whose end has come: %s", credentialsText(k.Status.Credentials))
	case !k.Status.NextRotationTime.Equal(nextRotation(k)) || k.Status.NextRotationTime != nil && !k.Status.NextRotationTime.After(w.now):
		return fmt.Errorf("its next rotation is %s, not %s", k.Status.NextRotationTime, nextRotation(k))
	case s.shape.Annotations[keys.AnnotationTemplateHash] != keys.TemplateHash(k, a):
		return fmt.Errorf("its Secret is not in the shape that its template gives it")
	case !entriesFit(k, s):
		return fmt.Errorf("its Secret has the entries %v", slices.Sorted(maps.Keys(s.shape.Data)))
	case k.Status.SecretRef == nil || k.Status.SecretRef.ResourceVersion != s.version:
		return fmt.Errorf("its status does not remember the Secret: %v, not %s", k.Status.SecretRef, s.version)
	case a == nil || a.Spec.State == v1alpha1.AccountSuspended:
		return fmt.Errorf("it is Active although its account is not")
	case keys.CheckPolicy(quietFacts(w, k, settings)) != nil:
		return fmt.Errorf("it is Active against policy")
	}
	return nil
}

// entriesFit reports whether a Secret has the entries of its template, or the default ones.
func entriesFit(k *v1alpha1.APIKey, s *secret) bool {
	want := []string{keys.EntryCurrent}
	if k.Spec.Secret != nil && k.Spec.Secret.Template != nil && len(k.Spec.Secret.Template.Data) > 0 {
		want = slices.DeleteFunc(slices.Sorted(maps.Keys(k.Spec.Secret.Template.Data)), func(name string) bool {
			return k.Spec.Secret.Template.Data[name] == "{{ .PreviousKey }}" && len(s.shape.Data[name]) == 0 // an empty entry is left out
		})
	} else if k.Spec.Secret != nil && k.Spec.Secret.PreviousKey == v1alpha1.PreviousKeyInclude && len(s.shape.Data[keys.EntryPrevious]) > 0 {
		want = append(want, keys.EntryPrevious)
	}
	return slices.Equal(want, slices.Sorted(maps.Keys(s.shape.Data)))
}

// nextRotation computes when an Active key's next credential is due, independently of the code under test.
func nextRotation(k *v1alpha1.APIKey) *metav1.Time {
	r, issued := k.Spec.Rotation, currentOf(k.Status).IssuedAt
	if r == nil {
		return nil
	}
	var due *metav1.Time
	if interval, err := time.ParseDuration(string(r.Interval)); err == nil {
		due = &metav1.Time{Time: issued.Add(interval)}
	}
	if at := keystest.Time(r.RequestedAt); at != nil && issued.Before(at) && (due == nil || at.Before(due)) && !carriedOut(k, at) {
		due = at
	}
	return due
}

// carriedOut reports whether the status says that a request was carried out, and the current credential may have been issued after
// it: a manager whose clock is behind records an earlier time.
func carriedOut(k *v1alpha1.APIKey, requestedAt *metav1.Time) bool {
	return k.Status.Rotation.ObservedRequestedAt == k.Spec.Rotation.RequestedAt &&
		currentOf(k.Status).IssuedAt.Add(mostSkew).After(requestedAt.Time)
}

// checkQuietRevoked checks that no credential of a revoked key is left.
func checkQuietRevoked(w *fakeCluster, k *v1alpha1.APIKey, s *secret) error {
	if s != nil && s.owner == k.UID && !s.labelled() && k.Status.SecretRef == nil {
		return nil // it is not watched, and holds no credential that verifiers ever knew
	}
	if s != nil && s.owner == k.UID && slices.ContainsFunc(w.materials, s.holds) {
		return fmt.Errorf("it is revoked and its Secret holds a credential")
	}
	if ref := k.Status.SecretRef; s != nil && s.owner == k.UID && (ref == nil || ref.ResourceVersion != s.version) {
		return fmt.Errorf("it is revoked, and its status does not remember the Secret: %v, not %s", ref, s.version)
	}
	return nil
}

// checkQuietRefusal checks that a key which is not Active has a reason for it.
func checkQuietRefusal(w *fakeCluster, k *v1alpha1.APIKey, a *v1alpha1.Account, settings keys.Settings) error {
	if k.Spec.State != v1alpha1.KeyStateActive || a == nil {
		return nil
	}
	end, err := keys.ResolveExpiration(k.Spec.Expiration, a.Spec.TimeZone)
	if expired := err == nil && end != nil && !w.now.Before(*end); expired {
		return nil
	}
	reason := reasonOf(k, v1alpha1.ConditionAccepted)
	if reason == v1alpha1.ReasonLabelTaken && !slices.ContainsFunc(w.keysOf(a.Name), func(other *v1alpha1.APIKey) bool {
		return other.UID != k.UID && other.Spec.Label == k.Spec.Label
	}) {
		return fmt.Errorf("no other key wants its label, and it is refused: %s", message(k.Status, v1alpha1.ConditionAccepted))
	}
	if refusal := keys.CheckPolicy(quietFacts(w, k, settings)); refusal != nil {
		// A key that waits for a slot anyway need not learn at once that an older key has come to want its label, or to have
		// the credential that its Secret offers.
		others := refusal.Reason == v1alpha1.ReasonLabelTaken || refusal.Reason == v1alpha1.ReasonDuplicateKey
		if refusal.Reason != reason && (!others || reason != v1alpha1.ReasonLimitReached) {
			return fmt.Errorf("it is refused for %s and says %s", refusal.Reason, reason)
		}
		return nil
	}
	if reason != v1alpha1.ReasonLimitReached {
		return fmt.Errorf("nothing is against it, and it is %s (%s)", k.Status.State, reason)
	}
	return nil
}

func quietFacts(w *fakeCluster, k *v1alpha1.APIKey, settings keys.Settings) keys.Facts {
	f := keys.Facts{Key: k, Account: w.account(k.Spec.Account), NamespaceLabels: w.namespaces[k.Namespace], Settings: settings, Now: w.now}
	for _, other := range w.keysOf(k.Spec.Account) {
		if other.Spec.Label == k.Spec.Label {
			f.Siblings = append(f.Siblings, other)
		}
	}
	f.Secret, _ = inspect(w.secret(secretName(k)), k, f.Account)
	for _, other := range w.keys() {
		if other.UID != k.UID && slices.ContainsFunc(f.Digests(), func(d string) bool { return slices.Contains(keys.KeyDigests(other), d) }) {
			f.Duplicates = append(f.Duplicates, other)
		}
	}
	return f
}

// checkDescribe checks that describing a status returned by Describe again changes nothing.
func checkDescribe(f keys.Facts) error {
	once := keys.Describe(f)
	if again := keys.Describe(f); !equality.Semantic.DeepEqual(once, again) {
		return fmt.Errorf("two descriptions of the same facts differ")
	}
	before := f.Key.Status
	f.Key = f.Key.DeepCopy()
	f.Key.Status = once
	twice := keys.Describe(f)
	if fellOut(before, once) { // a key that is not in use does not retain a lost slot, which shows in the next reconcile
		f.Key.Status, once = twice, twice
		twice = keys.Describe(f)
	}
	if !equality.Semantic.DeepEqual(once, twice) {
		return fmt.Errorf("described again, %+v\nbecomes %+v", once, twice)
	}
	if list := keys.Events(f, twice); len(list) > 0 {
		return fmt.Errorf("nothing happened, and yet: %v", list)
	}
	return nil
}

// fellOut reports whether a key in use, whose account has not been reconciled, turned out to have no credential that
// verifiers accept.
func fellOut(before, after v1alpha1.APIKeyStatus) bool {
	return before.State == v1alpha1.StateActive && after.State == v1alpha1.StatePending &&
		meta.IsStatusConditionPresentAndEqual(after.Conditions, v1alpha1.ConditionAccepted, metav1.ConditionUnknown)
}

// checkDescribeAccount checks the same for an account.
func checkDescribeAccount(f keys.AccountFacts) error {
	once := keys.DescribeAccount(f)
	if err := checkConditions(once.Conditions); err != nil {
		return err
	}
	f.Account = f.Account.DeepCopy()
	f.Account.Status = once
	if twice := keys.DescribeAccount(f); !equality.Semantic.DeepEqual(once, twice) {
		return fmt.Errorf("described again, %+v\nbecomes %+v", once, twice)
	}
	return nil
}
