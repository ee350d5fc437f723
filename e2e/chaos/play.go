package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/blueguy23/ghostrunner/e2e/machine"
	"github.com/blueguy23/ghostrunner/e2e/scenario"
	"github.com/blueguy23/ghostrunner/e2e/stack"
)

func list(out io.Writer) error { return nil }

func play(ctx context.Context, o options, e *machine.Engine, out io.Writer) error {
	s, err := stack.New(stack.Options{Project: "ghostrunner-chaos", FirstPort: 20068, Out: out})
	if err != nil {
		return err
	}
	began := time.Now()
	if err := s.Up(ctx); err != nil {
		return err
	}
	ready, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	if err := scenario.Ready(ready, s); err != nil {
		s.Diagnose(ctx, out)
		return err
	}
	fmt.Fprintln(out, "ready after", time.Since(began))
	for i, fault := range scenario.Faults(s) {
		fmt.Fprintf(out, "\n%d. %s\n", i+1, fault.Name)
		r := scenario.Run(ctx, s, fault, func(kind, detail string, since time.Duration) {
			fmt.Fprintf(out, "   %9s  %-7s %s\n", "+"+since.Round(time.Millisecond).String(), kind, detail)
		})
		if r.Err != nil {
			fmt.Fprintf(out, "   FAILED     %v\n", r.Err)
		}
	}
	return nil
}
