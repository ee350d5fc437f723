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
	marks   map[string]Mark
	changed chan struct{}
	line    func(runner string, line []byte) bool // nil, or whether to keep the line
}

func newRecorder() *recorder {
	return &recorder{changed: make(chan struct{}, 1), marks: map[string]Mark{}}
}

func (r *recorder) add(s string) { r.place(nil, s) }

// place keeps the mark together with what it belongs to.
func (r *recorder) place(m *Mark, s string) {
	r.mu.Lock()
	r.got = append(r.got, s)
	if m != nil {
		r.marks[m.Container] = *m
	}
	r.mu.Unlock()
	select {
	case r.changed <- struct{}{}:
	default:
	}
}

func (r *recorder) Replaying(string, bool)       {}
func (r *recorder) Started(m *Mark, _ time.Time) { r.place(m, m.Runner+" started") }
func (r *recorder) Ended(m *Mark, _ time.Time)   { r.place(m, m.Runner+" ended") }
func (r *recorder) Forget(runner string)         { r.add(runner + " forgotten") }
func (r *recorder) Line(m *Mark, _ time.Time, line []byte) {
	if r.line == nil || r.line(m.Runner, line) {
		r.place(m, m.Runner+": "+string(line))
	}
}

// Noise: the tests of this package want to see every line.
func (r *recorder) Noise([]byte) bool                { return false }
func (r *recorder) Skipped(*Mark, time.Time, uint64) {}

func (r *recorder) Lost(runner string) { r.add(runner + " lost some") }

func (r *recorder) Removed(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.marks, id)
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

func has(want string) func([]string) bool { return times(want, 1) }

func times(want string, n int) func([]string) bool {
	return func(got []string) bool {
		count := 0
		for _, g := range got {
			if g == want {
				count++
			}
		}
		return count >= n
	}
}

// tailed starts Tail into a new recorder.
func (w *world) tailed(e *Engine) (*recorder, func()) {
	r := newRecorder()
	stop := w.background("tail", func(ctx context.Context) error { return e.Tail(ctx, r) })
	return r, stop
}

// inOrder checks that of each run every line came once, and in order within stdout and within stderr. Between the two
// the engine itself has no order.
func inOrder(t *testing.T, got []string, runner string, runs, lines int) {
	t.Helper()
	next := make([][2]int, runs+1)
	run, ended := 0, 0
	for _, g := range got {
		switch g {
		case runner + " started":
			run++
			continue
		case runner + " ended":
			ended++
			continue
		}
		var r, n int
		if _, err := fmt.Sscanf(g, runner+": run %d line %d", &r, &n); err != nil {
			t.Fatalf("unexpected %q", g)
		}
		if r != run || ended != run-1 {
			t.Fatalf("%q came after %d starts and %d ends", g, run, ended)
		}
		if want := 2*next[r][n%2] + n%2; n != want {
			t.Fatalf("%q came, want line %d", g, want)
		}
		next[r][n%2]++
	}
	for r := 1; r <= runs; r++ {
		if sum := next[r][0] + next[r][1]; sum != lines {
			t.Errorf("run %d: %d lines, want %d", r, sum, lines)
		}
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
			got := r.await(t, "all ends", times("ci-1 ended", runs))
			// What the engine wrote to the log is the measure: a run that was cut short has fewer lines.
			inOrderOf(t, got, w.log(id))
			w.remove(id)
			r.await(t, "forgotten", has("ci-1 forgotten"))
		})
	}
}

// log returns the log as the engine tells it at once, line by line.
func (w *world) log(id string) []string {
	w.Helper()
	body, err := w.cli.ContainerLogs(w.Context(), id, container.LogsOptions{ShowStdout: true, ShowStderr: true, Timestamps: true})
	w.do("logs", err)
	defer body.Close()
	var out []string
	s := newLogStream(body, func(_ int64, line []byte) { out = append(out, string(line)) }, func() {})
	w.do("logs", s.read())
	return out
}

func inOrderOf(t *testing.T, got, want []string) {
	t.Helper()
	var lines []string
	open := false
	for _, g := range got {
		switch g {
		case "ci-1 started", "ci-1 ended":
			if open == (g == "ci-1 started") {
				t.Errorf("%q out of turn", g)
			}
			open = !open
			continue
		}
		if !open {
			t.Errorf("%q outside of a run", g)
		}
		lines = append(lines, strings.TrimPrefix(g, "ci-1: "))
	}
	run := 0
	for _, g := range got {
		if g == "ci-1 started" {
			run++
		} else if strings.Contains(g, "run ") && !strings.HasPrefix(g, fmt.Sprintf("ci-1: run %d ", run)) {
			t.Fatalf("%q came in run %d", g, run)
		}
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("lines differ from the log (-log +got):\n%s", diff)
	}
}

// What was written before we came is replayed, with the runs that can still be told apart.
func TestTailReplay(t *testing.T) {
	w := newWorld(t)
	id := w.run(spec{args: []string{"count", "500"}, slot: "ci-1"})
	over := w.run(spec{args: []string{"exit", "3"}, slot: "ci-2"})
	e := w.watched("")
	r, stop := w.tailed(e)
	got := r.await(t, "replay", func(got []string) bool {
		return has("ci-1: run 1 line 499")(got) && has("ci-1: run 1 line 498")(got) && has("ci-2 ended")(got)
	})
	var first, second []string
	for _, g := range got {
		if strings.HasPrefix(g, "ci-1") {
			first = append(first, g)
		} else {
			second = append(second, g)
		}
	}
	inOrder(t, first, "ci-1", 1, 500)
	if diff := cmp.Diff([]string{"ci-2 started", "ci-2: last words", "ci-2 ended"}, second); diff != "" {
		t.Error(diff)
	}
	stop()

	// A second Tail, as of an exporter that was restarted, reads all again.
	r, _ = w.tailed(e)
	r.await(t, "second replay", has("ci-1: run 1 line 499"))
	w.remove(id)
	w.remove(over)
	r.await(t, "forgotten", func(got []string) bool { return has("ci-1 forgotten")(got) && has("ci-2 forgotten")(got) })
}

// Connections that break, for instance because the engine restarts, neither lose nor repeat a line.
func TestTailEngineDies(t *testing.T) {
	w := newWorld(t)
	p, host := newProxy(w)
	e := w.watched(host)
	r, _ := w.tailed(e)
	const lines = 4000
	w.run(spec{args: []string{"count", strconv.Itoa(lines), "500us"}, slot: "ci-1"})
	for _, n := range []int{100, 700, 1500, 2200} {
		r.await(t, "progress", has(fmt.Sprintf("ci-1: run 1 line %d", n)))
		p.cut()
		w.await(e, "down", func(s Snapshot) bool { return !s.Up })
		p.restore()
	}
	got := r.await(t, "the end", func(got []string) bool {
		return has(fmt.Sprintf("ci-1: run 1 line %d", lines-1))(got) && has(fmt.Sprintf("ci-1: run 1 line %d", lines-2))(got)
	})
	inOrder(t, got, "ci-1", 1, lines)
}

func TestTailLongLines(t *testing.T) {
	for _, tty := range []bool{false, true} {
		t.Run(fmt.Sprintf("tty=%t", tty), func(t *testing.T) {
			w := newWorld(t)
			e := w.watched("")
			r, _ := w.tailed(e)
			lengths := []int{chunkSize - 1, chunkSize, chunkSize + 1, 3*chunkSize + 5, 100_000, maxLine, maxLine + 1, 3 * maxLine}
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
	id := w.run(spec{args: []string{"flood"}, slot: "ci-1", host: container.HostConfig{
		LogConfig: container.LogConfig{Type: "json-file", Config: map[string]string{"max-size": "1m", "max-file": "2"}},
	}})
	r.await(t, "some of the flood", func(got []string) bool { return len(got) == 2 })
	stop()
	w.remove(id)
}

// A container that takes another's place does so only after it has ended: the slot has one session at a time.
func TestTailRecreate(t *testing.T) {
	w := newWorld(t)
	e := w.watched("")
	r, _ := w.tailed(e)
	old := w.run(spec{args: []string{"count", "10"}, slot: "ci-1"})
	r.await(t, "old lines", func(got []string) bool { return len(got) == 11 })
	w.run(spec{args: []string{"count", "20"}, slot: "ci-1"}) // while the other still runs
	w.remove(old)
	got := r.await(t, "new lines", func(got []string) bool { return len(got) == 33 })
	for i, g := range got {
		switch want := map[int]string{0: "ci-1 started", 11: "ci-1 ended", 12: "ci-1 started"}[i]; {
		case want != "" && g != want, want == "" && !strings.HasPrefix(g, "ci-1: run 1 line "):
			t.Errorf("entry %d is %q, want %q", i, g, want)
		}
	}
}
