// The load measures what the remediator's door bears: the real program, over TCP, with its journal on this disk.
//
//	go run ./e2e/load     (make load)
//
// It sends floods of alerts that name containers which do not exist, so that nothing on this machine's Docker is touched,
// and sends them again; then single alerts, ten at once, while the program's Docker accepts connections and never answers;
// and then it watches the program do nothing. It prints a row for each figure with its budget, and exits with 1 if one is
// broken. On a machine that does other work the times mean little: the CPU time that each row names as well does not lie.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"text/tabwriter"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

// figure is one row of the report.
type figure struct {
	name             string
	budget, measured string
	cpu              time.Duration // of the remediator meanwhile
	broken           bool
}

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("load", flag.ContinueOnError)
	dir := flags.String("dir", "", "`folder` for the journal; empty: the system's for temporary files")
	idle := flags.Duration("idle", 2*time.Minute, "how long the program is watched doing nothing; 0 leaves it out")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	work, err := os.MkdirTemp(*dir, "ghostrunner-load-")
	if err != nil {
		return fmt.Errorf("-dir: %w", err)
	}
	defer func() { _ = os.RemoveAll(work) }()
	bin, err := build(ctx, work)
	if err != nil {
		return err
	}
	var all []figure
	for _, measure := range []func(context.Context, string, string) ([]figure, error){
		flood, singles,
		func(ctx context.Context, bin, work string) ([]figure, error) { return rest(ctx, bin, work, *idle) },
	} {
		figures, err := measure(ctx, bin, work)
		if err != nil {
			return err
		}
		all = append(all, figures...)
	}
	return report(out, work, all)
}

func report(out io.Writer, work string, all []figure) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "FIGURE\tBUDGET\tMEASURED\tCPU\t")
	var broken error
	for _, f := range all {
		verdict := ""
		if f.broken {
			verdict = "BROKEN"
			broken = errors.New("a budget is broken")
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", f.name, f.budget, f.measured, f.cpu.Round(10*time.Millisecond), verdict)
	}
	_ = w.Flush()
	sync, err := syncTime(work)
	if err != nil {
		return err
	}
	load, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "\nfdatasync of 8 KiB on this disk: median %s; load average %.4s\n", sync, load)
	return broken
}
