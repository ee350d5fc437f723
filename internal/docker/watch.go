package docker

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"

	"github.com/blueguy23/ghostrunner/internal/runner"
)

const (
	// pingEvery and pingTimeout bound how long an engine that hangs, rather than dies, goes
	// unnoticed.
	pingEvery   = time.Second
	pingTimeout = 3 * time.Second
	// openTimeout bounds the opening of the event stream.
	openTimeout = 5 * time.Second
	// resyncEvery corrects what the events did not report.
	resyncEvery = time.Minute
	// refreshDelay gathers the events of one action, e.g. the five of a restart, before the list is
	// asked for details.
	refreshDelay = 100 * time.Millisecond
	// listLag is how long a list can show the old state after an event reported the new one: the
	// engine reports first and then writes to disk what a list is answered from (CheckpointTo in
	// moby's daemon/monitor.go and daemon/pause.go). An event outweighs a list for that long; after
	// that another list is asked for.
	listLag = 5 * time.Second
	// maxRecent bounds the events that are remembered for it. The oldest go.
	maxRecent = 4096

	minBackoff = 100 * time.Millisecond
	maxBackoff = 5 * time.Second
)

// Watch keeps what Observed returns until ctx ends, and then returns nil. The event stream is
// opened before the list is asked for, so no change is missed between them; the list is repeated
// each minute. An engine that closes the connection is reported as not up at once, one that hangs
// within seconds. Watch then connects again, with back-off, and asks for the events since the last
// one, so starts and OOM kills are counted once each.
func (e *Engine) Watch(ctx context.Context) error {
	defer e.table.down()

	now := time.Now()
	w := watcher{Engine: e, begin: now, since: now}
	delay := minBackoff
	for warned := false; ; {
		wasUp, err := w.connect(ctx)
		e.table.down()
		if ctx.Err() != nil {
			return nil
		}
		if wasUp {
			delay, warned = minBackoff, false
		}
		if !warned {
			e.log.Warn("Docker engine does not answer, trying again", "err", err,
				"remedy", "start Docker, and let this user open its socket (group DOCKER_GID)")
			warned = true
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(delay + rand.N(delay/4)):
		}
		delay = min(2*delay, maxBackoff)
		if err := e.redial(); err != nil { // New accepted the options, so the environment has changed
			e.log.Warn("Docker client not renewed", "err", err)
		}
	}
}

// watcher is the state of one Watch across its connections.
type watcher struct {
	*Engine
	begin time.Time // earlier events are not counted
	since time.Time // events are wanted from here on
}

// receivedEvent is an event with the time at which it arrived.
type receivedEvent struct {
	event
	received time.Time
}

// connect follows the engine over one connection until it breaks or ctx ends. It reports whether
// the engine was up.
func (w *watcher) connect(ctx context.Context) (up bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	messages, errs, err := w.open(ctx)
	if err != nil {
		return false, err
	}
	l := lister{watcher: w, results: make(chan listResult, 1)}
	l.ask(ctx)
	pings := make(chan error, 1)
	pinging := false
	resync, ping := time.NewTicker(resyncEvery), time.NewTicker(pingEvery)
	defer resync.Stop()
	defer ping.Stop()
	// The first list can lag too, behind an event from before this stream: only a second list shows
	// that.
	l.confirm = time.After(listLag + refreshDelay)
	for {
		select {
		case <-ctx.Done():
			return up, ctx.Err()
		case err := <-errs:
			return up, fmt.Errorf("event stream: %w", err)
		case m := <-messages:
			w.since = time.Unix(0, m.TimeNano+1)
			if ev, ok := readEvent(m, w.selector); ok {
				l.add(ev)
			}
		case <-l.refresh:
			l.refresh = nil
			l.ask(ctx)
		case <-l.confirm:
			l.confirm = nil
			l.ask(ctx)
		case <-resync.C:
			l.ask(ctx)
		case r := <-l.results:
			if r.err != nil {
				return up, r.err
			}
			l.merge(ctx, r.list)
			if !up {
				up = true
				w.log.Info("Docker engine is up", "containers", len(r.list))
			}
		case <-ping.C:
			if !pinging {
				pinging = true
				go func() { pings <- w.ping(ctx) }()
			}
		case err := <-pings:
			if err != nil {
				return up, err
			}
			pinging = false
		}
	}
}

// lister asks for lists, one at a time, and remembers the events that a list may not include.
type lister struct {
	*watcher
	results chan listResult
	asked   bool // a list is under way
	again   bool // another one is wanted after it
	recent  []receivedEvent
	refresh <-chan time.Time // a list for the details of events
	confirm <-chan time.Time // a list that no event outweighs any more
}

type listResult struct {
	list []listed
	err  error
}

func (l *lister) ask(ctx context.Context) {
	if l.asked {
		l.again = true
		return
	}
	l.asked, l.again = true, false
	l.recent = slices.DeleteFunc(l.recent, func(r receivedEvent) bool { return time.Since(r.received) > listLag })
	go func() {
		list, err := l.list(ctx, container.ListOptions{All: true, Filters: l.selector.filters(filters.Arg("label", runner.LabelRole))})
		l.results <- listResult{list, err}
	}()
}

func (l *lister) add(ev event) {
	complete := l.table.event(ev, !ev.at.Before(l.begin), time.Now())
	if len(l.recent) == maxRecent {
		l.recent = slices.Delete(l.recent, 0, 1)
	}
	l.recent = append(l.recent, receivedEvent{ev, time.Now()})
	if !complete && l.refresh == nil {
		l.refresh = time.After(refreshDelay)
	}
}

func (l *lister) merge(ctx context.Context, list []listed) {
	l.asked = false
	l.table.merge(list, l.recent, time.Now())
	if len(l.recent) > 0 && l.confirm == nil {
		l.confirm = time.After(listLag + refreshDelay)
	}
	if l.again {
		l.ask(ctx)
	}
}

// open starts the event stream. It returns when the engine has answered.
func (w *watcher) open(ctx context.Context) (<-chan events.Message, <-chan error, error) {
	type stream struct {
		messages <-chan events.Message
		errs     <-chan error
	}
	opened := make(chan stream, 1)
	go func() {
		m, errs := w.api(ctx).Events(ctx, events.ListOptions{Since: unixNano(w.since), Filters: eventFilters(w.selector)})
		opened <- stream{m, errs}
	}()
	select {
	case s := <-opened:
		return s.messages, s.errs, nil
	case <-time.After(openTimeout):
		return nil, nil, fmt.Errorf("event stream: no answer within %s", openTimeout)
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
}

func (e *Engine) ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	if _, err := e.conn.Load().Ping(ctx); err != nil {
		return fmt.Errorf("ping: %w", err)
	}
	return nil
}

// unixNano writes a time as the engine's API wants it: seconds, a point and nine digits.
func unixNano(t time.Time) string {
	return fmt.Sprintf("%d.%09d", t.Unix(), t.Nanosecond())
}
