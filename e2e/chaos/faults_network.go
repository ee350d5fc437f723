package main

import (
	"context"
	"fmt"
	"time"

	"github.com/blueguy23/ghostrunner/e2e/scenario"
	"github.com/blueguy23/ghostrunner/e2e/stack"
)

// networkFaults affect DNS and connections.
func (w *world) networkFaults() []scenario.Fault {
	var cut time.Time
	dropPackets, stopDropping := w.blackHole(two)
	resolves := w.holds(fmt.Sprintf("ghostrunner_dns_lookup_success{name=%q} == 1", apiName))
	// A listener may still wait before its next try when the outage is over: then a restart is
	// right.
	restarts := []string{"restart " + one, "restart " + two}
	return []scenario.Fault{
		{
			Name: "DNS dead", Description: "the DNS server answers SERVFAIL to everything, as after a change of VPN",
			Inject: w.failDNS,
			Metric: fmt.Sprintf("ghostrunner_dns_lookup_success{name=%q} == 0", apiName), Alert: alert("GhostrunnerDNSFailing"),
			Remove:       func(context.Context) error { w.dns.restore(); return nil },
			AllowedLater: restarts, Healed: both(resolves, w.runnersOnline()), MaxJobsLost: 2,
		}, {
			Name: "DNS slow", Description: "the DNS server takes a second for each answer",
			Inject: func(context.Context) error { w.dns.delay.Store(int64(time.Second)); return nil },
			Metric: fmt.Sprintf("ghostrunner_dns_lookup_duration_seconds{name=%q} > 0.9", apiName),
			Remove: func(context.Context) error { w.dns.delay.Store(0); return nil },
			Healed: both(resolves, w.runnersOnline()),
		}, {
			Name: "runner disconnected", Description: two + "'s packets are lost without an error",
			Inject: w.whenIdle(two, func(ctx context.Context) error {
				_, _, err := w.machine.Disconnect(ctx, w.Container(two))
				return err
			}),
			// A restart connects the container again.
			Metric: offline(two), Alert: alert("GhostrunnerRunnerOffline"), Ready: w.startedLongAgo(two), Action: "restart " + two, MaxJobsLost: 1,
			Healed: scenario.Online(w.Stack, two),
		}, {
			Name: "black hole", Description: two + "'s connections to GitHub open, but what it sends is lost, until its container is restarted",
			Inject: w.whenIdle(two, dropPackets),
			// The listener waits 100 s for an answer, so GitHub detects this first.
			Metric: offline(two), Alert: alert("GhostrunnerRunnerOffline"), Ready: w.startedLongAgo(two), Action: "restart " + two, MaxJobsLost: 1,
			Remove: stopDropping,
			Healed: scenario.Online(w.Stack, two),
		}, {
			Name: "no way to GitHub", Description: "everything that is sent to GitHub is lost, from both runners, the exporter and the remediator",
			Inject: func(context.Context) error {
				cut = time.Now()
				w.github.cut(allAddresses)
				return nil
			},
			Metric: "ghostrunner_github_up == 0", Alert: alert("GhostrunnerGitHubUnreachable"),
			Remove:       func(context.Context) error { w.github.restore(allAddresses); return nil },
			AllowedLater: restarts, Healed: both(w.runnersOnline(), w.polling(&cut)), MaxJobsLost: 2, Timeout: 5 * time.Minute,
		},
	}
}

// blackHole returns a step that drops what a slot's container sends to GitHub, on old and new
// connections, until the container is restarted, and a step that stops this.
func (w *world) blackHole(slot string) (start, stop step) {
	var address string
	stop = func(context.Context) error {
		if address != "" {
			w.github.restore(address)
		}
		return nil
	}
	start = func(ctx context.Context) (err error) {
		if address, err = w.address(ctx, w.Container(slot)); err != nil {
			return err
		}
		events, err := w.Events(ctx)
		if err != nil {
			return err
		}
		dropped := address
		go func() {
			if _, err := stack.AwaitEvent(ctx, events, w.Container(slot), "start"); err == nil {
				w.github.restore(dropped)
			}
		}()
		w.github.cut(address)
		return nil
	}
	return start, stop
}

// failDNS stops the DNS server at the exporter's next query. The exporter queries every 15 s, which
// the demo does not shorten, while shortened faults such as a retry loop could end before that.
func (w *world) failDNS(ctx context.Context) error {
	address, err := w.address(ctx, w.service("exporter"))
	if err != nil {
		return err
	}
	w.dns.failAtQueryFrom(address)
	return stack.Await(ctx, "the exporter to query DNS", func(context.Context) (bool, error) { return w.dns.failing.Load(), nil })
}

// address is the address of a container.
func (w *world) address(ctx context.Context, container string) (string, error) {
	return w.Docker(ctx, "inspect", "--format={{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", container)
}
