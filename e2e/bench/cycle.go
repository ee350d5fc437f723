package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/blueguy23/ghostrunner/e2e/stack"
)

// spread is what the beginnings of the cycles are spread over: whole periods of everything that is fast.
const spread = 2 * time.Second

// cycle is one container that became unhealthy and was restarted. Its four parts add up to the reaction.
type cycle struct {
	Phase    int           `json:"phase"`
	Reaction time.Duration `json:"reaction_ns"`
	// Judged: Docker's event → the evaluation that found it. Routed: → the webhook, by way of Alertmanager. Decided: → the
	// remediator's guards passed. Ordered: → Docker's event of the order, with the intent written to disk before.
	Judged  time.Duration `json:"judged_ns"`
	Routed  time.Duration `json:"routed_ns"`
	Decided time.Duration `json:"decided_ns"`
	Ordered time.Duration `json:"ordered_ns"`
}

// bench is what the cycles share.
type bench struct {
	stack   *stack.Stack
	events  <-chan stack.Event
	image   string
	verbose bool
	out     io.Writer
}

// cycle runs number n, to the end: the remediator has seen the container healthy, and it is removed.
func (b *bench) cycle(ctx context.Context, phase, n int) (cycle, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := pause(ctx, rand.N(spread)); err != nil {
		return cycle{}, err
	}
	// A name of its own for each, because of the cooldown.
	victim, err := b.stack.StartVictim(ctx, b.image, fmt.Sprintf("victim-%d", n))
	if err != nil {
		return cycle{}, err
	}
	unhealthy, err := b.await(ctx, victim, "health_status: unhealthy")
	if err != nil {
		return cycle{}, err
	}
	ordered, err := b.await(ctx, victim, "kill")
	if err != nil {
		return cycle{}, err
	}
	a, err := b.completed(ctx, victim)
	if err != nil {
		return cycle{}, err
	}
	if err := b.stack.RemoveVictims(ctx); err != nil {
		return cycle{}, err
	}
	c := cycle{
		Phase:    phase,
		Reaction: ordered.Sub(unhealthy),
		Judged:   a.Alert.StartsAt.Sub(unhealthy),
		Routed:   a.Alert.Received.Sub(a.Alert.StartsAt),
		Decided:  a.Began.Sub(a.Alert.Received),
		Ordered:  ordered.Sub(a.Began),
	}
	if b.verbose {
		fmt.Fprintf(b.out, "    %3d  %s = judged %s + routed %s + decided %s + ordered %s\n",
			n, millis(c.Reaction), millis(c.Judged), millis(c.Routed), millis(c.Decided), millis(c.Ordered))
	}
	return c, nil
}

// await returns Docker's time stamp of the next such event.
func (b *bench) await(ctx context.Context, container, action string) (time.Time, error) {
	for {
		select {
		case e, open := <-b.events:
			switch {
			case !open:
				return time.Time{}, errors.New("Docker's event stream ended") //nolint:staticcheck // a name
			case e.Container == container && e.Action == action:
				return e.At, nil
			}
		case <-ctx.Done():
			return time.Time{}, fmt.Errorf("waiting for %q of %s: %w", action, container, ctx.Err())
		}
	}
}

// attempt is a line of the remediator's history, as far as it is needed here.
type attempt struct {
	Outcome, Target string
	Alert           struct{ StartsAt, Received time.Time }
	Began           time.Time
}

// completed waits until the remediator has verified the restart.
func (b *bench) completed(ctx context.Context, target string) (a attempt, err error) {
	token, err := b.stack.WebhookToken(ctx)
	if err != nil {
		return a, err
	}
	header := http.Header{"Authorization": {"Bearer " + token}}
	err = stack.Await(ctx, "the restart of "+target+" to be verified", func(ctx context.Context) (bool, error) {
		status, text, err := b.stack.Do(ctx, http.MethodGet, b.stack.Ports.Remediator, "/api/v1/attempts?limit=5", header, nil)
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
