package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/blueguy23/ghostrunner/e2e/measure"
	"github.com/blueguy23/ghostrunner/e2e/scenario"
	"github.com/blueguy23/ghostrunner/e2e/stack"
)

// reaction measures how soon the shipped configuration orders a restart, and its cost: the whole
// stack on this machine's Docker, with the shipped intervals.
//
// In each cycle a container becomes unhealthy and the remediator restarts it. The reaction is the
// time between two timestamps of Docker: of the event "health_status: unhealthy" and of the "kill"
// that starts the restart.
//
// Prometheus derives the offsets of scrapes and evaluations within their intervals from hashes of
// names, so the same configuration reacts fast with one container of Prometheus and slowly with the
// next. The cycles are therefore spread over several containers.
func (b *bench) reaction(ctx context.Context) (all []measure.Figure, err error) {
	s, err := stack.New(stack.Options{Project: "ghostrunner-bench", FirstPort: 22068, Shipped: true, Out: b.out})
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil && ctx.Err() == nil {
			s.Diagnose(ctx, os.Stderr)
		}
		// Also after an interrupt, which has ended ctx.
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Minute)
		defer cancel()
		err = errors.Join(err, s.Down(clean))
	}()
	if err := s.Up(ctx); err != nil {
		return nil, err
	}
	image, err := s.VictimImage(ctx)
	if err != nil {
		return nil, err
	}
	if err := ready(ctx, s); err != nil {
		return nil, err
	}
	fmt.Fprintf(b.out, "  · %s without any fault\n", b.idle)
	idle, err := costOf(ctx, s, func() error { return measure.Pause(ctx, b.idle) })
	if err != nil {
		return nil, err
	}
	all = append(idle.figures("idle"), idle.promised()...)
	if b.cycles == 0 {
		return all, nil
	}
	v := victims{stack: s, image: image}
	if v.events, err = s.Events(ctx); err != nil {
		return all, err
	}
	cycles, loaded, err := b.runPhases(ctx, v)
	if err != nil {
		return all, err
	}
	all = append(append(all, loaded.figures("loaded")...), reactions(cycles)...)
	if b.against != "" {
		begun := time.Now()
		if b.otherFigures, err = b.other(ctx, v); err == nil {
			err = noAction(ctx, s, begun)
		}
	}
	return all, err
}

// noAction is an error if the remediator acted, because then the other healer was not measured
// alone.
func noAction(ctx context.Context, s *stack.Stack, since time.Time) error {
	begun, err := s.Begun(ctx, since)
	if err == nil && len(begun) > 0 {
		err = fmt.Errorf("ghostrunner acted beside the other healer: %v", begun)
	}
	return err
}

// phases is the number of Prometheus containers over which the cycles are spread.
const phases = 5

// runPhases runs all cycles and adds up their cost.
func (b *bench) runPhases(ctx context.Context, v victims) (all []cycle, loaded cost, err error) {
	for phase := range phases {
		if phase > 0 {
			if err := v.stack.Recreate(ctx, "prometheus"); err != nil {
				return nil, loaded, err
			}
			if err := ready(ctx, v.stack); err != nil {
				return nil, loaded, err
			}
		}
		cycles := (b.cycles*(phase+1))/phases - (b.cycles*phase)/phases
		fmt.Fprintf(b.out, "  · %d restarts, phase %d of %d\n", cycles, phase+1, phases)
		cost, err := costOf(ctx, v.stack, func() error {
			for range cycles {
				c, err := v.cycle(ctx, len(all)+1)
				if err != nil {
					return err
				}
				all = append(all, c)
				if b.verbose {
					fmt.Fprintf(b.out, "    %3d  %v\n", len(all), c)
				}
			}
			return nil
		})
		if err != nil {
			return nil, loaded, err
		}
		loaded.add(cost)
	}
	return all, loaded, nil
}

// reactions are the figures of the cycles.
func reactions(cycles []cycle) []measure.Figure {
	seconds := func(of func(cycle) time.Duration) (all []float64) {
		for _, c := range cycles {
			all = append(all, of(c).Seconds())
		}
		return all
	}
	all := quantiles(seconds(func(c cycle) time.Duration { return c.reaction }))
	for _, step := range []struct {
		name string
		of   func(cycle) time.Duration
	}{
		{"judged by Prometheus", func(c cycle) time.Duration { return c.judged }},
		{"routed by Alertmanager", func(c cycle) time.Duration { return c.routed }},
		{"decided by the remediator", func(c cycle) time.Duration { return c.decided }},
		{"ordered from Docker", func(c cycle) time.Duration { return c.ordered }},
	} {
		of := seconds(step.of)
		all = append(all, measure.Figure{Part: "reaction", Name: step.name + ", p50", Value: measure.Quantile(of, 0.5), Unit: measure.Seconds, Samples: of})
	}
	return all
}

// quantiles are the figures of reactions in seconds.
func quantiles(seconds []float64) []measure.Figure {
	return []measure.Figure{
		{Part: "reaction", Name: "unhealthy to order, p50", Value: measure.Quantile(seconds, 0.5), Unit: measure.Seconds, Budget: measure.AtMost(1), Samples: seconds},
		{Part: "reaction", Name: "unhealthy to order, p90", Value: measure.Quantile(seconds, 0.9), Unit: measure.Seconds},
		{Part: "reaction", Name: "unhealthy to order, max", Value: measure.Quantile(seconds, 1), Unit: measure.Seconds, Budget: measure.AtMost(2)},
	}
}

// startUp is how long a started program may use more CPU than later.
const startUp = 5 * time.Second

// ready waits until both runners are online, every target is up, and the start-up is over.
func ready(ctx context.Context, s *stack.Stack) error {
	ctx, cancel := context.WithTimeout(ctx, 4*time.Minute) // the health check of a runner runs every 30 s
	defer cancel()
	if err := scenario.Ready(ctx, s); err != nil {
		return fmt.Errorf("the stack did not get ready: %w", err)
	}
	return measure.Pause(ctx, startUp)
}
