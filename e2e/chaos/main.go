// Chaos injects every known fault into the whole of ghostrunner, one at a time and then in pairs,
// and checks each: detected in time, by the right alert, answered by the right action and no other,
// healed, and no job harmed by ghostrunner.
//
//	go run ./e2e/chaos                        (make chaos) everything
//	go run ./e2e/chaos --list                 list the faults and pairs
//	go run ./e2e/chaos --only='retry loop'    one of them, or several
//	go run ./e2e/chaos --machines=2           everything, on two machines at once
//	go run ./e2e/chaos --guest                also the clock jumps, in a kernel of their own (package guest)
//	go run ./e2e/chaos --soak=30m --seed=7    random faults with jobs, and nothing may grow
//
// It runs on a machine of its own (package machine), because some faults disturb the Docker engine,
// its disk or its network; it needs root. Stack, images and configuration are those of the demo. It
// exits with 1 if a check failed.
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
	soak     time.Duration
	seed     uint64
	machines int
	markdown string
	// machine and rows are set for a program on one of several machines: its number, and the file
	// to which it appends its rows.
	machine int
	rows    string
	guest   bool
}

// name is the name of the stack and of its machine's folder.
func (o options) name() string {
	if o.machine == 0 {
		return "ghostrunner-chaos"
	}
	return fmt.Sprintf("ghostrunner-chaos-%d", o.machine)
}

// dir is the machine's folder, relative to the repository.
func (o options) dir() string { return filepath.Join(".cache", "machines", o.name()) }

func main() {
	guest.Boot()
	app := kingpin.New("chaos", "Injects every known fault into the whole of ghostrunner, and checks that it is detected and healed.")
	var o options
	app.Flag("list", "List the faults and pairs, and run nothing.").BoolVar(&o.list)
	app.Flag("only", "Run only the fault or pair of this name. Repeatable.").StringsVar(&o.only)
	app.Flag("soak", "Run random faults for this long, instead of each fault once.").DurationVar(&o.soak)
	app.Flag("seed", "Seed of the random faults. 0: a new one, which is printed.").Uint64Var(&o.seed)
	app.Flag("machines", "Number of machines that share the faults, each with its own stack.").Default("1").IntVar(&o.machines)
	app.Flag("markdown", "File for the result as Markdown.").StringVar(&o.markdown)
	app.Flag("guest", "Run also the faults that need their own kernel, the clock jumps: slow, for an idle machine.").BoolVar(&o.guest)
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
		os.Exit(ended.Code) // the program inside has printed the reason
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options, out io.Writer) (err error) {
	// Check the options before a machine is created.
	todo, err := listOnly().chosen(o)
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
		// The machine has no network.
		if err := build(ctx, o, out); err != nil {
			return err
		}
	}
	if !machine.Inside() && o.machine == 0 && o.soak == 0 {
		todo, left := runnable(o, todo, guest.Missing(), out)
		if _, there := splitGuestFaults(todo); o.machines > 1 || len(there) > 0 {
			return errors.Join(runOnMachines(ctx, o, todo, out), left)
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
		return runInside(ctx, o, e, out)
	})
}

// build builds the programs and images.
func build(ctx context.Context, o options, out io.Writer) error {
	s, err := stack.New(stack.Options{Project: o.name(), FirstPort: 20068, Out: out})
	if err != nil {
		return err
	}
	return s.Build(ctx)
}
