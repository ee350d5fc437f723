package docker

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/google/go-cmp/cmp"
)

// checkpoint is what an exporter writes down at one moment: what came, and up to where.
type checkpoint struct {
	at    time.Time
	got   []string
	marks map[string]Mark
}

func (r *recorder) checkpoint() checkpoint {
	r.mu.Lock()
	defer r.mu.Unlock()
	return checkpoint{time.Now(), slices.Clone(r.got), maps.Clone(r.marks)}
}

// follow starts an Engine of its own, as a new process has, that goes on at a checkpoint.
func (w *world) follow(host string, c checkpoint) (r *recorder, kill func()) {
	w.Helper()
	e := w.engine(host)
	r = newRecorder()
	if c.marks != nil {
		e.Resume(c.at, slices.Collect(maps.Values(c.marks)))
		r.got, r.marks = slices.Clone(c.got), maps.Clone(c.marks)
	}
	watch := w.background("watch", e.Watch)
	tail := w.background("tail", func(ctx context.Context) error { return e.Tail(ctx, r) })
	return r, func() { tail(); watch() }
}

// A reader that is killed and goes on at an older checkpoint has in the end read every line once, and told every run.
func TestResume(t *testing.T) {
	for _, tty := range []bool{false, true} {
		t.Run(fmt.Sprintf("tty=%t", tty), func(t *testing.T) {
			w := newWorld(t)
			const lines = 3001
			r, kill := w.follow("", checkpoint{})
			id := w.run(spec{args: []string{"count", strconv.Itoa(lines), "200us"}, slot: "ci-1", tty: tty})
			for _, n := range []int{200, 1000, 1600} {
				r.await(t, "progress", has(fmt.Sprintf("ci-1: run 1 line %d", n)))
				c := r.checkpoint()
				r.await(t, "more, which is lost", func(got []string) bool { return len(got) > len(c.got)+50 })
				kill()
				r, kill = w.follow("", c)
			}
			r.await(t, "the end of the run", has(fmt.Sprintf("ci-1: run 1 line %d", lines-1)))
			c := r.checkpoint()
			kill()
			w.restart(id) // nobody sees it
			r, kill = w.follow("", c)
			// A busy engine tells of a start some time after the first lines; what is killed before that can take it for another.
			r.await(t, "the second run", has("ci-1: run 2 line 2500"))
			kill()
			w.do("stop", w.cli.ContainerStop(t.Context(), id, container.StopOptions{}))
			r, _ = w.follow("", r.checkpoint())
			got := r.await(t, "the end", times("ci-1 ended", 2))
			inOrderOf(t, got, w.log(id))
			w.remove(id)
			r.await(t, "forgotten", has("ci-1 forgotten"))
			if len(r.checkpoint().marks) != 0 {
				t.Errorf("a mark of a container that is gone: %+v", r.marks)
			}
		})
	}
}

// What was rotated away is lost; what is left comes once.
func TestResumeRotated(t *testing.T) {
	w := newWorld(t)
	r, kill := w.follow("", checkpoint{})
	const lines = 4000
	id := w.run(spec{args: []string{"count", strconv.Itoa(lines), "200us"}, slot: "ci-1", host: container.HostConfig{
		LogConfig: container.LogConfig{Type: "json-file", Config: map[string]string{"max-size": "20k", "max-file": "3"}},
	}})
	r.await(t, "progress", has("ci-1: run 1 line 300"))
	kill()
	c := r.checkpoint()
	other, stop := w.follow("", checkpoint{}) // tells when all is written
	other.await(t, "the end of the log", has(fmt.Sprintf("ci-1: run 1 line %d", lines-1)))
	stop()
	r, _ = w.follow("", c)
	got := r.await(t, "the rest", has(fmt.Sprintf("ci-1: run 1 line %d", lines-1)))
	var rest []string
	for _, g := range got[len(c.got):] {
		rest = append(rest, strings.TrimPrefix(g, "ci-1: "))
	}
	left := w.log(id)
	if len(left) >= lines/2 {
		t.Fatalf("%d lines are left: nothing was rotated away", len(left))
	}
	if rest[0] != "ci-1 lost some" {
		t.Errorf("that lines are lost is not told first, but %q", rest[0])
	}
	if diff := cmp.Diff(left, rest[1:]); diff != "" {
		t.Errorf("lines differ from what is left of the log (-log +got):\n%s", diff)
	}
}

// A container that took another's place while nobody looked is read from its begin; a slot whose container is gone is told.
func TestResumeRecreated(t *testing.T) {
	w := newWorld(t)
	r, kill := w.follow("", checkpoint{})
	old := w.run(spec{args: []string{"count", "10"}, slot: "ci-1"})
	gone := w.run(spec{args: []string{"count", "10"}, slot: "ci-2"})
	r.await(t, "old lines", func(got []string) bool { return len(got) == 22 })
	kill()
	c := r.checkpoint()
	w.remove(old)
	w.remove(gone)
	w.run(spec{args: []string{"count", "20"}, slot: "ci-1"})
	r, _ = w.follow("", c)
	got := r.await(t, "new lines", func(got []string) bool { return len(got) == 22+3+21 })[22:]
	slices.SortStableFunc(got, func(a, b string) int { return strings.Compare(b[:4], a[:4]) })
	if want := []string{"ci-2 lost some", "ci-2 forgotten", "ci-1 lost some", "ci-1 started"}; !slices.Equal(got[:4], want) {
		t.Errorf("begins with %q, want %q", got[:4], want)
	}
	inOrder(t, got[3:], "ci-1", 1, 20)
	if marks := r.checkpoint().marks; len(marks) != 1 {
		t.Errorf("marks of containers that are gone: %+v", marks)
	}
}

// resume makes of what is known now the boundaries that a reader of before does not know.
func TestResumeBoundaries(t *testing.T) {
	at := func(s int) time.Time { return time.Unix(1000+int64(s), 0) }
	type b = boundary
	for name, tc := range map[string]struct {
		inRun   bool
		pending []boundary
		want    string
	}{
		"still in the same run":            {true, []b{{start: true, at: at(0), guessed: true}}, ""},
		"began longer ago, it seems":       {true, []b{{start: true, at: at(0), guessed: true}, {at: at(5), guessed: true}, {start: true, at: at(5), guessed: true}}, ""},
		"restarted, by the list":           {true, []b{{start: true, at: at(0), guessed: true}, {at: at(15), guessed: true}, {start: true, at: at(15), guessed: true}}, "end 15 begin 15"},
		"restarted, by events":             {true, []b{{start: true, at: at(0), guessed: true}, {at: at(14)}, {start: true, at: at(15)}}, "end 14 begin 15"},
		"restarted, the first event lost":  {true, []b{{start: true, at: at(15)}}, "end 15 begin 15"},
		"events that are known already":    {true, []b{{at: at(8)}, {start: true, at: at(9)}}, ""},
		"ended":                            {true, []b{{start: true, at: at(0), guessed: true}, {at: at(20), guessed: true}}, "end 20"},
		"had ended and still has":          {false, []b{{start: true, at: at(0), guessed: true}, {at: at(20), guessed: true}}, ""},
		"had ended and runs":               {false, []b{{start: true, at: at(0), guessed: true}, {at: at(15), guessed: true}, {start: true, at: at(15), guessed: true}}, "begin 15"},
		"had ended and runs, since when?":  {false, []b{{start: true, at: at(0), guessed: true}}, "begin 10"},
		"had ended, ran and ended, by end": {false, []b{{at: at(20)}}, "begin 20 end 20"},
	} {
		f := follower{pending: tc.pending}
		f.pos.Mark = Mark{InRun: tc.inRun, Passed: at(3).UnixNano(), High: at(10).UnixNano()}
		f.resume()
		var got []string
		for _, b := range f.pending {
			got = append(got, fmt.Sprintf("%s %d", map[bool]string{true: "begin", false: "end"}[b.start], b.at.Unix()-1000))
		}
		if s := strings.Join(got, " "); s != tc.want {
			t.Errorf("%s: %q, want %q", name, s, tc.want)
		}
	}
}
