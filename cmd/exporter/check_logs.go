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
)

// replays is the checkpoint, which also knows whose log has been read to its present end.
type replays struct {
	*checkpoint

	mu   sync.Mutex
	read map[string]bool // by slot
	news chan struct{}   // holds one
}

// Replaying implements engine.LineSink.
func (r *replays) Replaying(runner string, on bool) {
	r.checkpoint.Replaying(runner, on)
	r.mu.Lock()
	r.read[runner] = !on
	r.mu.Unlock()
	select {
	case r.news <- struct{}{}:
	default:
	}
}

// have counts the slots that have been read.
func (r *replays) have(slots []string) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range slots {
		if r.read[s] {
			n++
		}
	}
	return n
}

// readLogs reads the logs of the running runners, and says of those in trouble what they print.
func (c *checker) readLogs(ctx context.Context) []finding {
	cs, err := c.containers()
	if err != nil {
		return []finding{note(collector.NameListener, "not read, since Docker does not answer", "see container")}
	}
	var slots []string
	for _, k := range cs {
		if k.Runner != "" && k.State == "running" {
			slots = append(slots, k.Runner)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, logTime)
	defer cancel()
	r := &replays{checkpoint: c.state, read: make(map[string]bool), news: make(chan struct{}, 1)}
	var wg sync.WaitGroup
	wg.Go(func() { _ = c.docker.Watch(ctx) }) // both end with ctx, and say nothing else
	wg.Go(func() { _ = c.docker.Tail(ctx, r) })
	for r.have(slots) < len(slots) && ctx.Err() == nil {
		select {
		case <-r.news:
		case <-ctx.Done():
		}
	}
	cancel()
	wg.Wait()
	states := make(map[string]listener.State, len(slots))
	for _, s := range c.logs.Slots() {
		states[s.Runner] = s.State
	}
	var out []finding
	well := map[string]int{}
	var unread []string
	for _, slot := range slots {
		switch s := states[slot]; {
		case r.have([]string{slot}) == 0:
			unread = append(unread, slot)
		case s.Retrying:
			out = append(out, fail(collector.NameListener,
				fmt.Errorf("%s tries to reach GitHub since %s", slot, s.RetryingSince.UTC().Format(time.RFC3339)), remedyRetrying))
		case s.JobRunning:
			well["with a job"]++
		case s.Listening:
			well["listening"]++
		case s.LastFailure != "":
			out = append(out, fail(collector.NameListener, fmt.Errorf("%s gave up: %s", slot, s.LastFailure), remedyFailure[s.LastFailure]))
		default:
			well["starting, or between two jobs"]++
		}
	}
	if len(unread) > 0 {
		out = append(out, fail(collector.NameListener, errors.New("the log of "+some(unread)+" could not be read in time"),
			"try `docker logs`; a log driver that Docker cannot read itself shows nothing"))
	}
	var told []string
	for _, state := range []string{"listening", "with a job", "starting, or between two jobs"} {
		if n := well[state]; n > 0 {
			told = append(told, fmt.Sprintf("%d %s", n, state))
		}
	}
	if len(told) > 0 {
		out = append([]finding{good(collector.NameListener, strings.Join(told, ", "))}, out...)
	}
	return out
}
