package collector

import (
	"context"
	"maps"
	"slices"
)

// Thresholds live in the rules, with literal defaults. Only what the environment sets differently is exported here, for
// the rules to prefer; the exporter itself compares nothing with it.

var thresholdDesc = newDesc("ghostrunner_threshold",
	"A rule's threshold that the environment of this host overrides.", "name")

type thresholdSource map[string]float64

// NewThreshold returns the source "threshold": values by name, in base units.
func NewThreshold(set map[string]float64) Source { return thresholdSource(set) }

func (thresholdSource) Name() string { return NameThreshold }

func (s thresholdSource) Collect(_ context.Context, out *Samples) error {
	for _, name := range slices.Sorted(maps.Keys(s)) {
		gauge(out, thresholdDesc, s[name], name)
	}
	return nil
}
