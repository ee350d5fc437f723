package remedy

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/blueguy23/ghostrunner/internal/runner"
)

// A list that was made just before an alert shows the container as it was before it fell ill: it
// speaks for nothing.
func TestListIsNotOlderThanItsAlert(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service := runner.Container{ID: "id-db", Name: "db", Role: runner.RoleService, Heal: []string{ActionRestart}, State: "running", Health: "starting"}
		d := newFake(service)
		r, _, _ := start(t, d, nil)
		ready(t, r)
		elapse(listAge)
		if _, err := r.containers.recent(t.Context()); err != nil { // somebody looks for another reason
			t.Fatal(err)
		}
		elapse(listAge / 4)
		d.mu.Lock()
		d.list[0].Health = "unhealthy"
		d.mu.Unlock()
		send(t, r, alertOf("GhostrunnerServiceUnhealthy", ActionRestart, "container", "db"))
		elapse(listAge / 4)
		if diff := cmp.Diff([]string{"restart id-db -1ns"}, d.done()); diff != "" {
			t.Error(diff)
		}
	})
}

// If Docker fails, the alerts that wait for it share one failure.
func TestListFailsForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		d := newFake()
		d.containers = func(context.Context) ([]runner.Container, error) {
			asked++
			return nil, errors.New("no answer")
		}
		l := containerList{docker: d}
		for range 100 {
			if _, err := l.since(t.Context(), time.Now().Add(time.Millisecond)); err == nil {
				t.Fatal("no error")
			}
		}
		if asked != 1 {
			t.Errorf("asked %d times, want once", asked)
		}
	})
}
