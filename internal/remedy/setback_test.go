package remedy

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestSetBack(t *testing.T) {
	begin := moment{time.Now(), Mark{"a", time.Hour}}
	for name, tc := range map[string]struct {
		wall, up time.Duration
		boot     string
		want     time.Duration
	}{
		"nothing":         {2 * time.Second, 2 * time.Second, "a", 0},
		"a sleep":         {8 * time.Hour, 8 * time.Hour, "a", 0},
		"ahead":           {8*time.Hour + 2*time.Second, 2 * time.Second, "a", -8 * time.Hour},
		"back":            {-8*time.Hour + 2*time.Second, 2 * time.Second, "a", 8 * time.Hour},
		"another boot":    {-8 * time.Hour, time.Minute, "b", 0},
		"no other clocks": {-8 * time.Hour, 0, "", 0},
	} {
		before := begin
		if tc.boot == "" {
			before.mark = Mark{}
		}
		after := moment{begin.Round(0).Add(tc.wall), Mark{tc.boot, time.Hour + tc.up}}
		if got := setBack(before, after); got != tc.want {
			t.Errorf("%s: %s, want %s", name, got, tc.want)
		}
	}
}

// TestClockSetBack is a clock that was ahead and is put right. In the bubble of the test the wall clock is never set: it is
// the other clock that goes on while it stands, which is the same to whoever compares the two.
func TestClockSetBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service := func(name string, heal ...string) Container {
			return Container{ID: "id-" + name, Name: name, Role: RoleService, Heal: heal, State: "running", Health: "healthy"}
		}
		down := service("down", ActionRestart, healClock)
		down.State = "exited"
		d := newFake(service("prometheus", ActionRestart, healClock), service("mongo", ActionRestart), down, runnerContainer("ci-1", ActionRestart, ActionBackoff))
		begin, back := time.Now(), atomic.Int64{}
		journal := filepath.Join(t.TempDir(), "journal.db")
		note := func() string {
			text, _ := os.ReadFile(filepath.Join(filepath.Dir(journal), noteFile)) // there is none at first
			return string(text)
		}
		r, _, _ := start(t, d, func(o *Options) {
			o.JournalPath = journal
			o.Uptime = func() Mark { return Mark{"a", time.Since(begin) + time.Duration(back.Load())} }
		})
		ready(t, r)
		elapse(time.Minute)
		back.Store(int64(50 * time.Second))
		elapse(time.Minute)
		if len(d.done()) > 0 {
			t.Fatalf("set back by less than a minute: %v", d.done())
		}
		back.Store(int64(20 * time.Second))
		elapse(time.Minute)
		back.Store(int64(-8 * time.Hour))
		elapse(time.Minute)
		if len(d.done()) > 0 || note() != "" {
			t.Fatalf("set ahead: %v, %q", d.done(), note())
		}
		// Just then Docker does not answer.
		d.mu.Lock()
		d.containers = func(context.Context) ([]Container, error) { return nil, errors.New("no answer") }
		d.mu.Unlock()
		back.Add(int64(8 * time.Hour))
		elapse(time.Minute)
		if len(d.done()) > 0 {
			t.Fatalf("without Docker: %v", d.done())
		}
		d.mu.Lock()
		d.containers = nil
		d.mu.Unlock()
		elapse(time.Minute)
		want := []string{"restart id-prometheus -1ns"}
		if diff := cmp.Diff(want, d.done()); diff != "" {
			t.Error(diff)
		}
		first := note()
		if !strings.Contains(first, "by 8h0m0s") {
			t.Errorf("note %q", first)
		}
		elapse(2 * time.Hour)
		if diff := cmp.Diff(want, d.done()); diff != "" {
			t.Errorf("and later: %s", diff)
		}
		// Right after it the same again: within the cooldown it is refused, and asked for until it is done.
		back.Add(int64(time.Hour))
		elapse(10 * time.Second)
		back.Add(int64(time.Hour))
		elapse(10 * time.Minute)
		if diff := cmp.Diff(append(want, want[0], want[0]), d.done()); diff != "" {
			t.Errorf("twice in a row: %s", diff)
		}
		if note() == first {
			t.Error("another step, and the same note")
		}
		for _, rec := range r.Attempts(10) {
			if rec.Alert.Name() != AlertSetBack || rec.Alert.Fallback {
				t.Errorf("%+v", rec.Alert)
			}
		}
	})
}
