package main

import (
	"bytes"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/blueguy23/ghostrunner/internal/docker"
	"github.com/blueguy23/ghostrunner/internal/listener"
)

// logged is what a runner prints in its life, a job and an outage.
var logged = []string{
	"2026-11-23 10:00:00Z: Listening for Jobs",
	"2026-11-23 10:00:01Z: Running job: build",
	"2026-11-23 10:00:09Z: Job build completed with result: Succeeded",
	"2026-11-23 10:00:10Z: Runner connect error: no route to host. Retrying until reconnected.",
	"2026-11-23 10:00:20Z: Runner reconnected.",
	"2026-11-23 10:00:30Z: Running job: test",
	"2026-11-23 10:00:39Z: Job test completed with result: Failed",
}

// tell plays the follower of one container from a line on.
func tell(c *checkpoint, from, to int) {
	m := docker.Mark{Runner: "ci-1", Container: "0123", InRun: true}
	for i, line := range logged[from:to] {
		at := time.Unix(int64(1000+from+i), 0)
		m.At, m.High = at.UnixNano(), at.UnixNano()
		c.Line(&m, at, []byte(line))
	}
}

func newTestCheckpoint(path string, log io.Writer) *checkpoint {
	return newCheckpoint(path, listener.NewFleet(time.Unix(0, 0)), slog.New(slog.NewTextHandler(log, nil)))
}

// A process that was killed has counted more than its file says. The next one goes on from the file, reads the rest again,
// and has counted each line once.
func TestCheckpointCountsOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.json")
	whole := newTestCheckpoint("", t.Output())
	tell(whole, 0, len(logged))
	want := whole.fleet.Slots()
	for written := range len(logged) {
		killed := newTestCheckpoint(path, t.Output())
		tell(killed, 0, written+1)
		if err := killed.save(); err != nil {
			t.Fatal(err)
		}
		tell(killed, written+1, len(logged)) // and never again written

		next := newTestCheckpoint(path, t.Output())
		if _, err := next.read(); err != nil {
			t.Fatal(err)
		}
		if at := next.marks["0123"].At; at != time.Unix(int64(1000+written), 0).UnixNano() {
			t.Errorf("written after line %d: goes on from %s", written, time.Unix(0, at))
		}
		tell(next, written+1, len(logged))
		if len(next.fleet.Slots()) == 0 { // all had been read before: the follower says that there is nothing new
			next.Replaying("ci-1", false)
		}
		if diff := cmp.Diff(want, next.fleet.Slots()); diff != "" {
			t.Errorf("killed after line %d was written (-uninterrupted +resumed):\n%s", written, diff)
		}
		if diff := cmp.Diff(whole.fleet.JobDurations(), next.fleet.JobDurations()); diff != "" {
			t.Errorf("killed after line %d was written, durations:\n%s", written, diff)
		}
	}
}

func TestCheckpointThatCannotBeUsed(t *testing.T) {
	docker, err := docker.New(docker.Options{Host: "unix:///nonexistent", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"empty": "", "cut": `{"Version":1,"At":"2026-`, "of a newer version": `{"Version":2}`,
		"of something else": `{"Version":1,"Fleet":{}}`, "too long": strings.Repeat(" ", maxCheckpoint) + "{}",
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "state.json")
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			var log bytes.Buffer
			c := newTestCheckpoint(path, &log)
			c.restore(docker)
			if n := strings.Count(log.String(), "\n"); n != 1 || !strings.Contains(log.String(), path) {
				t.Errorf("want one line that names the file, got %d:\n%s", n, &log)
			}
			tell(c, 0, 3)
			if err := c.save(); err != nil {
				t.Error(err)
			}
			if _, err := newTestCheckpoint(path, t.Output()).read(); err != nil {
				t.Errorf("what was begun anew cannot be read: %v", err)
			}
			if kept, err := os.ReadFile(path + ".unusable"); err != nil || len(kept) != len(content) {
				t.Errorf("the old file was not kept: %v", err)
			}
		})
	}
}

// The first start has no file, and says nothing about that; a folder that is not there is said once.
func TestCheckpointWithoutAFile(t *testing.T) {
	docker, err := docker.New(docker.Options{Host: "unix:///nonexistent", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	path := filepath.Join(t.TempDir(), "state.json")
	first := newTestCheckpoint(path, &log)
	first.restore(docker)
	if log.Len() > 0 {
		t.Errorf("said at the first start: %s", &log)
	}
	// Killed before it wrote anything more, it still knows since when to count.
	next := newCheckpoint(path, listener.NewFleet(time.Now().Add(time.Hour)), slog.New(slog.DiscardHandler))
	next.restore(docker)
	tell(next, 0, 2)
	next.Replaying("ci-1", false)
	if got := next.fleet.Slots(); len(got) != 1 || got[0].Counts.JobsStarted != 1 {
		t.Errorf("counted after a restart: %+v", got)
	}

	gone := newTestCheckpoint(filepath.Join(t.TempDir(), "gone", "state.json"), &log)
	gone.restore(docker)
	tell(gone, 0, 1)
	gone.write()
	if n := strings.Count(log.String(), "\n"); n != 1 || !strings.Contains(log.String(), gone.path) {
		t.Errorf("a folder that is not there: %d lines\n%s", n, &log)
	}
	if !gone.changed {
		t.Error("what could not be written counts as written")
	}
}

// What was told and cannot be read again may not be counted twice: such a slot, and what is summed over all, begins at 0.
func TestCheckpointLost(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.json")
	c := newTestCheckpoint(path, t.Output())
	tell(c, 0, len(logged))
	c.Lost("ci-1")
	slots := c.fleet.Slots()
	if diff := cmp.Diff(listener.NewFleet(time.Time{}).JobDurations(), c.fleet.JobDurations()); diff != "" || slots[0].Counts.JobsStarted+slots[0].Counts.LogLines > 0 {
		t.Errorf("counted: %+v %s", slots[0].Counts, diff)
	}
	if !slots[0].State.Listening {
		t.Errorf("the state is lost as well: %+v", slots[0].State)
	}
	tell(c, 1, 2)
	if got := c.fleet.Slots()[0].Counts; got.JobsStarted != 1 || got.LogLines != 1 {
		t.Errorf("counted anew: %+v", got)
	}
}
