// The demo starts the whole of ghostrunner on this machine's Docker with a simulated GitHub,
// injects six faults one after another and prints how each is detected, alerted and healed.
//
//	go run ./e2e/demo up     (make demo)
//	go run ./e2e/demo down   (make demo-down)
//
// It exits with 1 if a fault was not detected, not healed, or answered by an action that is not
// allowed. The stack keeps running; down removes all its containers, volumes and networks.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/blueguy23/ghostrunner/e2e/scenario"
	"github.com/blueguy23/ghostrunner/e2e/stack"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	s, err := stack.New(stack.Options{Project: "ghostrunner-demo", FirstPort: 20068, Out: out})
	if err != nil {
		return err
	}
	switch {
	case len(args) == 1 && args[0] == "up":
		return up(ctx, s, out)
	case len(args) == 1 && args[0] == "down":
		if err := s.Down(ctx); err != nil {
			return err
		}
		fmt.Fprintln(out, "removed every container, volume and network of the demo; its images stay, for a quick next start:")
		fmt.Fprintln(out, "  docker rmi $(docker images -q 'ghostrunner-demo/*')   removes them too")
		return nil
	default:
		return fmt.Errorf("want one argument, up or down, not %q", args)
	}
}

func up(ctx context.Context, s *stack.Stack, out io.Writer) error {
	began := time.Now()
	fmt.Fprintln(out, "ghostrunner demo: two runners, a database stand-in, exporter, Prometheus, Alertmanager, remediator, Grafana, simulated GitHub")
	if err := s.Up(ctx); err != nil {
		return err
	}
	ready, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	if err := scenario.Ready(ready, s); err != nil {
		return fmt.Errorf("the stack did not get ready: %w (see docker logs of the container that it names)", err)
	}
	jobs, err := scenario.Jobs(ready, s)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "\nready after %s; both runners are online and have run jobs (%d so far)\n", seconds(time.Since(began)), jobs)

	var results []scenario.Result
	failed := 0
	for i, fault := range scenario.Faults(s) {
		fmt.Fprintf(out, "\n%d. %s\n", i+1, fault.Name)
		r := scenario.Run(ctx, s, fault, func(kind, detail string, since time.Duration) {
			fmt.Fprintf(out, "   %9s  %-7s %s\n", "+"+seconds(since), kind, detail)
		})
		if d, ok := r.Reaction(); ok {
			fmt.Fprintf(out, "   %9s  from Docker's unhealthy event to the restart order\n", seconds(d))
		}
		if r.Err != nil {
			failed++
			fmt.Fprintf(out, "   FAILED     %v\n", r.Err)
		}
		results = append(results, r)
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}

	fmt.Fprintln(out, "\njobs after all faults:")
	last, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	if jobs, err = scenario.Jobs(last, s); err != nil {
		failed++
		fmt.Fprintf(out, "   FAILED     %v\n", err)
	} else {
		fmt.Fprintf(out, "   both runners finished a job (%d queued)\n", jobs)
	}
	summary(out, results)
	fmt.Fprintln(out, "\nthe stack keeps running:")
	for _, u := range s.URLs() {
		fmt.Fprintf(out, "   %-21s %s\n", u[0], u[1])
	}
	fmt.Fprintln(out, "   make demo-down removes it")
	if failed > 0 {
		return fmt.Errorf("%d checks failed", failed)
	}
	return nil
}

// summary prints one line per fault.
func summary(out io.Writer, results []scenario.Result) {
	fmt.Fprintln(out)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "FAULT\tDETECTED AFTER\tALERT\tALERT AFTER\tACTION\tHEALED AFTER\t")
	for _, r := range results {
		action := r.Fault.Action
		if action == "" {
			action = "none (people are notified)"
		}
		healed := seconds(r.Healed)
		if r.Err != nil {
			healed = "FAILED"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t\n", r.Fault.Name, seconds(r.Metric), r.Fault.Alert["alertname"], seconds(r.Alert), action, healed)
	}
	w.Flush()
	for _, r := range results {
		if d, ok := r.Reaction(); ok {
			fmt.Fprintf(out, "from Docker's unhealthy event to the restart order: %s\n", seconds(d))
		}
	}
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }
