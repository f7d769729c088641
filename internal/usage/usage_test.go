// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package usage_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
	"github.com/apikey-manager/apikey-manager/internal/usage"
)

// twice returns a key with a current and a previous credential.
func twice() *v1alpha1.APIKey {
	return keystest.Key("web", keystest.WithCredential("old", v1alpha1.RolePrevious, keystest.Epoch), keystest.WithCredential("new", v1alpha1.RoleCurrent, keystest.Epoch),
		keystest.Observed(v1alpha1.StateActive))
}

// used returns a replica's report about key web: when each credential was last used, in minutes after Epoch.
func used(replica string, minutes map[string]float64) usage.Report {
	return usedBy(replica, "uid-web", minutes)
}

func usedBy(replica, uid string, minutes map[string]float64) usage.Report {
	k := usage.KeyUsage{Namespace: "default", Name: "web", UID: uid}
	for name, m := range minutes {
		t := minute(m)
		k.Credentials = append(k.Credentials, usage.CredentialUsage{ID: keystest.CredentialOf(name).ID, LastUsed: &t})
	}
	k.Credentials = append(k.Credentials, usage.CredentialUsage{ID: "refused", LastRefused: &keystest.Epoch})
	return usage.Report{Replica: replica, Synced: true, Keys: []usage.KeyUsage{k}}
}

func minute(m float64) time.Time { return keystest.Epoch.Add(time.Duration(m * float64(time.Minute))) }

// lastUsed returns the times of last use in a status, in minutes after Epoch, or -1 for never: of the key, the old and
// the new credential.
func lastUsed(s v1alpha1.APIKeyStatus) [3]float64 {
	got := [3]float64{-1, -1, -1}
	of := func(t *metav1.Time) float64 {
		if t == nil {
			return -1
		}
		return t.Sub(keystest.Epoch).Minutes()
	}
	got[0] = of(s.LastUsedTime)
	for _, c := range s.Credentials {
		switch c.ID {
		case keystest.CredentialOf("old").ID:
			got[1] = of(c.LastUsedTime)
		case keystest.CredentialOf("new").ID:
			got[2] = of(c.LastUsedTime)
		}
	}
	return got
}

func TestLedger_Record(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		behind  time.Duration
		reports []usage.Report
		want    [3]float64
	}{
		"no use":                             {0, []usage.Report{used("a", nil)}, [3]float64{-1, -1, -1}},
		"one credential was used":            {0, []usage.Report{used("a", map[string]float64{"new": 3})}, [3]float64{3, -1, 3}},
		"both were used":                     {0, []usage.Report{used("a", map[string]float64{"new": 3, "old": 5})}, [3]float64{5, 5, 3}},
		"replicas differ":                    {0, []usage.Report{used("a", map[string]float64{"new": 3}), used("b", map[string]float64{"new": 4, "old": 1})}, [3]float64{4, 1, 4}},
		"the later is reported first":        {0, []usage.Report{used("a", map[string]float64{"new": 4}), used("b", map[string]float64{"new": 3})}, [3]float64{4, -1, 4}},
		"seconds are not kept":               {0, []usage.Report{used("a", map[string]float64{"new": 3.7})}, [3]float64{3, -1, 3}},
		"a clock is ahead":                   {-490 * time.Minute, []usage.Report{used("a", map[string]float64{"new": 497, "old": 493})}, [3]float64{7, 3, 7}},
		"a clock is behind":                  {5 * time.Minute, []usage.Report{used("a", map[string]float64{"new": 3, "old": -4})}, [3]float64{8, 1, 8}},
		"a clock is a little behind":         {50 * time.Second, []usage.Report{used("a", map[string]float64{"new": 3.5})}, [3]float64{3, -1, 3}},
		"a clock is a little ahead":          {0, []usage.Report{used("a", map[string]float64{"new": 11})}, [3]float64{10, -1, 10}},
		"it is to be used one day":           {0, []usage.Report{used("a", map[string]float64{"new": 500})}, [3]float64{-1, -1, -1}},
		"a credential is not listed":         {0, []usage.Report{used("a", map[string]float64{"new": 3, "gone": 6})}, [3]float64{6, -1, 3}},
		"it was the key before of that name": {0, []usage.Report{usedBy("a", "uid-before", map[string]float64{"new": 3})}, [3]float64{-1, -1, -1}},
		"it was the key before, and it too":  {0, []usage.Report{usedBy("a", "uid-before", map[string]float64{"new": 7}), used("a", map[string]float64{"new": 3})}, [3]float64{3, -1, 3}},
		"a report without a UID":             {0, []usage.Report{usedBy("a", "", map[string]float64{"new": 3})}, [3]float64{-1, -1, -1}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, k := usage.NewLedger(keystest.Epoch), twice()
			before := k.DeepCopy()
			for _, report := range tc.reports {
				l.Observe(minute(10.5), tc.behind, report)
			}
			after, due := l.Record(k, minute(10.5))
			if diff := cmp.Diff(tc.want, lastUsed(after)); diff != "" {
				t.Errorf("last used (-want +got):\n%s", diff)
			}
			if due != (tc.want[0] >= 0) {
				t.Errorf("due is %t", due)
			}
			if diff := cmp.Diff(before, k); diff != "" {
				t.Errorf("the key was changed (-want +got):\n%s", diff)
			}
		})
	}
}

// write records the usage of a key as the manager does, if a write is due.
func write(l *usage.Ledger, k *v1alpha1.APIKey, now time.Time) bool {
	after, due := l.Record(k, now)
	if due {
		k.Status = after
		l.MarkWritten(k.UID, now)
	}
	l.Prune(k)
	return due
}

func TestLedger_WriteInterval(t *testing.T) {
	t.Parallel()
	l, k := usage.NewLedger(keystest.Epoch), twice()
	for _, step := range []struct {
		what   string
		now    float64
		use    map[string]float64
		writes bool
		want   [3]float64
	}{
		{"the first use of the key, at once", 1, map[string]float64{"old": 1}, true, [3]float64{1, 1, -1}},
		{"another", 2, map[string]float64{"old": 2}, false, [3]float64{1, 1, -1}},
		{"another", 5.9, map[string]float64{"old": 5}, false, [3]float64{1, 1, -1}},
		{"nothing new, and the five minutes are over", 6, nil, true, [3]float64{5, 5, -1}},
		{"a use at a time when the window is closed", 7, map[string]float64{"old": 7}, false, [3]float64{5, 5, -1}},
		{"the first use of the other credential, at once", 8, map[string]float64{"new": 8}, true, [3]float64{8, 7, 8}},
		{"another", 12, map[string]float64{"new": 12}, false, [3]float64{8, 7, 8}},
		{"a window later", 13, nil, true, [3]float64{12, 7, 12}},
		{"a long time without use", 500, nil, false, [3]float64{12, 7, 12}},
		{"the first use after it", 501, map[string]float64{"new": 500.5}, true, [3]float64{500, 7, 500}},
		{"what was said before, again", 600, map[string]float64{"new": 500, "old": 7}, false, [3]float64{500, 7, 500}},
	} {
		if l.Observe(minute(step.now), 0, used("a", step.use)); write(l, k, minute(step.now)) != step.writes {
			t.Errorf("minute %v, %s: writes is %t", step.now, step.what, !step.writes)
		}
		if diff := cmp.Diff(step.want, lastUsed(k.Status)); diff != "" {
			t.Errorf("minute %v, %s (-want +got):\n%s", step.now, step.what, diff)
		}
	}
	if left := l.Keys(); len(left) > 0 {
		t.Errorf("the ledger still has %v, though all of it stands in the status", left)
	}
}

func TestLedger_KeepsReportsOfTerminatedReplicas(t *testing.T) {
	t.Parallel()
	l, k := usage.NewLedger(keystest.Epoch), twice()
	l.Observe(minute(1), 0, used("a", map[string]float64{"old": 1}))
	write(l, k, minute(1))
	l.Observe(minute(3), 0, used("a", map[string]float64{"old": 3}))
	write(l, k, minute(3))
	k.Status.Credentials = k.Status.Credentials[1:] // the overlap is over
	write(l, k, minute(7))                          // and no replica responds any more
	if diff := cmp.Diff([3]float64{3, -1, -1}, lastUsed(k.Status)); diff != "" {
		t.Errorf("last used (-want +got):\n%s", diff)
	}
}

func TestLedger_WaitsOneIntervalAfterRestart(t *testing.T) {
	t.Parallel()
	k := twice()
	l := usage.NewLedger(keystest.Epoch)
	l.Observe(minute(1), 0, used("a", map[string]float64{"old": 1}))
	write(l, k, minute(1))
	l = usage.NewLedger(minute(2))
	l.Observe(minute(2), 0, used("a", map[string]float64{"old": 2}))
	if write(l, k, minute(2)) {
		t.Error("written again after a minute")
	}
	if !write(l, k, minute(7)) {
		t.Error("not written after five minutes")
	}
}

func TestLedger_CorrectsClockSkew(t *testing.T) {
	t.Parallel()
	l, k := usage.NewLedger(keystest.Epoch), twice()
	for m := 1.0; m < 30; m++ { // each minute the replica repeats a use that is an hour ahead
		l.Observe(minute(m), -time.Hour+time.Duration(int(m)%5-2)*time.Second, used("a", map[string]float64{"old": 61}))
		write(l, k, minute(m))
	}
	if diff := cmp.Diff([3]float64{1, 1, -1}, lastUsed(k.Status)); diff != "" {
		t.Errorf("last used (-want +got):\n%s", diff)
	}
	l.Observe(minute(30), -time.Hour, used("a", map[string]float64{"old": 90}))
	write(l, k, minute(30))
	if diff := cmp.Diff([3]float64{30, 30, -1}, lastUsed(k.Status)); diff != "" {
		t.Errorf("last used after a further use (-want +got):\n%s", diff)
	}
}

func TestLedger_ManagerClockSetBack(t *testing.T) {
	t.Parallel()
	l, k := usage.NewLedger(keystest.Epoch), twice()
	l.Observe(minute(10), 0, used("a", map[string]float64{"old": 10}))
	write(l, k, minute(5))
	if diff := cmp.Diff([3]float64{5, 5, -1}, lastUsed(k.Status)); diff != "" {
		t.Errorf("last used (-want +got):\n%s", diff)
	}
	if write(l, k, minute(3)); lastUsed(k.Status)[0] != 5 {
		t.Errorf("back to %v", lastUsed(k.Status))
	}
}

func TestLedger_ForgetsDeletedKeys(t *testing.T) {
	t.Parallel()
	l, k := usage.NewLedger(keystest.Epoch), twice()
	l.Observe(minute(1), 0, used("a", map[string]float64{"old": 1}))
	l.Observe(minute(1), 0, usedBy("a", "uid-before", map[string]float64{"old": 1}))
	l.Forget("uid-before")
	if left := l.Keys(); len(left) != 1 || left[k.UID].String() != "default/web" {
		t.Errorf("the ledger has %v", left)
	}
}

// Whatever the clocks of the replicas, whichever replicas end, and however often the manager restarts, times of last
// use never go backwards and are never in the future. The status is written at most every five minutes, except for
// first uses, and in the end it has the time reported last.
func TestLedger_NeverBackwards(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		now, k := minute(600), twice() // later than any clock is behind
		l := usage.NewLedger(now)
		names := []string{"old", "new", "gone"}
		behind := map[string]int{} // in minutes
		newest := -1.0             // of all uses, in minutes
		wrote := keystest.Epoch
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 150).Draw(t, "pause")) * time.Second)
			for _, replica := range []string{"a", "b"} {
				if !rapid.Bool().Draw(t, "answers") {
					continue
				}
				if rapid.IntRange(0, 9).Draw(t, "restarts") == 0 {
					behind[replica] = rapid.IntRange(-300, 300).Draw(t, "behind")
				}
				at := now.Sub(keystest.Epoch).Minutes() - float64(rapid.IntRange(0, 10).Draw(t, "ago"))
				report := used(replica, map[string]float64{rapid.SampledFrom(names).Draw(t, "credential"): at - float64(behind[replica])})
				l.Observe(now, time.Duration(behind[replica])*time.Minute, report)
				newest = max(newest, float64(int(at)))
			}
			if rapid.IntRange(0, 19).Draw(t, "manager restarts") == 0 && len(l.Keys()) == 0 {
				l = usage.NewLedger(now)
			}
			was := lastUsed(k.Status)
			wrote = step(t, l, k, was, wrote, now)
		}
		if newest < 0 {
			return
		}
		now = now.Add(10 * time.Minute)
		write(l, k, now)
		if got := lastUsed(k.Status)[0]; got != newest {
			t.Fatalf("the key was last used in minute %v, the status says %v", newest, got)
		}
		if left := l.Keys(); len(left) > 0 {
			t.Fatalf("the ledger still has %v", left)
		}
	})
}

// step lets the manager write if it is time, and holds what it wrote against the rules.
func step(t *rapid.T, l *usage.Ledger, k *v1alpha1.APIKey, was [3]float64, wrote, now time.Time) time.Time {
	t.Helper()
	writes := write(l, k, now)
	is, first := lastUsed(k.Status), false
	for i := range is {
		first = first || was[i] < 0 && is[i] >= 0
		if is[i] < was[i] {
			t.Fatalf("from %v back to %v", was, is)
		}
		if is[i] > now.Sub(keystest.Epoch).Minutes() {
			t.Fatalf("%v is in the future: it is minute %v", is, now.Sub(keystest.Epoch).Minutes())
		}
	}
	if !writes {
		return wrote
	}
	if is == was {
		t.Fatalf("written though nothing changed: %v", is)
	}
	if !first && now.Sub(wrote) < 5*time.Minute {
		t.Fatalf("written again after %s, without a first use: %v, then %v", now.Sub(wrote), was, is)
	}
	return now
}
