package remedy

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestClockJumps is a wall clock that was set while nobody was there: a back-off neither strands its runner nor lets it
// go too soon.
func TestClockJumps(t *testing.T) {
	const length, passed = 10 * time.Minute, 4 * time.Minute
	for _, c := range []struct {
		name   string
		jump   time.Duration // of the wall clock
		reboot bool          // so that only the wall clock can tell
		old    bool          // written by a version without marks
		want   time.Duration // left
	}{
		{"as it should be", 0, false, false, length - passed},
		{"forward by hours", 7 * time.Hour, false, false, length - passed},
		{"back by hours", -7 * time.Hour, false, false, length - passed},
		{"rebooted", 0, true, false, length - passed},
		{"rebooted, forward by hours", 7 * time.Hour, true, false, 0},
		{"rebooted, back by hours", -7 * time.Hour, true, false, length},
		{"no marks", 0, false, true, length - passed},
		{"no marks, back by hours", -7 * time.Hour, false, true, length},
	} {
		t.Run(c.name, func(t *testing.T) {
			j, err := openJournal(filepath.Join(t.TempDir(), "j.db"), time.Second)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = j.close() }()
			then := moment{time.Now(), Mark{"a", time.Hour}}
			now := moment{then.Add(passed + c.jump), Mark{"a", time.Hour + passed}}
			if c.reboot {
				now.mark = Mark{"b", time.Minute}
			}
			if c.old {
				then.mark = Mark{}
			}
			open := Breaker{}.opened(then, length)
			half := Breaker{State: Open, Length: length, Until: then.Time}.probation(then, length)
			err = j.write(t.Context(),
				putLast(ActionRestart, "ci-1", then.Time),
				put(bucketDebts, []byte("ci-1"), Debt{Target: "ci-1", Since: then.Time, Mark: then.mark, Length: length, StartAt: then.Add(length)}),
				put(bucketBreakers, []byte("ci-1"), open), put(bucketBreakers, []byte("ci-2"), half))
			if err != nil {
				t.Fatal(err)
			}
			s, err := restore(j, now)
			if err != nil {
				t.Fatal(err)
			}
			for what, left := range map[string]time.Duration{
				"start": s.debts["ci-1"].due.Sub(now.Time), "open": s.breakers["ci-1"].Until.Sub(now.Time), "probation": s.breakers["ci-2"].Closes.Sub(now.Time),
			} {
				if left.Round(time.Second) != c.want {
					t.Errorf("%s: %s left, want %s", what, left, c.want)
				}
			}
			if until := s.breakers["ci-2"].Until; until.After(now.Time) {
				t.Errorf("on probation until %s: the storm rule is silent only after it", until)
			}
			if ago := now.Sub(s.last[lastKey(ActionRestart, "ci-1")]); ago < 0 {
				t.Errorf("the last restart was %s ago", ago)
			}
		})
	}
}

// TestRebooted is a machine that was rebooted between the intent and the deed. That has started the runner anew: it is not told
// to leave once more, whatever the wall clock says.
func TestRebooted(t *testing.T) {
	for _, jump := range []time.Duration{0, 9 * time.Hour, -9 * time.Hour} {
		t.Run(jump.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				path, now := filepath.Join(t.TempDir(), "journal.db"), time.Now()
				j, err := openJournal(path, time.Second)
				if err != nil {
					t.Fatal(err)
				}
				err = errors.Join(j.write(t.Context(),
					put(bucketRecords, seqKey(1), Record{V: recordVersion, ID: 1, Action: ActionRestart, Target: "ci-1", Outcome: OutcomeRunning, Began: now.Add(-jump)}),
					put(bucketDebts, []byte("ci-1"), Debt{
						V: 1, Target: "ci-1", ID: "id-ci-1", Action: ActionRestart, Record: 1, Phase: PhaseIntent,
						Since: now.Add(-jump), Mark: Mark{"the boot before", time.Hour},
					})), j.close())
				if err != nil {
					t.Fatal(err)
				}
				c := runnerContainer("ci-1", ActionRestart)
				c.Up = time.Minute
				d := &fakeDocker{list: []Container{c}}
				r, _, stop := start(t, d, func(o *Options) { o.JournalPath = path })
				time.Sleep(5 * time.Minute)
				stop()
				if len(d.calls) > 0 || len(r.Status().Unfinished) > 0 {
					t.Errorf("calls %v, unfinished %v", d.calls, r.Status().Unfinished)
				}
			})
		})
	}
}

// TestAnchor is a wall clock that is set while the program waits: what people are shown moves with it.
func TestAnchor(t *testing.T) {
	now := time.Now()
	const left = 5 * time.Minute
	for _, c := range []struct {
		jump  time.Duration
		moved bool
	}{{0, false}, {time.Millisecond, false}, {3 * time.Hour, true}, {-3 * time.Hour, true}} {
		written := now.Add(left - c.jump).Round(0) // before the jump
		at, moved := anchored(now, left, written)
		if moved != c.moved || at.Sub(now) != left {
			t.Errorf("jump of %s: moved %t, %s left", c.jump, moved, at.Sub(now))
		}
	}
	synctest.Test(t, func(t *testing.T) {
		d := newFake(runnerContainer("ci-1", ActionBackoff))
		r, _, _ := start(t, d, nil)
		ready(t, r)
		send(t, r, alertOf("S", ActionBackoff, "runner", "ci-1"))
		elapse(time.Minute)
		before := r.Breakers()[0]
		r.anchor()
		if after := r.Breakers()[0]; after != before {
			t.Errorf("without a jump: %+v, was %+v", after, before)
		}
	})
}

// TestRetention bounds history by number, age and size.
func TestRetention(t *testing.T) {
	now := time.Now()
	s := newState()
	add := func(id uint64, outcome Outcome, age time.Duration, bytes int) {
		rec := Record{ID: id, Outcome: outcome, Began: now.Add(-age), Target: "ci-1", Alert: Alert{Fingerprint: string(rune(id))}, Evidence: []string{strings.Repeat("x", bytes)}}
		if outcome == OutcomeRefused {
			s.refusals[refusalKey(rec)] = rec
		} else {
			s.records[id] = rec
		}
	}
	add(1, OutcomeRunning, 200*24*time.Hour, 10) // unfinished
	s.debts["ci-1"] = &Debt{Record: 1}
	add(2, OutcomeCompleted, 91*24*time.Hour, 10)
	add(3, OutcomeRefused, 91*24*time.Hour, 10)
	for id := uint64(100); id < 200; id++ {
		add(id, []Outcome{OutcomeCompleted, OutcomeRefused}[id%2], time.Duration(id)*time.Minute, 100_000)
	}
	out := s.evict(now)
	if n := len(s.records) + len(s.refusals); n != 84 || len(out) != 2+100-83 { // 83 times 100 kB fit, and the unfinished one
		t.Errorf("%d are left, %d were deleted", n, len(out))
	}
	if _, ok := s.records[1]; !ok {
		t.Error("an unfinished action was forgotten")
	}
	if _, ok := s.records[100]; !ok {
		t.Error("the newest was forgotten")
	}
	if again := s.evict(now.Add(time.Second)); len(again) > 0 {
		t.Errorf("a second later %d more", len(again))
	}
}
