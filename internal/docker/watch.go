package docker

import (
	"context"
	"errors"
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
	// pingEvery and pingTimeout bound how long an engine that hangs, rather than dies, goes unnoticed.
	pingEvery   = time.Second
	pingTimeout = 3 * time.Second
	// openTimeout bounds the opening of the event stream.
	openTimeout = 5 * time.Second
	// resyncEvery corrects whatever the events did not tell.
	resyncEvery = time.Minute
	// refreshDelay gathers the events of one action, e.g. the five of a restart, before the list is asked for details.
	refreshDelay = 100 * time.Millisecond
	// overlap is repeated when the stream is opened again: events are not always published in the order of their times.
	overlap = 2 * time.Second
	// listLag is how long a list may still tell the old state after an event told the new one: the engine reports first
	// and then writes to disk what a list is answered from (moby daemon/monitor.go and pause.go, CheckpointTo). An event
	// outweighs a list for that long, and then a list is asked for that stands alone.
	listLag = 5 * time.Second
	// maxJournal bounds the events remembered for it. The oldest go.
	maxJournal = 4096

	minBackoff = 100 * time.Millisecond
	maxBackoff = 5 * time.Second
)

// errWatching is the answer to a second Watch: two watchers would count everything twice.
var errWatching = errors.New("the engine is being watched already")

// Watch keeps the Snapshot until ctx ends, and then returns nil. The event stream is opened before the list is asked,
// so nothing falls between them; the list is repeated each minute. An engine that closes the connection is reported as
// not up at once, one that hangs within seconds; Watch connects again by itself, with back-off, and asks for the events
// since the last one, so starts and OOM kills are counted once each.
func (e *Engine) Watch(ctx context.Context) error {
	if !e.watching.CompareAndSwap(false, true) {
		return errWatching
	}
	defer e.watching.Store(false)
	defer e.table.down()

	now := time.Now()
	w := watcher{Engine: e, begin: now, since: now}
	if !e.resumed.at.IsZero() {
		w.since = e.resumed.at.Add(-overlap)
	}
	delay := minBackoff
	for said := false; ; {
		wasUp, err := w.session(ctx)
		e.table.down()
		if ctx.Err() != nil {
			return nil
		}
		if wasUp {
			delay, said = minBackoff, false
		}
		if !said {
			e.log.Warn("docker engine does not answer, trying again", "err", err)
			said = true
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(delay + rand.N(delay/4)):
		}
		delay = min(2*delay, maxBackoff)
		if err := e.redial(); err != nil { // the options were good when New used them, so this is a changed environment
			e.log.Warn("docker client not renewed", "err", err)
		}
	}
}

// watcher is the state of one Watch across its connections.
type watcher struct {
	*Engine
	begin time.Time // what happened before is not counted
	since time.Time // events are wanted from here on
	seen  seenEvents
}

// heard is an event with the time at which it came.
type heard struct {
	event
	at time.Time
}

// session follows the engine over one connection until it breaks or ctx ends. It reports whether the engine was up.
func (w *watcher) session(ctx context.Context) (up bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	messages, errs, err := w.open(ctx)
	if err != nil {
		return false, err
	}
	type result struct {
		list []listed
		err  error
	}
	var (
		lists   = make(chan result, 1)
		pings   = make(chan error, 1)
		listing bool
		full    bool    // the list under way is a resync
		again   bool    // another list is wanted after the present one
		resyncs bool    // and that one is to be a resync
		journal []heard // what a list may not tell yet
	)
	ask := func(resync bool) {
		if listing {
			again, resyncs = true, resyncs || resync
			return
		}
		listing, full, again, resyncs = true, resync, false, false
		journal = slices.DeleteFunc(journal, func(h heard) bool { return time.Since(h.at) > listLag })
		go func() {
			l, err := w.list(ctx, container.ListOptions{All: true, Filters: w.selector.filters(filters.Arg("label", runner.LabelRole))})
			lists <- result{l, err}
		}()
	}
	ask(true)

	resync, ping := time.NewTicker(resyncEvery), time.NewTicker(pingEvery)
	defer resync.Stop()
	defer ping.Stop()
	pinging := false
	var refresh, confirm <-chan time.Time
	// The first list may lag as well, behind an event that came before this stream: nothing but a second list tells.
	settled := time.After(listLag + refreshDelay)
	for {
		select {
		case <-ctx.Done():
			return up, ctx.Err()
		case err := <-errs:
			return up, fmt.Errorf("event stream: %w", err)
		case m := <-messages:
			ev, ok := w.accept(m)
			if !ok {
				continue
			}
			complete := w.table.event(ev, !ev.at.Before(w.begin), time.Now())
			if len(journal) == maxJournal {
				journal = slices.Delete(journal, 0, 1)
			}
			journal = append(journal, heard{ev, time.Now()})
			if !complete && refresh == nil {
				refresh = time.After(refreshDelay)
			}
		case <-refresh:
			refresh = nil
			ask(false)
		case <-confirm:
			confirm = nil
			ask(false)
		case <-settled:
			ask(true)
		case <-resync.C:
			ask(true)
		case r := <-lists:
			if r.err != nil {
				return up, r.err
			}
			listing = false
			w.table.merge(r.list, journal, full, time.Now())
			if len(journal) > 0 && confirm == nil {
				confirm = time.After(listLag + refreshDelay)
			}
			if !up {
				up = true
				w.log.Info("docker engine is up", "containers", len(r.list))
			}
			if again {
				ask(resyncs)
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
			if up {
				w.table.seen(time.Now())
			}
		}
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

// accept reads an event and reports whether it is new and concerns us.
func (w *watcher) accept(m events.Message) (event, bool) {
	ev, ok := readEvent(m, w.selector)
	if !ok || !w.seen.first(eventKey{m.TimeNano, ev.id, ev.action}) {
		return event{}, false
	}
	if s := ev.at.Add(-overlap); s.After(w.begin) {
		w.since = s
	}
	return ev, true
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
