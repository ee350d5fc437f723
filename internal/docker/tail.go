package docker

import (
	"context"
	"sync"
	"time"
)

const (
	// maxFollowers bounds the log streams that are open at once.
	maxFollowers = 1024
	// maxReplays bounds how many existing logs are read at once: each makes the engine read whole files.
	maxReplays = 8
)

// LineSink takes what the log followers read. The calls for one runner come one after another, those for different
// runners at the same time. A Mark is valid during the call only, and is the place behind what the call tells: whoever keeps
// the two together can go on from there after a restart, see Resume.
type LineSink interface {
	// Replaying says that what comes next was logged before we came (on), or that all of that has come.
	Replaying(runner string, on bool)
	// Started says that the runner's container has begun a run. Where the begin was not seen, at is the earliest moment
	// at which it can have been.
	Started(m *Mark, at time.Time)
	// Line takes one line of the log, without its end and cut at 1 MiB, and the time at which the engine read it. The
	// bytes are valid during the call only.
	Line(m *Mark, at time.Time, line []byte)
	// Noise reports, from the line alone and at once, whether it means nothing. Such lines are not handed to Line, which would
	// cost far more than reading them does: Skipped tells how many there were, after at most as many as come in one piece.
	Noise(line []byte) bool
	// Skipped says that a number of lines of noise came, the last of them at that time.
	Skipped(m *Mark, at time.Time, lines uint64)
	// Ended says that the run is over; all its lines have come.
	Ended(m *Mark, at time.Time)
	// Removed says that the container is gone, after the end of its run.
	Removed(container string)
	// Lost says that lines after a mark that was given to Resume cannot be read any more: they were rotated away, or the
	// container was removed, before we came.
	Lost(runner string)
	// Forget says that the container is gone and no other bears the runner's name.
	Forget(runner string)
}

// resumed is where the readers of another process were.
type resumed struct {
	at    time.Time
	until time.Time       // when this process took over
	marks map[string]Mark // by container id
}

// Resume makes Watch and Tail, which must not run yet, go on where those of another process were at that time: what was
// logged since then comes, and no line comes that came before its mark. Starts and ends in between are told as far as
// the engine still knows them: it remembers the last 256 events and, by the minute or hour, since when a container runs.
func (e *Engine) Resume(at time.Time, marks []Mark) {
	e.resumed = resumed{at: at, until: time.Now(), marks: make(map[string]Mark, len(marks))}
	for _, m := range marks {
		e.resumed.marks[m.Container] = m
	}
}

// Tail follows the log of every runner container that Watch, which must run beside it, knows of, until ctx ends, and
// then returns nil. The log that exists is replayed first, from its begin or where Resume says; a container that has ended is read to its end. After a
// restart of the container, of the engine, or a broken connection it goes on where it was: no line comes twice.
//
// A sink that is slow slows the reading, nothing is buffered beyond one line. Two containers with the same runner label
// are followed one after the other.
func (e *Engine) Tail(ctx context.Context, sink LineSink) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	var (
		active = map[string]*follower{}     // by container id
		turns  = map[string]chan struct{}{} // by runner: held by the follower whose container runs
		done   = make(chan *follower)
		gate   = make(chan struct{}, maxReplays)
		lost   = e.resumed.marks // whose containers are not known to be there or gone
		full   bool
	)
	for {
		changed := e.table.wait()
		known, up := e.table.runners()
		if up && lost != nil {
			for id, m := range lost {
				if known[id] == "" {
					sink.Lost(m.Runner)
					sink.Removed(id)
					if !named(m.Runner, active, known) {
						sink.Forget(m.Runner)
					}
				}
			}
			lost = nil
		}
		for id, slot := range known {
			if active[id] != nil {
				continue
			}
			if len(active) >= maxFollowers {
				if !full {
					e.log.Warn("too many runner containers, the logs of the rest are not read", "limit", maxFollowers)
				}
				full = true
				break
			}
			if turns[slot] == nil {
				turns[slot] = make(chan struct{}, 1)
			}
			f := &follower{Engine: e, id: id, runner: slot, sink: sink, turn: turns[slot], gate: gate}
			f.pos.Mark = Mark{Runner: slot, Container: id}
			if m, ok := e.resumed.marks[id]; ok && m.Runner == slot {
				f.pos.Mark, f.resumed = m, true
			}
			active[id] = f
			wg.Go(func() {
				f.run(ctx)
				select {
				case done <- f:
				case <-ctx.Done():
				}
			})
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case f := <-done:
			delete(active, f.id)
			full = false
			sink.Removed(f.id)
			if known, _ := e.table.runners(); !named(f.runner, active, known) {
				delete(turns, f.runner)
				sink.Forget(f.runner)
			}
		}
	}
}

// named reports whether any container, followed or not yet, bears the runner's name.
func named(runner string, active map[string]*follower, known map[string]string) bool {
	for _, f := range active {
		if f.runner == runner {
			return true
		}
	}
	for _, r := range known {
		if r == runner {
			return true
		}
	}
	return false
}
