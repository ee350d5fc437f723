package supervisor

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/blueguy23/ghostrunner/internal/runner"
)

// GitHub is asked at most once a minute, only while the slot listens, and a bad answer twice in a
// row makes it unhealthy.
func TestPollStatus(t *testing.T) {
	for name, tc := range map[string]struct {
		answer  error
		status  string
		healthy bool
		why     string
	}{
		"online":         {nil, "online", true, "listening, GitHub: online"},
		"offline":        {nil, "offline", false, "listening, but GitHub says: offline"},
		"unknown status": {nil, "on-line", true, "listening, GitHub: online"},
		"gone":           {runner.ErrNotFound, "", false, "listening, but GitHub says: not registered"},
		"token rejected": {errToken, "", false, "listening, pat_invalid: GitHub rejects the token"},
		"unreachable":    {errors.New("no connection"), "", true, "listening, GitHub: unreachable"},
	} {
		t.Run(name, func(t *testing.T) {
			file := t.TempDir() + "/state"
			proc := fakeProc(t)
			synctest.Test(t, func(t *testing.T) {
				var asked atomic.Int32
				github := &fakeGitHub{onRunner: func(id int64) (runner.Registration, error) {
					asked.Add(1)
					return runner.Registration{ID: id, Status: tc.status}, tc.answer
				}}
				s := &Supervisor{
					cfg:   Config{StateFile: file, Registrar: github, Stdout: newRecord(), Logger: slog.New(slog.DiscardHandler)},
					t:     defaultTiming(),
					state: State{Phase: Registering},
					reg:   &registration{id: 5, name: "s-5"}, proc: &listenerProcess{pid: 7},
				}
				ctx, cancel := context.WithCancel(t.Context())
				go s.pollStatus(ctx)
				go s.heartbeat(ctx)
				s.setDeadline(time.Hour)
				time.Sleep(10 * time.Minute)
				if n := asked.Load(); n != 0 {
					t.Errorf("asked %d times about a slot that does not listen", n)
				}
				s.enter(ctx, Listening, "session created")
				time.Sleep(10*time.Minute + time.Second)
				if n := asked.Load(); n < 9 || n > 10 {
					t.Errorf("asked %d times in 10 min", n)
				}
				if healthy, why := Health(file, proc, time.Now()); healthy != tc.healthy || why != tc.why {
					t.Errorf("health: %v, %q; want %v, %q", healthy, why, tc.healthy, tc.why)
				}
				s.enter(ctx, Job, "job started")
				before := asked.Load()
				time.Sleep(10 * time.Minute)
				if n := asked.Load() - before; n != 0 || s.state.GitHub.Answer != "" {
					t.Errorf("asked %d times during a job; %+v", n, s.state.GitHub)
				}
				cancel()
				synctest.Wait()
			})
		})
	}
}

// A supervisor that starts after a kill deletes the registrations of its state file first.
func TestKilledSupervisorDeletesItsRegistrations(t *testing.T) {
	deleted, refuse := make(chan struct{}, 100), true
	github := &fakeGitHub{onDelete: func(id int64) error {
		deleted <- struct{}{}
		if refuse && id == 78 {
			refuse = false
			return errToken // GitHub fails at first
		}
		return nil
	}}
	s := startSlot(t, github, func(cfg *Config) {
		old := State{Slot: "ci-runner-1", Phase: Listening, ID: 77, Pending: []int64{78}}
		if err := old.write(cfg.StateFile); err != nil {
			t.Fatal(err)
		}
	})
	s.stderr.wait(t, "to=listening", 1)
	receive(t, deleted)
	s.stop()
	if _, ids := github.seen(); !slices.Equal(ids[:2], []int64{77, 78}) || !slices.Contains(ids[2:], 78) {
		t.Errorf("deleted %v, want 77, and 78 until it is gone", ids)
	}
	if st, err := ReadState(s.state); err != nil || len(st.Pending) != 0 || st.ID != 0 {
		t.Errorf("still pending: %+v, %v", st, err)
	}
	other := startSlot(t, &fakeGitHub{}, func(cfg *Config) {
		if err := (State{Slot: "ci-runner-2", ID: 77}).write(cfg.StateFile); err != nil {
			t.Fatal(err)
		}
	})
	other.stderr.wait(t, "to=listening", 1)
	other.stop()
	if _, ids := other.github.seen(); slices.Contains(ids, 77) {
		t.Error("the registration of another slot was deleted")
	}
}

// A registration that looks stale is deleted after five minutes and not before: another slot of
// this name may be starting.
func TestYoungRegistrationsStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start, at := time.Now(), time.Duration(0)
		github := &fakeGitHub{
			onRunners: func() ([]runner.Registration, error) {
				return []runner.Registration{{ID: 9, Name: "s-abcdefghij", Status: runner.StatusOffline}}, nil
			},
			onDelete: func(int64) error { at = max(at, time.Since(start)); return nil },
		}
		s := &Supervisor{cfg: Config{Slot: "s", Registrar: github, Logger: slog.New(slog.DiscardHandler)}, t: defaultTiming()}
		ctx, cancel := context.WithTimeout(t.Context(), 6*time.Minute)
		defer cancel()
		s.deleteStale(ctx)
		if at != 5*time.Minute {
			t.Errorf("deleted after %v", at)
		}
	})
}
