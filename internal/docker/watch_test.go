package docker

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"

	"github.com/blueguy23/ghostrunner/internal/runner"
)

// budget is what the way from the engine to the snapshot may take.
const budget = time.Second

func TestWatchHealth(t *testing.T) {
	w := newWorld(t)
	e := w.watched("")
	id := w.create(spec{health: true, young: true})
	told, errs := w.cli.Events(t.Context(), events.ListOptions{Filters: filters.NewArgs(filters.Arg("container", id), filters.Arg("event", string(events.ActionHealthStatus)))})
	w.do("start", w.cli.ContainerStart(t.Context(), id, container.StartOptions{}))

	w.await(e, "starting", one(id, func(c runner.Container) bool {
		return c.State == runner.StateRunning && c.Health == runner.HealthStarting
	}))
	w.spoken(id)
	for _, step := range []struct{ signal, want string }{{"USR2", runner.HealthHealthy}, {"USR1", runner.HealthUnhealthy}, {"USR2", runner.HealthHealthy}, {"USR1", runner.HealthUnhealthy}} {
		// A plain client beside ours: what the machine takes to bring the event to this process is
		// not ours to judge.
		received := make(chan time.Time, 1)
		go func() {
			for m := range told {
				if string(m.Action) == string(events.ActionHealthStatus)+": "+step.want {
					received <- time.Now()
					return
				}
			}
		}()
		w.signal(id, step.signal)
		_, seen := w.await(e, step.want, one(id, func(c runner.Container) bool { return c.Health == step.want }))
		select {
		case at := <-received:
			if late := seen.Sub(at); late > budget {
				t.Errorf("%s was in the snapshot %s after the engine told", step.want, late)
			} else {
				t.Logf("%s: %s after the engine told", step.want, late)
			}
		case err := <-errs:
			t.Fatal(err)
		case <-time.After(patience):
			t.Fatalf("the engine did not report %s", step.want)
		}
	}
	w.restart(id)
	w.await(e, "starting again", one(id, func(c runner.Container) bool { return c.Starts == 2 && c.Health == runner.HealthStarting }))
	w.do("stop", w.cli.ContainerStop(t.Context(), id, container.StopOptions{}))
	w.await(e, "no health when stopped", one(id, func(c runner.Container) bool { return c.State == runner.StateExited && c.Health == "" }))
}

func TestWatchLife(t *testing.T) {
	w := newWorld(t)
	e := w.watched("")
	id := w.create(spec{labels: []string{runner.LabelHeal + "=restart, backoff", runner.LabelScope + "=o/r"}, slot: "ci-1"})
	s, _ := w.await(e, "created", one(id, func(c runner.Container) bool { return c.State == runner.StateCreated && !c.Exited }))
	c := s.containers[0]
	if c.Role != "runner" || c.Runner != "ci-1" || c.Scope != "o/r" || !slices.Equal(c.Heal, []string{"restart", "backoff"}) {
		t.Errorf("labels read as %+v", c)
	}
	if age := time.Since(c.Created); age < 0 || age > patience {
		t.Errorf("created %s ago", age)
	}

	w.do("start", w.cli.ContainerStart(t.Context(), id, container.StartOptions{}))
	w.await(e, "running", one(id, func(c runner.Container) bool {
		return c.State == runner.StateRunning && c.Starts == 1 && c.Health == ""
	}))
	w.restart(id)
	w.await(e, "restarted", one(id, func(c runner.Container) bool {
		return c.State == runner.StateRunning && c.Starts == 2 && c.Exited // the code of the last exit stays
	}))
	w.do("rename", w.cli.ContainerRename(t.Context(), id, c.Name+"-new"))
	w.await(e, "renamed", one(id, func(d runner.Container) bool { return d.Name == c.Name+"-new" }))
	w.do("pause", w.cli.ContainerPause(t.Context(), id))
	w.await(e, "paused", one(id, func(c runner.Container) bool { return c.State == runner.StatePaused }))
	w.do("unpause", w.cli.ContainerUnpause(t.Context(), id))
	w.await(e, "unpaused", one(id, func(c runner.Container) bool { return c.State == runner.StateRunning }))
	w.signal(id, "KILL")
	w.await(e, "killed", one(id, func(c runner.Container) bool {
		return c.State == runner.StateExited && c.ExitCode == 137 && c.Starts == 2
	}))
	w.remove(id)
	w.await(e, "destroyed", func(s snapshot) bool { return s.up && len(s.containers) == 0 })
	id = w.run(spec{args: []string{"exit", "3"}})
	w.await(e, "exit code", one(id, func(c runner.Container) bool {
		return c.State == runner.StateExited && c.Exited && c.ExitCode == 3 && c.Starts == 1
	}))
}

// Docker calls a container unhealthy from a pause on until a check has passed after it, and this
// one is checked too seldom for that.
func TestWatchPause(t *testing.T) {
	w := newWorld(t)
	e := w.watched("")
	id := w.run(spec{seldom: true})
	w.await(e, "starting", one(id, func(c runner.Container) bool { return c.Health == runner.HealthStarting }))
	w.do("pause", w.cli.ContainerPause(t.Context(), id))
	w.await(e, "paused", one(id, func(c runner.Container) bool { return c.State == runner.StatePaused && c.Health == "" }))
	w.do("unpause", w.cli.ContainerUnpause(t.Context(), id))
	w.await(e, "unpaused", one(id, func(c runner.Container) bool { return c.State == runner.StateRunning }))
	<-time.After(listLag) // no event outweighs a list that is read after that
	other := w.run(spec{})
	s, _ := w.await(e, "another list", one(other, func(runner.Container) bool { return true }))
	if !one(id, func(c runner.Container) bool { return c.Health == runner.HealthStarting })(s) {
		t.Errorf("not checked since the pause: %+v", s)
	}
	list, err := e.Containers(t.Context())
	w.do("list", err)
	if !one(id, func(c runner.Container) bool { return c.Health == runner.HealthUnhealthy })(snapshot{containers: list}) {
		t.Errorf("Docker does not call it unhealthy: this proves nothing: %+v", list)
	}
}

// It is a child that is killed: where it is the container's first process, its end can overtake the
// event of its cause within the engine, which then never tells.
func TestWatchOOM(t *testing.T) {
	w := newWorld(t)
	e := w.watched("")
	id := w.run(spec{args: []string{"eat"}, host: container.HostConfig{Resources: container.Resources{Memory: 32 << 20, MemorySwap: 32 << 20}}})
	w.await(e, "OOM kill", one(id, func(c runner.Container) bool { return c.OOMKills >= 1 && c.State == runner.StateRunning }))
}

// Others' containers do not exist: not in a list, not in the snapshot, and no action reaches them.
func TestBystander(t *testing.T) {
	w := newWorld(t)
	e, err := New(Options{Labels: []string{w.label, "stack=mine"}})
	w.do("engine", err)
	w.background("watch", e.Watch)

	foreign := w.run(spec{labels: []string{"stack=theirs", runner.LabelHeal + "=restart"}, slot: "ci-1", health: true}) // and never well
	over := w.create(spec{labels: []string{"stack=theirs", "scratch=1"}, bare: true})
	mine := w.run(spec{labels: []string{"stack=mine"}, slot: "ci-1"})
	plain := w.run(spec{labels: []string{"stack=mine"}, bare: true})

	w.await(e, "mine", one(mine, func(c runner.Container) bool { return c.State == runner.StateRunning }))
	before := w.state(foreign)
	ctx := t.Context()
	actions := map[string]func(id string) error{
		"stop":      func(id string) error { return e.Stop(ctx, id, time.Second) },
		"restart":   func(id string) error { return e.Restart(ctx, id, time.Second) },
		"start":     func(id string) error { return e.Start(ctx, id) },
		"terminate": func(id string) error { return e.Terminate(ctx, id) },
		"remove":    func(id string) error { return e.RemoveContainer(ctx, id) },
		"top":       func(id string) error { _, err := e.Processes(ctx, id); return err },
	}
	for name, act := range actions {
		for _, id := range []string{foreign, over} {
			if err := act(id); !errors.Is(err, ErrNotOurs) {
				t.Errorf("%s of a foreign container: %v, want ErrNotOurs", name, err)
			}
		}
	}
	if after := w.state(foreign); after.StartedAt != before.StartedAt || !after.Running {
		t.Errorf("the foreign container was touched: %+v, before %+v", after, before)
	}
	if left, err := e.Leftovers(ctx, "scratch=1"); err != nil || len(left) != 0 {
		t.Errorf("leftovers: %v, %v; want none", left, err)
	}
	list, err := e.Containers(ctx)
	w.do("list", err)
	if len(list) != 2 || !slices.ContainsFunc(list, func(c runner.Container) bool { return c.ID == plain }) {
		t.Errorf("Containers: %+v, want mine and plain", list)
	}
	// That the foreign container turned unhealthy was an event of its own. It came before this one.
	for begin := time.Now(); w.state(foreign).Health.Status != container.Unhealthy; {
		if time.Since(begin) > patience {
			t.Fatal("the foreign container is not unhealthy")
		}
	}
	w.do("rename", w.cli.ContainerRename(ctx, mine, "renamed-"+mine[:12]))
	s, _ := w.await(e, "renamed", one(mine, func(c runner.Container) bool { return c.Name == "renamed-"+mine[:12] }))
	if len(s.containers) != 1 {
		t.Errorf("snapshot: %+v, want mine alone", s.containers)
	}
}

// An engine that dies is down within a second and recovered by itself, and what happened meanwhile
// is counted once.
func TestWatchEngineDies(t *testing.T) {
	w := newWorld(t)
	p, host := newProxy(w)
	e := w.watched(host)
	id := w.run(spec{})
	w.await(e, "running", one(id, func(c runner.Container) bool { return c.Starts == 1 }))

	var late []time.Duration
	for round := range 3 {
		cut := time.Now()
		p.cut()
		s, down := w.await(e, "down", func(s snapshot) bool { return !s.up })
		late = append(late, down.Sub(cut))
		if s.containers != nil {
			t.Errorf("round %d: stale containers while down: %+v", round, s.containers)
		}
		w.restart(id) // unseen
		p.restore()
		want := uint64(2 + 2*round)
		w.await(e, "the unseen start", one(id, func(c runner.Container) bool { return c.Starts == want && c.State == runner.StateRunning }))
		w.restart(id)
		s, _ = w.await(e, "the next start", one(id, func(c runner.Container) bool { return c.Starts > want && c.State == runner.StateRunning }))
		if got := s.containers[0].Starts; got != want+1 {
			t.Fatalf("round %d: %d starts, want %d", round, got, want+1)
		}
	}
	slices.Sort(late)
	if late[1] > budget { // the median, because a busy machine may hold this process up once
		t.Errorf("down after %s", late)
	}
	p.cut()
	w.await(e, "down", func(s snapshot) bool { return !s.up })
	w.remove(id)
	p.restore()
	w.await(e, "gone meanwhile", func(s snapshot) bool { return s.up && len(s.containers) == 0 })
}

// An engine that hangs without closing anything is noticed too.
func TestWatchEngineHangs(t *testing.T) {
	w := newWorld(t)
	p, host := newProxy(w)
	e := w.watched(host)
	resume := p.stall()
	begin := time.Now()
	_, down := w.await(e, "down", func(s snapshot) bool { return !s.up })
	if late := down.Sub(begin); late > pingEvery+pingTimeout+5*budget { // without the ping a list would find out, callTimeout and more later
		t.Errorf("down after %s", late)
	}
	resume()
	w.await(e, "up", func(s snapshot) bool { return s.up })
}

// The engine may come up after us.
func TestWatchEngineLate(t *testing.T) {
	w := newWorld(t)
	p, host := newProxy(w)
	p.cut()
	e := w.engine(host)
	w.background("watch", e.Watch)
	if _, up := e.Observed(); up {
		t.Error("up without an engine")
	}
	if _, err := e.Containers(t.Context()); err == nil {
		t.Error("Containers without an engine: no error")
	}
	p.restore()
	w.await(e, "up", func(s snapshot) bool { return s.up })
}
