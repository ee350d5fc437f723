package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/blueguy23/ghostrunner/internal/collector"
	"github.com/blueguy23/ghostrunner/internal/listener"
	"github.com/blueguy23/ghostrunner/internal/runner"
)

// logPause is the time between two looks whether all logs have been read.
const logPause = 20 * time.Millisecond

// readLogs reads the logs of the running runners, and reports the state of each.
func (c *checker) readLogs(ctx context.Context) []finding {
	containers, err := c.containers()
	if err != nil {
		return []finding{note(collector.NameListener, "not read, because Docker does not answer", "see container")}
	}
	var names []string
	for i := range containers {
		if k := &containers[i]; k.Runner != "" && k.State == runner.StateRunning {
			names = append(names, k.Runner)
		}
	}
	return judgeLogs(names, c.replayLogs(ctx, names))
}

// replayLogs returns the slots by name, when the logs of all that are named are read or logTime is
// over.
func (c *checker) replayLogs(ctx context.Context, names []string) map[string]listener.Slot {
	ctx, cancel := context.WithTimeout(ctx, logTime)
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() { _ = c.docker.Watch(ctx) }) // both end with ctx, without an error
	wg.Go(func() { _ = c.docker.Tail(ctx, c.logs) })
	tick := time.NewTicker(logPause)
	defer tick.Stop()
	for {
		slots := make(map[string]listener.Slot, len(names))
		for _, s := range c.logs.Slots() {
			slots[s.Runner] = s
		}
		missing := 0
		for _, name := range names {
			if !slots[name].CaughtUp {
				missing++
			}
		}
		if missing > 0 && ctx.Err() == nil {
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
			continue
		}
		cancel()
		wg.Wait()
		return slots
	}
}

// judgeLogs has one line for all runners that work, and one for each that does not.
func judgeLogs(names []string, slots map[string]listener.Slot) []finding {
	const listening, busy, between = "listening", "with a job", "starting, or between two jobs"
	var bad []finding
	working := map[string]int{}
	var unread []string
	for _, name := range names {
		switch s := slots[name]; {
		case !s.CaughtUp:
			unread = append(unread, name)
		case s.State.Retrying:
			bad = append(bad, fail(collector.NameListener,
				fmt.Errorf("%s tries to reach GitHub since %s", name, s.State.RetryingSince.UTC().Format(time.RFC3339)), remedyRetrying))
		case s.State.JobRunning:
			working[busy]++
		case s.State.Listening:
			working[listening]++
		case s.State.LastFailure != "":
			bad = append(bad, fail(collector.NameListener, fmt.Errorf("%s gave up: %s", name, s.State.LastFailure), remedyFailure[s.State.LastFailure]))
		default:
			working[between]++
		}
	}
	if len(unread) > 0 {
		bad = append(bad, fail(collector.NameListener, errors.New("the log of "+some(unread)+" could not be read in time"),
			"try `docker logs`; a log driver that Docker cannot read itself shows nothing"))
	}
	var counts []string
	for _, state := range []string{listening, busy, between} {
		if n := working[state]; n > 0 {
			counts = append(counts, fmt.Sprintf("%d %s", n, state))
		}
	}
	if len(counts) > 0 {
		return append([]finding{good(collector.NameListener, strings.Join(counts, ", "))}, bad...)
	}
	return bad
}
