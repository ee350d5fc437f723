package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// RunnerVersion is the version of actions/runner that is simulated. The linker can set another one,
// to test an upgrade.
var RunnerVersion = "2.336.0"

// The exit codes of the listener (Constants.cs:150-163).
const (
	exitSuccess    = 0
	exitTerminated = 1
	exitRetryable  = 2
	exitUpdating   = 3
	exitConflict   = 5
	exitDeprecated = 7
	exitSigterm    = 143 // of coreclr on SIGTERM
)

// ListenerOptions configures one run of the simulated bin/Runner.Listener.
type ListenerOptions struct {
	// Root is the runner's folder, which holds its files, _diag, _work and bin.
	Root string
	// Args are the arguments after the program's name: run, --startuptype X, --jitconfig BLOB,
	// --version, --commit.
	Args []string
	// Stdout and Stderr are written line by line.
	Stdout, Stderr io.Writer
}

type listener struct {
	root   string
	scale  float64
	term   *terminal
	client *brokerClient
	stop   context.Context // ends with SIGINT, SIGQUIT or SIGTERM; the cause says which
}

var (
	errInterrupted = errors.New("interrupted")
	errTerminated  = errors.New("terminated")
)

// Listener runs the simulated listener in this process, with its environment and signals, and
// returns its exit code. It reads ACTIONS_RUNNER_INPUT_JITCONFIG,
// ACTIONS_RUNNER_PRINT_LOG_TO_STDOUT, ACTIONS_RUNNER_RETURN_VERSION_DEPRECATED_EXIT_CODE and the
// simulation's own LAB_TIME_SCALE, which multiplies all delays.
func Listener(opts ListenerOptions) int {
	if slices.Contains(opts.Args, "--version") {
		fmt.Fprintln(opts.Stdout, RunnerVersion)
		return exitSuccess
	}
	if slices.Contains(opts.Args, "--commit") {
		fmt.Fprintln(opts.Stdout, "0000000000000000000000000000000000000000")
		return exitSuccess
	}
	t := &terminal{stdout: opts.Stdout, stderr: opts.Stderr, echo: truthy(os.Getenv("ACTIONS_RUNNER_PRINT_LOG_TO_STDOUT"))}
	diag, err := openDiag(opts.Root, "Runner")
	if err != nil {
		t.WriteError("An error occurred: " + err.Error())
		return exitRetryable
	}
	defer diag.Close()
	t.diag = diag
	l := &listener{root: opts.Root, scale: timeScale(), term: t}
	code := l.run(opts.Args)
	t.Trace("INFO", "Listener", "Runner execution has finished with return code "+strconv.Itoa(code))
	return code
}

func (l *listener) run(args []string) int {
	if err := l.install(jitArgument(args)); err != nil {
		l.term.WriteError(err.Error())
		return exitTerminated
	}
	settings, cred, err := l.settings()
	if err != nil {
		l.term.WriteError("An error occurred: Not configured. Run config.(sh/cmd) to configure the runner.")
		return exitTerminated
	}
	l.client = newBrokerClient(settings, cred, max(l.scaled(requestTimeout), minRequestTimeout))
	stop, release := l.signals()
	defer release()
	l.stop = stop

	if code, ok := l.connect(); !ok {
		return code
	}
	l.term.WriteLine("Current runner version: '" + RunnerVersion + "'")
	l.term.WriteLine(stamped("Listening for Jobs"))
	code, ran := l.listen()
	if err := l.client.remove(context.Background(), max(l.scaled(30*time.Second), time.Second)); err != nil {
		l.term.Trace("WARN", "BrokerMessageListener", "Delete session: "+err.Error())
	}
	if l.stop.Err() != nil {
		return l.stopped() // files and registration stay (R:359-391)
	}
	if ran {
		l.removeFiles()
	}
	return code
}

// install writes the files of a just-in-time configuration at each start (R:234-268).
func (l *listener) install(blob string) error {
	if blob == "" {
		return nil
	}
	files, err := decodeJIT(blob)
	if err != nil {
		return err
	}
	for name, content := range files {
		mode := os.FileMode(0o644)
		if name == fileRSAParams {
			mode = 0o600
		}
		path := filepath.Join(l.root, name)
		if err := os.WriteFile(path, content, mode); err != nil {
			return err
		}
		if err := os.Chmod(path, mode); err != nil {
			return err
		}
	}
	return nil
}

// jitArgument returns the configuration from --jitconfig, or from the environment, where it is
// removed (CS:110-140).
func jitArgument(args []string) string {
	const env = "ACTIONS_RUNNER_INPUT_JITCONFIG"
	blob := os.Getenv(env)
	_ = os.Unsetenv(env)
	if i := slices.Index(args, "--jitconfig"); i >= 0 && i+1 < len(args) {
		blob = args[i+1]
	}
	return blob
}

func (l *listener) settings() (settings runnerSettings, cred credentials, err error) {
	for name, v := range map[string]any{fileRunner: &settings, fileCredentials: &cred} {
		b, err := os.ReadFile(filepath.Join(l.root, name))
		if err != nil {
			return settings, cred, err
		}
		if err := json.Unmarshal(bytes.TrimPrefix(b, []byte(bom)), v); err != nil {
			return settings, cred, err
		}
	}
	return settings, cred, nil
}

// removeFiles runs after the one job, and when the registration is gone (R:877-880).
func (l *listener) removeFiles() {
	for _, name := range []string{fileCredentials, fileRunner} {
		if err := os.Remove(filepath.Join(l.root, name)); err != nil {
			l.term.WriteLine("Does not exist. Skipping Removing " + name)
			continue
		}
		l.term.Success("Removed " + name)
	}
}

// signals handles signals (T:40-44, R:350-391). SIGINT and SIGQUIT stop with "Exiting..."; SIGTERM
// stops silently and kills after 30 s (ExitOnUnloadTimeout). An inherited SIG_IGN of SIGINT stays.
func (l *listener) signals() (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	ch := make(chan os.Signal, 4)
	watch := []os.Signal{syscall.SIGTERM, syscall.SIGQUIT}
	if !signal.Ignored(syscall.SIGINT) {
		watch = append(watch, syscall.SIGINT)
	}
	signal.Notify(ch, watch...)
	done := make(chan struct{})
	go func() {
		for {
			var s os.Signal
			select {
			case <-done:
				return
			case s = <-ch:
			}
			switch {
			case s == syscall.SIGTERM:
				cancel(errTerminated)
				time.AfterFunc(l.scaled(30*time.Second), func() { os.Exit(exitSigterm) })
			case l.client.faultNow(context.Background(), faultIgnoreSigint):
			case ctx.Err() == nil:
				l.term.WriteLine("Exiting...")
				l.term.Trace("INFO", "Runner", "Runner will be shutdown for UserCancelled")
				cancel(errInterrupted)
			}
		}
	}()
	return ctx, func() { signal.Stop(ch); close(done) }
}

// stopped returns the exit code after a signal.
func (l *listener) stopped() int {
	l.term.Trace("INFO", "Runner", "Runner execution been cancelled.")
	if errors.Is(context.Cause(l.stop), errTerminated) {
		return exitSigterm
	}
	return exitSuccess
}

// connect creates the session (BML:109-236). If ok is false, the process exits with code.
func (l *listener) connect() (code int, ok bool) {
	const every = 30 * time.Second
	conflicts, skews, failing := 0, 0, false
	for {
		l.term.WriteLine("")
		l.term.Success("Connected to GitHub") // before any request
		l.term.WriteLine("")
		err := l.client.create(l.stop, ownerName())
		switch {
		case err == nil:
			if failing {
				l.term.WriteLine(stamped("Runner reconnected."))
			}
			return 0, true
		case l.stop.Err() != nil:
			return l.stopped(), false
		case kind(err) == kindInvalidClient:
			l.term.WriteError("Failed to create a session. The runner registration has been deleted from the server, please re-configure. " +
				"Runner registrations are automatically deleted for runners that have not connected to the service recently.")
			return exitTerminated, false
		case kind(err) == kindConflict:
			conflicts++
			l.term.WriteError("A session for this runner already exists.")
			if conflicts == 8 {
				l.term.WriteError("Stop retry on SessionConflictException after retried for 240 seconds.")
				l.term.WriteError("Failed to create session. " + err.Error())
				return exitConflict, false
			}
		case kind(err) == kindClockSkew:
			skews++
			l.term.WriteError("The local machine's clock may be out of sync with the server time by more than five minutes. " +
				"Please sync your clock with your domain or internet time and try again.")
			if skews == 60 {
				l.term.WriteError("Stopped retrying OAuth token request exception after 1800 seconds.")
				l.term.WriteError("Failed to create session. " + err.Error())
				return exitTerminated, false
			}
		case status(err) == 401 || status(err) == 403:
			l.term.WriteError("Failed to create session. " + err.Error())
			return exitTerminated, false
		}
		if !failing {
			failing = true
			l.term.WriteError(stamped("Runner connect error: " + err.Error() + ". Retrying until reconnected."))
		}
		l.term.Trace("INFO", "BrokerMessageListener", fmt.Sprintf("Sleeping for %g seconds before retrying.", every.Seconds()))
		if !l.sleep(every) {
			return l.stopped(), false
		}
	}
}

// status returns the HTTP status of an error from the broker, or 0.
func status(err error) int {
	if e, ok := errors.AsType[*brokerError](err); ok {
		return e.Status
	}
	return 0
}

// sleep waits for a scaled time; false: the process must stop.
func (l *listener) sleep(d time.Duration) bool {
	t := time.NewTimer(l.scaled(d))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-l.stop.Done():
		return false
	}
}

// backOff waits before the nth attempt after a failed poll: 15-30 s for the first five, then 30-60
// s (ML:350-369).
func (l *listener) backOff(ctx context.Context, n int) bool {
	d := 15*time.Second + rand.N(15*time.Second)
	if n > 5 {
		d = 30*time.Second + rand.N(30*time.Second)
	}
	l.term.Trace("INFO", "BrokerMessageListener", fmt.Sprintf("Sleeping for %.3f seconds before retrying.", d.Seconds()))
	t := time.NewTimer(l.scaled(d))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (l *listener) scaled(d time.Duration) time.Duration { return time.Duration(float64(d) * l.scale) }

// timeScale reads LAB_TIME_SCALE; anything but a positive number counts as 1.
func timeScale() float64 {
	f, err := strconv.ParseFloat(os.Getenv("LAB_TIME_SCALE"), 64)
	if err != nil || !(f > 0) || f > 1000 {
		return 1
	}
	return f
}

// truthy parses a boolean environment variable as the runner does.
func truthy(s string) bool { return s == "1" || strings.EqualFold(s, "true") }

func ownerName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	return host + " (PID: " + strconv.Itoa(os.Getpid()) + ")"
}
