package main

import (
	"time"

	"github.com/blueguy23/ghostrunner/e2e/scenario"
)

// apiFaults are answers of GitHub that are no answers. Runners go on working through all of them but those that keep them
// from registering anew.
func (w *world) apiFaults() []scenario.Fault {
	up := both(state(w.holds("ghostrunner_github_up == 1")), runnersOnline())
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
		}
	}
	return []scenario.Fault{
		bad("GitHub 403, scope removed", "the token loses its scope: the runner endpoints answer 403", "ghostrunner_pat_permission_sufficient == 0",
			"GhostrunnerPATPermissionInsufficient", "pat-no-permission"),
		bad("GitHub 404, repository hidden", "the token may no longer see the repository: 404 instead of 403", "ghostrunner_github_up == 0",
			"GhostrunnerPATPermissionInsufficient", "pat-no-permission", "--value=hidden"),
		bad("GitHub 401, token rejected", "the token is revoked or mistyped: 401", "ghostrunner_pat_valid == 0", "GhostrunnerPATInvalid", "pat-rejected"),
		bad("token expired", "the token's last day is over", "ghostrunner_pat_valid == 0", "GhostrunnerPATInvalid", "pat-expiring", "--value=-1h"),
	}
}
