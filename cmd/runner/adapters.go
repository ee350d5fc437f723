package main

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/prometheus/common/version"

	"github.com/blueguy23/ghostrunner/internal/github"
	"github.com/blueguy23/ghostrunner/internal/supervisor"
)

// registrar is GitHub as the supervisor sees it: one scope, one set of labels.
type registrar struct {
	client  *github.Client
	scope   github.Scope
	labels  []string
	groupID int64
}

var _ supervisor.Registrar = (*registrar)(nil)

func newRegistrar(cfg config) (*registrar, error) {
	client, err := github.New(github.Options{
		APIURL: cfg.github.APIURL, Token: cfg.github.Token(), UserAgent: program + "/" + version.Version,
	})
	if err != nil {
		return nil, err
	}
	return &registrar{client: client, scope: cfg.scope, labels: cfg.labels, groupID: cfg.groupID}, nil
}

// JITConfig implements supervisor.Registrar.
func (r *registrar) JITConfig(ctx context.Context, name string) (supervisor.JIT, error) {
	jit, err := r.client.JITConfig(ctx, r.scope, name, r.labels, r.groupID)
	return supervisor.JIT{ID: jit.RunnerID, Encoded: jit.Encoded}, err
}

// DeleteRunner implements supervisor.Registrar.
func (r *registrar) DeleteRunner(ctx context.Context, id int64) error {
	return r.client.DeleteRunner(ctx, r.scope, id)
}

// Runner implements supervisor.Registrar.
func (r *registrar) Runner(ctx context.Context, id int64) (supervisor.Registration, error) {
	g, err := r.client.Runner(ctx, r.scope, id)
	return registration(g), err
}

// Runners implements supervisor.Registrar.
func (r *registrar) Runners(ctx context.Context) ([]supervisor.Registration, error) {
	list, err := r.client.Runners(ctx, r.scope)
	all := make([]supervisor.Registration, 0, len(list))
	for _, g := range list {
		all = append(all, registration(g))
	}
	return all, err
}

// registration translates. A status that GitHub may invent is not "offline".
func registration(g github.Runner) supervisor.Registration {
	return supervisor.Registration{ID: g.ID, Name: g.Name, Online: g.Status != "offline", Busy: g.Busy}
}

// githubErrors tells the supervisor what errors of internal/github mean.
func githubErrors() supervisor.Errors {
	is := func(target error) func(error) bool {
		return func(err error) bool { return errors.Is(err, target) }
	}
	return supervisor.Errors{
		Busy: is(github.ErrBusy), NotFound: is(github.ErrNotFound), Conflict: is(github.ErrConflict),
		Refused: func(err error) bool {
			e, ok := errors.AsType[*github.Error](err)
			return ok && e.Status >= http.StatusBadRequest && e.Status < http.StatusInternalServerError
		},
		Cause: func(err error) string {
			e, ok := errors.AsType[*github.Error](err)
			switch {
			case !ok:
				return ""
			case e.Reason == github.ReasonAuth:
				return supervisor.CausePATInvalid
			case e.Reason == github.ReasonPermission:
				return supervisor.CausePATPermission
			default:
				return "github: " + e.Reason
			}
		},
		Hint: func(err error) string {
			if e, ok := errors.AsType[*github.Error](err); ok {
				return e.Hint
			}
			return ""
		},
		RetryAfter: func(err error) time.Duration {
			if e, ok := errors.AsType[*github.Error](err); ok {
				return e.RetryAfter
			}
			return 0
		},
	}
}
