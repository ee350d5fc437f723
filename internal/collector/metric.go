package collector

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
)

// desc is what all series of a metric have in common.
type desc struct {
	name, help string
	labels     []string // names, in the order in which values are given
	sorted     []int    // indices of labels in the order of their names, which is that of the exposition
}

func newDesc(name, help string, labels ...string) *desc {
	d := &desc{name: name, help: help, labels: labels}
	for i := range labels {
		d.sorted = append(d.sorted, i)
	}
	slices.SortFunc(d.sorted, func(a, b int) int { return cmp.Compare(labels[a], labels[b]) })
	return d
}

// Samples takes what one reading of a source gives. It is not for concurrent use.
//
// Most of what a scrape shows is what the one before showed. So a series that comes again with the same labels and value,
// in the same place, is the one of the reading before: it is never changed once it was handed out. A thousand runners are
// thirty thousand series, and building them anew each second would cost more than everything else together.
type Samples struct {
	before   map[*desc]*family // of the reading before; only read
	families map[*desc]*family
}

// family is the series of one metric in the order in which they came.
type family struct {
	kind   dto.MetricType
	before []*dto.Metric
	now    []*dto.Metric // nil as long as all is as before
	n      int           // how many have come
}

func newSamples(before map[*desc]*family) *Samples {
	return &Samples{before: before, families: make(map[*desc]*family, len(before))}
}

func (s *Samples) family(d *desc, kind dto.MetricType) *family {
	f := s.families[d]
	if f == nil {
		f = &family{kind: kind}
		if b := s.before[d]; b != nil {
			f.before = b.series()
		}
		s.families[d] = f
	}
	return f
}

// series returns all that have come.
func (f *family) series() []*dto.Metric {
	if f.now != nil {
		return f.now
	}
	return f.before[:f.n:f.n]
}

// add takes the next series. m is nil if it is the one that stood here before.
func (f *family) add(m *dto.Metric) {
	switch {
	case f.now != nil && m == nil:
		f.now = append(f.now, f.before[f.n])
	case f.now != nil:
		f.now = append(f.now, m)
	case m != nil:
		f.now = append(slices.Grow(slices.Clone(f.before[:f.n]), max(1, len(f.before)-f.n)), m)
	}
	f.n++
}

// appendTo appends every metric that has a series.
func (s *Samples) appendTo(out []*dto.MetricFamily) []*dto.MetricFamily {
	for d, f := range s.families {
		if f.n > 0 {
			out = append(out, &dto.MetricFamily{Name: &d.name, Help: &d.help, Type: &f.kind, Metric: f.series()})
		}
	}
	return out
}

// gauge and counter take one sample. Label values come from outside (names of containers, of registrations): what is not
// valid UTF-8 is replaced, because one bad name must not cost the rest of a scrape.
func gauge(out *Samples, d *desc, value float64, labels ...string) {
	f := out.family(d, dto.MetricType_GAUGE)
	pairs, same := f.next(d, labels)
	if same && math.Float64bits(f.before[f.n].GetGauge().GetValue()) == math.Float64bits(value) {
		f.add(nil)
		return
	}
	made := value // so that only what is made anew is allocated
	f.add(&dto.Metric{Label: pairs, Gauge: &dto.Gauge{Value: &made}})
}

func counter(out *Samples, d *desc, value uint64, labels ...string) {
	f := out.family(d, dto.MetricType_COUNTER)
	pairs, same := f.next(d, labels)
	if same && f.before[f.n].GetCounter().GetValue() == float64(value) {
		f.add(nil)
		return
	}
	made := float64(value)
	f.add(&dto.Metric{Label: pairs, Counter: &dto.Counter{Value: &made}})
}

// counters takes one sample for each value of the only label.
func counters(out *Samples, d *desc, by map[string]uint64) {
	for _, value := range slices.Sorted(maps.Keys(by)) {
		counter(out, d, by[value], value)
	}
}

// gauges does for gauges what counters does.
func gauges(out *Samples, d *desc, by map[string]uint64) {
	for _, value := range slices.Sorted(maps.Keys(by)) {
		gauge(out, d, float64(by[value]), value)
	}
}

// histogram takes cumulative counts by upper bound.
func histogram(out *Samples, d *desc, count uint64, sum float64, buckets map[float64]uint64) {
	h := &dto.Histogram{SampleCount: &count, SampleSum: &sum}
	for bound, n := range buckets {
		h.Bucket = append(h.Bucket, &dto.Bucket{UpperBound: &bound, CumulativeCount: &n})
	}
	slices.SortFunc(h.Bucket, func(a, b *dto.Bucket) int { return cmp.Compare(a.GetUpperBound(), b.GetUpperBound()) })
	out.family(d, dto.MetricType_HISTOGRAM).add(&dto.Metric{Histogram: h})
}

// next returns the labels of the next series, and whether they are those of the series that stood there before.
func (f *family) next(d *desc, values []string) (pairs []*dto.LabelPair, same bool) {
	if len(values) != len(d.labels) {
		panic("labels of " + d.name) // a bug here, and not of the world outside
	}
	for i, v := range values {
		values[i] = strings.ToValidUTF8(v, "\uFFFD")
	}
	if f.n < len(f.before) {
		pairs, same = f.before[f.n].Label, true
		for i, of := range d.sorted {
			same = same && pairs[i].GetValue() == values[of]
		}
		if same {
			return pairs, true
		}
	}
	pairs = make([]*dto.LabelPair, len(values))
	for i, of := range d.sorted {
		value := values[of]
		pairs[i] = &dto.LabelPair{Name: &d.labels[of], Value: &value}
	}
	return pairs, false
}

// timestamp takes the time of an event as Unix time, and nothing for an event that never was.
func timestamp(out *Samples, d *desc, t time.Time, labels ...string) {
	if !t.IsZero() {
		gauge(out, d, float64(t.UnixMilli())/1000, labels...)
	}
}

func boolean(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// fresh tells whether something known since t is young enough to be exported.
func fresh(t time.Time) bool { return youngerThan(t, StaleAfter) }

// youngerThan goes by the wall clock: the monotonic one stands still while the machine sleeps. What lies in the future was
// known before the clock was set back, nobody knows when.
func youngerThan(t time.Time, limit time.Duration) bool {
	age := time.Now().Round(0).Sub(t.Round(0))
	return !t.IsZero() && -limit <= age && age <= limit
}
