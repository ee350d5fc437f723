package docker

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/google/go-cmp/cmp"
)

// recorder is a LineSink that keeps everything, as text.
type recorder struct {
	mu      sync.Mutex
	got     []string
	changed chan struct{}
	line    func(runner string, line []byte) bool // nil, or whether to keep the line
}

func newRecorder() *recorder { return &recorder{changed: make(chan struct{}, 1)} }

func (r *recorder) add(s string) {
	r.mu.Lock()
	r.got = append(r.got, s)
	r.mu.Unlock()
	select {
	case r.changed <- struct{}{}:
	default:
	}
}

func (r *recorder) Started(runner, _ string, replay bool) {
	if r.add(runner + " started"); replay {
		r.add(runner + " replayed")
	}
}
func (r *recorder) CaughtUp(runner, _ string) { r.add(runner + " caught up") }
func (r *recorder) Ended(runner, _ string)    { r.add(runner + " ended") }
func (r *recorder) Removed(runner, _ string)  { r.add(runner + " removed") }
func (r *recorder) Line(runner, _ string, _ time.Time, line []byte) {
	if r.line == nil || r.line(runner, line) {
		r.add(runner + ": " + string(line))
	}
}

// await waits for something recorded, and returns all that is recorded by then.
func (r *recorder) await(t testing.TB, what string, ok func(got []string) bool) []string {
	t.Helper()
	timeout := time.After(patience)
	for {
		r.mu.Lock()
		got := append([]string(nil), r.got...)
		r.mu.Unlock()
		if ok(got) {
			return got
		}
		select {
		case <-r.changed:
		case <-timeout:
			t.Fatalf("waited %s for %s, have %d: ... %q", patience, what, len(got), got[max(0, len(got)-10):])
		}
	}
}

// has returns whether everything wanted is recorded.
func has(want ...string) func([]string) bool {
	return func(got []string) bool {
		for _, w := range want {
			if count(got, w) == 0 {
				return false
			}
		}
		return true
	}
}

func count(got []string, want string) (n int) {
	for _, g := range got {
		if g == want {
			n++
		}
	}
	return n
}

// tailed starts Tail into a new recorder.
func (w *world) tailed(e *Engine) (*recorder, func()) {
	r := newRecorder()
	stop := w.background("tail", func(ctx context.Context) error { return e.Tail(ctx, r) })
	return r, stop
}

// lastLines are the last line of stdout and of stderr that "actor count" prints.
func lastLines(slot string, run, lines int) []string {
	return []string{fmt.Sprintf("%s: run %d line %d", slot, run, lines-1), fmt.Sprintf("%s: run %d line %d", slot, run, lines-2)}
}

// log returns the log as the engine sends it at once, line by line.
func (w *world) log(id string) (lines []string) {
	w.Helper()
	body, err := w.cli.ContainerLogs(w.Context(), id, container.LogsOptions{ShowStdout: true, ShowStderr: true, Timestamps: true})
	w.do("logs", err)
	defer body.Close()
	var r [2]lineReader
	for i := range r {
		r[i].deliver = func(_ time.Time, line []byte) { lines = append(lines, string(line)) }
	}
	w.do("logs", readLog(body, &r[0], &r[1]))
	return lines
}

// likeLog checks that every line of the log came once and in its order, each run's lines between
// its start and its end.
func likeLog(t *testing.T, got, log []string, slot string) {
	t.Helper()
	var lines []string
	run, under := 0, false
	for _, g := range got {
		switch {
		case g == slot+" started":
			run, under = run+1, true
		case g == slot+" ended":
			under = false
		case strings.HasPrefix(g, slot+": "):
			lines = append(lines, strings.TrimPrefix(g, slot+": "))
			if !under || !strings.HasPrefix(g, fmt.Sprintf("%s: run %d ", slot, run)) {
				t.Fatalf("%q came in run %d, under way %t", g, run, under)
			}
		}
	}
	if diff := cmp.Diff(log, lines); diff != "" {
		t.Errorf("lines differ from the log (-log +got):\n%s", diff)
	}
}

func TestTailRestart(t *testing.T) {
	for _, tty := range []bool{false, true} {
		t.Run(fmt.Sprintf("tty=%t", tty), func(t *testing.T) {
			w := newWorld(t)
			e := w.watched("")
			r, _ := w.tailed(e)
			const runs, lines = 4, 3001
			id := w.run(spec{args: []string{"count", strconv.Itoa(lines), "100us"}, slot: "ci-1", tty: tty})
			for run := 1; run <= runs; run++ {
				last := lines - 1
				if run%2 == 0 { // this half of the restarts cuts the run short
					last = 0
				}
				r.await(t, "a line", has(fmt.Sprintf("ci-1: run %d line %d", run, last)))
				if run < runs {
					w.restart(id)
				}
			}
			r.await(t, "the end", has(fmt.Sprintf("ci-1: run %d line %d", runs, lines-1)))
			w.do("stop", w.cli.ContainerStop(t.Context(), id, container.StopOptions{}))
			got := r.await(t, "the end of the last run", func(got []string) bool { return got[len(got)-1] == "ci-1 ended" })
			likeLog(t, got, w.log(id), "ci-1") // a run that was cut short has fewer lines
			w.remove(id)
			r.await(t, "removed", has("ci-1 removed"))
		})
	}
}

// A Tail that comes later replays the present run, and nothing of the runs before it; then it
// follows.
func TestTailReplay(t *testing.T) {
	w := newWorld(t)
	id := w.run(spec{args: []string{"count", "500"}, slot: "ci-1"})
	over := w.run(spec{args: []string{"exit", "3"}, slot: "ci-2"})
	ended, errs := w.cli.ContainerWait(t.Context(), over, container.WaitConditionNotRunning)
	select {
	case <-ended:
	case err := <-errs:
		t.Fatal(err)
	}
	e := w.watched("")
	r, stop := w.tailed(e)
	got := r.await(t, "replay", has("ci-1 caught up"))
	if got[0] != "ci-1 started" || got[1] != "ci-1 replayed" || len(got) != 503 {
		t.Errorf("%d entries, the first are %q", len(got), got[:2])
	}
	likeLog(t, got, w.log(id), "ci-1")
	stop()

	r, _ = w.tailed(e) // as of an exporter that was restarted
	r.await(t, "second replay", has("ci-1 caught up"))
	w.restart(id)
	got = r.await(t, "the next run", has(lastLines("ci-1", 2, 500)...))
	likeLog(t, got, w.log(id), "ci-1")
	if count(got, "ci-1 replayed") != 1 {
		t.Error("a run that began while Tail followed is replayed")
	}
	w.remove(id)
	r.await(t, "removed", has("ci-1 removed"))
}

// Connections that break, for instance because the engine restarts, neither lose nor repeat a line.
func TestTailEngineDies(t *testing.T) {
	w := newWorld(t)
	p, host := newProxy(w)
	e := w.watched(host)
	r, _ := w.tailed(e)
	const lines = 4000
	id := w.run(spec{args: []string{"count", strconv.Itoa(lines), "500us"}, slot: "ci-1"})
	for _, n := range []int{100, 700, 1500, 2200} {
		r.await(t, "progress", has(fmt.Sprintf("ci-1: run 1 line %d", n)))
		p.cut()
		w.await(e, "down", func(s snapshot) bool { return !s.up })
		p.restore()
	}
	likeLog(t, r.await(t, "the end", has(lastLines("ci-1", 1, lines)...)), w.log(id), "ci-1")
}

// A container that restarts while the engine does not answer: its new run is told.
func TestTailMissedRestart(t *testing.T) {
	w := newWorld(t)
	p, host := newProxy(w)
	e := w.watched(host)
	r, _ := w.tailed(e)
	id := w.run(spec{args: []string{"count", "100"}, slot: "ci-1"})
	r.await(t, "the first run", has(lastLines("ci-1", 1, 100)...))
	p.cut()
	w.await(e, "down", func(s snapshot) bool { return !s.up })
	w.restart(id)
	p.restore()
	likeLog(t, r.await(t, "the second run", has(lastLines("ci-1", 2, 100)...)), w.log(id), "ci-1")
}

func TestTailLongLines(t *testing.T) {
	for _, tty := range []bool{false, true} {
		t.Run(fmt.Sprintf("tty=%t", tty), func(t *testing.T) {
			w := newWorld(t)
			e := w.watched("")
			r, _ := w.tailed(e)
			lengths := []int{maxLine - 1, maxLine, maxLine + 1, 3*maxLine + 5, 100_000, 3 << 20}
			args := []string{"long"}
			for _, n := range lengths {
				args = append(args, strconv.Itoa(n))
			}
			w.run(spec{args: args, slot: "ci-1", tty: tty})
			got := r.await(t, "the last line", has(fmt.Sprintf("ci-1: short %d", len(lengths)-1)))
			want := []string{"ci-1 started"}
			for i, n := range lengths {
				want = append(want, "ci-1: "+strings.Repeat(string(rune('a'+i)), min(n, maxLine)), fmt.Sprintf("ci-1: short %d", i))
			}
			if len(got) != len(want) {
				t.Fatalf("%d entries, want %d", len(got), len(want))
			}
			for i := range want {
				if got[i] != want[i] {
					t.Errorf("entry %d has %d bytes and ends in %.80q, want %d", i, len(got[i]), got[i][max(0, len(got[i])-80):], len(want[i]))
				}
			}
		})
	}
}

// A flood is read at the pace of the sink; Tail ends with its context in the middle of it.
func TestTailFlood(t *testing.T) {
	w := newWorld(t)
	e := w.watched("")
	r := newRecorder()
	n := 0
	r.line = func(string, []byte) bool { n++; return n == 20_000 }
	stop := w.background("tail", func(ctx context.Context) error { return e.Tail(ctx, r) })
	id := w.run(spec{args: []string{"flood"}, slot: "ci-1", host: rotated("1m")})
	r.await(t, "some of the flood", func(got []string) bool { return len(got) == 2 })
	stop()
	w.remove(id)
}

func rotated(size string) container.HostConfig {
	return container.HostConfig{LogConfig: container.LogConfig{Type: "json-file", Config: map[string]string{"max-size": size, "max-file": "3"}}}
}

// A log that is rotated while it is followed loses and repeats no line.
func TestTailRotation(t *testing.T) {
	w := newWorld(t)
	e := w.watched("")
	r, _ := w.tailed(e)
	const lines = 3000
	id := w.run(spec{args: []string{"count", strconv.Itoa(lines), "200us"}, slot: "ci-1", host: rotated("50k")})
	got := r.await(t, "the end", has(lastLines("ci-1", 1, lines)...))
	if kept := len(w.log(id)); kept >= lines {
		t.Fatalf("%d lines are left: nothing was rotated away", kept)
	}
	seen := map[string]int{}
	for _, g := range got[1:] {
		seen[g]++
	}
	for n := range lines {
		if line := fmt.Sprintf("ci-1: run 1 line %d", n); seen[line] != 1 {
			t.Errorf("%q came %d times", line, seen[line])
		}
	}
}

// A container that takes another's place is followed from its begin.
func TestTailRecreate(t *testing.T) {
	w := newWorld(t)
	e := w.watched("")
	r, _ := w.tailed(e)
	old := w.run(spec{args: []string{"count", "10"}, slot: "ci-1"})
	r.await(t, "the old lines", has(lastLines("ci-1", 1, 10)...))
	w.remove(old)
	r.await(t, "removed", has("ci-1 removed"))
	id := w.run(spec{args: []string{"count", "20"}, slot: "ci-1"})
	got := r.await(t, "the new lines", has(lastLines("ci-1", 1, 20)...))
	for i, g := range got {
		if g == "ci-1 removed" {
			likeLog(t, got[i+1:], w.log(id), "ci-1")
		}
	}
}
