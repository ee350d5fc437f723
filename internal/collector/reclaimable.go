package collector

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// What a prune could free is measured by the engine, which reads every layer and, before API 1.42,
// every volume for it: seconds to minutes of disk work. So it is asked for in the background,
// rarely, only while the engine answers, and once at a time; a scrape reads the last result. It is
// a part of the source "disk".

var reclaimableBytes = prometheus.NewDesc("ghostrunner_docker_reclaimable_bytes",
	"What could be freed on the whole engine: unused images, layers of stopped containers, idle build cache. Measured rarely.",
	[]string{"kind"}, nil)

// MinReclaimableInterval bounds what the measurement costs the disk.
const MinReclaimableInterval = 10 * time.Minute

// reclaimableRetry is the pause after a measurement that failed.
const reclaimableRetry = time.Minute

// Reclaimable measures in the background what a prune could free. It knows nothing before Run is
// called.
type Reclaimable struct {
	// Measure asks the engine. It can take minutes and bounds itself.
	Measure func(ctx context.Context) (map[string]uint64, error)
	// Up reports, without any I/O, whether the engine answers.
	Up func() bool
	// Interval is the time between the end of one measurement and the next, at least
	// MinReclaimableInterval.
	Interval time.Duration
	Logger   *slog.Logger

	mu    sync.Mutex
	at    time.Time
	bytes map[string]uint64 // by kind; never changed
}

// Run measures as soon as the engine is up and then at every interval, until ctx ends; then it
// returns nil.
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
					r.Logger.Warn("Reclaimable bytes cannot be measured, trying again", "err", err)
				}
			}
			silent = err != nil
			r.mu.Lock()
			r.bytes, r.at = got, time.Now()
			r.mu.Unlock()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

// send exports the last result while the engine is up, and until the next one is long due, as when
// a measurement hangs or the machine slept.
func (r *Reclaimable) send(ch chan<- prometheus.Metric) {
	if r == nil || !r.Up() {
		return
	}
	r.mu.Lock()
	at, bytes := r.at, r.bytes
	r.mu.Unlock()
	if youngerThan(at, max(r.Interval, MinReclaimableInterval)+StaleAfter) {
		for kind, n := range bytes {
			gauge(ch, reclaimableBytes, float64(n), kind)
		}
	}
}
