package github

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	gogithub "github.com/google/go-github/v60/github"

	"github.com/blueguy23/ghostrunner/internal/runner"
)

// Bounds of a list: GitHub's largest page, and 10,000 runners, the most that an organization or
// enterprise can have.
const (
	pageSize = 100
	maxPages = 100
)

// changePause is how long GitHub asks to wait between two changes ("Best practices for using the
// REST API").
const changePause = time.Second

// Runners lists all registrations of the scope, by name. Unchanged pages cost no quota. Errors are
// *runner.Error, or the context's.
func (c *Client) Runners(ctx context.Context, scope Scope) ([]runner.Registration, error) {
	l, err := c.begin("list runners of "+scope.String(), scope)
	if err != nil {
		return nil, err
	}
	return l.runners(ctx)
}

func (l *call) runners(ctx context.Context) ([]runner.Registration, error) {
	list, complete, err := l.pages(ctx)
	if err == nil && !complete {
		// A runner that disappears moves all later ones forward, one of them onto a page that was
		// already read. Asking again costs almost nothing.
		list, _, err = l.pages(ctx)
	}
	return list, l.finish(ctx, true, err)
}

// pages reads the list once. complete is false if it changed meanwhile.
func (l *call) pages(ctx context.Context) (list []runner.Registration, complete bool, err error) {
	seen := map[int64]bool{}
	total, steady := 0, true
	for page := 1; page <= maxPages; page++ {
		var got gogithub.Runners
		resp, err := l.request(ctx, http.MethodGet, fmt.Sprintf("?page=%d&per_page=%d", page, pageSize), nil, &got)
		if err != nil {
			return nil, false, err
		}
		if got.Runners == nil {
			return nil, false, errors.New("the answer is not a list of runners")
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
		// The total counts too, for servers that send no Link header.
		more := resp.NextPage > page || len(got.Runners) >= pageSize && len(seen) < total
		if !more || len(got.Runners) == 0 {
			slices.SortFunc(list, func(a, b runner.Registration) int { return strings.Compare(a.Name, b.Name) })
			return list, steady && len(seen) == total, nil
		}
	}
	return nil, false, fmt.Errorf("more than %d runners", maxPages*pageSize)
}

// request makes a request below the scope's runners. go-github has a function for each kind of
// scope, with the same paths, and none for one runner of an enterprise.
func (l *call) request(ctx context.Context, method, below string, body, into any) (*gogithub.Response, error) {
	root := map[scopeKind]string{
		scopeRepository: "repos", scopeOrganization: "orgs", scopeEnterprise: "enterprises",
	}[l.scope.kind]
	api := gogithub.NewClient(&http.Client{Transport: l, CheckRedirect: l.redirect}) // a new one has no memory of rate limits
	api.BaseURL = l.c.base
	api.UserAgent = l.c.opts.UserAgent
	req, err := api.NewRequest(method, path.Join(root, l.scope.owner, l.scope.repo, "actions/runners")+below, body)
	if err != nil {
		return nil, err
	}
	return api.Do(ctx, req, into)
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

// DeleteRunner deletes a registration. While a job runs on it GitHub refuses, with runner.ErrBusy,
// which makes this the only atomic idle check. It returns runner.ErrNotFound only if the list, read
// with the same token, lacks the runner: a 404 alone may mean that the token lost access to the
// scope, while a job runs.
func (c *Client) DeleteRunner(ctx context.Context, scope Scope, id int64) error {
	l, err := c.begin(fmt.Sprintf("delete runner %d of %s", id, scope), scope)
	if err != nil {
		return err
	}
	err = l.change(ctx, func() error {
		resp, err := l.request(ctx, http.MethodDelete, "/"+strconv.FormatInt(id, 10), nil, nil)
		if err == nil && resp.StatusCode != http.StatusNoContent {
			err = errors.New("the answer is not 204 No Content")
		}
		return err
	})
	return l.confirmGone(ctx, err, id)
}

// confirmGone turns a 404 about one runner into runner.ErrNotFound if the list, read with the same
// token, lacks it. Other errors stay as they are.
func (l *call) confirmGone(ctx context.Context, err error, id int64) error {
	var e *runner.Error
	if !errors.As(err, &e) || e.Status != http.StatusNotFound {
		return err
	}
	list, listErr := l.c.call("list runners of "+l.scope.String(), l.scope, l.token).runners(ctx)
	switch {
	case listErr != nil:
		return err
	case slices.ContainsFunc(list, func(r runner.Registration) bool { return r.ID == id }):
		e.Hint = "GitHub lists the runner but does not find it: the list lags, or the token has no write access; " + needHint(l.scope)
	default:
		e.Err, e.Hint = fmt.Errorf("%w: %w", runner.ErrNotFound, e.Err), ""
	}
	return err
}

// JITConfig registers a runner just in time under a name that is not in use. groupID 0 means the
// default group, 1.
func (c *Client) JITConfig(ctx context.Context, scope Scope, name string, labels []string, groupID int64) (runner.JIT, error) {
	l, err := c.begin("register runner at "+scope.String(), scope)
	if err != nil {
		return runner.JIT{}, err
	}
	if name == "" || len(name) > 64 || len(labels) == 0 || len(labels) > 100 {
		return runner.JIT{}, &runner.Error{Op: l.op, Reason: runner.ReasonInvalid, Err: errors.New("want a name of 1 to 64 bytes and 1 to 100 labels")}
	}
	if groupID == 0 {
		groupID = 1
	}
	var got gogithub.JITRunnerConfig
	err = l.change(ctx, func() error {
		want := gogithub.GenerateJITConfigRequest{Name: name, RunnerGroupID: groupID, Labels: labels}
		_, err := l.request(ctx, http.MethodPost, "/generate-jitconfig", want, &got)
		if err == nil && (got.GetRunner().GetID() == 0 || got.GetEncodedJITConfig() == "") {
			err = errors.New("the answer has no runner or no configuration")
		}
		return err
	})
	if err != nil {
		if e, ok := errors.AsType[*runner.Error](err); ok && e.Status == http.StatusUnprocessableEntity {
			e.Hint = "GitHub does not accept this registration: check the labels and the runner group, and whether " + scope.String() + " has reached its limit of runners"
		}
		return runner.JIT{}, err
	}
	return runner.JIT{ID: got.GetRunner().GetID(), Encoded: got.GetEncodedJITConfig()}, nil
}

// change runs a request that changes something and finishes the call. Changes are made one at a
// time, changePause apart.
func (l *call) change(ctx context.Context, do func() error) error {
	select {
	case l.c.change <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", l.op, ctx.Err())
	}
	err := do()
	time.AfterFunc(changePause, func() { <-l.c.change })
	return l.finish(ctx, false, err)
}
