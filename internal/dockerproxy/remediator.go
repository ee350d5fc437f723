package dockerproxy

import (
	"context"
	"errors"
	"fmt"

	"github.com/blueguy23/ghostrunner/internal/runner"
)

type objects struct {
	engine engine
	labels pairs // of our containers
	prune  pairs // of what may be removed; empty: any unused image
}

// remediatorRules are the calls of ghostrunner-remediator. It may stop and start what the label
// ghostrunner.heal allows, and remove what is not in use. It sees containers of others only in
// lists, because an image that one of them is made from is in use.
func remediatorRules(o objects) []rule {
	rules := []rule{
		{method: "HEAD", path: "/_ping", limit: quick},
		{method: "GET", path: "/_ping", limit: quick}, // the client's second try, and the health check
		{method: "GET", path: "/info", limit: quick},
		{method: "GET", path: "/containers/json", query: params{"all": oneOf("1"), "size": oneOf("1"), "filters": anyFilters}, limit: slow},
		// Other options of ps print the environment of every process, which holds secrets.
		{method: "GET", path: "/containers/{id}/top", object: o.own, query: params{"ps_args": exactly("-eo pid,args")}, limit: quick},
		{method: "POST", path: "/containers/{id}/kill", object: o.mayHeal, query: params{"signal": exactly("SIGTERM")}, limit: quick},
		{method: "POST", path: "/containers/{id}/start", object: o.mayHeal, limit: slow},
		// A stop with less than a second is a kill. Without a time the container's grace period
		// holds.
		{method: "POST", path: "/containers/{id}/stop", object: o.mayHeal, query: params{"t": number(1)}},
		{method: "POST", path: "/containers/{id}/restart", object: o.mayHeal, query: params{"t": number(1)}},
		{method: "DELETE", path: "/containers/{id}", object: o.leftover, limit: slow},
		{method: "GET", path: "/images/json", query: params{"all": oneOf("1"), "shared-size": oneOf("1"), "filters": anyFilters}, limit: slow},
		// For when images are used: name, labels and image of each container of the engine.
		{method: "GET", path: "/events", query: params{"filters": exactly(`{"event":{"create":true,"destroy":true},"type":{"container":true}}`)}},
		{method: "GET", path: "/images/{image}/json", limit: quick},
		{method: "DELETE", path: "/images/{image}", object: o.prunable, limit: slow},
	}
	if len(o.prune) == 0 {
		rules = append(rules,
			rule{method: "GET", path: "/system/df", query: params{"type": exactly("build-cache")}, limit: slow},
			rule{method: "POST", path: "/build/prune", query: params{"all": exactly("1"), "filters": oneOf("{}", `{"until":{"1h0m0s":true}}`)}, limit: slow})
	}
	return rules
}

func (o objects) ours(ctx context.Context, id string) (map[string]string, error) {
	l, err := o.engine.container(ctx, id)
	if err == nil && !o.labels.in(l) {
		err = errors.New("the container is not ours")
	}
	return l, err
}

func (o objects) own(ctx context.Context, id string) error {
	_, err := o.ours(ctx, id)
	return err
}

func (o objects) mayHeal(ctx context.Context, id string) error {
	l, err := o.ours(ctx, id)
	if err == nil && !healable(l) {
		err = fmt.Errorf("its labels do not allow it: %s=%q %s=%q", runner.LabelRole, l[runner.LabelRole], runner.LabelHeal, l[runner.LabelHeal])
	}
	return err
}

func (o objects) leftover(ctx context.Context, id string) error {
	l, err := o.ours(ctx, id)
	switch {
	case err != nil:
		return err
	case len(o.prune) == 0 || !o.prune.in(l): // without the label nothing shows that it is left over
		return errors.New("the container is not a leftover of ours")
	case l[runner.LabelRole] != "":
		return fmt.Errorf("the container has %s=%s: it is never removed", runner.LabelRole, l[runner.LabelRole])
	}
	return nil
}

func (o objects) prunable(ctx context.Context, ref string) error {
	if len(o.prune) == 0 {
		return nil
	}
	l, err := o.engine.image(ctx, ref)
	if err == nil && !o.prune.in(l) {
		err = fmt.Errorf("the image does not have the label %s", o.prune[0])
	}
	return err
}
