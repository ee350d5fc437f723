package dockerproxy

import (
	"context"
	"errors"
)

// exporterRules are the calls of ghostrunner-exporter. It only reads: which of our containers there are, what happens to
// them, what our runners print, and how much could be freed.
func exporterRules(e engine, labels pairs) []rule {
	ours := func(ctx context.Context, id string) error {
		l, err := e.container(ctx, id)
		switch {
		case err != nil:
			return err
		case !labels.in(l) || l[labelRole] != roleRunner:
			return errors.New("the container is no runner of ours")
		}
		return nil
	}
	return []rule{
		{method: "HEAD", path: "/_ping", limit: quick},
		{method: "GET", path: "/_ping", limit: quick}, // where HEAD failed
		{method: "GET", path: "/info", limit: quick},
		{method: "GET", path: "/containers/json", query: params{"all": oneOf("1"), "filters": ownFilters(labels)}, limit: quick},
		{method: "GET", path: "/events", query: params{"since": number(0), "filters": ownFilters(labels)}},
		{method: "GET", path: "/containers/{id}/logs", object: ours, query: params{
			"stdout": oneOf("1"), "stderr": oneOf("1"), "timestamps": oneOf("1"), "follow": oneOf("1"), "tail": oneOf("all"), "since": number(0), "until": number(0),
		}},
		{method: "GET", path: "/system/df", query: params{"type": oneOf("image", "container", "build-cache")}, many: "type", limit: slow},
	}
}
