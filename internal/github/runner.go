package github

import (
	"context"
	"fmt"
	"net/http"
	"strconv"

	gogithub "github.com/google/go-github/v60/github"

	"github.com/blueguy23/ghostrunner/internal/runner"
)

// Runner reads one registration with one conditional request. It returns runner.ErrNotFound as
// DeleteRunner does.
//
// A slot gets a new registration after each job, so the cache keeps one page for all of a scope.
// That is safe: the body names the runner, so its ETag cannot confirm another runner's.
func (c *Client) Runner(ctx context.Context, scope Scope, id int64) (runner.Registration, error) {
	l, err := c.begin(fmt.Sprintf("read runner %d of %s", id, scope), scope)
	if err != nil {
		return runner.Registration{}, err
	}
	l.cacheAs = "runner of " + scope.String()
	var got gogithub.Runner
	_, err = l.request(ctx, http.MethodGet, "/"+strconv.FormatInt(id, 10), nil, &got)
	if err == nil && (got.GetID() != id || got.GetName() == "") {
		err = fmt.Errorf("the answer is not runner %d", id)
	}
	if err = l.finish(ctx, false, err); err != nil {
		return runner.Registration{}, l.confirmGone(ctx, err, id)
	}
	return convert(&got), nil
}

// CheckRegister checks whether the token may register runners, which the answer to a list does not
// show for a fine-grained token. It requests a registration token, which needs the same permission
// and changes nothing, and drops it.
func (c *Client) CheckRegister(ctx context.Context, scope Scope) error {
	l, err := c.begin("ask for the right to register runners at "+scope.String(), scope)
	if err != nil {
		return err
	}
	return l.change(ctx, func() error {
		_, err := l.request(ctx, http.MethodPost, "/registration-token", nil, nil)
		return err
	})
}
