package remedy

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/blueguy23/ghostrunner/internal/remedy/journal"
	"github.com/blueguy23/ghostrunner/internal/runner"
)

// fileDocker is a world of one runner that outlives the process: its state is a
// file, which also holds what was done to it, so that both change at once.
type fileDocker struct{ dir string }

func (f fileDocker) lines() []string {
	b, err := os.ReadFile(filepath.Join(f.dir, "world"))
	if err != nil {
		panic(err)
	}
	return strings.Fields(string(b))
}

// read is the state of the runner, calls what was done to it.
func (f fileDocker) read() string    { return f.lines()[0] }
func (f fileDocker) calls() []string { return f.lines()[1:] }

// act notes a call and lets it happen, as Docker does: also if we die.
func (f fileDocker) act(call, state string) error {
	return f.become(state, append(f.calls(), call)...)
}

func (f fileDocker) become(state string, calls ...string) error {
	tmp := filepath.Join(f.dir, "world.new")
	text := strings.Join(append([]string{state}, calls...), "\n")
	return errors.Join(os.WriteFile(tmp, []byte(text), 0o600), os.Rename(tmp, filepath.Join(f.dir, "world")))
}

func (f fileDocker) Containers(context.Context) ([]runner.Container, error) {
	c := slot("ci-1", ActionRestart, ActionBackoff)
	c.State = f.read()
	return []runner.Container{c}, nil
}

func (f fileDocker) Processes(context.Context, string) ([]string, error) {
	return []string{"/ghostrunner-runner run"}, nil
}
func (f fileDocker) Terminate(context.Context, string) error { return f.act("terminate", "exited") }
func (f fileDocker) Stop(context.Context, string, time.Duration) error {
	return f.act("stop", "exited")
}
func (f fileDocker) Restart(context.Context, string, time.Duration) error {
	return f.act("restart", "running")
}
func (f fileDocker) Start(context.Context, string) error                            { return f.act("start", "running") }
func (f fileDocker) Images(context.Context, string) ([]runner.Image, error)         { return nil, nil }
func (f fileDocker) RemoveImage(context.Context, string) error                      { return nil }
func (f fileDocker) BuildCache(context.Context, time.Duration) (uint64, error)      { return 0, nil }
func (f fileDocker) PruneBuildCache(context.Context, time.Duration) (uint64, error) { return 0, nil }
func (f fileDocker) FollowImages(ctx context.Context, _ func(string)) error         { <-ctx.Done(); return nil }
func (f fileDocker) Leftovers(context.Context, string) ([]runner.Leftover, error)   { return nil, nil }
func (f fileDocker) RemoveContainer(context.Context, string) error                  { return nil }
func (f fileDocker) Root(context.Context) (string, error)                           { return "/", nil }

// result is what a child found when everything was settled.
type result struct {
	Fires    uint64
	Outcomes []string
	Answered []string // fingerprints
	Breaker  journal.BreakerState
}

const crashEnv = "GHOSTRUNNER_TEST_CRASH"

// crashOrder is what a child is to do.
type crashOrder struct {
	Dir string
	// Alerts are sent, each of them a name, an action and a fingerprint; each that was accepted is
	// noted.
	Alerts [][3]string
	// Point is the failpoint at which it is to die, After when it is to die wherever it is then.
	Point string
	After time.Duration
}

func die() {
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}

// TestCrashChild is the process that is killed. By itself it does nothing.
func TestCrashChild(t *testing.T) {
	var o crashOrder
	if s := os.Getenv(crashEnv); s == "" {
		return
	} else if err := json.Unmarshal([]byte(s), &o); err != nil {
		t.Fatal(err)
	}
	accepted, err := os.OpenFile(filepath.Join(o.Dir, "accepted"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer accepted.Close()
	r := New(Options{
		Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)), Docker: fileDocker{o.Dir},
		JournalPath: filepath.Join(o.Dir, "journal.db"), BackoffDuration: 50 * time.Millisecond, BackoffMax: 100 * time.Millisecond,
		PollInterval: 5 * time.Millisecond, RestartGrace: 50 * time.Millisecond, RestartCooldown: time.Nanosecond,
		Failpoint: func(name string) {
			if name == o.Point {
				die()
			}
		},
	})
	if o.After > 0 {
		time.AfterFunc(o.After, die)
	}
	go func() { _ = r.Run(context.Background()) }()
	ready(t, r)
	for _, a := range o.Alerts {
		alert := alertOf(a[0], a[1], "runner", "ci-1")
		alert.Fingerprint = a[2]
		send(t, r, alert)
		if _, err := accepted.WriteString(a[2] + "\n"); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "settled", func() bool {
		state := r.store.State()
		_, known := state.Fires["ci-1"]
		return known && state.Queue == 0 && len(state.Starts) == 0 && !r.reconciler.isClaimed("ci-1")
	})
	if o.After > 0 || o.Point != "" {
		select {} // until it is killed
	}
	res := result{Fires: r.Breakers()[0].Fires, Outcomes: outcomes(r), Breaker: r.Breakers()[0].State}
	for _, rec := range attempts(r, MaxHistory) {
		res.Answered = append(res.Answered, rec.Alert.Fingerprint)
	}
	b, err := json.Marshal(res)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(o.Dir, "result"), b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// child runs one process. It returns whether it came to its end.
func child(t *testing.T, o crashOrder) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	order, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestCrashChild$")
	cmd.Env = append(os.Environ(), crashEnv+"="+string(order))
	out, err := cmd.CombinedOutput()
	if err != nil && (ctx.Err() != nil || !strings.Contains(err.Error(), "signal: killed")) {
		t.Fatalf("child: %v\n%s", err, out)
	}
	return err == nil
}

// finish runs a process to its end and returns what it found.
func finish(t *testing.T, dir string) result {
	t.Helper()
	if !child(t, crashOrder{Dir: dir}) {
		t.Fatal("the last process did not come to its end")
	}
	b, err := os.ReadFile(filepath.Join(dir, "result"))
	if err != nil {
		t.Fatal(err)
	}
	var res result
	if err := json.Unmarshal(b, &res); err != nil {
		t.Fatal(err)
	}
	return res
}

// TestKill9 kills the process at every point, and starts another one. The alert
// was accepted, so it must have been acted on; the runner runs; the fire is
// counted once; and nothing that was done is done again.
func TestKill9(t *testing.T) {
	for _, c := range []struct {
		action, alert string
		points        []string
		fires         uint64
		breaker       journal.BreakerState
	}{
		{ActionRestart, retryLoop, []string{"accepted", "intent", "terminated", "down", "started", "outcome"}, 1, journal.Closed},
		{ActionBackoff, storm, []string{"accepted", "intent", "terminated", "down", "outcome", "started", "finished"}, 0, journal.HalfOpen},
	} {
		for _, point := range c.points {
			t.Run(c.action+"/"+point, func(t *testing.T) {
				t.Parallel()
				w := fileDocker{t.TempDir()}
				if err := w.become("running"); err != nil {
					t.Fatal(err)
				}
				if child(t, crashOrder{Dir: w.dir, Alerts: [][3]string{{c.alert, c.action, "f"}}, Point: point}) {
					t.Fatalf("%s was not reached", point)
				}
				res := finish(t, w.dir)
				if w.read() != "running" {
					t.Errorf("the runner is %s; calls %v", w.read(), w.calls())
				}
				starts := strings.Count(strings.Join(w.calls(), " "), "start") // restart too
				if starts != 1 || strings.Count(strings.Join(w.calls(), " "), "terminate") != 1 {
					t.Errorf("calls %v, want one end and one start", w.calls())
				}
				if res.Fires != c.fires || res.Breaker != c.breaker {
					t.Errorf("%d fires, breaker %s; want %d, %s", res.Fires, res.Breaker, c.fires, c.breaker)
				}
				if want := c.action + " ci-1 completed"; len(res.Outcomes) != 1 || res.Outcomes[0] != want {
					t.Errorf("history %v, want %s", res.Outcomes, want)
				}
			})
		}
	}
}

// kills is how often TestKill9AnyTime kills; `make crash-test` does it hundreds of times.
var kills = flag.Int("kills", 30, "processes that are killed at a random moment")

// TestKill9AnyTime kills at moments that nobody chose, again and again: whatever was going on, the
// runner runs in the end, every alert that was accepted is answered, and each action that was begun
// was done once.
func TestKill9AnyTime(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("%d kills, seed %d", *kills, seed)
	for _, world := range []struct {
		name   string
		alerts [][2]string
	}{
		{"restarts", [][2]string{{retryLoop, ActionRestart}}},
		{"restarts and back-offs", [][2]string{{retryLoop, ActionRestart}, {storm, ActionBackoff}, {"A", ActionRestart}}},
	} {
		t.Run(world.name, func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(seed, uint64(len(world.alerts))))
			w := fileDocker{t.TempDir()}
			if err := w.become("running"); err != nil {
				t.Fatal(err)
			}
			answered := map[string]bool{}
			const between = 25 // kills between two looks: history forgets
			for n := range *kills / 2 {
				o := crashOrder{Dir: w.dir, After: time.Duration(1+rng.IntN(120)) * time.Millisecond}
				for i := range rng.IntN(4) {
					a := world.alerts[rng.IntN(len(world.alerts))]
					o.Alerts = append(o.Alerts, [3]string{a[0], a[1], fmt.Sprintf("%d-%d", n, i)})
				}
				if child(t, o) {
					t.Fatal("it was not killed")
				}
				if n%between != between-1 && n != *kills/2-1 {
					continue
				}
				res := finish(t, w.dir)
				for _, fingerprint := range res.Answered {
					answered[fingerprint] = true
				}
				if w.read() != "running" {
					t.Fatalf("after %d kills the runner is %s", n+1, w.read())
				}
				for i, call := range w.calls() {
					if want := []string{"terminate", "start"}[i%2]; call != want {
						t.Fatalf("after %d kills call %d is %s, want %s: each action once", n+1, i, call, want)
					}
				}
				if done := uint64(len(w.calls()) / 2); len(world.alerts) == 1 && done != res.Fires {
					t.Fatalf("after %d kills %d restarts were done, and %d were begun", n+1, done, res.Fires)
				}
				accepted, err := os.ReadFile(filepath.Join(w.dir, "accepted"))
				if err != nil {
					t.Fatal(err)
				}
				for fingerprint := range strings.FieldsSeq(string(accepted)) {
					if !answered[fingerprint] {
						t.Fatalf("after %d kills: alert %s was accepted and never answered", n+1, fingerprint)
					}
				}
			}
			t.Logf("%d calls, %d alerts answered", len(w.calls()), len(answered))
		})
	}
}
