package remedy

import (
	"errors"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/blueguy23/ghostrunner/internal/remedy/journal"
)

func TestAttemptsSince(t *testing.T) {
	now := time.Now()
	r, _, _ := start(t, newFake(), nil)
	ready(t, r)
	change(t, r, func(tx *journal.Tx) {
		for i := range 10 {
			tx.PutRecord(journal.Record{Began: now.Add(-time.Duration(9-i) * time.Hour), Outcome: journal.Completed})
		}
	})
	for since, want := range map[string]int{"5h30m": 6, "0s": 0, "24h": 8} {
		at, err := ParseSince(since, now.Add(time.Second))
		if err != nil {
			t.Fatal(err)
		}
		got := r.Attempts(at, 8)
		if len(got) != want {
			t.Errorf("since %s: %d records, want %d", since, len(got), want)
		}
		for i, rec := range got {
			if rec.ID != uint64(10-i) {
				t.Errorf("since %s: record %d is %d, want the newest first", since, i, rec.ID)
			}
		}
	}
}

// TestPauseEnds is a pause with an end, across a sleep and a start of the program.
func TestPauseEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "journal.db")
		d := newFake(slot("ci-1", ActionRestart))
		open := func() (*Remediator, func()) {
			r, _, stop := start(t, d, func(o *Options) { o.JournalPath = path })
			ready(t, r)
			return r, stop
		}
		r, stop := open()
		if err := r.Pause(2 * time.Hour); err != nil {
			t.Fatal(err)
		}
		send(t, r, alertOf("A", ActionRestart, "runner", "ci-1"))
		idle(t, r)
		if got := attempts(r, 1); len(got) != 1 || got[0].Reason != Paused || !strings.Contains(got[0].Detail, "until 20") {
			t.Fatalf("%+v, want a refusal that names the end of the pause", got)
		}
		stop()
		time.Sleep(time.Hour)
		r, stop = open()
		if s := r.Status(); !s.Paused || time.Until(s.PausedUntil).Round(time.Minute) != time.Hour {
			t.Errorf("after an hour: %+v", s)
		}
		time.Sleep(time.Hour)
		if s := r.Status(); s.Paused || !s.PausedUntil.IsZero() {
			t.Errorf("after two hours it is still paused: %+v", s)
		}
		send(t, r, alertOf("A", ActionRestart, "runner", "ci-1"))
		idle(t, r)
		if got := d.done(); len(got) == 0 {
			t.Error("nothing is done after the pause")
		}
		if err := errors.Join(r.Pause(time.Minute), r.Resume()); err != nil || r.Status().Paused {
			t.Errorf("resumed, and still paused (%v)", err)
		}
		if err := r.Pause(0); err != nil || !r.Status().Paused || !r.Status().PausedUntil.IsZero() {
			t.Errorf("until resumed: %+v (%v)", r.Status(), err)
		}
		if err := r.Resume(); err != nil {
			t.Error(err)
		}
		stop()
		time.Sleep(time.Hour)
		if r, _ = open(); r.Status().Paused {
			t.Error("paused again by a start")
		}
	})
}

func TestFiring(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _, _ := start(t, newFake(), nil)
		ready(t, r)
		first := alertOf("First", ActionRestart, "runner", "ci-1")
		time.Sleep(time.Second)
		send(t, r, first, alertOf("Second", ""), alertOf(watchdog, ""))
		idle(t, r)
		names := func() (out []string) {
			for _, f := range r.Status().Firing {
				out = append(out, f.Name()+" "+f.Reason)
			}
			return out
		}
		if got := strings.Join(names(), ", "); got != "Second , First no_target" {
			t.Errorf("fires: %s", got)
		}
		first.Resolved = true
		send(t, r, first)
		if got := strings.Join(names(), ", "); got != "Second " {
			t.Errorf("fires after the first is over: %s", got)
		}
		time.Sleep(firingMaxAge + time.Second)
		if got := names(); len(got) != 0 {
			t.Errorf("not repeated for an hour: %s", got)
		}
		var many []Notice
		for i := range 2 * maxFiring {
			many = append(many, alertOf("Many", "", "n", strconv.Itoa(i)))
		}
		send(t, r, many...)
		if got := names(); len(got) != maxFiring {
			t.Errorf("%d are remembered, want %d", len(got), maxFiring)
		}
	})
}

// TestStatusDoesNotWait: what is known is answered although Docker hangs.
func TestStatusDoesNotWait(t *testing.T) {
	d := newFake(slot("ci-1", ActionRestart))
	r, _, _ := start(t, d, nil)
	ready(t, r)
	until(t, "the runner to be known", func() bool { list := r.Targets(t.Context()); return len(list) == 1 && list[0].Breaker != nil })
	r.containers.mu.Lock() // another question to Docker is not answered
	defer r.containers.mu.Unlock()
	if got := r.Targets(t.Context()); len(got) != 1 || got[0].Name != "ci-1" || got[0].Breaker == nil {
		t.Errorf("%+v", got)
	}
}

// TestClockSetBackIsReported: in the bubble of the test the wall clock is never set; it is the
// other clock that is ahead, which looks the same.
func TestClockSetBackIsReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var back atomic.Int64
		r, _, _ := start(t, newFake(), func(o *Options) {
			o.BootTime = func() journal.BootTime {
				b := uptime()
				b.Up += time.Duration(back.Load())
				return b
			}
		})
		ready(t, r)
		back.Store(int64(50 * time.Second))
		elapse(observeInterval + time.Second)
		if s := r.Status().SetBack; s.By != "" {
			t.Errorf("set back by less than a minute: %+v", s)
		}
		back.Store(0) // ahead
		elapse(observeInterval + time.Second)
		back.Add(int64(8 * time.Hour))
		elapse(observeInterval + time.Second)
		if s := r.Status().SetBack; s.By != "8h0m0s" || time.Since(s.At) > observeInterval+time.Second {
			t.Errorf("%+v", s)
		}
	})
}
