// Package e2e_test runs the whole system on the real dockerd, Prometheus and Alertmanager, and demands what the demo shows.
package e2e_test

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/blueguy23/ghostrunner/e2e/scenario"
	"github.com/blueguy23/ghostrunner/e2e/stack"
)

const project = "ghostrunner-e2e"

// system is the one stack that all tests of this package share; they run one after another.
var system *stack.Stack

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
	defer cancel()
	s, err := stack.New(stack.Options{Project: project, FirstPort: 21068, Out: os.Stdout})
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	system = s
	others, err := newBystanders(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e: bystanders:", err)
		return 1
	}
	defer others.remove()
	bystanders = others
	if err := s.Up(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	ready, done := context.WithTimeout(ctx, 2*time.Minute)
	defer done()
	if err := scenario.Ready(ready, s); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		s.Diagnose(ctx, os.Stderr)
		return 1
	}
	code := m.Run()
	if err := others.unharmed(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "e2e: FAIL: after all tests:", err)
		code = 1
	}
	if code != 0 {
		s.Diagnose(ctx, os.Stderr)
	}
	if err := s.Down(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	if left, err := s.Leftovers(ctx); err != nil || len(left) > 0 {
		fmt.Fprintf(os.Stderr, "e2e: Down left %v behind (%v)\n", left, err)
		return 1
	}
	return code
}
