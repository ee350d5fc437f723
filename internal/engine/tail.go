package engine

import (
	"context"
	"sync"
	"time"
)

// maxFollowers bounds the log streams that are open at once.
const maxFollowers = 256

// LineSink takes what the log followers read. The calls for one runner come one after another, those for different
// runners at the same time.
type LineSink interface {
	// Started says that the runner's container has begun a run. Where the begin was not seen, at is the earliest moment
	// at which it can have been.
	Started(runner string, at time.Time)
	// Line takes one line of the log, without its end and cut at 1 MiB, and the time at which the engine read it. The
	// bytes are valid during the call only.
	Line(runner string, at time.Time, line []byte)
	// Ended says that the run is over; all its lines have come.
	Ended(runner string, at time.Time)
	// Forget says that the container is gone and no other bears the runner's name.
	Forget(runner string)
}

// Tail follows the log of every runner container that Watch, which must run beside it, knows of, until ctx ends, and
// then returns nil. The log that exists is replayed first; a container that has ended is read to its end. After a
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
		full   bool
	)
	for {
		changed := e.table.wait()
		known := e.table.runners()
		for id, runner := range known {
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
			if turns[runner] == nil {
				turns[runner] = make(chan struct{}, 1)
			}
			f := &follower{Engine: e, id: id, runner: runner, sink: sink, turn: turns[runner]}
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
			if !named(f.runner, active, e.table.runners()) {
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
