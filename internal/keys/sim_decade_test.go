// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
)

// TestSimulation_TenYearsOfRotation rotates a key every thirty days for ten years, with a manager whose every fifth
// write fails and which crashes at any step. The interval changes half-way, and later the manager is down for a year.
func TestSimulation_TenYearsOfRotation(t *testing.T) {
	t.Parallel()
	for seed := range uint64(10) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			d := newDecade(seed)
			if err := d.live(); err != nil {
				t.Fatalf("%v\n%s", err, d.w.story())
			}
		})
	}
}

// decade simulates one key, which is checked at every write and after every step of the clock.
type decade struct {
	*story
	// digest is the digest of the current credential, and due is when the next one is expected.
	digest string
	due    time.Time
	away   bool
	// replanned is when the interval was changed. stale is since when the Secret holds a previous key whose overlap has
	// ended.
	replanned, stale time.Time
	// rotations lists the times of the rotations.
	rotations []time.Time
}

const decadeKey = "shop/a"

func newDecade(seed uint64) *decade {
	s := newStory(seed, rules{strict: true, counting: v1alpha1.CountAll, limit: 1})
	s.manager.fault = func() fault { return pick(s.chance, "fault", append(make([]fault, 8), faultBefore, faultAfter)...) }
	_ = s.w.createAccount(keystest.NewAccount("acme", keystest.MaxKeys(1)))
	overlap := pick(s.chance, "overlap", v1alpha1.Duration(""), "0s", "48h", "720h")
	_ = s.w.createKey(keystest.Key("a", keystest.Namespace("shop"), keystest.Rotation("720h", overlap)))
	return &decade{story: s}
}

func (d *decade) live() error {
	start := d.w.now
	if err := d.pass(start.AddDate(0, 0, 1)); err != nil { // issued
		return err
	}
	if err := d.pass(start.AddDate(5, 0, 0)); err != nil {
		return err
	}
	if n := len(d.rotations); n < 59 || n > 61 {
		return fmt.Errorf("%d rotations in five years of thirty days each", n)
	}
	if err := d.replan("240h", "1h"); err != nil {
		return err
	}
	if err := d.pass(start.AddDate(6, 0, 0)); err != nil {
		return err
	}
	if err := d.outage(start.AddDate(7, 0, 0)); err != nil {
		return err
	}
	if err := d.replan("720h", ""); err != nil {
		return err
	}
	return d.pass(start.AddDate(10, 0, 0))
}

// replan changes the interval, and checks that the next rotation follows the new one.
func (d *decade) replan(interval, overlap v1alpha1.Duration) error {
	d.w.changeKey(decadeKey, func(k *v1alpha1.APIKeySpec) { k.Rotation.Interval, k.Rotation.Overlap = interval, overlap })
	d.replanned = d.w.now
	if err := d.pass(d.w.now.Add(2 * time.Minute)); err != nil {
		return err
	}
	k := d.w.key(decadeKey)
	length, _ := time.ParseDuration(string(interval))
	if want := currentOf(k.Status).IssuedAt.Add(length); !k.Status.NextRotationTime.Time.Equal(want) {
		return fmt.Errorf("interval %s, and the next rotation is on %s, not on %s", interval, k.Status.NextRotationTime, want)
	}
	return nil
}

// outage stops the manager until t. One rotation follows, however many were missed.
func (d *decade) outage(t time.Time) error {
	d.away, d.w.now = true, t
	before := len(d.rotations)
	d.restart()
	if err := d.pass(t.Add(10 * time.Minute)); err != nil {
		return err
	}
	d.away = false
	if n := len(d.rotations) - before; n != 1 {
		return fmt.Errorf("%d rotations after an outage of a year", n)
	}
	return nil
}

// pass lets the manager work until t. It checks the cluster after each action, and at the moment before the clock
// advances.
func (d *decade) pass(t time.Time) error {
	for {
		d.listen()
		item := d.first()
		until := t
		if item != "" && d.story.due[item].Before(t) {
			until = d.story.due[item]
		}
		if until.After(d.w.now) {
			if err := d.look(until.Add(-time.Second)); err != nil {
				return err
			}
			d.w.now = until
		}
		if item == "" || d.story.due[item].After(t) {
			return nil
		}
		delete(d.story.due, item)
		if d.chance(20, "crash") == 0 {
			d.crashWithin(item)
		} else {
			d.work(item)
		}
		if d.w.broken != nil {
			return d.w.broken
		}
		if err := d.look(d.w.now); err != nil {
			return err
		}
	}
}

// crashWithin crashes the manager before one of the calls of a reconcile. It restarts within seconds.
func (d *decade) crashWithin(item string) {
	d.manager.sync()
	if item == "key "+decadeKey {
		r := d.manager.keyRound(decadeKey)
		for range 1 + d.chance(12, "last call") {
			r.resume()
		}
		r.stop()
	}
	d.restart()
	for item := range d.story.due {
		d.story.due[item] = d.w.now.Add(backoff)
	}
}

// look checks the key at t, which is now or the last moment before an action.
func (d *decade) look(t time.Time) error {
	k, s := d.w.key(decadeKey), d.w.secret(decadeKey)
	is := currentOf(k.Status)
	if is == nil {
		return nil // not issued yet
	}
	excused := d.away || t.Sub(d.replanned) < 2*time.Minute
	if d.digest != is.SHA256 {
		if d.digest != "" {
			d.rotations = append(d.rotations, d.w.now)
			if late := d.w.now.Sub(d.due); !excused && (late < 0 || late > time.Minute) {
				return fmt.Errorf("rotated %s after it was due", late)
			}
		}
		d.digest = is.SHA256
	}
	if next := k.Status.NextRotationTime; next == nil {
		return fmt.Errorf("no rotation is planned")
	} else if d.due = next.Time; !excused && t.Sub(d.due) > time.Minute {
		return fmt.Errorf("at %s the rotation of %s is overdue", t, d.due)
	}
	m, previous := s.consumed()
	if !accepts(k, m, t) {
		return fmt.Errorf("at %s verifiers refuse what the Secret holds", t)
	}
	living := 0
	for _, c := range accepted(k, t) {
		if c.Role != v1alpha1.RoleStaged {
			living++
		}
		if c.Role == v1alpha1.RolePrevious && c.NotAfter.Sub(is.IssuedAt.Time) > overlapOf(k)+time.Minute && overlapOf(k) != time.Hour {
			return fmt.Errorf("the previous credential of %s lives until %s", is.IssuedAt, c.NotAfter)
		}
	}
	if living > 2 {
		return fmt.Errorf("%d credentials are accepted", living)
	}
	switch over := len(previous) > 0 && !accepts(k, previous, t); {
	case !over:
		d.stale = time.Time{}
	case d.stale.IsZero():
		d.stale = t
	case t.Sub(d.stale) > time.Minute:
		return fmt.Errorf("at %s the Secret still holds a previous key that verifiers refuse", t)
	}
	return nil
}
