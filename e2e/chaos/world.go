package main

import (
	"context"
	"io"
	"net"
	"path/filepath"
	"strconv"
	"sync"

	"github.com/blueguy23/ghostrunner/e2e/guest"
	"github.com/blueguy23/ghostrunner/e2e/machine"
	"github.com/blueguy23/ghostrunner/e2e/scenario"
	"github.com/blueguy23/ghostrunner/e2e/stack"
	"github.com/blueguy23/ghostrunner/internal/lab"
)

const (
	one = "ci-runner-1"
	two = "ci-runner-2"
)

// world is the stack with everything around it that can be broken.
type world struct {
	*stack.Stack
	project string // of Compose
	pat     string // that GitHub accepts
	tokens  string // folder of it
	machine *machine.Engine
	dns     *resolver
	github  *link
	chrony  *chronyd
	jobs    sync.Mutex // held while none may be queued
}

// unplugged is a world of which only the list of faults is of use.
func unplugged() *world {
	s, err := stack.New(stack.Options{Project: options{}.name(), FirstPort: 20068, Out: io.Discard})
	if err != nil {
		panic(err) // outside of the repository: main has run here already
	}
	return &world{Stack: s, project: options{}.name(), machine: &machine.Engine{}, dns: &resolver{}, github: &link{}, chrony: &chronyd{}}
}

// newWorld starts it all and waits until it is whole.
func newWorld(ctx context.Context, o options, e *machine.Engine, out io.Writer) (*world, error) {
	// A back-off is long enough to be watched, and short enough to be waited for.
	env := map[string]string{"BACKOFF_DURATION": "10s"}
	if o.soak > 0 {
		// With faults drawn at random some runner would soon be stopped for an hour, and nothing be learned from it.
		env["WATCHDOG_MAX_FIRES"] = "1000"
	}
	tokens, err := filepath.Abs(filepath.Join(o.dir(), "tokens"))
	if err != nil {
		return nil, err
	}
	env["LAB_TOKENS"] = tokens
	files := []string{filepath.Join("e2e", "chaos", "chaos.yaml")}
	if guest.Inside() {
		env["COMPOSE_PROFILES"] = "mongo" // a guest is slow: no Grafana
		files = append(files, filepath.Join("e2e", "chaos", "guest.yaml"))
	}
	s, err := stack.New(stack.Options{
		Project: o.name(), FirstPort: 20068, Out: out, Env: env, Files: files, Built: guest.Inside(),
	})
	if err != nil {
		return nil, err
	}
	w := &world{Stack: s, project: o.name(), pat: stack.Token, tokens: tokens, machine: e, dns: &resolver{}, chrony: &chronyd{dir: o.dir()}}
	w.github = newLink(ctx, net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Ports.Lab)))
	if err := w.accept(w.pat); err != nil {
		return nil, err
	}
	if err := w.dns.serve(ctx); err != nil {
		return nil, err
	}
	if err := w.github.serve("10070"); err != nil {
		return nil, err
	}
	if err := serveTime(ctx); err != nil {
		return nil, err
	}
	if err := s.Up(ctx); err != nil {
		return nil, err
	}
	if err := w.chrony.synchronised(ctx); err != nil {
		return w, err
	}
	ready, cancel := context.WithTimeout(ctx, patience())
	defer cancel()
	if err := scenario.Ready(ready, s); err != nil {
		return w, err
	}
	return w, stack.Await(ready, "chronyd to be synchronised", w.holds(`ghostrunner_clock_synchronized == 1`))
}

// holds is a condition: the expression has a result.
func (w *world) holds(expr string) func(context.Context) (bool, error) {
	return func(ctx context.Context) (bool, error) {
		_, ok, err := w.Query(ctx, expr)
		return ok, err
	}
}

// service is the container of a Compose service that is always there.
func (w *world) service(name string) string { return w.project + "-" + name + "-1" }

// lab is the simulated GitHub's own account of what it has seen.
func (w *world) lab(ctx context.Context) (state lab.State, err error) {
	err = w.JSON(ctx, w.Ports.Lab, "/lab/v1/state", &state)
	return state, err
}
