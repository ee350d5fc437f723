package main

import (
	"context"
	"fmt"
	"time"

	"github.com/blueguy23/ghostrunner/e2e/scenario"
	"github.com/blueguy23/ghostrunner/e2e/stack"
)

// networkFaults strike names and packets.
func (w *world) networkFaults() []scenario.Fault {
	var cut time.Time
	swallow, spit := w.hole(two)
	resolves := state(w.holds(fmt.Sprintf("ghostrunner_dns_lookup_success{name=%q} == 1", apiName)))
	return []scenario.Fault{
		{
			Name: "DNS dead", Story: "the DNS server answers SERVFAIL to everything, as after a change of VPN",
			Break:  act(w.dnsDies),
			Metric: fmt.Sprintf("ghostrunner_dns_lookup_success{name=%q} == 0", apiName), Alert: alert("GhostrunnerDNSFailing"),
			Mend: act(func(context.Context) error { w.dns.live(); return nil }),
			// Names resolve again before a listener wakes from its retry: then a restart is in order.
			Then:   []string{"restart " + one, "restart " + two},
			Healed: both(resolves, runnersOnline()), Costs: 2,
		}, {
			Name: "DNS slow", Story: "the DNS server takes a second for each answer",
			Break:  act(func(context.Context) error { w.dns.delay.Store(int64(time.Second)); return nil }),
			Metric: fmt.Sprintf("ghostrunner_dns_lookup_duration_seconds{name=%q} > 0.9", apiName),
			Mend:   act(func(context.Context) error { w.dns.delay.Store(0); return nil }),
			Healed: both(resolves, runnersOnline()),
		}, {
			Name: "cable of one runner", Story: two + "'s packets vanish without a word",
			Break: w.alone(two, act(func(ctx context.Context) error {
				_, _, err := w.machine.Unplug(ctx, w.Container(two))
				return err
			})),
			// A restart gives the container a new cable.
			Metric: offline(two), Alert: alert("GhostrunnerRunnerOffline"), Before: w.whenOld(two), Action: restart(two), Costs: 1,
			Healed: scenario.Online(two),
		}, {
			Name: "black hole", Story: two + "'s connections to GitHub open, and what it sends is swallowed, until its container is started anew",
			Break: w.alone(two, swallow),
			// The listener waits 100 s for an answer, so it is GitHub that knows first.
			Metric: offline(two), Alert: alert("GhostrunnerRunnerOffline"), Before: w.whenOld(two), Action: restart(two), Costs: 1,
			Mend:   spit,
			Healed: scenario.Online(two),
		}, {
			Name: "no way to GitHub", Story: "everything that is sent to GitHub vanishes, for both runners and for us",
			Break: act(func(context.Context) error {
				cut = time.Now()
				w.github.cut(everyone)
				return nil
			}),
			Metric: "ghostrunner_github_up == 0", Alert: alert("GhostrunnerGitHubUnreachable"),
			Mend: act(func(context.Context) error { w.github.mend(everyone); return nil }),
			// Names resolve and GitHub answers us again before a listener wakes from its retry: then a restart is in order.
			Then:   []string{"restart " + one, "restart " + two},
			Healed: both(runnersOnline(), w.polling(&cut)), Costs: 2, Patience: 5 * time.Minute,
		},
	}
}

// hole swallows what a slot's container sends to GitHub, over connections of before and of now, until the container is started
// anew or the hole is closed.
func (w *world) hole(slot string) (dig, fill step) {
	var address string
	fill = act(func(context.Context) error {
		if address != "" {
			w.github.mend(address)
		}
		return nil
	})
	dig = act(func(ctx context.Context) (err error) {
		if address, err = w.address(ctx, w.Container(slot)); err != nil {
			return err
		}
		events, err := w.Events(ctx)
		if err != nil {
			return err
		}
		swallowed := address
		go func() {
			if _, err := stack.AwaitEvent(ctx, events, w.Container(slot), "start"); err == nil {
				w.github.mend(swallowed)
			}
		}()
		w.github.cut(address)
		return nil
	})
	return dig, fill
}

// dnsDies kills the DNS server when the exporter asks it next. It asks each fifteen seconds, which the haste of the demo leaves
// as they are: what takes a minute out there, such as a retry loop, is here over before.
func (w *world) dnsDies(ctx context.Context) error {
	address, err := w.address(ctx, w.service("exporter"))
	if err != nil {
		return err
	}
	w.dns.dieFor(address)
	return stack.Await(ctx, "the exporter to ask for a name", func(context.Context) (bool, error) { return w.dns.dead.Load(), nil })
}

// address is where the connections of a container to the machine come from.
func (w *world) address(ctx context.Context, container string) (string, error) {
	return w.Docker(ctx, "inspect", "--format={{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", container)
}
