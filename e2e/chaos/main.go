// Chaos breaks the whole of ghostrunner in every way that it knows, one fault at a time and then in pairs, and demands what
// is promised of each: noticed in time, by the right alert, answered by the right action and by no other, healed, and not
// one job harmed by us.
//
//	go run ./e2e/chaos                        (make chaos) everything
//	go run ./e2e/chaos --list                 what there is
//	go run ./e2e/chaos --only='retry loop'    one of it, or several
//	go run ./e2e/chaos --machines=2           everything, on two machines at once
//	go run ./e2e/chaos --guest                and the jumps of the clock, on a kernel of their own (package guest)
//	go run ./e2e/chaos --soak=30m --seed=7    faults drawn at random, jobs all the while, and nothing may grow
//
// It runs on a machine of its own (package machine), because some faults take the Docker engine, its disk or its network
// away; it needs root. The stack, its images and its configuration are those of the demo. It exits with 1 if a promise broke.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/alecthomas/kingpin/v2"

	"github.com/blueguy23/ghostrunner/e2e/guest"
	"github.com/blueguy23/ghostrunner/e2e/machine"
	"github.com/blueguy23/ghostrunner/e2e/stack"
)

type options struct {
	only     []string
	list     bool
	pairs    bool
	soak     time.Duration
	seed     uint64
	machines int
	into     string
	markdown string
	json     string
	// Of a program that plays on one of several machines: which, and where its rows go as they come.
	machine int
	rows    string
	// guest plays the faults that need a kernel of their own too.
	guest bool
}

// name is that of the stack, and of the folder of its machine.
func (o options) name() string {
	if o.machine == 0 {
		return "ghostrunner-chaos"
	}
	return fmt.Sprintf("ghostrunner-chaos-%d", o.machine)
}

// dir is the machine's folder, from the repository's root.
func (o options) dir() string { return filepath.Join(".cache", "machines", o.name()) }

func main() {
	guest.Boot()
	app := kingpin.New("chaos", "Breaks the whole of ghostrunner in every way that it knows, and demands what is promised.")
	var o options
	app.Flag("list", "List the scenarios and pairs, and do nothing.").BoolVar(&o.list)
	app.Flag("only", "Play only the scenario or pair of this name. Repeatable.").StringsVar(&o.only)
	app.Flag("pairs", "Play the pairs too.").Default("true").BoolVar(&o.pairs)
	app.Flag("soak", "Instead of each fault once: faults drawn at random for this long.").DurationVar(&o.soak)
	app.Flag("seed", "Draws the same faults again. 0: a new one, which is printed.").Uint64Var(&o.seed)
	app.Flag("machines", "Deal the faults to this many machines at once, each with a stack of its own.").Default("1").IntVar(&o.machines)
	app.Flag("into", "An earlier result (JSON), of which this run replaces what it plays.").StringVar(&o.into)
	app.Flag("markdown", "Write the result as a page of Markdown to this file.").StringVar(&o.markdown)
	app.Flag("json", "Write the result as JSON to this file.").StringVar(&o.json)
	app.Flag("guest", "Play the faults too that need a kernel of their own, the jumps of the clock: slow, for an idle machine.").BoolVar(&o.guest)
	app.Flag("machine", "").Hidden().IntVar(&o.machine)
	app.Flag("rows", "").Hidden().StringVar(&o.rows)
	if _, err := app.Parse(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, o, os.Stdout)
	stop()
	if ended := (machine.Ended{}); errors.As(err, &ended) {
		os.Exit(ended.Code) // the program inside the machine has told why
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options, out io.Writer) (err error) {
	// Asked of a world that does not run, before a machine is made.
	todo, err := unplugged().chosen(o)
	if err != nil {
		return err
	}
	if o.list {
		list(todo, out)
		return nil
	}
	if o.machines < 1 || o.machines > 1 && o.soak > 0 {
		return fmt.Errorf("--machines=%d: want at least 1, and 1 for a soak", o.machines)
	}
	if !machine.Inside() && o.machine == 0 {
		// There is no network inside.
		if err := build(ctx, o, out); err != nil {
			return err
		}
	}
	if !machine.Inside() && o.machine == 0 && o.soak == 0 {
		todo, left := playable(o, todo, guest.Missing(), out)
		if _, there := kernels(todo); o.machines > 1 || len(there) > 0 {
			return errors.Join(onMachines(ctx, o, todo, out), left)
		}
		if len(todo) == 0 {
			return left
		}
		defer func() { err = errors.Join(err, left) }()
	}
	dir, err := filepath.Abs(o.dir())
	if err != nil {
		return err
	}
	return machine.Run(ctx, machine.Options{Dir: dir, DiskBytes: 20e9}, func(ctx context.Context, e *machine.Engine) error {
		return play(ctx, o, e, out)
	})
}

// build builds what the stack is made of.
func build(ctx context.Context, o options, out io.Writer) error {
	s, err := stack.New(stack.Options{Project: o.name(), FirstPort: 20068, Out: out})
	if err != nil {
		return err
	}
	return s.Build(ctx)
}
