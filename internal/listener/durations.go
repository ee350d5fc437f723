package listener

import (
	"maps"
	"time"
)

// Durations is a histogram of how long jobs took, in the form that Prometheus wants: cumulative counts by upper bound in
// seconds. The map is shared by everybody who asked: nobody may change it.
type Durations struct {
	Count   uint64
	Sum     float64 // seconds
	Buckets map[float64]uint64
}

// JobBounds are the upper bounds, in seconds, of the buckets of Durations.
func JobBounds() []float64 {
	return []float64{5, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 21600}
}

var noBuckets = zeros(JobBounds())

func (d *Durations) observe(took time.Duration) {
	seconds := took.Seconds()
	d.Count++
	d.Sum += seconds
	d.Buckets = maps.Clone(d.known().Buckets)
	for b := range d.Buckets {
		if seconds <= b {
			d.Buckets[b]++
		}
	}
}

// known fills in what a histogram without any jobs has.
func (d Durations) known() Durations {
	if d.Buckets == nil {
		d.Buckets = noBuckets
	}
	return d
}
