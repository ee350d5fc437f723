package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/blueguy23/ghostrunner/e2e/measure"
	"github.com/blueguy23/ghostrunner/e2e/stack"
)

// spread is the range of random start times: a multiple of all short intervals.
const spread = 2 * time.Second

// cycle is one container that became unhealthy and was restarted. reaction is the sum of the four
// parts.
type cycle struct {
	reaction time.Duration
	// judged: from Docker's event to the rule evaluation. routed: to the webhook, through
	// Alertmanager. decided: until the guards have passed. ordered: to Docker's first event of the
	// restart, including the write of the intent to disk.
	judged, routed, decided, ordered time.Duration
}

func (c cycle) String() string {
	millis := func(d time.Duration) time.Duration { return d.Round(time.Millisecond) }
	return fmt.Sprintf("%s = judged %s + routed %s + decided %s + ordered %s",
		millis(c.reaction), millis(c.judged), millis(c.routed), millis(c.decided), millis(c.ordered))
}

// victims start the containers that become unhealthy, one at a time.
type victims struct {
	stack  *stack.Stack
	events <-chan stack.Event
	image  string
}

// breakOne starts one at a random time and waits for its restart to be ordered. It returns its name
// and Docker's timestamps of both events.
func (v victims) breakOne(ctx context.Context, name string, more ...string) (victim string, unhealthy, ordered time.Time, err error) {
	if err := measure.Pause(ctx, rand.N(spread)); err != nil {
		return "", unhealthy, ordered, err
	}
	victim, err = v.stack.StartVictim(ctx, v.image, name, more...)
	if err != nil {
		return victim, unhealthy, ordered, err
	}
	verdict, err := stack.AwaitEvent(ctx, v.events, victim, "health_status: unhealthy")
	if err != nil {
		return victim, unhealthy, ordered, err
	}
	order, err := stack.AwaitEvent(ctx, v.events, victim, "kill")
	return victim, verdict.At, order.At, err
}

// cycle runs cycle n until the remediator has verified the restart, and removes the container.
func (v victims) cycle(ctx context.Context, n int) (cycle, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	// A new name each time, because of the cooldown.
	victim, unhealthy, ordered, err := v.breakOne(ctx, fmt.Sprintf("victim-%d", n))
	if err != nil {
		return cycle{}, err
	}
	a, err := v.completed(ctx, victim)
	if err != nil {
		return cycle{}, err
	}
	return cycle{
		reaction: ordered.Sub(unhealthy),
		judged:   a.Alert.StartsAt.Sub(unhealthy),
		routed:   a.Alert.Received.Sub(a.Alert.StartsAt),
		decided:  a.Began.Sub(a.Alert.Received),
		ordered:  ordered.Sub(a.Began),
	}, v.stack.RemoveVictims(ctx)
}

// attempt is an attempt of the remediator's history.
type attempt struct {
	Outcome, Target string
	Alert           struct{ StartsAt, Received time.Time }
	Began           time.Time
}

// completed waits until the remediator has verified the restart.
func (v victims) completed(ctx context.Context, target string) (a attempt, err error) {
	header, err := v.stack.Authorization(ctx)
	if err != nil {
		return a, err
	}
	err = stack.Await(ctx, "the restart of "+target+" to be verified", func(ctx context.Context) (bool, error) {
		status, text, err := v.stack.Do(ctx, http.MethodGet, v.stack.Ports.Remediator, "/api/v1/attempts?limit=5", header, nil)
		if err != nil || status != http.StatusOK {
			return false, fmt.Errorf("attempts: status %d: %w", status, err)
		}
		var attempts []attempt
		if err := json.Unmarshal(text, &attempts); err != nil {
			return false, err
		}
		for _, a = range attempts {
			if a.Target == target && a.Outcome == "completed" {
				return true, nil
			}
		}
		return false, nil
	})
	return a, err
}
