package collector

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"
)

// Thresholds live in the rules, with literal defaults. Only what the environment sets differently
// is exported here, for the rules to prefer; the exporter itself compares nothing with it.

var thresholdDesc = prometheus.NewDesc("ghostrunner_threshold",
	"A rule's threshold that the environment of this host overrides.", []string{"name"}, nil)

type thresholdSource map[string]float64

// NewThreshold returns the source "threshold": values by name, in base units.
func NewThreshold(set map[string]float64) Source { return thresholdSource(set) }

func (thresholdSource) Name() string { return NameThreshold }

func (s thresholdSource) Collect(_ context.Context, ch chan<- prometheus.Metric) error {
	for name, value := range s {
		gauge(ch, thresholdDesc, value, name)
	}
	return nil
}
