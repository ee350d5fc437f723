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
)

const (
	one = "ci-runner-1"
	two = "ci-runner-2"
)

// world is the stack and its surroundings.
type world struct {
	*stack.Stack
	project string // of Compose
	pat     string // that GitHub accepts
	tokens  string // folder of the file with it
	machine *machine.Engine
	dns     *resolver
	github  *link
	chrony  *chronyd
	jobs    sync.Mutex // held while no job may be queued
}

// listOnly is a world that only lists its faults.
func listOnly() *world {
	s, err := stack.New(stack.Options{Project: options{}.name(), FirstPort: 20068, Out: io.Discard})
	if err != nil {
		panic(err) // outside of the repository; main has checked that
	}
	return &world{Stack: s, project: options{}.name(), machine: &machine.Engine{}, dns: &resolver{}, github: &link{}, chrony: &chronyd{}}
}

// newWorld starts everything and waits until it is ready.
func newWorld(ctx context.Context, o options, e *machine.Engine, out io.Writer) (*world, error) {
	env := map[string]string{}
	if o.soak > 0 {
		// Random faults would soon lead to back-offs of an hour.
		env["WATCHDOG_MAX_FIRES"] = "1000"
	}
	tokens, err := filepath.Abs(filepath.Join(o.dir(), "tokens"))
	if err != nil {
		return nil, err
	}
	env["LAB_TOKENS"] = tokens
	files := []string{filepath.Join("e2e", "chaos", "chaos.yaml")}
	if guest.Inside() {
		env["COMPOSE_PROFILES"] = "mongo" // without Grafana, because a guest is slow
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
	if err := w.chrony.startSynchronized(ctx); err != nil {
		return w, err
	}
	ready, cancel := context.WithTimeout(ctx, patience())
	defer cancel()
	if err := scenario.Ready(ready, s); err != nil {
		return w, err
	}
	return w, stack.Await(ready, "chronyd to be synchronized", w.holds(`ghostrunner_clock_synchronized == 1`))
}

// service is the container of a Compose service.
func (w *world) service(name string) string { return w.project + "-" + name + "-1" }
