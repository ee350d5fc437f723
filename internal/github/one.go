package github

import (
	"context"
	"fmt"
	"net/http"
	"path"
	"strconv"

	gogithub "github.com/google/go-github/v60/github"

	"github.com/blueguy23/ghostrunner/internal/runner"
)

// Runner reads one registration, with one conditional request. runner.ErrNotFound means
// what it means for DeleteRunner.
//
// A slot's registration is another one after each job, so the page is kept under
// one name for all of a scope's: an ETag is of one body, and the body names the
// runner, so no answer can be confirmed by what was kept of another one.
func (c *Client) Runner(ctx context.Context, scope Scope, id int64) (runner.Registration, error) {
	op := fmt.Sprintf("read runner %d of %s", id, scope)
	l, err := c.begin(op, scope)
	if err != nil {
		return runner.Registration{}, err
	}
	l.keepAs = "runner of " + scope.String()
	var got gogithub.Runner
	err = l.request(ctx, http.MethodGet, strconv.FormatInt(id, 10), &got)
	if err == nil && (got.GetID() != id || got.GetName() == "") {
		err = fmt.Errorf("the answer is not runner %d", id)
	}
	if err = l.finish(ctx, op, false, err); err != nil {
		return runner.Registration{}, l.confirmGone(ctx, err, id)
	}
	return convert(&got), nil
}

// CheckRegister tells whether the token may register runners, which lists do not
// tell of a fine-grained token: it has GitHub make a registration token, which is
// the one thing that needs the right to write and leaves nothing behind, and
// forgets it.
func (c *Client) CheckRegister(ctx context.Context, scope Scope) error {
	op := "ask for the right to register runners at " + scope.String()
	l, err := c.begin(op, scope)
	if err != nil {
		return err
	}
	if err := c.lockMutation(ctx); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	err = l.request(ctx, http.MethodPost, "registration-token", nil)
	c.unlockMutation()
	return l.finish(ctx, op, false, err)
}

// request makes a request below the scope's runners. go-github v60 has none for
// one runner of an enterprise.
func (l *call) request(ctx context.Context, method, below string, into any) error {
	root := map[scopeKind]string{
		scopeRepository: "repos", scopeOrganization: "orgs", scopeEnterprise: "enterprises",
	}[l.scope.kind]
	api := l.api()
	req, err := api.NewRequest(method, path.Join(root, l.scope.owner, l.scope.repo, "actions/runners", below), nil)
	if err != nil {
		return err
	}
	_, err = api.Do(ctx, req, into)
	return err
}
