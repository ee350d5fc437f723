package supervisor

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/blueguy23/ghostrunner/internal/listener"
)

func TestOutcomeOfAListener(t *testing.T) {
	const conflictWait, slow = 30 * time.Second, 80 * time.Second
	for name, tc := range map[string]struct {
		e    exit
		p    progress
		want outcome
	}{
		"a job, exit 0":         {exit{}, progress{listening: true, jobsStarted: 1, jobsCompleted: 1, result: listener.Succeeded}, outcome{done: true, cause: "job completed: Succeeded"}},
		"a job, then exit 2":    {exit{code: 2}, progress{jobsStarted: 1, jobsCompleted: 1, result: listener.Abandoned}, outcome{done: true, cause: "job completed: Abandoned", mayRemain: true}},
		"a job, abandoned":      {exit{}, progress{jobsStarted: 1, jobsCompleted: 1, result: listener.Abandoned}, outcome{done: true, cause: "job completed: Abandoned", mayRemain: true}},
		"a job, then exit 1":    {exit{code: 1}, progress{jobsStarted: 1, jobsCompleted: 1, result: listener.Failed}, outcome{done: true, cause: "job completed: Failed", mayRemain: true}},
		"exit 0 is not a job":   {exit{}, progress{listening: true}, outcome{cause: "ended without a job"}},
		"exit 2 unused":         {exit{code: 2}, progress{listening: true, failure: listener.Other, text: "An error occurred: x"}, outcome{cause: "An error occurred: x"}},
		"exit 2 in a job":       {exit{code: 2}, progress{jobsStarted: 1}, outcome{cause: "job without a result: exit code 2"}},
		"update":                {exit{code: 4}, progress{}, outcome{cause: "exit code 4"}},
		"conflict":              {exit{code: 5}, progress{conflict: true}, outcome{cause: CauseSessionConflict, wait: conflictWait}},
		"conflict, old runner":  {exit{code: 1}, progress{conflict: true, failure: listener.Other, text: "Failed to create session. x"}, outcome{cause: CauseSessionConflict, wait: conflictWait}},
		"conflict that ended":   {exit{code: 2}, progress{conflict: true, listening: true}, outcome{cause: "exit code 2"}},
		"deprecated":            {exit{code: 7}, progress{listening: true}, outcome{cause: CauseVersionDeprecated, wait: slow}},
		"deprecated at session": {exit{code: 1}, progress{failure: listener.VersionDeprecated}, outcome{cause: CauseVersionDeprecated, wait: slow}},
		"deleted":               {exit{code: 1}, progress{failure: listener.RegistrationDeleted}, outcome{cause: "registration_deleted"}},
		"deleted while polling": {exit{}, progress{listening: true, failure: listener.RegistrationDeleted}, outcome{cause: "registration_deleted"}},
		"other":                 {exit{code: 1}, progress{failure: listener.Other, text: "Failed to create session. x"}, outcome{cause: "Failed to create session. x"}},
		"OOM kill in a job":     {exit{code: -1, signal: syscall.SIGKILL}, progress{jobsStarted: 1}, outcome{cause: "job without a result: killed by signal 9 (killed)"}},
		"killed":                {exit{code: -1, signal: syscall.SIGKILL}, progress{}, outcome{cause: "killed by signal 9 (killed)"}},
	} {
		if diff := cmp.Diff(tc.want, outcomeOf(tc.e, tc.p, conflictWait, slow), cmp.AllowUnexported(outcome{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestRegistrationIsRetriedForever measures the delays between attempts in fake time.
func TestRegistrationIsRetriedForever(t *testing.T) {
	for name, tc := range map[string]struct {
		err  error
		want []time.Duration
	}{
		"GitHub is down": {errors.New("connection refused"), []time.Duration{5, 10, 20, 40, 80, 80, 80}},
		"wrong token":    {errToken, []time.Duration{80, 80, 80, 80, 80, 80, 80}},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				var at []time.Time
				github := &fakeGitHub{onJIT: func(string) error { at = append(at, time.Now()); return tc.err }}
				cfg := Config{
					Slot: "s", Root: root, UID: testUID, GID: testGID, StateFile: root + "/state", Registrar: github,
					Stdout: newRecord(), Stderr: newRecord(), Logger: slog.New(slog.DiscardHandler), timing: defaultTiming(),
				}
				cfg.timing.jitter = func() float64 { return 1 }
				s := New(cfg)
				start := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
				defer cancel()
				healthyUntil := time.Duration(0)
				watched := make(chan struct{})
				go func() {
					defer close(watched)
					for time.Since(start) < 9*time.Minute { // until it drains
						<-time.After(time.Second)
						if ok, why := Health(cfg.StateFile, root, time.Now()); ok {
							healthyUntil = time.Since(start)
						} else if strings.HasPrefix(why, "stale") {
							t.Errorf("after %v: %s", time.Since(start), why)
						}
					}
				}()
				if err := s.Run(ctx); err != nil {
					t.Fatal(err)
				}
				<-watched
				if !at[0].Equal(start) {
					t.Errorf("the first attempt was after %v", at[0].Sub(start))
				}
				var got []time.Duration
				for i := range tc.want {
					got = append(got, at[i+1].Sub(at[i])/time.Second)
				}
				if diff := cmp.Diff(tc.want, got); diff != "" {
					t.Errorf("waits in seconds (-want +got):\n%s", diff)
				}
				// Unhealthy after five failures, or at once if waiting does not help.
				want := 75 * time.Second
				if errors.Is(tc.err, errToken) {
					want = 0
				}
				if healthyUntil > want || healthyUntil < want-2*time.Second {
					t.Errorf("healthy until %v, want %v", healthyUntil, want)
				}
			})
		})
	}
}

// With a wrong clock GitHub takes new registrations for deleted ones, so none is made. There is one
// log line a minute, no call to GitHub, and the slot is healthy.
func TestNoRegistrationWithAWrongClock(t *testing.T) {
	for name, tc := range map[string]struct {
		ahead, first time.Duration
		lines        int
	}{
		"right":          {2 * time.Second, 0, 0},
		"3 s ahead":      {3 * time.Second, 5 * time.Minute, 5},
		"3 s behind":     {-3 * time.Second, 5 * time.Minute, 5},
		"10 min ahead":   {10 * time.Minute, 5 * time.Minute, 5},
		"hours backward": {-5 * time.Hour, 5 * time.Minute, 5},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				start, first := time.Now(), time.Duration(-1)
				github := &fakeGitHub{onJIT: func(string) error {
					if first < 0 {
						first = time.Since(start)
					}
					return errors.New("enough")
				}}
				log := newRecord()
				s := New(Config{
					Slot: "s", Root: root, UID: testUID, GID: testGID, StateFile: root + "/state", Registrar: github,
					Clock: func(context.Context) (Offset, bool) {
						if time.Since(start) < 5*time.Minute {
							return Offset{tc.ahead, "chronyd"}, true
						}
						return Offset{}, true
					},
					Stdout: newRecord(), Stderr: newRecord(), Logger: slog.New(slog.NewTextHandler(log, nil)),
				})
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute+10*time.Second)
				defer cancel()
				go func() {
					<-time.After(5*time.Minute - 10*time.Second)
					healthy, why := Health(root+"/state", root, time.Now())
					if want := "waiting for 4m50s: clock_skew"; tc.lines > 0 && (!healthy || why != want) {
						t.Errorf("health: %v, %q; want %q", healthy, why, want)
					}
				}()
				if err := s.Run(ctx); err != nil {
					t.Fatal(err)
				}
				if first != tc.first {
					t.Errorf("first registration after %v, want %v\n%s", first, tc.first, log)
				}
				if n := strings.Count(log.String(), "msg=Waiting cause=clock_skew detail=\"the local clock is "); n != tc.lines {
					t.Errorf("%d lines in 5 min, want %d\n%s", n, tc.lines, log)
				}
			})
		})
	}
}

// An unknown time delays nothing.
func TestUnknownTimeDelaysNothing(t *testing.T) {
	s := startSlot(t, &fakeGitHub{}, func(cfg *Config) {
		cfg.Clock = func(context.Context) (Offset, bool) { return Offset{Ahead: time.Hour}, false }
	})
	s.stderr.wait(t, "to=listening", 1)
	s.stop()
}

func TestNames(t *testing.T) {
	slot := strings.Repeat("x", maxSlotLen)
	name := newName(slot)
	if len(name) != 64 || !ownName(slot, name) || name == newName(slot) {
		t.Errorf("name = %q", name)
	}
}

func TestForwardLines(t *testing.T) {
	long := strings.Repeat("x", 3*listener.MaxLine)
	for name, in := range map[string]string{
		"lines": "a\nb\n", "no end": "a\nb", "empty lines": "\n\na\n", "long": "a\n" + long + "\nb\n", "long without end": long, "nothing": "",
	} {
		out, seen := newRecord(), ""
		forwardLines(strings.NewReader(in), out, func(line []byte) { seen += string(line) })
		want := in
		if in != "" && !strings.HasSuffix(in, "\n") {
			want += "\n"
		}
		if out.String() != want {
			t.Errorf("%s: passed on %d bytes of %d", name, len(out.String()), len(want))
		}
		if want := strings.ReplaceAll(want, long+"\n", ""); seen != want {
			t.Errorf("%s: saw %d bytes, want %d", name, len(seen), len(want))
		}
	}
}

func TestProgressNamesTheFirstFailure(t *testing.T) {
	l := newJobProgress()
	for _, line := range []string{
		"The runner no longer exists on the server. Please reconfigure the runner.", "Failed to create session. x",
		"[WORKER 2026-08-20 12:00:00Z INFO X] " + stubStamp + "Running job: fake",
	} {
		l.record([]byte(line))
	}
	if p := l.snapshot(); p.failure != listener.RegistrationDeleted || p.jobsStarted != 0 {
		t.Errorf("progress = %+v", p)
	}
}
