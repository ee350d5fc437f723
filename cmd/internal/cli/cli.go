// Package cli is what the command lines of the programs share: start, logging, errors of flags, the
// flags and the token for GitHub, secrets in files, and output for a terminal.
package cli

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/common/promslog"
	"github.com/prometheus/common/version"
)

// Main runs a program until it returns or SIGINT or SIGTERM ends its context, and exits with the
// code that run returns. Both signals must be handled: an ignored signal stays ignored in children.
func Main(run func(ctx context.Context, args []string, stdout, stderr io.Writer) int) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// Fail prints err as the program's last line and returns exit code 1.
func Fail(stderr io.Writer, program string, err error) int {
	_, _ = fmt.Fprintf(stderr, "%s: %v\n", program, err)
	return 1
}

// App is a command line whose flags are also environment variables. It can be parsed any number of
// times in one process.
type App struct {
	*kingpin.Application

	level  *promslog.Level
	format *promslog.Format
	exit   bool
}

// New returns the command line of a program, with --help, --version and the logging flags.
func New(program, help string, stdout io.Writer) *App {
	a := &App{Application: kingpin.New(program, help), level: promslog.NewLevel(), format: promslog.NewFormat()}
	a.DefaultEnvars()
	a.Version(version.Print(program))
	a.HelpFlag.Short('h').NoEnvar()
	a.VersionFlag.NoEnvar()
	a.UsageWriter(stdout)
	a.Terminate(func(int) { a.exit = true })
	a.Flag("log.level", "Only log messages with the given severity or above: debug, info, warn or error.").Default("info").SetValue(a.level)
	a.Flag("log.format", "Output format of log messages: logfmt or json.").Default("logfmt").SetValue(a.format)
	return a
}

// TimeScale adds the flag --time-scale, a factor on every delay of a program. The default is 1.
func TimeScale(a *App, scale *float64) {
	a.Flag("time-scale", "Factor on every delay of this program, above 0; below 1 for a demo or a test.").
		Default("1").SetValue((*positive)(scale))
}

type positive float64

func (p *positive) String() string { return strconv.FormatFloat(float64(*p), 'g', -1, 64) }

func (p *positive) Set(text string) error {
	f, err := Positive(text)
	*p = positive(f)
	return err
}

// Parse reads args and the environment and returns the subcommand. done reports that help or the
// version was printed. The error is one line that names the flag.
func (a *App) Parse(args []string) (command string, done bool, err error) {
	model := a.Model()
	for _, f := range model.Flags {
		nameErrors(a.GetFlag(f.Name))
	}
	for _, c := range model.Commands {
		for _, f := range c.Flags {
			nameErrors(a.GetCommand(c.Name).GetFlag(f.Name))
		}
	}
	command, err = a.Application.Parse(args)
	if a.exit || err == nil {
		return command, a.exit, nil
	}
	return "", false, fmt.Errorf("%w; see %s --help", err, a.Name)
}

// Logger returns the logger that the flags ask for.
func (a *App) Logger(stderr io.Writer) *slog.Logger {
	return promslog.New(&promslog.Config{Level: a.level, Format: a.format, Writer: stderr})
}

// nameErrors makes errors of a flag's value name the flag and its variable; kingpin's do not.
func nameErrors(flag *kingpin.FlagClause) {
	v := flag.Model().Value
	if g, ok := v.(kingpin.Getter); ok {
		if _, text := g.Get().(string); text {
			return // accepts anything; and --help quotes the default of kingpin's own string type only
		}
	}
	if _, done := v.(named); !done {
		flag.SetValue(named{v, flag})
	}
}

type named struct {
	kingpin.Value

	flag *kingpin.FlagClause
}

func (n named) Set(s string) error {
	if err := n.Value.Set(s); err != nil {
		m := n.flag.Model()
		if m.Envar == "" {
			return fmt.Errorf("--%s=%q: %w", m.Name, s, err)
		}
		return fmt.Errorf("--%s=%q (or %s): %w", m.Name, s, m.Envar, err)
	}
	return nil
}

// IsCumulative keeps a repeatable flag repeatable.
func (n named) IsCumulative() bool {
	c, ok := n.Value.(interface{ IsCumulative() bool })
	return ok && c.IsCumulative()
}

// IsBoolFlag keeps a flag that needs no value.
func (n named) IsBoolFlag() bool {
	b, ok := n.Value.(interface{ IsBoolFlag() bool })
	return ok && b.IsBoolFlag()
}
