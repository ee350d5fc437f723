package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/blueguy23/ghostrunner/e2e/scenario"
	"github.com/blueguy23/ghostrunner/e2e/stack"
	"github.com/blueguy23/ghostrunner/internal/lab"
)

// apiFaults are answers of GitHub that are no answers. Runners go on working through all of them but those that keep them
// from registering anew.
func (w *world) apiFaults() []scenario.Fault {
	up := both(state(w.holds("ghostrunner_github_up == 1")), runnersOnline())
	lie, truth := w.switched("busy-lie", "--runner", one)
	seen, anew := w.replaced(one)
	down := func(name, story, fault string, more ...string) scenario.Fault {
		on, off := w.switched(fault, more...)
		return scenario.Fault{
			Name: name, Story: story, Break: on, Metric: "ghostrunner_github_up == 0", Alert: alert("GhostrunnerGitHubUnreachable"),
			Mend: off, Healed: up, Patience: 4 * time.Minute,
		}
	}
	return []scenario.Fault{
		down("GitHub 500", "the API answers 500 to everything", "github-500"),
		down("GitHub garbage", "something on the way answers with a page of its own", "github-garbage"),
		down("GitHub 30 s slow", "the API takes 30 s for each answer", "github-slow", "--value=30s"),
		down("GitHub 429", "a secondary limit struck: 429, Retry-After 5", "rate-limited", "--value=429:5"),
		down("GitHub 403, quota used up", "nothing is left of the quota until a reset in 5 s", "rate-limited", "--value=403:5"),
		{
			Name:  "GitHub 422, a busy runner stopped",
			Story: "somebody restarts " + one + "'s container while it works and GitHub's list calls it idle: its registration cannot be deleted, 422",
			Break: inTurn(lie, w.whenBusy(one, 10*time.Second), seen, w.docker("restart", "--time=40", w.Container(one)), w.refusedAsBusy),
			Mend:  truth, Healed: both(anew, scenario.Online(one)),
		},
	}
}

// credentialFaults are answers about the token. After a 401 nobody asks GitHub for a minute, lest it lock the user out.
func (w *world) credentialFaults() []scenario.Fault {
	valid := state(w.holds("ghostrunner_pat_valid == 1 and ghostrunner_pat_permission_sufficient == 1"))
	bad := func(name, story, metric, alertname, fault string, more ...string) scenario.Fault {
		on, off := w.switched(fault, more...)
		return scenario.Fault{
			Name: name, Story: story, Break: on, Metric: metric, Alert: alert(alertname), Mend: off,
			Healed: both(valid, runnersOnline()), Patience: 5 * time.Minute, Costs: 2,
			// A runner that waits before it asks again is unhealthy without a cause, once the token is good: a restart is in order.
			Then: []string{"restart " + one, "restart " + two},
		}
	}
	rotated := bad("token rotated", "a new token takes the place of the old one at GitHub first, and then in .env: nothing is restarted for it",
		"ghostrunner_pat_valid == 0", "GhostrunnerPATInvalid", "")
	rotated.Break, rotated.Mend = w.rotate()
	return []scenario.Fault{
		bad("GitHub 403, scope removed", "the token loses its scope: the runner endpoints answer 403", "ghostrunner_pat_permission_sufficient == 0",
			"GhostrunnerPATPermissionInsufficient", "pat-no-permission"),
		bad("GitHub 404, repository hidden", "the token may no longer see the repository: 404 instead of 403", "ghostrunner_github_up == 0",
			"GhostrunnerPATPermissionInsufficient", "pat-no-permission", "--value=hidden"),
		bad("GitHub 401, token rejected", "the token is revoked or mistyped: 401", "ghostrunner_pat_valid == 0", "GhostrunnerPATInvalid", "pat-rejected"),
		bad("token expired", "the token's last day is over", "ghostrunner_pat_valid == 0", "GhostrunnerPATInvalid", "pat-expiring", "--value=-1h"),
		rotated,
	}
}

// rotate returns the two halves of a rotation: GitHub takes another token than before, and then it is brought in as
// INCIDENTS.md says. The three that use it read it anew, as the processes that they were.
func (w *world) rotate() (there, here step) {
	users := []string{w.service("exporter"), w.service("remediator"), w.Container(one), w.Container(two)}
	there = act(func(context.Context) error {
		w.pat += "_anew"
		return w.accept(w.pat)
	})
	here = act(func(ctx context.Context) error {
		runs := func() (string, error) {
			return w.Docker(ctx, append([]string{"inspect", "--format={{.Id}} {{.Created}}"}, users...)...)
		}
		before, err := runs()
		if err != nil {
			return err
		}
		if err := w.Compose(ctx, map[string]string{"GITHUB_PAT": w.pat}, "up", "--detach", "--no-build", "--pull=never"); err != nil {
			return err
		}
		now, err := runs()
		if err == nil && now != before {
			err = fmt.Errorf("containers are made anew for a token:\n%s\nbefore:\n%s", now, before)
		}
		return err
	})
	return there, here
}

// accept lets the simulated GitHub take this token and no other.
func (w *world) accept(token string) error {
	if err := os.MkdirAll(w.tokens, 0o755); err != nil {
		return err
	}
	// Written aside first: GitHub reads it with each request.
	file := filepath.Join(w.tokens, "token")
	if err := os.WriteFile(file+".new", []byte(token), 0o600); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

// refusedAsBusy demands that GitHub has refused to delete a registration just now.
func (w *world) refusedAsBusy(ctx context.Context, _ *stack.Stack) error {
	state, err := w.lab(ctx)
	if err == nil && !slices.ContainsFunc(state.Calls, func(c lab.Call) bool {
		return c.Method == http.MethodDelete && c.Status == http.StatusUnprocessableEntity && time.Since(c.Time) < time.Minute
	}) {
		err = errors.New("nobody tried to delete the registration of a busy runner")
	}
	return err
}
