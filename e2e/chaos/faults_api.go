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
	"github.com/blueguy23/ghostrunner/internal/lab"
)

// apiFaults are failures of GitHub's API. Runners work through all of them unless they have to
// register again.
func (w *world) apiFaults() []scenario.Fault {
	up := both(w.holds("ghostrunner_github_up == 1"), w.runnersOnline())
	lie, truth := scenario.Switch(w.Stack, "busy-lie", one, "")
	remember, replaced := w.replaced(one)
	down := func(name, description, fault, value string) scenario.Fault {
		on, off := scenario.Switch(w.Stack, fault, "", value)
		return scenario.Fault{
			Name: name, Description: description, Inject: on, Metric: "ghostrunner_github_up == 0", Alert: alert("GhostrunnerGitHubUnreachable"),
			Remove: off, Healed: up, Timeout: 4 * time.Minute,
		}
	}
	return []scenario.Fault{
		down("GitHub 500", "the API answers 500 to everything", "github-500", ""),
		down("GitHub garbage", "a proxy answers with a page that is not GitHub's", "github-garbage", ""),
		down("GitHub 30 s slow", "the API takes 30 s for each answer", "github-slow", "30s"),
		down("GitHub 429", "a secondary rate limit: 429, Retry-After 5", "rate-limited", "429:5"),
		down("GitHub 403, quota used up", "no quota is left until a reset in 5 s", "rate-limited", "403:5"),
		{
			Name:        "GitHub 422, a busy runner stopped",
			Description: "a person restarts " + one + "'s container while it runs a job that GitHub's list does not show: its registration cannot be deleted, 422",
			Inject:      sequence(lie, w.startJob(one, 10*time.Second), remember, w.docker("restart", "--time=40", w.Container(one)), w.refusedAsBusy),
			Remove:      truth, Healed: both(replaced, scenario.Online(w.Stack, one)),
		},
	}
}

// credentialFaults concern the token. After a 401 the programs do not ask GitHub for a minute, so
// that it does not lock the user.
func (w *world) credentialFaults() []scenario.Fault {
	valid := w.holds("ghostrunner_pat_valid == 1 and ghostrunner_pat_permission_sufficient == 1")
	bad := func(name, description, metric, alertname, fault, value string) scenario.Fault {
		on, off := scenario.Switch(w.Stack, fault, "", value)
		return scenario.Fault{
			Name: name, Description: description, Inject: on, Metric: metric, Alert: alert(alertname), Remove: off,
			Healed: both(valid, w.runnersOnline()), Timeout: 5 * time.Minute, MaxJobsLost: 2,
			// A runner that waits before its next try may be unhealthy when the token is valid
			// again.
			AllowedLater: []string{"restart " + one, "restart " + two},
		}
	}
	rotated := bad("token rotated", "GitHub accepts a new token instead of the old one, and then .env has it too: nothing is restarted",
		"ghostrunner_pat_valid == 0", "GhostrunnerPATInvalid", "", "")
	rotated.Inject, rotated.Remove = w.changeTokenAtGitHub, w.changeTokenInEnv
	return []scenario.Fault{
		bad("GitHub 403, scope removed", "the token loses its scope: the runner endpoints answer 403", "ghostrunner_pat_permission_sufficient == 0",
			"GhostrunnerPATPermissionInsufficient", "pat-no-permission", ""),
		bad("GitHub 404, repository hidden", "the token may no longer see the repository: 404 instead of 403", "ghostrunner_github_up == 0",
			"GhostrunnerPATPermissionInsufficient", "pat-no-permission", "hidden"),
		bad("GitHub 401, token rejected", "the token is revoked or mistyped: 401", "ghostrunner_pat_valid == 0", "GhostrunnerPATInvalid", "pat-rejected", ""),
		bad("token expired", "the token has expired", "ghostrunner_pat_valid == 0", "GhostrunnerPATInvalid", "pat-expiring", "-1h"),
		rotated,
	}
}

func (w *world) changeTokenAtGitHub(context.Context) error {
	w.pat += "_new"
	return w.accept(w.pat)
}

// changeTokenInEnv does what INCIDENTS.md says. The programs that use the token must read it again
// without a restart.
func (w *world) changeTokenInEnv(ctx context.Context) error {
	containers := func() (string, error) {
		return w.Docker(ctx, "inspect", "--format={{.Id}} {{.State.StartedAt}}",
			w.service("exporter"), w.service("remediator"), w.Container(one), w.Container(two))
	}
	before, err := containers()
	if err != nil {
		return err
	}
	if err := w.Compose(ctx, map[string]string{"GITHUB_PAT": w.pat}, "up", "--detach", "--no-build", "--pull=never"); err != nil {
		return err
	}
	now, err := containers()
	if err == nil && now != before {
		err = fmt.Errorf("containers were restarted or replaced for a token:\n%s\nbefore:\n%s", now, before)
	}
	return err
}

// accept makes the simulated GitHub accept this token only.
func (w *world) accept(token string) error {
	if err := os.MkdirAll(w.tokens, 0o755); err != nil {
		return err
	}
	// GitHub reads the file with each request, so it must never be partial.
	file := filepath.Join(w.tokens, "token")
	if err := os.WriteFile(file+".new", []byte(token), 0o600); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

// refusedAsBusy returns an error unless GitHub has just refused to delete a registration.
func (w *world) refusedAsBusy(ctx context.Context) error {
	state, err := w.Lab().State(ctx)
	if err == nil && !slices.ContainsFunc(state.Calls, func(c lab.Call) bool {
		return c.Method == http.MethodDelete && c.Status == http.StatusUnprocessableEntity && time.Since(c.Time) < time.Minute
	}) {
		err = errors.New("no call tried to delete the registration of a busy runner")
	}
	return err
}
