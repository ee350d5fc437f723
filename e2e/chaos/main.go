// Chaos breaks the whole of ghostrunner in every way that it knows, one fault at a time and then in pairs, and demands what
// is promised of each: noticed in time, by the right alert, answered by the right action and by no other, healed, and not
// one job harmed by us.
//
//	go run ./e2e/chaos                        (make chaos) everything
//	go run ./e2e/chaos --list                 what there is
//	go run ./e2e/chaos --only='retry loop'    one of it, or several
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
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/alecthomas/kingpin/v2"

	"github.com/blueguy23/ghostrunner/e2e/machine"
)

type options struct {
	only     []string
	list     bool
	pairs    bool
	soak     time.Duration
	seed     uint64
	markdown string
	json     string
}

func main() {
	app := kingpin.New("chaos", "Breaks the whole of ghostrunner in every way that it knows, and demands what is promised.")
	var o options
	app.Flag("list", "List the scenarios and pairs, and do nothing.").BoolVar(&o.list)
	app.Flag("only", "Play only the scenario or pair of this name. Repeatable.").StringsVar(&o.only)
	app.Flag("pairs", "Play the pairs too.").Default("true").BoolVar(&o.pairs)
	app.Flag("soak", "Instead of each fault once: faults drawn at random for this long.").DurationVar(&o.soak)
	app.Flag("seed", "Draws the same faults again. 0: a new one, which is printed.").Uint64Var(&o.seed)
	app.Flag("markdown", "Write the result as Markdown to this file.").StringVar(&o.markdown)
	app.Flag("json", "Write the result as JSON to this file.").StringVar(&o.json)
	if _, err := app.Parse(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, o, os.Stdout)
	stop()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		os.Exit(exit.ExitCode()) // the program inside the machine has told why
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options, out io.Writer) error {
	// Asked of a world that does not run, before a machine is made.
	todo, err := unplugged().chosen(o)
	if err != nil {
		return err
	}
	if o.list {
		list(todo, out)
		return nil
	}
	dir, err := filepath.Abs(filepath.Join(".cache", "chaos"))
	if err != nil {
		return err
	}
	return machine.Run(ctx, machine.Options{Dir: dir, DiskBytes: 20e9}, func(ctx context.Context, e *machine.Engine) error {
		return play(ctx, o, e, out)
	})
}
