package docker

import (
	"context"
	"time"

	"github.com/docker/docker/api/types/container"
)

const (
	// settle is how long the event of a container's end may come after the end of its log.
	settle = time.Second
	// linger is how long a log stream may go on after the container has ended, before it is cut.
	linger = 3 * time.Second
	// startSlack is how much earlier than the event of its start a container's first line may be, where no event told of
	// the end of the run before.
	startSlack = 500 * time.Millisecond
	// breath is how long a flood is left to itself after it was read to its end, so that it is read in large pieces: the engine
	// sends each line for itself, and waking up for it costs far more than it does. It is not left again before it was read for
	// breathless, however slow that is: on a busy machine everything seems to wait.
	breath     = 20 * time.Millisecond
	breathless = 5 * time.Millisecond
	// warnAfter is how many failures in a row are worth a word.
	warnAfter = 3
)

// follower reads the log of one container, run after run. Where a run ends and the next begins within the log is found
// by time: the engine reports an end after it has read the last line, and before it starts the next run (moby
// daemon/monitor.go, handleContainerExit).
type follower struct {
	*Engine
	id, runner string
	sink       LineSink
	turn       chan struct{} // holds one token while some container of this runner is in a run
	holding    bool
	gate       chan struct{} // holds a token for each follower that reads what was logged before

	version   uint64     // of the table, when pending was last brought up to date
	last      uint64     // the last boundary fetched
	pending   []boundary // fetched, not yet passed
	stream    *logStream // the present or last one
	pos       position
	resumed   bool // the position is that of another process, and pending does not take account of it yet
	replaying bool // what comes was logged before
	waiting   bool // that it has to wait for another container was reported

	live bool     // the stream goes on as the container writes
	told [2]int64 // time of the last line of stdout, and of stderr

	skipped   uint64 // lines of noise that the sink has not been told of yet
	skippedAt int64  // time of the last of them
	breathed  time.Time
}

// run follows until the container is gone or ctx ends.
func (f *follower) run(ctx context.Context) {
	defer f.release()
	delay, failures := minBackoff, 0
	for ctx.Err() == nil {
		changed := f.table.wait()
		up, known := f.fetch()
		if !known {
			f.finish(time.Now())
			return
		}
		if f.resumed {
			f.resume()
		}
		if !up || !f.pos.InRun && len(f.pending) == 0 {
			if up {
				f.caughtUp()
			}
			select {
			case <-changed:
			case <-ctx.Done():
			}
			continue
		}
		if !f.begin(ctx, changed) {
			continue
		}
		over := f.last
		ended := len(f.pending) > 0
		err := f.read(ctx, !ended)
		switch {
		case err != nil:
			if ctx.Err() != nil {
				return
			}
			// A single failure is a container that goes, or an engine that the watcher reports any moment.
			if failures++; failures == warnAfter {
				f.log.Warn("log of a runner container not readable, trying again", "runner", f.runner, "container", short(f.id), "err", err)
				f.caughtUp() // as far as it can
			}
			f.pause(ctx, delay)
			delay = min(2*delay, maxBackoff)
			continue
		case ended:
			// This was a second reading, after the end was known: now nothing of that run can be missing.
			for len(f.pending) > 0 && f.pending[0].seq <= over {
				f.pass()
			}
		case f.replaying:
			f.caughtUp()
		default:
			f.settle(ctx)
		}
		delay, failures = minBackoff, 0
	}
}

// resume makes pending what leads from where another process was to the present. Of boundaries that are only guessed at the
// new ones are those that contradict what it knew.
func (f *follower) resume() {
	f.resumed = false
	told := max(f.pos.Passed, f.pos.High)
	inRun, now := f.pos.InRun, f.pos.InRun
	var left []boundary
	for _, b := range f.pending {
		now = b.start
		if b.at.UnixNano() <= told || b.guessed && b.start == inRun {
			continue
		}
		if b.start == inRun { // nobody told of what lies between
			left = append(left, boundary{seq: b.seq, start: !b.start, at: b.at})
		}
		left = append(left, b)
		inRun = b.start
	}
	if now != inRun {
		left = append(left, boundary{seq: f.last, start: now, at: time.Unix(0, told)})
	}
	f.pending, f.replaying, f.pos.watched = left, true, true
}

// begin makes sure that the container is in a run, when no other container of the same runner is in one. It reports
// whether that is so.
func (f *follower) begin(ctx context.Context, changed <-chan struct{}) bool {
	if !f.pos.InRun && !f.pending[0].start {
		if f.pending = f.pending[1:]; len(f.pending) == 0 {
			f.release()
		}
		return false
	}
	if !f.holding && !f.take(ctx, changed) {
		return false
	}
	if !f.pos.InRun {
		if first := f.pending[0]; f.pos.Passed == 0 && (first.guessed || first.at.Before(f.Engine.resumed.until)) {
			f.replaying = true
			f.sink.Replaying(f.runner, true)
		}
		f.pass()
	}
	return true
}

// take waits for the turn of this container. It reports false where something has changed meanwhile.
func (f *follower) take(ctx context.Context, changed <-chan struct{}) bool {
	select {
	case f.turn <- struct{}{}:
		f.holding = true
		return true
	default:
	}
	if !f.waiting {
		f.waiting = true
		f.log.Info("runner label on two containers, following one after the other", "runner", f.runner, "container", short(f.id))
	}
	select {
	case f.turn <- struct{}{}:
		f.holding = true
		return true
	case <-changed: // perhaps the container is gone
		return false
	case <-ctx.Done():
		return false
	}
}

// caughtUp tells the sink, once, that what comes from now on is new.
func (f *follower) caughtUp() {
	if f.replaying {
		f.replaying = false
		f.sink.Replaying(f.runner, false)
	}
}

// fetch brings the pending boundaries up to date.
func (f *follower) fetch() (up, known bool) {
	version := f.table.version.Load() // before reading: a change in between is fetched again
	bs, up, known := f.table.runs(f.id, f.last)
	f.version = version
	f.pending = append(f.pending, bs...)
	if n := len(f.pending); n > 0 {
		f.last = f.pending[n-1].seq
	}
	return up, known
}

// pass tells the sink of the first pending boundary.
func (f *follower) pass() {
	b := f.pending[0]
	f.pending = f.pending[1:]
	f.pos.Passed = max(f.pos.Passed, b.at.UnixNano())
	if f.pos.InRun {
		f.pos.InRun = false
		f.sink.Ended(&f.pos.Mark, b.at)
	}
	if b.start {
		f.pos.InRun = true
		f.sink.Started(&f.pos.Mark, b.at)
	}
	if !f.pos.InRun && len(f.pending) == 0 {
		f.release()
	}
}

// finish ends the run of a container that is gone.
func (f *follower) finish(now time.Time) {
	for f.holding && len(f.pending) > 0 {
		f.pass()
	}
	if f.pos.InRun {
		f.pos.InRun = false
		f.sink.Ended(&f.pos.Mark, now)
	}
	f.caughtUp()
}

func (f *follower) release() {
	if f.holding {
		f.holding = false
		<-f.turn
	}
}

// line hands on a line that was not delivered before, after the boundaries that lie before it. Noise is only counted, but for
// what was logged in the past: of that only the sink knows, by the time of each line, what counts.
func (f *follower) line(at int64, line []byte) {
	if f.table.version.Load() != f.version {
		f.fetch()
	}
	if from := f.stream.from; at > f.told[from] {
		f.told[from] = at
	} else if f.live && !f.pos.behind {
		if f.repeats(at, line) {
			f.tellSkipped()
			f.pos.again()
		} else {
			f.told[from] = at
		}
	}
	noise := len(f.pending) == 0 && !f.replaying && f.sink.Noise(line)
	if !noise {
		f.tellSkipped() // before the mark moves behind this line
	}
	if !f.pos.admit(at, line) {
		return
	}
	if f.pos.gap {
		f.pos.gap = false
		f.sink.Lost(f.runner)
	}
	if noise {
		f.skipped++
		f.skippedAt = at
		return
	}
	t := time.Unix(0, at)
	for len(f.pending) > 0 && f.before(t) {
		f.pass()
	}
	f.pos.Open = f.stream.earliest()
	f.sink.Line(&f.pos.Mark, t, line)
}

// repeats judges a line that is not later than the one before it of the same stream. The engine writes none that is earlier:
// either it has begun to read a part of the log a second time, which it does when the file is rotated while it follows (20.10,
// some thousand lines of a flood), or its clock was set back, and then what it wrote last is in the future.
func (f *follower) repeats(at int64, line []byte) bool {
	if at == f.told[f.stream.from] {
		return f.pos.isLast(at, line)
	}
	return f.pos.High <= time.Now().UnixNano()
}

// drained is called when the stream has to wait for more.
func (f *follower) drained() {
	flood := f.skipped > 0 && f.stream.late
	if f.tellSkipped(); flood && time.Since(f.breathed) > breathless {
		time.Sleep(breath)
		f.breathed = time.Now()
	}
}

// tellSkipped brings the sink up to date. It must, before anything else is told and before the stream waits.
func (f *follower) tellSkipped() {
	if f.skipped > 0 {
		f.pos.Open = f.stream.earliest()
		f.sink.Skipped(&f.pos.Mark, time.Unix(0, f.skippedAt), f.skipped)
		f.skipped = 0
	}
}

// before reports whether the first pending boundary lies before a line of that time. A line belongs to a run, so a
// begin that follows an end lies before any line that comes after the end.
func (f *follower) before(t time.Time) bool {
	b := f.pending[0]
	switch {
	case !b.start:
		return t.After(b.at)
	case !f.pos.InRun:
		return true
	default:
		return t.After(b.at.Add(-startSlack))
	}
}

// read reads the log from the position on: what was logged before as far as it goes, and then, with follow, as long as the
// container runs.
func (f *follower) read(ctx context.Context, follow bool) error {
	if !f.replaying {
		return f.attach(ctx, follow)
	}
	select {
	case f.gate <- struct{}{}:
		defer func() { <-f.gate }()
		return f.attach(ctx, false)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// attach reads the log from the position on. With follow it reads on as long as the container runs.
func (f *follower) attach(ctx context.Context, follow bool) error {
	reading, cancel := context.WithCancel(ctx)
	defer cancel()
	if follow { // a stream can go on although its container has ended
		defer f.table.whenEnded(f.id, f.last, func() { time.AfterFunc(linger, cancel) })()
	}
	opts := container.LogsOptions{ShowStdout: true, ShowStderr: true, Timestamps: true, Follow: follow, Tail: "all"}
	if since := f.pos.reopen(); !since.IsZero() {
		opts.Since = unixNano(since)
	}
	body, err := f.api(reading).ContainerLogs(reading, f.id, opts)
	if err != nil {
		return wrap("logs", f.id, err)
	}
	defer body.Close()
	f.stream, f.live = newLogStream(body, f.line, f.drained), follow
	err = f.stream.read()
	if !f.pos.behind {
		f.pos.Open = f.stream.earliest()
	}
	if reading.Err() != nil && ctx.Err() == nil {
		return nil // cut, which is as good an end as any
	}
	return err
}

// settle waits a moment for the reason of a stream's end.
func (f *follower) settle(ctx context.Context) {
	timeout := time.After(settle)
	for {
		changed := f.table.wait()
		if _, known := f.fetch(); !known || len(f.pending) > 0 {
			return
		}
		select {
		case <-changed:
		case <-timeout:
			return
		case <-ctx.Done():
			return
		}
	}
}

func (f *follower) pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
