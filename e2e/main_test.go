// Package e2e_test runs the whole system on the real dockerd, Prometheus and Alertmanager, and demands what the demo shows.
package e2e_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/blueguy23/ghostrunner/e2e/scenario"
	"github.com/blueguy23/ghostrunner/e2e/stack"
)

const project = "ghostrunner-e2e"

// system is the one stack that all tests of this package share; they run one after another.
var system *stack.Stack

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute) // programs and images are built
	defer cancel()
	s, err := stack.New(stack.Options{
		Project: project, FirstPort: 21068, Out: os.Stdout,
		// Jobs are logged in to Docker Hub, so that there is one more secret to look for.
		Files: []string{"compose/dockerhub.yaml"},
		Env: map[string]string{
			"DOCKERHUB_USERNAME": "octo", "DOCKERHUB_TOKEN": hubToken,
			// Long enough to kill the remediator in its middle, on a busy machine too.
			"BACKOFF_DURATION": "30s",
		},
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	system = s
	if err := buildImages(ctx, s); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	others, err := newBystanders(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e: bystanders:", err)
		return 1
	}
	defer others.remove()
	bystanders = others
	code := 1
	if err := start(ctx, s); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
	} else {
		code = m.Run()
	}
	return end(s, code)
}

// start brings the stack up and waits until it is whole.
func start(ctx context.Context, s *stack.Stack) error {
	if err := s.Up(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 4*time.Minute)
	defer cancel()
	return scenario.Ready(ctx, s)
}

// end looks at the bystanders once more, tells what went wrong and takes the stack down, whatever time the tests took.
func end(s *stack.Stack, code int) int {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	if err := bystanders.unharmed(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "e2e: FAIL: after all tests:", err)
		code = 1
	}
	if err := nothingRefused(ctx, s); err != nil {
		fmt.Fprintln(os.Stderr, "e2e: FAIL: after all tests:", err)
		code = 1
	}
	if code != 0 {
		s.Diagnose(ctx, os.Stderr)
	} else if err := leaves(ctx, s); err != nil {
		fmt.Fprintln(os.Stderr, "e2e: FAIL:", err)
		code = 1
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

// nothingRefused looks into the logs of the proxies: whatever the tests made our programs do, each call must have passed.
func nothingRefused(ctx context.Context, s *stack.Stack) error {
	for _, service := range []string{"exporter-proxy", "remediator-proxy"} {
		log, err := s.Log(ctx, service)
		if err != nil {
			return err
		}
		for line := range strings.Lines(log) {
			// One that is gone by the time it is asked for is no refusal.
			if strings.Contains(line, "msg=Refused") && !strings.Contains(line, "no such object") {
				return fmt.Errorf("%s refused a call of ours: %s", service, line)
			}
		}
	}
	return nil
}

// leaves stops the runners as `docker compose down` does, and wants no registration to be left at GitHub.
func leaves(ctx context.Context, s *stack.Stack) error {
	if err := s.Compose(ctx, nil, "stop", "runner-1", "runner-2"); err != nil {
		return err
	}
	_, body, err := s.Get(ctx, s.Ports.Lab, "/lab/v1/state")
	if err != nil {
		return err
	}
	var state struct{ Registrations []struct{ Name string } }
	if err := json.Unmarshal(body, &state); err != nil {
		return err
	}
	if len(state.Registrations) > 0 {
		return fmt.Errorf("the runners are stopped, and GitHub still knows %v", state.Registrations)
	}
	return nil
}
