// The figures of the exporter, measured on its real binary: how much memory and CPU time it takes, how long a scrape lasts and
// how soon after its start the first one is whole, with 2 and with 1,000 runners; and what a job that prints 200 MB a minute
// does to it.
//
//	go run ./e2e/figures     (make figures)
//
// GitHub is simulated, and Docker too where there are many runners: an engine on a socket that lists them, and keeps the log
// of each open. It stands for the engine to the letter of the API; to the exporter a container more is a line in a list and a
// connection that stays open. The flood is printed by a real container on this machine's Docker, whose log is rotated
// meanwhile.
//
// It exits with 1 if a budget is broken. Those of time are for a machine that does nothing else.
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
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "figures:", err)
		os.Exit(1)
	}
}

// options are the flags.
type options struct {
	runners []int
	idle    time.Duration // the stretch over which memory and CPU time are measured
	scrapes int
	flood   time.Duration // 0: none
	keep    string        // file for the log of the exporter
}

func parse(args []string) (o options, err error) {
	flags := flag.NewFlagSet("figures", flag.ContinueOnError)
	runners := flags.String("runners", "2,1000", "numbers of runners, separated by commas; empty: none")
	flags.DurationVar(&o.idle, "idle", time.Minute, "how long memory and CPU time are measured")
	flags.IntVar(&o.scrapes, "scrapes", 500, "scrapes that are timed")
	flags.DurationVar(&o.flood, "flood", 30*time.Second, "how long the flood lasts; 0: there is none")
	flags.StringVar(&o.keep, "log", os.DevNull, "`file` for what the exporter logs")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	for n := range strings.FieldsFuncSeq(*runners, func(r rune) bool { return r == ',' }) {
		number, err := strconv.Atoi(n)
		if err != nil || number < 1 {
			return o, fmt.Errorf("-runners: %q is no number of runners", n)
		}
		o.runners = append(o.runners, number)
	}
	switch {
	case flags.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	case o.idle < 10*time.Second:
		return o, errors.New("-idle: want 10s or more, the CPU clock ticks in hundredths of a second")
	case o.scrapes < 100:
		return o, errors.New("-scrapes: want 100 or more, for a 99th percentile")
	case o.flood != 0 && o.flood < 5*time.Second:
		return o, errors.New("-flood: want 5s or more, or 0")
	}
	return o, nil
}

func run(ctx context.Context, args []string, out io.Writer) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "gr") // short, because a socket's path must be
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	b := bench{options: o, dir: dir, program: filepath.Join(dir, "exporter"), out: out}
	if err := build(ctx, b.program, "./cmd/exporter"); err != nil {
		return err
	}
	fmt.Fprintf(out, "load average %s\n", loadAverage())
	var all []figure
	for _, n := range slices.Sorted(slices.Values(o.runners)) {
		fmt.Fprintf(out, "  · %d runners: idle for %s, then %d scrapes\n", n, o.idle, o.scrapes)
		figures, err := b.still(ctx, n)
		if err != nil {
			return fmt.Errorf("%d runners: %w", n, err)
		}
		all = append(all, figures...)
	}
	if o.flood > 0 {
		fmt.Fprintf(out, "  · a flood of %s\n", o.flood)
		figures, err := b.flooded(ctx)
		if err != nil {
			return fmt.Errorf("flood: %w", err)
		}
		all = append(all, figures...)
	}
	report(out, all)
	fmt.Fprintf(out, "\nload average %s\n", loadAverage())
	return broken(all)
}

// bench is what all measurements share.
type bench struct {
	options

	dir, program string
	out          io.Writer
}

// loadAverage is that of the last minute. Times of a machine that was busy otherwise are worth little.
func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	first, _, _ := strings.Cut(string(text), " ")
	return first
}
