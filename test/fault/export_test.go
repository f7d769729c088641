// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package fault_test

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// gateway is the namespace of the KeyExports.
const gateway = "fault-gateway"

// exports returns the KeyExports of all keys: one by digest, and one that holds the keys themselves. Each has one object, with
// the name of the KeyExport.
func exports() []*v1alpha1.KeyExport {
	var list []*v1alpha1.KeyExport
	for name, content := range map[string]v1alpha1.ExportContent{"digests": v1alpha1.ExportContentDigest, "keys": v1alpha1.ExportContentKey} {
		list = append(list, &v1alpha1.KeyExport{
			ObjectMeta: metav1.ObjectMeta{Namespace: gateway, Name: name},
			Spec:       v1alpha1.KeyExportSpec{Content: content, Target: v1alpha1.ExportTarget{Kind: v1alpha1.ExportToSecret, Name: name}},
		})
	}
	return list
}

// exportedDigests returns the digests of the credentials in an object of a KeyExport, in order.
func exportedDigests(object *corev1.Secret) []string {
	var list []string
	for _, value := range object.Data {
		held, isDigest := strings.CutPrefix(string(value), "sha256:")
		if !isDigest {
			held = digest(value)
		}
		list = append(list, held)
	}
	slices.Sort(list)
	return list
}

// checkExports checks that the KeyExports are Ready, and that their objects hold exactly the credentials that verifiers accept.
func (s *snapshot) checkExports(ctx context.Context, c client.Client) {
	var accepted []string
	for _, k := range s.keys {
		if k.Status.State != v1alpha1.StateActive || s.wantedState(k) != v1alpha1.StateActive {
			continue
		}
		for _, credential := range k.Status.Credentials {
			if s.accepts(k, credential.SHA256, credential.Role) {
				accepted = append(accepted, credential.SHA256)
			}
		}
	}
	slices.Sort(accepted)
	for _, e := range exports() {
		object := &corev1.Secret{}
		if err := c.Get(ctx, client.ObjectKeyFromObject(e), object); err != nil {
			s.problem("KeyExport "+e.Name, "has no object: %v", err)
			continue
		}
		s.checkExport(e.Name, exportedDigests(object), accepted)
		if err := c.Get(ctx, client.ObjectKeyFromObject(e), e); err != nil {
			s.problem("KeyExport "+e.Name, "cannot be read: %v", err)
		} else if ready := meta.FindStatusCondition(e.Status.Conditions, v1alpha1.ConditionReady); ready == nil || ready.Status != metav1.ConditionTrue {
			s.problem("KeyExport "+e.Name, "is not Ready: %+v, withheld %v", ready, e.Status.Withheld)
		}
	}
}

// checkExport compares the digests in an export with the accepted ones. Both are in order.
func (s *snapshot) checkExport(name string, exported, accepted []string) {
	for _, d := range exported {
		if !slices.Contains(accepted, d) {
			s.problem("KeyExport "+name, "holds credential %.8s, which verifiers refuse", d)
		}
	}
	for _, d := range accepted {
		if !slices.Contains(exported, d) {
			s.problem("KeyExport "+name, "does not hold credential %.8s, which verifiers accept", d)
		}
	}
	if len(slices.Compact(slices.Clone(exported))) != len(exported) {
		s.problem("KeyExport "+name, "holds a credential twice")
	}
}

// exportHistory holds what the objects of KeyExports held, and what the statuses of keys had, by version.
type exportHistory struct {
	objects  []exportWrite
	statuses []statusWrite
}

// exportWrite is a write of an object of a KeyExport.
type exportWrite struct {
	version uint64
	seen    time.Time
	export  string
	digests []string
}

// statusWrite is a write of a key, or its deletion.
type statusWrite struct {
	version uint64
	key     types.UID
	// ends are the ends of the credentials in the status, by digest. An end may be nil.
	ends map[string]*metav1.Time
}

func (h *exportHistory) addObject(kind watch.EventType, object *corev1.Secret, seen time.Time) {
	if kind == watch.Deleted {
		object = &corev1.Secret{ObjectMeta: object.ObjectMeta}
	}
	h.objects = append(h.objects, exportWrite{
		version: version(object.ResourceVersion), seen: seen, export: object.Name, digests: exportedDigests(object),
	})
}

func (h *exportHistory) addStatus(kind watch.EventType, key *v1alpha1.APIKey) {
	w := statusWrite{version: version(key.ResourceVersion), key: key.UID, ends: map[string]*metav1.Time{}}
	if kind != watch.Deleted {
		for _, c := range key.Status.Credentials {
			w.ends[c.SHA256] = c.NotAfter
		}
	}
	h.statuses = append(h.statuses, w)
}

// reappearances replays all writes in order. It returns the credentials that an export withdrew and held again although their
// end had come or their key had lost them, and how often an export held a credential again. isBlind reports whether writes
// before a version may not have been recorded.
func (h *exportHistory) reappearances(isBlind func(version uint64) bool) (found []exportWrite, again int) {
	slices.SortStableFunc(h.objects, func(a, b exportWrite) int { return cmp.Compare(a.version, b.version) })
	slices.SortStableFunc(h.statuses, func(a, b statusWrite) int { return cmp.Compare(a.version, b.version) })
	replay := &exportReplay{current: map[types.UID]map[string]*metav1.Time{}, held: map[string][]string{}, withdrawn: map[string]withdrawal{}}
	next := 0
	for _, w := range h.objects {
		for ; next < len(h.statuses) && h.statuses[next].version < w.version; next++ {
			replay.current[h.statuses[next].key] = h.statuses[next].ends
		}
		wrong, n := replay.apply(w)
		again += n
		if len(wrong) > 0 && !isBlind(w.version) {
			found = append(found, exportWrite{version: w.version, export: w.export, digests: wrong})
		}
	}
	return found, again
}

// exportReplay holds the state after a write.
type exportReplay struct {
	current   map[types.UID]map[string]*metav1.Time // the ends of the credentials of each key
	held      map[string][]string                   // the digests in each export
	withdrawn map[string]withdrawal                 // by export and digest
}

// withdrawal records that an export withdrew a credential, and whether its end had come.
type withdrawal struct{ ended bool }

// apply returns the credentials that a write must not have added again, and how many it added again.
func (r *exportReplay) apply(w exportWrite) (wrong []string, again int) {
	for _, d := range r.held[w.export] {
		if !slices.Contains(w.digests, d) {
			end, _ := r.endOf(d)
			r.withdrawn[w.export+"/"+d] = withdrawal{ended: end != nil && !w.seen.Before(end.Time)}
		}
	}
	for _, d := range w.digests {
		before, was := r.withdrawn[w.export+"/"+d]
		if !was || slices.Contains(r.held[w.export], d) {
			continue
		}
		again++
		if _, has := r.endOf(d); !has || before.ended {
			wrong = append(wrong, d)
		}
	}
	r.held[w.export] = w.digests
	return wrong, again
}

// endOf returns the end of a credential, which may be nil, and whether a key has it.
func (r *exportReplay) endOf(digest string) (end *metav1.Time, has bool) {
	for ends := range maps.Values(r.current) {
		if end, has := ends[digest]; has {
			return end, true
		}
	}
	return nil, false
}

func TestExportHistory_Reappearances(t *testing.T) {
	t.Parallel()
	start := time.Unix(1000, 0)
	end := metav1.NewTime(start.Add(5 * time.Second))
	object := func(version uint64, digests ...string) exportWrite {
		return exportWrite{version: version, seen: start.Add(time.Duration(version) * time.Second), export: "e", digests: digests}
	}
	with := func(version uint64, ends map[string]*metav1.Time) statusWrite {
		return statusWrite{version: version, key: "k", ends: ends}
	}
	for name, tc := range map[string]struct {
		history      exportHistory
		wrong, again int
		blind        bool
	}{
		"switched off and on": {history: exportHistory{
			statuses: []statusWrite{with(1, map[string]*metav1.Time{"a": nil})},
			objects:  []exportWrite{object(2, "a"), object(3), object(4, "a")},
		}, again: 1},
		"revoked": {history: exportHistory{
			statuses: []statusWrite{with(1, map[string]*metav1.Time{"a": nil}), with(3, nil)},
			objects:  []exportWrite{object(2, "a"), object(4), object(5, "a")},
		}, again: 1, wrong: 1},
		"revoked in a gap": {history: exportHistory{
			statuses: []statusWrite{with(1, map[string]*metav1.Time{"a": nil}), with(3, nil)},
			objects:  []exportWrite{object(2, "a"), object(4), object(5, "a")},
		}, again: 1, blind: true},
		"withdrawn before the status": {history: exportHistory{
			statuses: []statusWrite{with(1, map[string]*metav1.Time{"a": nil}), with(4, map[string]*metav1.Time{"b": nil})},
			objects:  []exportWrite{object(2, "a"), object(3), object(5, "a", "b")},
		}, again: 1, wrong: 1},
		"after its end": {history: exportHistory{
			statuses: []statusWrite{with(1, map[string]*metav1.Time{"a": &end})},
			objects:  []exportWrite{object(2, "a"), object(6), object(7, "a")},
		}, again: 1, wrong: 1},
		"added late": {history: exportHistory{
			statuses: []statusWrite{with(1, map[string]*metav1.Time{"a": nil}), with(2, nil)},
			objects:  []exportWrite{object(3, "a"), object(4)},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			found, again := tc.history.reappearances(func(uint64) bool { return tc.blind })
			if len(found) != tc.wrong || again != tc.again {
				t.Errorf("got %v and %d again, want %d and %d", found, again, tc.wrong, tc.again)
			}
		})
	}
}
