package github

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	gogithub "github.com/google/go-github/v60/github"

	"github.com/blueguy23/ghostrunner/internal/runner"
)

// Bounds of a list: GitHub's page size limit, and 10,000 runners, which is what
// an organisation or enterprise may have.
const (
	pageSize = 100
	maxPages = 100
)

// mutationPause is how long GitHub wants between two changes ("Best practices
// for using the REST API").
const mutationPause = time.Second

// Runners lists all registrations of the scope, by name. Unchanged pages are
// asked for conditionally and cost no quota. Errors are *runner.Error, or the context's.
func (c *Client) Runners(ctx context.Context, scope Scope) ([]runner.Registration, error) {
	op := "list runners of " + scope.String()
	l, err := c.begin(op, scope)
	if err != nil {
		return nil, err
	}
	return l.runners(ctx, op)
}

func (l *call) runners(ctx context.Context, op string) ([]runner.Registration, error) {
	list, complete, err := l.pages(ctx)
	if err == nil && !complete {
		// A runner that goes away moves all later ones forward, one of them over
		// the edge of a page that was read already. Asking again is nearly free.
		list, _, err = l.pages(ctx)
	}
	return list, l.finish(ctx, op, true, err)
}

// pages reads the list once. complete is false if it changed meanwhile.
func (l *call) pages(ctx context.Context) (list []runner.Registration, complete bool, err error) {
	api := l.api()
	seen := map[int64]bool{}
	total, steady := 0, true
	for page := 1; page <= maxPages; page++ {
		got, resp, err := l.page(ctx, api, &gogithub.ListOptions{Page: page, PerPage: pageSize})
		if err != nil {
			return nil, false, err
		}
		if got == nil || got.Runners == nil {
			return nil, false, errors.New("the answer is no list of runners")
		}
		steady = steady && (page == 1 || got.TotalCount == total)
		total = got.TotalCount
		for _, r := range got.Runners {
			if r == nil || r.GetID() == 0 || r.GetName() == "" {
				return nil, false, errors.New("the list has a runner without id or name")
			}
			if !seen[r.GetID()] {
				seen[r.GetID()] = true
				list = append(list, convert(r))
			}
		}
		// The total is asked as well, for servers that send no Link header.
		more := resp.NextPage > page || len(got.Runners) >= pageSize && len(seen) < total
		if !more || len(got.Runners) == 0 {
			slices.SortFunc(list, func(a, b runner.Registration) int { return strings.Compare(a.Name, b.Name) })
			return list, steady && len(seen) == total, nil
		}
	}
	return nil, false, fmt.Errorf("more than %d runners", maxPages*pageSize)
}

func (l *call) page(ctx context.Context, api *gogithub.Client, o *gogithub.ListOptions) (*gogithub.Runners, *gogithub.Response, error) {
	switch l.scope.kind {
	case scopeOrganization:
		return api.Actions.ListOrganizationRunners(ctx, l.scope.owner, o)
	case scopeEnterprise:
		return api.Enterprise.ListRunners(ctx, l.scope.owner, o)
	default:
		return api.Actions.ListRunners(ctx, l.scope.owner, l.scope.repo, o)
	}
}

func convert(r *gogithub.Runner) runner.Registration {
	out := runner.Registration{ID: r.GetID(), Name: r.GetName(), OS: r.GetOS(), Status: r.GetStatus(), Busy: r.GetBusy()}
	for _, label := range r.Labels {
		if name := label.GetName(); name != "" {
			out.Labels = append(out.Labels, name)
		}
	}
	return out
}

// DeleteRunner removes a registration. GitHub refuses while a job runs on it,
// which makes this the only atomic test for an idle runner: then the error is
// runner.ErrBusy and nothing has changed. runner.ErrNotFound is returned only when the list,
// read with the same token, lacks the runner; a 404 alone may mean that the
// token has lost sight of the scope, and a job may be running.
func (c *Client) DeleteRunner(ctx context.Context, scope Scope, id int64) error {
	op := fmt.Sprintf("delete runner %d of %s", id, scope)
	l, err := c.begin(op, scope)
	if err != nil {
		return err
	}
	if err := c.lockMutation(ctx); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	err = l.remove(ctx, id)
	c.unlockMutation()
	if err == nil && (l.last == nil || l.last.status != http.StatusNoContent) {
		err = errors.New("the answer is not 204 No Content")
	}
	err = l.finish(ctx, op, false, err)
	return l.confirmGone(ctx, err, id)
}

// confirmGone makes a 404 about one runner runner.ErrNotFound if the list, read with
// the same token, lacks it. Other errors stay as they are.
func (l *call) confirmGone(ctx context.Context, err error, id int64) error {
	c, scope := l.c, l.scope
	var e *runner.Error
	if !errors.As(err, &e) || e.Status != http.StatusNotFound {
		return err
	}
	list, listErr := c.call(scope, l.token).runners(ctx, "list runners of "+scope.String())
	switch {
	case listErr != nil:
		return err
	case slices.ContainsFunc(list, func(r runner.Registration) bool { return r.ID == id }):
		e.Hint = "GitHub lists the runner but does not find it: the list lags, or the token has no write access; " + needHint(scope)
	default:
		e.Err, e.Hint = fmt.Errorf("%w: %w", runner.ErrNotFound, e.Err), ""
	}
	return err
}

func (l *call) remove(ctx context.Context, id int64) (err error) {
	api := l.api()
	switch l.scope.kind {
	case scopeOrganization:
		_, err = api.Actions.RemoveOrganizationRunner(ctx, l.scope.owner, id)
	case scopeEnterprise:
		_, err = api.Enterprise.RemoveRunner(ctx, l.scope.owner, id)
	default:
		_, err = api.Actions.RemoveRunner(ctx, l.scope.owner, l.scope.repo, id)
	}
	return err
}

// JITConfig registers a runner just in time. The name must not be taken: the
// error is runner.ErrNameTaken otherwise. groupID 0 means the default group, 1.
func (c *Client) JITConfig(ctx context.Context, scope Scope, name string, labels []string, groupID int64) (runner.JIT, error) {
	op := "register runner at " + scope.String()
	l, err := c.begin(op, scope)
	if err != nil {
		return runner.JIT{}, err
	}
	if name == "" || len(name) > 64 || len(labels) == 0 || len(labels) > 100 {
		return runner.JIT{}, &runner.Error{Op: op, Reason: runner.ReasonInvalid, Err: errors.New("want a name of 1 to 64 bytes and 1 to 100 labels")}
	}
	if groupID == 0 {
		groupID = 1
	}
	if err := c.lockMutation(ctx); err != nil {
		return runner.JIT{}, fmt.Errorf("%s: %w", op, err)
	}
	got, err := l.generate(ctx, &gogithub.GenerateJITConfigRequest{Name: name, RunnerGroupID: groupID, Labels: labels})
	c.unlockMutation()
	if err == nil && (got.GetRunner().GetID() == 0 || got.GetEncodedJITConfig() == "") {
		err = errors.New("the answer has no runner or no configuration")
	}
	if err = l.finish(ctx, op, false, err); err != nil {
		if e, ok := errors.AsType[*runner.Error](err); ok && e.Status == http.StatusUnprocessableEntity {
			e.Hint = "GitHub does not take this registration: check the labels and the runner group, and whether " + scope.String() + " has all the runners that it may have"
		}
		return runner.JIT{}, err
	}
	return runner.JIT{ID: got.GetRunner().GetID(), Encoded: got.GetEncodedJITConfig()}, nil
}

func (l *call) generate(ctx context.Context, r *gogithub.GenerateJITConfigRequest) (got *gogithub.JITRunnerConfig, err error) {
	api := l.api()
	switch l.scope.kind {
	case scopeOrganization:
		got, _, err = api.Actions.GenerateOrgJITConfig(ctx, l.scope.owner, r)
	case scopeEnterprise:
		got, _, err = api.Enterprise.GenerateEnterpriseJITConfig(ctx, l.scope.owner, r)
	default:
		got, _, err = api.Actions.GenerateRepoJITConfig(ctx, l.scope.owner, l.scope.repo, r)
	}
	return got, err
}

// lockMutation waits for the turn to change something: one change at a time, a
// pause between two.
func (c *Client) lockMutation(ctx context.Context) error {
	select {
	case c.mutation <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	wait := mutationPause - time.Since(c.lastWrite)
	if c.lastWrite.IsZero() || wait <= 0 {
		return nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		<-c.mutation
		return ctx.Err()
	}
}

func (c *Client) unlockMutation() {
	c.lastWrite = time.Now()
	<-c.mutation
}
