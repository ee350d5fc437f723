// Package e2e_test runs the whole system on the real dockerd, Prometheus and Alertmanager, and
// checks what the demo shows.
package e2e_test

import (
	"context"
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

// system is the stack that all tests of this package share. They run one after another.
var system *stack.Stack

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute) // builds programs and images
	defer cancel()
	s, err := stack.New(stack.Options{
		Project: project, FirstPort: 21068, Out: os.Stdout,
		// With a login to Docker Hub there is one more secret to look for.
		Files: []string{"compose/dockerhub.yaml"},
		Env: map[string]string{
			"DOCKERHUB_USERNAME": "octo", "DOCKERHUB_TOKEN": hubToken,
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
	foreign, err = createForeignObjects(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e: foreign objects:", err)
		return 1
	}
	defer foreign.remove()
	code := 1
	if err := start(ctx, s); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
	} else {
		code = m.Run()
	}
	return end(s, code)
}

// start starts the stack and waits until it is ready.
func start(ctx context.Context, s *stack.Stack) error {
	if err := s.Up(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 4*time.Minute)
	defer cancel()
	return scenario.Ready(ctx, s)
}

// end checks the foreign objects again, reports failures and removes the stack.
func end(s *stack.Stack, code int) int {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	if err := foreign.unchanged(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "e2e: FAIL: after all tests:", err)
		code = 1
	}
	if err := nothingRefused(ctx, s); err != nil {
		fmt.Fprintln(os.Stderr, "e2e: FAIL: after all tests:", err)
		code = 1
	}
	if code != 0 {
		s.Diagnose(ctx, os.Stderr)
	} else if err := noRegistrationsLeft(ctx, s); err != nil {
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

// nothingRefused returns an error if a proxy has refused a call of our programs.
func nothingRefused(ctx context.Context, s *stack.Stack) error {
	for _, service := range []string{"exporter-proxy", "remediator-proxy"} {
		log, err := s.Log(ctx, service)
		if err != nil {
			return err
		}
		for line := range strings.Lines(log) {
			// An object that is gone is not a refusal.
			if strings.Contains(line, "msg=Refused") && !strings.Contains(line, "no such object") {
				return fmt.Errorf("%s refused a call of ours: %s", service, line)
			}
		}
	}
	return nil
}

// noRegistrationsLeft stops the runners and returns an error if GitHub still has a registration.
func noRegistrationsLeft(ctx context.Context, s *stack.Stack) error {
	if err := s.Compose(ctx, nil, "stop", "runner-1", "runner-2"); err != nil {
		return err
	}
	state, err := s.Lab().State(ctx)
	if err != nil {
		return err
	}
	if len(state.Registrations) > 0 {
		return fmt.Errorf("the runners are stopped, but GitHub still has %v", state.Registrations)
	}
	return nil
}
