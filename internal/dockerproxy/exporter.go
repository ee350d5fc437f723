package dockerproxy

import (
	"context"
	"errors"

	"github.com/blueguy23/ghostrunner/internal/runner"
)

// exporterRules are the calls of ghostrunner-exporter. It only reads: which of our containers
// exist, their events, what our runners print, and how much space could be freed.
func exporterRules(o objects) []rule {
	ourRunner := func(ctx context.Context, id string) error {
		l, err := o.ours(ctx, id)
		if err == nil && l[runner.LabelRole] != runner.RoleRunner {
			err = errors.New("the container is not a runner")
		}
		return err
	}
	return []rule{
		{method: "HEAD", path: "/_ping", limit: quick},
		{method: "GET", path: "/_ping", limit: quick}, // the client's second try, and the health check
		{method: "GET", path: "/info", limit: quick},
		{method: "GET", path: "/containers/json", query: params{"all": oneOf("1"), "filters": ownFilters(o.labels)}, limit: quick},
		{method: "GET", path: "/events", query: params{"since": number(0), "filters": ownFilters(o.labels)}},
		{method: "GET", path: "/containers/{id}/logs", object: ourRunner, query: params{
			"stdout": oneOf("1"), "stderr": oneOf("1"), "timestamps": oneOf("1"), "follow": oneOf("1"), "tail": oneOf("all"), "since": number(0), "until": number(0),
		}},
		{method: "GET", path: "/system/df", query: params{"type": oneOf("image", "container", "build-cache")}, many: "type", limit: slow},
	}
}
