package main

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/prometheus/common/version"

	"github.com/blueguy23/ghostrunner/internal/engine"
	"github.com/blueguy23/ghostrunner/internal/github"
	"github.com/blueguy23/ghostrunner/internal/remedy"
)

// dockerAdapter is the engine in the remediator's words.
type dockerAdapter struct{ *engine.Engine }

// Containers implements remedy.Lister.
func (a dockerAdapter) Containers(ctx context.Context) ([]remedy.Container, error) {
	list, err := a.Engine.Containers(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]remedy.Container, len(list))
	for i, c := range list {
		out[i] = remedy.Container{
			ID: c.ID, Name: c.Name, Role: c.Role, Runner: c.Runner, Heal: c.Heal, State: c.State, Health: c.Health,
		}
	}
	return out, nil
}

// Images implements remedy.Cleaner.
func (a dockerAdapter) Images(ctx context.Context, label string) ([]remedy.Image, error) {
	list, err := a.Engine.Images(ctx, label)
	if err != nil {
		return nil, err
	}
	out := make([]remedy.Image, len(list))
	for i, m := range list {
		out[i] = remedy.Image{ID: m.ID, Tags: m.Tags, Size: m.Size, Created: m.Created, Dangling: m.Dangling, InUse: m.InUse}
	}
	return out, nil
}

// Leftovers implements remedy.Cleaner.
func (a dockerAdapter) Leftovers(ctx context.Context, label string) ([]remedy.Leftover, error) {
	list, err := a.Engine.Leftovers(ctx, label)
	if err != nil {
		return nil, err
	}
	out := make([]remedy.Leftover, len(list))
	for i, l := range list {
		out[i] = remedy.Leftover{ID: l.ID, Name: l.Name, Created: l.Created, Size: l.Size}
	}
	return out, nil
}

var _ remedy.Docker = dockerAdapter{}

// githubProof is the second proof that a runner is idle: what GitHub last said.
type githubProof struct{ client *github.Client }

// proofAge is how old GitHub's word may be and still count.
const proofAge = 2 * time.Minute

// newGitHubProof returns nil if GitHub is not to be asked: no owner, or no token.
func newGitHubProof(cfg config, logger *slog.Logger) (*githubProof, error) {
	token := cfg.github.Token()
	if token == nil || cfg.github.Owner == "" {
		logger.Info("GitHub is not asked whether a runner is busy: the process list decides alone",
			"remedy", "set REPO_OWNER and GITHUB_PAT_FILE for a second proof")
		return nil, nil //nolint:nilnil // there is none, and that is no error
	}
	scope, err := cfg.github.Scope()
	if err != nil {
		return nil, fmt.Errorf("--github.owner, --github.repo: %w", err)
	}
	client, err := github.New(github.Options{
		APIURL: cfg.github.APIURL, Token: token, Scopes: []github.Scope{scope}, PollInterval: cfg.pollInterval,
		Logger: logger, UserAgent: program + "/" + version.Version,
	})
	if err != nil {
		return nil, fmt.Errorf("--github.api-url: %w", err)
	}
	return &githubProof{client}, nil
}

// orNil keeps a nil pointer from becoming an interface that is not nil.
func (p *githubProof) orNil() remedy.GitHub {
	if p == nil {
		return nil
	}
	return p
}

// Busy implements remedy.GitHub.
func (p *githubProof) Busy(slot string, slots []string) (busy, known bool) {
	return busyIn(p.client.Snapshot(), slot, slots, time.Now())
}

// busyIn finds the registrations of a slot: a registration belongs to the longest slot name that it is, or begins with
// before a dash. A slot that has none is not busy, as far as GitHub knows.
func busyIn(snapshot github.Snapshot, slot string, slots []string, now time.Time) (busy, known bool) {
	for _, scope := range snapshot.Scopes {
		if scope.LastSuccess.IsZero() || now.Sub(scope.LastSuccess) > proofAge {
			continue
		}
		known = true
		for _, runner := range scope.Runners {
			if runner.Busy && owner(runner.Name, slots) == slot {
				return true, true
			}
		}
	}
	return false, known
}

func owner(registration string, slots []string) string {
	longest := ""
	for _, s := range slots {
		if s != "" && (registration == s || strings.HasPrefix(registration, s+"-")) && len(s) > len(longest) {
			longest = s
		}
	}
	return longest
}
