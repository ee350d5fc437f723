package main

import (
	"context"

	"github.com/prometheus/common/version"

	"github.com/blueguy23/ghostrunner/internal/github"
	"github.com/blueguy23/ghostrunner/internal/runner"
)

// registrar implements supervisor.Registrar for one scope and one set of labels.
type registrar struct {
	client  *github.Client
	scope   github.Scope
	labels  []string
	groupID int64
}

func newRegistrar(cfg config) (*registrar, error) {
	client, err := github.New(github.Options{
		APIURL: cfg.github.APIURL, Token: cfg.github.Token(), UserAgent: program + "/" + version.Version,
	})
	if err != nil {
		return nil, err
	}
	return &registrar{client: client, scope: cfg.scope, labels: cfg.labels, groupID: cfg.groupID}, nil
}

func (r *registrar) JITConfig(ctx context.Context, name string) (runner.JIT, error) {
	return r.client.JITConfig(ctx, r.scope, name, r.labels, r.groupID)
}

func (r *registrar) DeleteRunner(ctx context.Context, id int64) error {
	return r.client.DeleteRunner(ctx, r.scope, id)
}

func (r *registrar) Runner(ctx context.Context, id int64) (runner.Registration, error) {
	return r.client.Runner(ctx, r.scope, id)
}

func (r *registrar) Runners(ctx context.Context) ([]runner.Registration, error) {
	return r.client.Runners(ctx, r.scope)
}
