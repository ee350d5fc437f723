// Package cli is what the command lines of our programs have in common: how they begin, log, name what is wrong with a
// flag, reach GitHub, and read a secret. What a program's own flags are is said in its own package.
package cli

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/common/promslog"
	"github.com/prometheus/common/version"
)

// Main runs a program until it returns or SIGINT or SIGTERM ends its context, and exits with its code.
//
// The signals must be handled even where they are not expected: one that is ignored stays ignored in every child.
func Main(run func(ctx context.Context, args []string, stdout, stderr io.Writer) int) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// Fail prints the one line that a program says before it exits with the code that Fail returns.
func Fail(stderr io.Writer, program string, err error) int {
	_, _ = fmt.Fprintf(stderr, "%s: %v\n", program, err) // without stderr there is nobody to tell
	return 1
}

// App is a command line whose flags are environment variables too, which can be parsed any number of times in a process.
type App struct {
	*kingpin.Application

	level  *promslog.Level
	format *promslog.Format
	exit   bool
}

// New returns the command line of a program, with --help, --version and the flags of the log.
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

// Parse reads args and the environment and returns the subcommand. done says that help or the version was asked for and
// printed, so that there is nothing left to do. The error is one line that names the flag.
func (a *App) Parse(args []string) (command string, done bool, err error) {
	model := a.Model()
	for _, f := range model.Flags {
		name(a.GetFlag(f.Name))
	}
	for _, c := range model.Commands {
		for _, f := range c.Flags {
			name(a.GetCommand(c.Name).GetFlag(f.Name))
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

// name makes the errors of a flag's value name the flag and its variable, which kingpin's own do not.
func name(flag *kingpin.FlagClause) {
	v := flag.Model().Value
	if g, ok := v.(kingpin.Getter); ok {
		if _, text := g.Get().(string); text {
			return // takes anything, or says what it takes; --help quotes the default of its own type only
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

// Set implements kingpin.Value.
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

// IsCumulative lets a repeatable value stay one.
func (n named) IsCumulative() bool {
	c, ok := n.Value.(interface{ IsCumulative() bool })
	return ok && c.IsCumulative()
}

// IsBoolFlag lets a flag stay one that needs no value.
func (n named) IsBoolFlag() bool {
	b, ok := n.Value.(interface{ IsBoolFlag() bool })
	return ok && b.IsBoolFlag()
}
