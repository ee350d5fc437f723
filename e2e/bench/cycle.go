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

// spread is what the beginnings of the cycles are spread over: whole periods of everything that is fast.
const spread = 2 * time.Second

// cycle is one container that became unhealthy and was restarted. Its four parts add up to the reaction.
type cycle struct {
	reaction time.Duration
	// judged: Docker's event → the evaluation that found it. routed: → the webhook, by way of Alertmanager. decided: → the
	// remediator's guards passed. ordered: → Docker's event of the order, with the intent written to disk before.
	judged, routed, decided, ordered time.Duration
}

func (c cycle) String() string {
	millis := func(d time.Duration) time.Duration { return d.Round(time.Millisecond) }
	return fmt.Sprintf("%s = judged %s + routed %s + decided %s + ordered %s",
		millis(c.reaction), millis(c.judged), millis(c.routed), millis(c.decided), millis(c.ordered))
}

// victims are the containers that become unhealthy, one at a time.
type victims struct {
	stack  *stack.Stack
	events <-chan stack.Event
	image  string
}

// breakOne starts one, at a random moment, and waits until somebody orders its restart. It returns its name, and Docker's time
// stamps of both events.
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

// cycle runs number n, to the end: the remediator has seen the container healthy, and it is removed.
func (v victims) cycle(ctx context.Context, n int) (cycle, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	// A name of its own for each, because of the cooldown.
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

// attempt is a line of the remediator's history, as far as it is needed here.
type attempt struct {
	Outcome, Target string
	Alert           struct{ StartsAt, Received time.Time }
	Began           time.Time
}

// completed waits until the remediator has verified the restart.
func (v victims) completed(ctx context.Context, target string) (a attempt, err error) {
	token, err := v.stack.WebhookToken(ctx)
	if err != nil {
		return a, err
	}
	header := http.Header{"Authorization": {"Bearer " + token}}
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
