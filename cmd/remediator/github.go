package main

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/common/version"

	"github.com/blueguy23/ghostrunner/internal/github"
	"github.com/blueguy23/ghostrunner/internal/remedy"
	"github.com/blueguy23/ghostrunner/internal/runner"
)

// githubView is what GitHub says of the runners: of the configured place, and of those that the
// runners' labels name.
type githubView struct {
	client *github.Client
	home   string // of runners whose label names none
	// labeled is what the labels name; containers are listed far more often than it changes.
	labeled atomic.Pointer[[]github.Scope]
}

// knownAge is how old GitHub's answer may be and still count.
const knownAge = 2 * time.Minute

// newGitHubView returns nil if GitHub is not to be asked: there is no token.
func newGitHubView(cfg config, logger *slog.Logger) (*githubView, error) {
	token := cfg.github.Token()
	if token == nil {
		logger.Info("GitHub is not asked about runners: what is seen here decides alone",
			"remedy", "set REPO_OWNER and GITHUB_PAT_FILE for a second proof")
		return nil, nil //nolint:nilnil // there is none, and that is no error
	}
	v := &githubView{}
	v.labeled.Store(&[]github.Scope{})
	var scopes []github.Scope
	if cfg.github.Owner != "" {
		scope, err := cfg.github.Scope()
		if err != nil {
			return nil, fmt.Errorf("--github.owner, --github.repo: %w", err)
		}
		scopes, v.home = append(scopes, scope), scope.String()
	} else {
		logger.Info("GitHub is asked only about runners with a label ghostrunner.scope", "remedy", "set REPO_OWNER for the others")
	}
	var err error
	v.client, err = github.New(github.Options{
		APIURL: cfg.github.APIURL, Token: token, Scopes: scopes, MoreScopes: v.moreScopes, PollInterval: time.Duration(float64(cfg.pollInterval) * cfg.timeScale),
		Logger: logger, UserAgent: program + "/" + version.Version,
	})
	if err != nil {
		return nil, fmt.Errorf("--github.api-url: %w", err)
	}
	return v, nil
}

// orNil keeps a nil pointer from becoming an interface that is not nil.
func (v *githubView) orNil() remedy.GitHub {
	if v == nil {
		return nil
	}
	return v
}

func (v *githubView) moreScopes() []github.Scope {
	return *v.labeled.Load()
}

// scopeOf is where a container's runner registers.
func (v *githubView) scopeOf(c runner.Container) string {
	if c.Scope == "" && v != nil {
		return v.home
	}
	return c.Scope
}

// note remembers which places the labels name. The exporter says which labels cannot be read.
func (v *githubView) note(list []runner.Container) {
	if v == nil {
		return
	}
	var scopes []github.Scope
	for _, c := range list {
		if scope, err := github.ParseScope(c.Scope); err == nil && c.Runner != "" {
			scopes = append(scopes, scope)
		}
	}
	scopes = github.Distinct(scopes...)
	v.labeled.Store(&scopes)
}

// Known implements remedy.GitHub.
func (v *githubView) Known(scope string) ([]runner.Registration, bool) {
	return knownIn(v.client.Snapshot(), scope, time.Now())
}

// knownIn finds what was heard last of a scope. An answer of the future is as old as one of the
// past: the clock jumped.
func knownIn(snapshot runner.GitHub, scope string, now time.Time) ([]runner.Registration, bool) {
	for _, s := range snapshot.Scopes {
		if strings.EqualFold(s.Name, scope) {
			return s.Runners, !s.LastSuccess.IsZero() && now.Sub(s.LastSuccess).Abs() <= knownAge
		}
	}
	return nil, false
}

// Ask implements remedy.GitHub.
func (v *githubView) Ask(ctx context.Context, scope string) ([]runner.Registration, error) {
	s, err := github.ParseScope(scope)
	if err != nil {
		return nil, err
	}
	return v.client.Runners(ctx, s)
}
