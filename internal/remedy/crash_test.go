package remedy

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// fileDocker is a world of one runner that outlives the process: its state is a
// file, and so is the list of what was done to it.
type fileDocker struct{ dir string }

func (f fileDocker) read() string {
	b, err := os.ReadFile(filepath.Join(f.dir, "state"))
	if err != nil {
		panic(err)
	}
	return string(b)
}

// act notes a call and then lets it happen, as Docker does: also if we die.
func (f fileDocker) act(call, state string) error {
	log, err := os.OpenFile(filepath.Join(f.dir, "calls"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = log.WriteString(call + "\n")
	return errors.Join(err, log.Close(), f.become(state))
}

func (f fileDocker) become(state string) error {
	tmp := filepath.Join(f.dir, "state.new")
	return errors.Join(os.WriteFile(tmp, []byte(state), 0o600), os.Rename(tmp, filepath.Join(f.dir, "state")))
}

func (f fileDocker) calls() []string {
	b, err := os.ReadFile(filepath.Join(f.dir, "calls"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		panic(err)
	}
	return strings.Fields(string(b))
}

func (f fileDocker) Containers(context.Context) ([]Container, error) {
	c := runner("ci-1", ActionRestart, ActionBackoff)
	c.State = f.read()
	return []Container{c}, nil
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
func (f fileDocker) Images(context.Context, string) ([]Image, error)                { return nil, nil }
func (f fileDocker) RemoveImage(context.Context, string) error                      { return nil }
func (f fileDocker) BuildCache(context.Context, time.Duration) (uint64, error)      { return 0, nil }
func (f fileDocker) PruneBuildCache(context.Context, time.Duration) (uint64, error) { return 0, nil }
func (f fileDocker) FollowImages(ctx context.Context, _ func(string)) error         { <-ctx.Done(); return nil }
func (f fileDocker) Leftovers(context.Context, string) ([]Leftover, error)          { return nil, nil }
func (f fileDocker) RemoveContainer(context.Context, string) error                  { return nil }
func (f fileDocker) Root(context.Context) (string, error)                           { return "/", nil }

// result is what a child found when everything was settled.
type result struct {
	Fires    uint64
	Outcomes []string
	Breaker  BreakerState
}

const crashEnv = "GHOSTRUNNER_TEST_CRASH"

// crashOrder is what a child is to do.
type crashOrder struct {
	Dir, Action, Alert, Point string
	Send                      bool
}

// TestCrashChild is the process that is killed. By itself it does nothing.
func TestCrashChild(t *testing.T) {
	var o crashOrder
	if s := os.Getenv(crashEnv); s == "" {
		return
	} else if err := json.Unmarshal([]byte(s), &o); err != nil {
		t.Fatal(err)
	}
	r, err := New(Options{
		Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)), Docker: fileDocker{o.Dir},
		JournalPath: filepath.Join(o.Dir, "journal.db"), BackoffDuration: 400 * time.Millisecond,
		PollInterval: 10 * time.Millisecond, RestartGrace: 50 * time.Millisecond, RestartCooldown: time.Millisecond,
		Failpoint: func(name string) {
			if name == o.Point {
				_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
				select {}
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = r.Run(context.Background()) }()
	ready(t, r)
	if o.Send {
		send(t, r, alertOf(o.Alert, o.Action, "runner", "ci-1"))
	}
	until(t, "settled", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.state.queue == 0 && len(r.state.debts) == 0 && len(r.inflight) == 0
	})
	b, err := json.Marshal(result{r.Breakers()[0].Fires, outcomes(r), r.Breakers()[0].State})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(o.Dir, "result"), b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// child runs one process; killAfter kills it from outside. It returns whether it
// came to its end.
func child(t *testing.T, o crashOrder, killAfter time.Duration) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	if killAfter > 0 {
		ctx, cancel = context.WithTimeout(ctx, killAfter) // CommandContext kills with SIGKILL
		defer cancel()
	}
	order, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestCrashChild$")
	cmd.Env = append(os.Environ(), crashEnv+"="+string(order))
	out, err := cmd.CombinedOutput()
	if err != nil && ctx.Err() == nil && !strings.Contains(err.Error(), "signal: killed") {
		t.Fatalf("child: %v\n%s", err, out)
	}
	return err == nil
}

// finish runs a process to its end and returns what it found.
func finish(t *testing.T, dir string) result {
	t.Helper()
	if !child(t, crashOrder{Dir: dir}, 0) {
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
		breaker       BreakerState
	}{
		{ActionRestart, AlertRetryLoop, []string{"accepted", "intent", "terminated", "down", "started", "outcome"}, 1, Closed},
		{ActionBackoff, "GhostrunnerWatchdogStorm", []string{"accepted", "intent", "terminated", "down", "outcome", "started", "settled"}, 0, HalfOpen},
	} {
		for _, point := range c.points {
			t.Run(c.action+"/"+point, func(t *testing.T) {
				t.Parallel()
				w := fileDocker{t.TempDir()}
				if err := w.become("running"); err != nil {
					t.Fatal(err)
				}
				if child(t, crashOrder{Dir: w.dir, Action: c.action, Alert: c.alert, Point: point, Send: true}, 0) {
					t.Fatalf("nobody came to %s", point)
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

// TestKill9AnyTime kills from outside, at moments that nobody chose, again and
// again: whatever was going on, the runner runs in the end.
func TestKill9AnyTime(t *testing.T) {
	w := fileDocker{t.TempDir()}
	if err := w.become("running"); err != nil {
		t.Fatal(err)
	}
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 1))
	for range 15 {
		action := []string{ActionRestart, ActionBackoff}[rng.IntN(2)]
		delay := time.Duration(30+rng.IntN(400)) * time.Millisecond
		child(t, crashOrder{Dir: w.dir, Action: action, Alert: "A", Send: true}, delay)
	}
	finish(t, w.dir)
	if w.read() != "running" {
		t.Errorf("seed %d: the runner is %s; calls %v", seed, w.read(), w.calls())
	}
}

// TestBrokenJournal is a file that cannot be used: it is said, nothing crashes.
func TestBrokenJournal(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := filepath.Join(dir, "good.db")
	j, err := openJournal(good, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := openJournal(good, 50*time.Millisecond); err == nil || !strings.Contains(err.Error(), "locked") {
		t.Errorf("locked: %v", err)
	}
	for i := range 500 {
		if err := j.write(t.Context(), put(bucketRecords, seqKey(uint64(i)), Record{Detail: strings.Repeat("x", 400)})); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	scribbled := append([]byte(nil), whole...)
	for i := 4 * os.Getpagesize(); i < len(scribbled); i++ {
		scribbled[i] ^= 0x5a
	}
	for name, path := range map[string]string{
		"garbage":   write("garbage.db", []byte(strings.Repeat("garbage ", 10_000))),
		"cut off":   write("cut.db", whole[:3*os.Getpagesize()]),
		"scribbled": write("scribbled.db", scribbled),
	} {
		j, err := openJournal(path, time.Second)
		if err == nil {
			_ = j.close()
			t.Errorf("%s: opened", name)
			continue
		}
		if !strings.Contains(err.Error(), "corrupt") || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestReserve is a journal on a disk that has no space left: it has taken what it
// needs before.
func TestReserve(t *testing.T) {
	path := filepath.Join(t.TempDir(), "j.db")
	taken := func() int64 {
		var st syscall.Stat_t
		if err := syscall.Stat(path, &st); err != nil {
			t.Fatal(err)
		}
		return st.Blocks * 512
	}
	var first int64
	for range 2 { // opened again, it takes no more
		j, err := openJournal(path, time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if first == 0 {
			first = taken()
		}
		for i := range 20 {
			err = errors.Join(err,
				j.write(t.Context(), put(bucketInbox, seqKey(uint64(i)), Alert{Summary: strings.Repeat("x", 10_000)})),
				j.write(t.Context(), del(bucketInbox, seqKey(uint64(i))), put(bucketRecords, seqKey(uint64(i)), Record{})))
		}
		if err = errors.Join(err, j.close()); err != nil {
			t.Fatal(err)
		}
	}
	if got := taken(); got != first {
		t.Errorf("the file takes %d bytes, and took %d at first", got, first)
	}
}
