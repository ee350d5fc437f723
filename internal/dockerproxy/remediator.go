package dockerproxy

import (
	"context"
	"errors"
	"fmt"

	"github.com/blueguy23/ghostrunner/internal/runner"
)

// remediatorRules are the calls of ghostrunner-remediator. It may stop and start what the label
// ghostrunner.heal allows, and remove what is not in use. It sees containers of others only in
// lists, because an image that one of them is made from is in use.
func remediatorRules(e engine, labels, prune pairs) []rule {
	ours := func(ctx context.Context, id string) (map[string]string, error) {
		l, err := e.container(ctx, id)
		if err == nil && !labels.in(l) {
			err = errors.New("the container is not ours")
		}
		return l, err
	}
	own := func(ctx context.Context, id string) error {
		_, err := ours(ctx, id)
		return err
	}
	mayHeal := func(ctx context.Context, id string) error {
		l, err := ours(ctx, id)
		if err == nil && !healable(l) {
			err = fmt.Errorf("its labels do not allow it: %s=%q %s=%q", runner.LabelRole, l[runner.LabelRole], runner.LabelHeal, l[runner.LabelHeal])
		}
		return err
	}
	leftover := func(ctx context.Context, id string) error {
		l, err := ours(ctx, id)
		switch {
		case err != nil:
			return err
		case len(prune) == 0 || !prune.in(l): // without the label nothing shows that it is left over
			return errors.New("the container is not a leftover of ours")
		case l[runner.LabelRole] != "":
			return fmt.Errorf("the container has %s=%s: it is never removed", runner.LabelRole, l[runner.LabelRole])
		}
		return nil
	}
	prunable := func(ctx context.Context, ref string) error {
		if len(prune) == 0 {
			return nil
		}
		l, err := e.image(ctx, ref)
		if err == nil && !prune.in(l) {
			err = fmt.Errorf("the image does not have the label %s", prune[0])
		}
		return err
	}
	rules := []rule{
		{method: "HEAD", path: "/_ping", limit: quick},
		{method: "GET", path: "/_ping", limit: quick}, // the client's second try, and the health check
		{method: "GET", path: "/info", limit: quick},
		{method: "GET", path: "/containers/json", query: params{"all": oneOf("1"), "size": oneOf("1"), "filters": anyFilters}, limit: slow},
		// Other options of ps print the environment of every process, which holds secrets.
		{method: "GET", path: "/containers/{id}/top", object: own, query: params{"ps_args": exactly("-eo pid,args")}, limit: quick},
		{method: "POST", path: "/containers/{id}/kill", object: mayHeal, query: params{"signal": exactly("SIGTERM")}, limit: quick},
		{method: "POST", path: "/containers/{id}/start", object: mayHeal, limit: slow},
		// A stop with less than a second is a kill. Without a time the container's grace period
		// holds.
		{method: "POST", path: "/containers/{id}/stop", object: mayHeal, query: params{"t": number(1)}},
		{method: "POST", path: "/containers/{id}/restart", object: mayHeal, query: params{"t": number(1)}},
		{method: "DELETE", path: "/containers/{id}", object: leftover, limit: slow},
		{method: "GET", path: "/images/json", query: params{"all": oneOf("1"), "shared-size": oneOf("1"), "filters": anyFilters}, limit: slow},
		// For when images are used: name, labels and image of each container of the engine.
		{method: "GET", path: "/events", query: params{"filters": eventsOf("create", "destroy")}},
		{method: "GET", path: "/images/{image}/json", limit: quick},
		{method: "DELETE", path: "/images/{image}", object: prunable, limit: slow},
	}
	if len(prune) == 0 {
		rules = append(rules,
			rule{method: "GET", path: "/system/df", query: params{"type": exactly("build-cache")}, limit: slow},
			rule{method: "POST", path: "/build/prune", query: params{"all": exactly("1"), "filters": oneOf("{}", `{"until":{"1h0m0s":true}}`)}, limit: slow})
	}
	return rules
}
