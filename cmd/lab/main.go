// Command ghostrunner-lab simulates the outside world for ghostrunner's demo and tests. It is not
// part of the product. Its control API has no authentication, so it must not be reachable from
// other machines.
//
//	ghostrunner-lab github --token=T [--owner=O --repo=R] [--jobs.every=10s]
//	ghostrunner-lab ntp [--listen-address=:123] [--lab.url=URL]
//	ghostrunner-lab service [--listen-address=:6380] [--lab.url=URL]
//	ghostrunner-lab service --check
//	ghostrunner-lab listener
//	ghostrunner-lab fault list
//	ghostrunner-lab fault NAME on|off [--runner=SLOT] [--value=V]
//
// # github
//
// GitHub's REST API for self-hosted runners (at / and at /api/v3/), the broker that listeners poll,
// and the lab's own API:
//
//	GET    /lab/v1/state                      the state of the simulated GitHub, for tests
//	GET    /lab/v1/jitconfigs                 the newest 100 just-in-time configurations
//	POST   /lab/v1/jobs                       {"name","duration":"10s","result":"Succeeded",
//	                                          "runner":SLOT,"script":BASH}, each optional
//	POST   /lab/v1/jobs/ID/cancel             cancel a running job, as a person or timeout-minutes does
//	DELETE /lab/v1/jobs                       remove the queued jobs
//	GET    /lab/v1/faults                     the table of faults and those that are on
//	GET    /lab/v1/faults/NAME[?runner=SLOT]  one fault
//	PUT    /lab/v1/faults/NAME[?runner=SLOT]  {"on":true,"value":"..."}
//
// --token is the only token that is accepted. --time-scale multiplies the service's delays (long
// poll 50 s, pick-up 60 s, job lock 10 min), but not the durations of jobs and not --offline-after.
//
// # listener
//
// Simulates bin/Runner.Listener and bin/Runner.Worker of actions/runner: a link to this program
// under one of these names acts as that program. The runner's root is the folder above that of the
// link. LAB_TIME_SCALE multiplies its delays.
//
// # ntp, service
//
// An SNTP server that serves true time minus the value of the fault clock-offset, and a stand-in
// for a database that hangs when the fault service-hang is turned on. Both poll the lab at
// --lab.url five times a second.
//
// All servers stop on SIGINT and SIGTERM with exit code 0.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/common/promslog"
	promslogflag "github.com/prometheus/common/promslog/flag"
	"github.com/prometheus/common/version"
	"golang.org/x/sync/errgroup"

	"github.com/blueguy23/ghostrunner/internal/lab"
)

func main() {
	switch filepath.Base(os.Args[0]) {
	case "Runner.Listener":
		os.Exit(lab.Listener(lab.ListenerOptions{Root: runnerRoot(), Args: os.Args[1:], Stdout: os.Stdout, Stderr: os.Stderr}))
	case "Runner.Worker":
		os.Exit(lab.Worker(runnerRoot(), os.Stdin, os.Stdout))
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	code := run(ctx, stop, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// runnerRoot is the folder above the one with the link by which this program was called.
func runnerRoot() string {
	name := os.Args[0]
	if !strings.ContainsRune(name, filepath.Separator) {
		return "."
	}
	abs, err := filepath.Abs(name)
	if err != nil {
		return "."
	}
	return filepath.Dir(filepath.Dir(abs))
}

// environment is what a subcommand needs beside its flags.
type environment struct {
	logger         *slog.Logger
	stdout, stderr io.Writer
	release        func() // gives the signals back to a listener, which handles them itself
}

// command runs a subcommand with its parsed flags.
type command = func(context.Context, environment) error

// exitCode is the end of a listener, which has printed its reason.
type exitCode int

func (c exitCode) Error() string { return fmt.Sprintf("exit code %d", int(c)) }

// run runs the command line.
func run(ctx context.Context, release func(), args []string, stdout, stderr io.Writer) int {
	app := kingpin.New("ghostrunner-lab", "Simulates the outside world for ghostrunner's demo and tests.")
	app.DefaultEnvars()
	app.UsageWriter(stdout).ErrorWriter(stderr)
	app.Version(version.Print("ghostrunner-lab"))
	app.HelpFlag.Short('h')
	ended := -1
	app.Terminate(func(code int) {
		if ended < 0 {
			ended = code
		}
	})
	logging := &promslog.Config{Writer: stderr}
	promslogflag.AddFlags(app, logging)
	commands := map[string]command{
		"github": githubCommand(app), "ntp": ntpCommand(app), "listener": listenerCommand(app), "fault": faultCommand(app), "service": serviceCommand(app),
	}
	name, err := app.Parse(args)
	if ended >= 0 { // --help or --version
		return ended
	}
	if err != nil {
		err = fmt.Errorf("%w, try --help", err)
	} else {
		err = commands[name](ctx, environment{promslog.New(logging), stdout, stderr, release})
	}
	if code := exitCode(0); errors.As(err, &code) {
		return int(code)
	}
	if err != nil {
		fmt.Fprintln(stderr, "ghostrunner-lab:", err)
		return 1
	}
	return 0
}

func githubCommand(app *kingpin.Application) command {
	cmd := app.Command("github", "Serve the simulated GitHub.")
	f := githubFlags{
		address:  cmd.Flag("web.listen-address", "Address to listen on.").Default(":10070").String(),
		token:    cmd.Flag("token", "Personal access token that is accepted.").String(),
		file:     cmd.Flag("token-file", "File with that token; read for each request.").String(),
		expires:  cmd.Flag("token-expires-in", "Time from the start until the token expires; 0 for never.").Default("2160h").Duration(),
		owner:    cmd.Flag("owner", "The only user, organization and enterprise that exists; empty: all exist.").Envar("REPO_OWNER").String(),
		repo:     cmd.Flag("repo", "The only repository that exists; empty: all exist.").Envar("REPO_NAME").String(),
		every:    cmd.Flag("jobs.every", "Interval at which a job is queued; 0 for never.").Default("0s").Duration(),
		duration: cmd.Flag("jobs.duration", "How long a job runs.").Default("10s").Duration(),
		offline:  cmd.Flag("offline-after", "How long after its last poll a runner counts as online.").Default("30s").Duration(),
		scale:    cmd.Flag("time-scale", "Factor for the service's own delays.").Default("1").Float64(),
	}
	return func(ctx context.Context, e environment) error { return serveGitHub(ctx, f, e.logger) }
}

func ntpCommand(app *kingpin.Application) command {
	cmd := app.Command("ntp", "Serve time that can be wrong, over SNTP.")
	address := cmd.Flag("listen-address", "UDP address to listen on.").Default(":123").String()
	url := cmd.Flag("lab.url", "Address of the simulated GitHub; empty: no faults.").Envar("LAB_URL").String()
	offset := cmd.Flag("offset", "How far clients' clocks appear to be ahead while the fault clock-offset is off.").Default("0s").Duration()
	return func(ctx context.Context, e environment) error {
		return serveNTP(ctx, *address, lab.NTPOptions{Offset: *offset, LabURL: *url, Logger: e.logger})
	}
}

func listenerCommand(app *kingpin.Application) command {
	cmd := app.Command("listener", "Simulate a runner's listener in the current folder.")
	root := cmd.Flag("root", "The runner's folder.").Default(".").String()
	cmd.Flag("startuptype", "Accepted and ignored.").String()
	cmd.Arg("command", "run, or nothing.").Default("run").Enum("run")
	return func(_ context.Context, e environment) error {
		e.release()
		return exitCode(lab.Listener(lab.ListenerOptions{Root: *root, Stdout: e.stdout, Stderr: e.stderr}))
	}
}

func faultCommand(app *kingpin.Application) command {
	cmd := app.Command("fault", "Turn a fault of the simulated world on or off.")
	name := cmd.Arg("name", "The fault's name, or list.").Required().String()
	state := cmd.Arg("state", "on or off.").Enum("on", "off")
	runner := cmd.Flag("runner", "Slot to which the fault applies; empty for all.").String()
	value := cmd.Flag("value", "Value of the fault; see list.").String()
	url := cmd.Flag("lab.url", "Address of the simulated GitHub.").Default("http://127.0.0.1:10070").Envar("LAB_URL").String()
	return func(ctx context.Context, e environment) error {
		return switchFault(ctx, lab.NewClient(*url), *name, *state, *runner, *value, e.stdout)
	}
}

func serviceCommand(app *kingpin.Application) command {
	cmd := app.Command("service", "Simulate a database: answer PONG over TCP.")
	address := cmd.Flag("listen-address", "TCP address to listen on.").Default(":6380").String()
	check := cmd.Flag("check", "Check the service on this machine instead: exit code 0 if it answers within 2 s, else 1.").Bool()
	url := cmd.Flag("lab.url", "Address of the simulated GitHub; empty: no faults.").Envar("LAB_URL").String()
	return func(ctx context.Context, e environment) error {
		if *check {
			return checkService(ctx, *address)
		}
		return serveService(ctx, *address, lab.ServiceOptions{LabURL: *url, Logger: e.logger})
	}
}

type githubFlags struct {
	address, token, file, owner, repo *string
	expires, every, duration, offline *time.Duration
	scale                             *float64
}

func serveGitHub(ctx context.Context, f githubFlags, logger *slog.Logger) error {
	if (*f.token == "") == (*f.file == "") {
		return errors.New("give --token or --token-file, and not both")
	}
	if !(*f.scale > 0) || math.IsInf(*f.scale, 0) {
		return fmt.Errorf("--time-scale=%g must be more than 0", *f.scale)
	}
	opts := lab.GitHubOptions{
		Token: func() (string, error) { return *f.token, nil },
		Owner: *f.owner, Repo: *f.repo, OfflineAfter: *f.offline, TimeScale: *f.scale,
		JobsEvery: *f.every, JobsDuration: *f.duration, Logger: logger,
	}
	if *f.file != "" {
		opts.Token = func() (string, error) { return readToken(*f.file) }
		if _, err := opts.Token(); err != nil {
			return err
		}
	}
	if *f.expires != 0 {
		opts.TokenExpiry = time.Now().Add(*f.expires)
	}
	g, err := lab.NewGitHub(opts)
	if err != nil {
		return err
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", *f.address)
	if err != nil {
		return fmt.Errorf("--web.listen-address: %w", err)
	}
	polls, endPolls := context.WithCancel(context.Background())
	defer endPolls()
	server := &http.Server{
		Handler: g, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second, WriteTimeout: 30 * time.Second,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10, ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
		BaseContext: func(net.Listener) context.Context { return polls },
	}
	logger.Info("simulated GitHub", "address", l.Addr().String())
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return g.Run(ctx) })
	group.Go(func() error {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve: %w", err)
		}
		return nil
	})
	group.Go(func() error {
		<-ctx.Done()
		endPolls() // the open long polls would delay the shutdown
		bounded, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		return server.Shutdown(bounded)
	})
	return group.Wait()
}

func readToken(file string) (string, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("--token-file: %w", err)
	}
	token := strings.TrimSpace(string(b))
	if token == "" {
		return "", fmt.Errorf("--token-file: %s is empty", file)
	}
	return token, nil
}

func serveNTP(ctx context.Context, address string, opts lab.NTPOptions) error {
	conn, err := (&net.ListenConfig{}).ListenPacket(ctx, "udp", address)
	if err != nil {
		return fmt.Errorf("--listen-address: %w", err)
	}
	opts.Logger.Info("SNTP server", "address", conn.LocalAddr().String())
	return lab.NewNTP(opts).Serve(ctx, conn)
}

func serveService(ctx context.Context, address string, opts lab.ServiceOptions) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("--listen-address: %w", err)
	}
	opts.Logger.Info("service", "address", l.Addr().String())
	return lab.NewService(opts).Serve(ctx, l)
}

// checkService checks a service at a listen address, which may have no host.
func checkService(ctx context.Context, address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("--listen-address: %w", err)
	}
	if host == "" || net.ParseIP(host).IsUnspecified() {
		host = "127.0.0.1"
	}
	return lab.CheckService(ctx, net.JoinHostPort(host, port))
}

func switchFault(ctx context.Context, c *lab.Client, name, state, runner, value string, stdout io.Writer) error {
	if name == "list" {
		return listFaults(ctx, c, stdout)
	}
	if state == "" {
		return fmt.Errorf("fault %s: want on or off", name)
	}
	st, err := c.SetFault(ctx, name, runner, state == "on", value)
	if err != nil {
		return err
	}
	target := "all runners"
	if st.Runner != "" {
		target = st.Runner
	}
	fmt.Fprintf(stdout, "%s %s for %s\n", st.Name, state, target)
	return nil
}

// listFaults prints the table of faults, and marks those that are on.
func listFaults(ctx context.Context, c *lab.Client, stdout io.Writer) error {
	list, err := c.Faults(ctx)
	if err != nil {
		return err
	}
	t := tabwriter.NewWriter(stdout, 0, 8, 2, ' ', 0)
	for _, f := range list.Faults {
		fmt.Fprintf(t, "%s\t%s", f.Name, f.Effect)
		for _, st := range list.On {
			if st.Name == f.Name {
				fmt.Fprintf(t, " [%s]", strings.Join(strings.Fields("on "+st.Runner+" "+st.Value), " "))
			}
		}
		fmt.Fprintln(t)
		if f.Value != "" {
			fmt.Fprintf(t, "\tValue: %s.\n", f.Value)
		}
	}
	return t.Flush()
}
