package dockerproxy

import (
	"context"
	"errors"
	"fmt"
)

// remediatorRules are the calls of ghostrunner-remediator. It may end and start what the label ghostrunner.heal allows,
// and remove what nothing needs. Containers of others it sees in lists alone: an image that one of them is made from is in use.
func remediatorRules(e engine, labels, prune pairs) []rule {
	healable := func(ctx context.Context, id string) error {
		l, err := e.container(ctx, id)
		switch {
		case err != nil:
			return err
		case !labels.in(l):
			return errors.New("the container is none of ours")
		case !heals(l):
			return fmt.Errorf("its labels do not allow it: %s=%q %s=%q", labelRole, l[labelRole], labelHeal, l[labelHeal])
		}
		return nil
	}
	ours := func(ctx context.Context, id string) error {
		l, err := e.container(ctx, id)
		if err == nil && !labels.in(l) {
			err = errors.New("the container is none of ours")
		}
		return err
	}
	leftover := func(ctx context.Context, id string) error {
		l, err := e.container(ctx, id)
		switch {
		case err != nil:
			return err
		case len(prune) == 0 || !labels.in(l) || !prune.in(l): // without the label nothing says which are left over
			return errors.New("the container is no leftover of ours")
		case l[labelRole] != "":
			return fmt.Errorf("the container has %s=%s: it is never removed", labelRole, l[labelRole])
		}
		return nil
	}
	prunable := func(ctx context.Context, ref string) error {
		if len(prune) == 0 {
			return nil
		}
		l, err := e.image(ctx, ref)
		if err == nil && !prune.in(l) {
			err = fmt.Errorf("the image lacks the label %s", prune[0])
		}
		return err
	}
	rules := []rule{
		{method: "HEAD", path: "/_ping", limit: quick},
		{method: "GET", path: "/_ping", limit: quick}, // where HEAD failed
		{method: "GET", path: "/info", limit: quick},
		{method: "GET", path: "/containers/json", query: params{"all": oneOf("1"), "size": oneOf("1"), "filters": anyFilters}, limit: slow},
		// Other options of ps would print the environment of every process, and with it secrets.
		{method: "GET", path: "/containers/{id}/top", object: ours, query: params{"ps_args": exactly("-eo pid,args")}, limit: quick},
		{method: "POST", path: "/containers/{id}/kill", object: healable, query: params{"signal": exactly("SIGTERM")}, limit: quick},
		{method: "POST", path: "/containers/{id}/start", object: healable, limit: slow},
		// A stop that waits no second is a kill. Without a time the container's own grace period holds.
		{method: "POST", path: "/containers/{id}/stop", object: healable, query: params{"t": number(1)}},
		{method: "POST", path: "/containers/{id}/restart", object: healable, query: params{"t": number(1)}},
		{method: "DELETE", path: "/containers/{id}", object: leftover, limit: slow},
		{method: "GET", path: "/images/json", query: params{"all": oneOf("1"), "shared-size": oneOf("1"), "filters": anyFilters}, limit: slow},
		// When images are used: of each container of the engine its name, its labels and its image, as in a list.
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
