// The bench measures how soon the shipped configuration orders a restart, and what that costs: the whole of ghostrunner on
// this machine's Docker, with the intervals that people get and not those of the demo.
//
//	go run ./e2e/bench     (make bench)
//	go run ./e2e/bench -against './autoheal.sh'     another healer too, in the same run
//
// In each cycle a throw-away container becomes unhealthy and the remediator restarts it. The reaction is the time between
// two time stamps of Docker: of its event "health_status: unhealthy" and of the "kill" that begins the restart. The cost is
// the CPU time of Prometheus, Alertmanager and the exporter, over a minute without any fault and over the cycles.
//
// When Prometheus scrapes and evaluates within its intervals is fixed by hashes of names, so that one and the same
// configuration is quick for as long as one container of Prometheus lives and slow with the next. The cycles are therefore
// spread over several containers of it (-phases).
//
// It exits with 1 if a budget is broken. Everything that it created is removed at the end, but for the images.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/blueguy23/ghostrunner/e2e/scenario"
	"github.com/blueguy23/ghostrunner/e2e/stack"
)

// What the shipped configuration must keep (docs/cost.md).
const (
	budgetMedian  = time.Second
	budgetSlowest = 2 * time.Second
	budgetCPU     = 0.6 // seconds a minute, of the three programs together and without any fault
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// options are the flags.
type options struct {
	cycles, phases int
	idle           time.Duration
	verbose        bool
	json           string
	against, label string
}

func parse(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.IntVar(&o.cycles, "cycles", 50, "containers that become unhealthy, one after the other")
	flags.IntVar(&o.phases, "phases", 5, "containers of Prometheus that the cycles are spread over")
	flags.DurationVar(&o.idle, "idle", time.Minute, "how long the cost without any fault is measured")
	flags.BoolVar(&o.verbose, "v", false, "one line for each cycle")
	flags.StringVar(&o.json, "json", "", "`file` for the figures as JSON")
	flags.StringVar(&o.against, "against", "", "shell `command` of another healer, which is measured over as many restarts after ours")
	flags.StringVar(&o.label, "against-label", "autoheal=true", "`label` by which the other healer knows what is its to restart")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	switch {
	case flags.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	case o.cycles < 1 || o.phases < 1 || o.phases > o.cycles:
		return o, errors.New("-cycles, -phases: want at least one cycle for each phase")
	case o.idle < 10*time.Second:
		return o, errors.New("-idle: want 10s or more, the CPU clock ticks in hundredths of a second")
	}
	return o, nil
}

func run(ctx context.Context, args []string, out io.Writer) (err error) {
	o, err := parse(args)
	if err != nil {
		return err
	}
	s, err := stack.New(stack.Options{Project: "ghostrunner-bench", FirstPort: 22068, Shipped: true, Out: out})
	if err != nil {
		return err
	}
	defer func() {
		// Also after an interrupt, which has ended ctx.
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Minute)
		defer cancel()
		err = errors.Join(err, s.Down(clean))
	}()
	r, err := measure(ctx, s, o, out)
	if err != nil {
		if ctx.Err() == nil {
			s.Diagnose(ctx, os.Stderr)
		}
		return err
	}
	r.print(out)
	if o.json != "" {
		text, err := json.MarshalIndent(r, "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(o.json, append(text, '\n'), 0o644); err != nil {
			return err
		}
	}
	return r.broken()
}

// measure starts the stack and takes all figures.
func measure(ctx context.Context, s *stack.Stack, o options, out io.Writer) (*report, error) {
	fmt.Fprintf(out, "ghostrunner bench: the shipped configuration, %d restarts over %d phases of Prometheus\n", o.cycles, o.phases)
	r := &report{Load: loadAverage()}
	if err := s.Up(ctx); err != nil {
		return nil, err
	}
	image, err := s.VictimImage(ctx)
	if err != nil {
		return nil, err
	}
	if err := ready(ctx, s); err != nil {
		return nil, err
	}
	fmt.Fprintf(out, "  · %s without any fault\n", o.idle)
	r.Idle, err = costOf(ctx, s, func() error { return pause(ctx, o.idle) })
	if err != nil {
		return nil, err
	}
	b := bench{stack: s, image: image, verbose: o.verbose, out: out}
	if b.events, err = s.Events(ctx); err != nil {
		return nil, err
	}
	for phase := range o.phases {
		if phase > 0 {
			if err := s.Recreate(ctx, "prometheus"); err != nil {
				return nil, err
			}
			if err := ready(ctx, s); err != nil {
				return nil, err
			}
		}
		cycles := (o.cycles*(phase+1))/o.phases - (o.cycles*phase)/o.phases
		fmt.Fprintf(out, "  · %d restarts, phase %d of %d\n", cycles, phase+1, o.phases)
		cost, err := costOf(ctx, s, func() error {
			for range cycles {
				c, err := b.cycle(ctx, phase+1, len(r.Cycles)+1)
				if err != nil {
					return err
				}
				r.Cycles = append(r.Cycles, c)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		r.Busy.add(cost)
	}
	if o.against != "" {
		fmt.Fprintf(out, "  · %d restarts by %s\n", o.cycles, o.against)
		rival, err := b.against(ctx, o.against, o.label, o.cycles)
		if err != nil {
			return nil, err
		}
		r.Rival = &rival
	}
	r.Load[1] = loadAverage()[0]
	return r, nil
}

// startUp is how long the start of a program may cost more than its work does.
const startUp = 5 * time.Second

// ready waits until both runners are online, every target is scraped, and what it took to get there is over.
func ready(ctx context.Context, s *stack.Stack) error {
	ctx, cancel := context.WithTimeout(ctx, 4*time.Minute) // the runners' health is checked every 30 s
	defer cancel()
	if err := scenario.Ready(ctx, s); err != nil {
		return fmt.Errorf("the stack did not get ready: %w", err)
	}
	return pause(ctx, startUp)
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
