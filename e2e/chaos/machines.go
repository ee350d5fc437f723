package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/blueguy23/ghostrunner/e2e/scenario"
)

// onMachines deals the faults to several machines at once, a program like this one for each, and reports all as one. Nearly
// all of a round is waiting. A machine that breaks takes with it what it had not played yet, and nothing else.
func onMachines(ctx context.Context, o options, todo []scenario.Fault, out io.Writer) error {
	began := time.Now()
	here, there := kernels(todo)
	hands := deal(here, o.machines)
	played, failures := make([][]row, len(hands)), make([]error, len(hands))
	var wg sync.WaitGroup
	var line sync.Mutex
	for i, hand := range hands {
		wg.Go(func() {
			played[i], failures[i] = onMachine(ctx, i+1, hand, &numbered{line: &line, out: out, number: i + 1})
		})
	}
	wg.Wait()
	if len(there) > 0 && ctx.Err() == nil { // alone: it is slow enough
		rows, err := onGuest(ctx, there, out)
		hands, played, failures = append(hands, there), append(played, rows), append(failures, err)
	}
	return errors.Join(ctx.Err(), report(ctx, o, gather(hands, played, failures, todo), time.Since(began), out))
}

// deal hands out the faults in turn. Each machine plays its own in the order of the list: the last ones leave marks.
func deal(todo []scenario.Fault, machines int) [][]scenario.Fault {
	hands := make([][]scenario.Fault, min(machines, len(todo)))
	for i, f := range todo {
		hands[i%len(hands)] = append(hands[i%len(hands)], f)
	}
	return hands
}

// notPlayed begins what a row says that nobody has played.
const notPlayed = "not played: "

// gather puts the rows of all machines into the order of the list. A fault without one is a promise that was not kept.
func gather(hands [][]scenario.Fault, played [][]row, failures []error, todo []scenario.Fault) []row {
	byName := map[string]row{}
	for i, hand := range hands {
		for _, f := range hand {
			missing := outcome{Result: scenario.Result{Fault: f, Err: fmt.Errorf(notPlayed+"machine %d ended (%w)", i+1, failures[i])}}
			byName[f.Name] = missing.row()
		}
		for _, r := range played[i] {
			byName[r.Fault] = r
		}
	}
	var all []row
	for _, f := range todo {
		all = append(all, byName[f.Name])
	}
	return all
}

// onMachine plays one hand. What was played is returned whatever became of the machine.
func onMachine(ctx context.Context, number int, hand []scenario.Fault, out io.Writer) ([]row, error) {
	o := options{machine: number}
	if err := os.MkdirAll(o.dir(), 0o755); err != nil {
		return nil, err
	}
	file := filepath.Join(o.dir(), "rows.json")
	if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	args := []string{"--machine=" + strconv.Itoa(number), "--rows=" + file}
	for _, f := range hand {
		args = append(args, "--only="+f.Name)
	}
	cmd := exec.CommandContext(ctx, "/proc/self/exe", args...)
	cmd.Args[0] = os.Args[0]
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 2 * time.Minute
	// It dies with the thread that started it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	err := cmd.Run()
	if err != nil {
		fmt.Fprintf(out, "machine %d ended: %v\n", number, err)
	}
	rows, readErr := readRows(file)
	return rows, errors.Join(err, readErr)
}

// numbered writes whole lines, each with the number of the machine that says it.
type numbered struct {
	line   *sync.Mutex // one at a time, whichever machine's
	out    io.Writer
	number int
	rest   []byte // of a line whose end has not come yet
}

func (n *numbered) Write(p []byte) (int, error) {
	n.line.Lock()
	defer n.line.Unlock()
	n.rest = append(n.rest, p...)
	for {
		line, rest, whole := bytes.Cut(n.rest, []byte("\n"))
		if !whole {
			return len(p), nil
		}
		if _, err := fmt.Fprintf(n.out, "%d | %s\n", n.number, line); err != nil {
			return 0, err
		}
		n.rest = bytes.Clone(rest)
	}
}
