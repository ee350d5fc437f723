package main

import (
	"context"
	"errors"
	"time"

	"github.com/blueguy23/ghostrunner/e2e/measure"
	"github.com/blueguy23/ghostrunner/e2e/stack"
)

// rest measures the idle remediator, with heartbeats and scrapes as in the shipped configuration.
func (b *bench) rest(ctx context.Context) (all []measure.Figure, err error) {
	r, err := b.readyRemediator(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Stop()) }()
	if err := measure.Pause(ctx, startUp); err != nil {
		return nil, err
	}
	heartbeat := stack.Payload(time.Now(), stack.HeartbeatAlert())
	n := 0
	cpu, err := r.CPUOf(func() error {
		return measure.Every(ctx, 15*time.Second, b.idle, func() error {
			if n++; n%4 == 0 {
				if _, err := r.post(ctx, heartbeat); err != nil {
					return err
				}
			}
			_, err := r.get(ctx, "/metrics")
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	resident, err := measure.Memory(r.PID, "VmRSS")
	return []measure.Figure{
		// 0.1 % of a core.
		{Part: "rest", Name: "remediator: CPU, scraped each 15 s", Value: measure.PerMinute(cpu, b.idle), Unit: measure.CPUPerMinute, Budget: measure.AtMost(0.06)},
		{Part: "rest", Name: "remediator: memory resident", Value: resident, Unit: measure.Bytes, Budget: measure.AtMost(25 << 20)},
	}, err
}
