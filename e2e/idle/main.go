// Idle measures what ghostrunner costs a machine on which nothing happens: the whole stack with the intervals that people get,
// two runners that wait for a job, and every container's CPU time and memory over some minutes.
//
//	go run ./e2e/idle     (make idle)
//
// The figures are the kernel's, of each container with its health checks; what the engine itself spends on them, and on all
// else that it does, is a line of its own. The database is a stand-in, and where no
// registry answers Grafana is one too: both do next to nothing. It exits with 1 if a budget is broken, and removes everything that it created but the images.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/blueguy23/ghostrunner/e2e/scenario"
	"github.com/blueguy23/ghostrunner/e2e/stack"
)

// What the shipped configuration must keep (docs/figures.md).
const (
	budgetOurs  = 0.6 // CPU seconds a minute of all that is ours
	budgetWhole = 2.0 // of every container
	budgetBytes = 128e6
)

// ours are the services that run a program of this project; the rest are other people's programs, or stand-ins for them.
var ours = []string{"exporter", "exporter-proxy", "remediator", "remediator-proxy", "runner-1", "runner-2"}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "idle:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) (err error) {
	flags := flag.NewFlagSet("idle", flag.ContinueOnError)
	length := flags.Duration("for", 5*time.Minute, "how long is measured")
	settle := flags.Duration("settle", 20*time.Second, "what comes before: the start of a program costs more than its work")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *length < 10*time.Second {
		return errors.New("-for: want 10s or more")
	}
	s, err := stack.New(stack.Options{Project: "ghostrunner-idle", FirstPort: 22168, Shipped: true, Out: out})
	if err != nil {
		return err
	}
	defer func() {
		// Also after an interrupt, which has ended ctx.
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Minute)
		defer cancel()
		err = errors.Join(err, s.Down(clean))
	}()
	if err := s.Up(ctx); err != nil {
		return err
	}
	ready, cancel := context.WithTimeout(ctx, 4*time.Minute) // the runners' health is checked every 30 s
	defer cancel()
	if err := scenario.Ready(ready, s); err != nil {
		return fmt.Errorf("the stack did not get ready: %w", err)
	}
	if err := pause(ctx, *settle); err != nil {
		return err
	}
	fmt.Fprintf(out, "  · %s without any job or fault\n", *length)
	before, err := measure(ctx, s)
	if err != nil {
		return err
	}
	if err := pause(ctx, *length); err != nil {
		return err
	}
	after, err := measure(ctx, s)
	if err != nil {
		return err
	}
	return newReport(before, after).print(out)
}

// moment is what had been used at one time.
type moment struct {
	at     time.Time
	usage  map[string]stack.Usage
	engine time.Duration // CPU time of the Docker engine and what it starts
}

func measure(ctx context.Context, s *stack.Stack) (m moment, err error) {
	m.usage, err = s.Usage(ctx)
	m.at, m.engine = time.Now(), engineCPU()
	return m, err
}

// engineCPU is the CPU time of dockerd, containerd and their shims. 0 where they are not on this machine.
func engineCPU() (total time.Duration) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat") // the pattern is good
	for _, file := range stats {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		_, rest, _ := strings.Cut(string(text), "(")
		name, rest, _ := strings.Cut(rest, ") ")
		fields := strings.Fields(rest)
		if !slices.Contains([]string{"dockerd", "containerd", "containerd-shim", "docker-proxy"}, name) || len(fields) < 15 {
			continue
		}
		for _, i := range []int{11, 12, 13, 14} { // its own, and that of children that have ended, such as runc
			ticks, _ := strconv.ParseInt(fields[i], 10, 64)
			total += time.Duration(ticks) * 10 * time.Millisecond
		}
	}
	return total
}

// row is one line of the table.
type row struct {
	name   string
	cpu    float64 // seconds a minute
	memory float64 // bytes
}

// report is what was found.
type report struct {
	rows        []row
	ours, whole row
	engine      float64 // CPU seconds a minute
	minutes     float64
}

func newReport(before, after moment) report {
	r := report{minutes: after.at.Sub(before.at).Minutes(), ours: row{name: "ghostrunner's own"}, whole: row{name: "the whole stack"}}
	perMinute := func(d time.Duration) float64 { return d.Seconds() / r.minutes }
	r.engine = perMinute(after.engine - before.engine)
	var services []string
	for service := range after.usage {
		services = append(services, service)
	}
	slices.Sort(services)
	for _, service := range services {
		if strings.HasPrefix(service, "lab") { // the simulated world is no part of it
			continue
		}
		line := row{service, perMinute(after.usage[service].CPU - before.usage[service].CPU), float64(after.usage[service].Memory)}
		r.rows = append(r.rows, line)
		r.whole.cpu, r.whole.memory = r.whole.cpu+line.cpu, r.whole.memory+line.memory
		if slices.Contains(ours, service) {
			r.ours.cpu, r.ours.memory = r.ours.cpu+line.cpu, r.ours.memory+line.memory
		}
	}
	return r
}

// print writes the table and returns an error if a budget is broken.
func (r report) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\nCONTAINER\tCPU s a minute\tMB\t")
	for _, line := range append(slices.Clone(r.rows), r.ours, r.whole) {
		fmt.Fprintf(w, "%s\t%.3f\t%.1f\t\n", line.name, line.cpu, line.memory/1e6)
	}
	fmt.Fprintf(w, "the engine, for all of it\t%.3f\t\t\n", r.engine)
	fmt.Fprintf(w, "budget, ghostrunner's own\t%.3f\t%.1f\t\n", budgetOurs, budgetBytes/1e6)
	fmt.Fprintf(w, "budget, the whole stack\t%.3f\t\t\n", budgetWhole)
	_ = w.Flush()
	load, _ := os.ReadFile("/proc/loadavg") // says how much the figures are worth
	fmt.Fprintf(out, "\nover %.1f minutes; load average now %.12s\n", r.minutes, load)
	switch {
	case r.ours.cpu > budgetOurs:
		return fmt.Errorf("ghostrunner's own programs take %.3f CPU seconds a minute, the budget is %.3f", r.ours.cpu, budgetOurs)
	case r.ours.memory > budgetBytes:
		return fmt.Errorf("ghostrunner's own programs take %.1f MB, the budget is %.1f", r.ours.memory/1e6, budgetBytes/1e6)
	case r.whole.cpu > budgetWhole:
		return fmt.Errorf("the whole stack takes %.3f CPU seconds a minute, the budget is %.3f", r.whole.cpu, budgetWhole)
	}
	return nil
}

// pause waits; an error if ctx ended first.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
