package collector

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// What a prune could free is measured by the engine, which reads every layer and, before API 1.42, every volume for it:
// seconds to minutes of disk work. So it is asked for in the background, rarely, only while the engine answers, and once
// at a time; a scrape reads the last result. It is a part of the source "disk".

var reclaimableBytes = newDesc("ghostrunner_docker_reclaimable_bytes",
	"What could be freed on the whole engine: unused images, layers of stopped containers, idle build cache. Measured rarely.", "kind")

// MinReclaimableInterval bounds what the measurement costs the disk.
const MinReclaimableInterval = 10 * time.Minute

// reclaimableRetry is how soon a measurement is looked for that is due but could not be made.
const reclaimableRetry = time.Minute

// Reclaimable measures in the background what a prune could free. Its Run must be called for it to know anything.
type Reclaimable struct {
	// Measure asks the engine. It can take minutes and bounds itself.
	Measure func(ctx context.Context) (map[string]uint64, error)
	// Up tells, without any I/O, whether the engine answers.
	Up func() bool
	// Interval is the time between the end of one measurement and the next, at least MinReclaimableInterval.
	Interval time.Duration
	Logger   *slog.Logger

	mu    sync.Mutex
	at    time.Time
	bytes map[string]uint64 // by kind; never changed
}

// Run measures as soon as the engine is up and then at every interval, until ctx ends; then it returns nil.
func (r *Reclaimable) Run(ctx context.Context) error {
	interval, silent := max(r.Interval, MinReclaimableInterval), false
	for {
		wait := time.Second
		if r.Up() {
			got, err := r.Measure(ctx)
			if ctx.Err() != nil {
				return nil
			}
			wait = interval
			if err != nil {
				wait = reclaimableRetry
				if !silent {
					r.Logger.Warn("reclaimable bytes cannot be measured, trying again", "err", err)
				}
			}
			silent = err != nil
			r.mu.Lock()
			r.bytes, r.at = got, time.Now()
			r.mu.Unlock()
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
}

// send exports the last result while the engine is up, and until the next one is long due: what a measurement that hangs,
// or a machine that slept, left behind is old.
func (r *Reclaimable) send(out *Samples) {
	if r == nil || !r.Up() {
		return
	}
	r.mu.Lock()
	at, bytes := r.at, r.bytes
	r.mu.Unlock()
	if youngerThan(at, max(r.Interval, MinReclaimableInterval)+StaleAfter) {
		gauges(out, reclaimableBytes, bytes)
	}
}
