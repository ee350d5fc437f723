package docker

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/docker/docker/api/types/container"
)

const (
	// maxFollowers bounds the log streams that are open at once.
	maxFollowers = 1024
	// maxReplays bounds how many logs are replayed at once: each makes the engine read whole files.
	maxReplays = 8
	// startSlack is how much earlier than the event of its start a container's first line can be.
	startSlack = 500 * time.Millisecond
	// resumeOverlap is how much of a log is read again after a dropped stream, because the lines of
	// stdout and stderr are not strictly in the order of their times.
	resumeOverlap = time.Second
	// reopenDelay is how long the watcher may take to report why a stream has ended, and, once an
	// engine that was down is up again, what happened meanwhile.
	reopenDelay = 500 * time.Millisecond
	// streamGrace is how long a log stream may go on after its container has ended.
	streamGrace = 3 * time.Second
	// warnAfter is the number of failures in a row after which a log is reported as not readable.
	warnAfter = 3
)

// LineSink takes what the log followers read. The calls for one container come one after another,
// those for different containers at the same time.
type LineSink interface {
	// Started says that a run of the container has begun. With replay, the lines up to CaughtUp
	// were written before Tail saw the container.
	Started(runner, container string, replay bool)
	// Line takes one line without its end, cut at 16 KiB, and the time at which the engine read it.
	// The bytes are valid during the call only.
	Line(runner, container string, at time.Time, line []byte)
	// CaughtUp says that the replay has ended.
	CaughtUp(runner, container string)
	// Ended says that the run is over and all its lines have come.
	Ended(runner, container string)
	// Removed says that the container is gone. It is the last call for the container.
	Removed(runner, container string)
}

// Tail follows the log of every runner container that Watch, which must run beside it, sees
// running, until ctx ends, and then returns nil. What a container printed in its present run before
// Tail saw it is replayed first. After a restart of the container or of the engine, and after a
// dropped stream, reading goes on at the time of the last line.
//
// A slow sink slows the reading: at most one message of the engine is buffered.
func (e *Engine) Tail(ctx context.Context, sink LineSink) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	followers := map[string]*follower{} // by container id
	replays := make(chan struct{}, maxReplays)
	full := false
	for {
		changed := e.table.wait()
		runs, up := e.table.runs()
		for id, f := range followers {
			if _, known := runs[id]; up && !known {
				f.remove()
				delete(followers, id)
				full = false
			}
		}
		for id, r := range runs {
			f := followers[id]
			if f == nil && len(followers) == maxFollowers {
				if !full {
					e.log.Warn("Too many runner containers, the logs of the rest are not read", "limit", maxFollowers)
				}
				full = true
				continue
			}
			if f == nil {
				f = &follower{Engine: e, id: id, runner: r.slot, sink: sink, replays: replays, next: make(chan *followedRun, 1)}
				followers[id] = f
				wg.Go(func() { f.run(ctx) })
			}
			f.update(ctx, r)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}

// followedRun is one run of a container.
type followedRun struct {
	run
	ctx    context.Context // ends with the run
	cancel context.CancelFunc
}

// end says that the run has ended at that time. Only Tail calls it.
func (r *followedRun) end(at time.Time) {
	if r.ctx.Err() == nil {
		r.ended = at // before the context ends, after which follow reads it
		r.cancel()
	}
}

// follower reads the log of one container, run after run.
type follower struct {
	*Engine
	id, runner string
	sink       LineSink
	replays    chan struct{} // holds a token for each replay under way

	// next holds the latest run until it is followed. Tail sends to it and closes it when the
	// container is gone.
	next   chan *followedRun
	latest *followedRun // owned by Tail

	streams [2]lineReader // stdout (or the terminal) and stderr; owned by run
}

// update takes the latest run that the table knows.
func (f *follower) update(ctx context.Context, r run) {
	if f.latest == nil || f.latest.number != r.number {
		if f.latest != nil {
			f.latest.end(r.previousEnded)
		}
		next := &followedRun{run: r}
		next.ctx, next.cancel = context.WithCancel(ctx)
		select {
		case skipped := <-f.next: // too short to be followed alone: its lines are read with those of this run
			next.began, next.replay = skipped.began, skipped.replay
		default:
		}
		f.latest = next
		f.next <- next
	}
	if !r.ended.IsZero() {
		f.latest.end(r.ended)
	}
}

// remove says that the container is gone.
func (f *follower) remove() {
	f.latest.end(time.Now())
	close(f.next)
}

// run follows until the container is gone or ctx ends.
func (f *follower) run(ctx context.Context) {
	for {
		select {
		case r, there := <-f.next:
			if !there {
				f.sink.Removed(f.runner, f.id)
				return
			}
			f.follow(ctx, r)
		case <-ctx.Done():
			return
		}
	}
}

// follow reads the log of one run. When the end of the run is known the log is read once more, so
// that no line is missing.
func (f *follower) follow(ctx context.Context, r *followedRun) {
	// An event can report a start that a list has shown before. Then lines of the run were
	// delivered already.
	if !r.seen || !f.last().After(r.began) {
		f.sink.Started(f.runner, f.id, r.replay)
	}
	replay, failures, delay := r.replay, 0, reopenDelay
	for f.table.awaitUp(ctx) {
		over := r.ctx.Err() != nil
		err := f.read(ctx, r, replay, over)
		switch {
		case err == nil && replay:
			replay = false
			f.sink.CaughtUp(f.runner, f.id)
			continue
		case over && (err == nil || failures == warnAfter || errors.Is(err, ErrNoContainer) || errors.Is(err, ErrConflict)): // being removed
			if len(f.next) == 0 { // else the next Started says it
				f.sink.Ended(f.runner, f.id)
			}
			return
		case err == nil:
			failures, delay = 0, reopenDelay
		default:
			if failures++; failures == warnAfter && ctx.Err() == nil {
				f.log.Warn("Log of a runner container cannot be read, trying again", "runner", f.runner, "container", short(f.id), "err", err)
			}
			delay = min(2*delay, maxBackoff)
		}
		if !over { // the container has ended, or the connection
			wait(r.ctx, delay)
			f.table.awaitUp(ctx)
			wait(r.ctx, delay)
		}
	}
}

// last returns the time of the last line delivered.
func (f *follower) last() time.Time {
	if out, err := f.streams[0].last, f.streams[1].last; out.After(err) {
		return out
	}
	return f.streams[1].last
}

// read delivers the lines of the run that were not delivered before, and goes on until the
// container or the connection ends, except in a replay and when the run is over.
func (f *follower) read(ctx context.Context, r *followedRun, replay, over bool) error {
	if replay {
		select {
		case f.replays <- struct{}{}:
			defer func() { <-f.replays }()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	reading, cut := context.WithCancel(ctx)
	defer cut()
	opts := container.LogsOptions{ShowStdout: true, ShowStderr: true, Timestamps: true, Follow: !replay && !over, Tail: "all"}
	opts.Since = unixNano(r.began.Add(-startSlack))
	if last := f.last(); !last.IsZero() {
		opts.Since = unixNano(last.Add(-resumeOverlap))
	}
	if over {
		opts.Until = unixNano(r.ended)
	}
	if opts.Follow {
		defer context.AfterFunc(r.ctx, func() { time.AfterFunc(streamGrace, cut) })()
	}
	body, err := f.api(reading).ContainerLogs(reading, f.id, opts)
	if err != nil {
		return wrap("logs", f.id, err)
	}
	defer body.Close()
	for i := range f.streams {
		s := &f.streams[i]
		s.partial, s.deliver = false, func(at time.Time, line []byte) { f.sink.Line(f.runner, f.id, at, line) }
	}
	err = readLog(body, &f.streams[0], &f.streams[1])
	if reading.Err() != nil && ctx.Err() == nil {
		return nil // cut after the end of the run
	}
	return err
}

// wait waits for d or the end of ctx.
func wait(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
