package main

import (
	"context"
	"errors"

	"github.com/blueguy23/ghostrunner/e2e/measure"
)

// starts is the number of starts of each program.
const starts = 10

// start measures the time from the start of a process until it is ready: the exporter with a
// simulated Docker with two runners, the remediator with an empty journal and a Docker that
// answers.
func (b *bench) start(ctx context.Context) (all []measure.Figure, err error) {
	for _, program := range []struct {
		name  string
		start func() (*measure.Program, func() error, error)
	}{
		{"exporter", func() (*measure.Program, func() error, error) {
			e, end, err := b.simulated(ctx, 2)
			return e.Program, end, err
		}},
		{"remediator", func() (*measure.Program, func() error, error) {
			r, err := b.remediator(ctx)
			return r.Program, r.Stop, err
		}},
	} {
		var took []float64
		for range starts {
			p, end, err := program.start()
			if err != nil {
				return all, err
			}
			ready, err := p.Ready(ctx)
			if err = errors.Join(err, end()); err != nil {
				return all, err
			}
			took = append(took, ready.Seconds())
		}
		all = append(all,
			measure.Figure{Part: "start", Name: program.name + " to ready, p50", Value: measure.Quantile(took, 0.5), Unit: measure.Seconds, Samples: took},
			measure.Figure{Part: "start", Name: program.name + " to ready, max", Value: measure.Quantile(took, 1), Unit: measure.Seconds, Budget: measure.AtMost(0.5)})
	}
	return all, nil
}
