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

// runOnMachines distributes the faults over several machines at once, each with a program like this
// one, and reports all of them. A run is mostly waiting. If a machine fails, only the faults that
// it has not run yet are lost.
func runOnMachines(ctx context.Context, o options, todo []scenario.Fault, out io.Writer) error {
	began := time.Now()
	here, onGuest := splitGuestFaults(todo)
	shares := distribute(here, o.machines)
	results, failures := make([][]row, len(shares)), make([]error, len(shares))
	var wg sync.WaitGroup
	var line sync.Mutex
	for i, share := range shares {
		wg.Go(func() {
			results[i], failures[i] = runOnMachine(ctx, i+1, share, &numbered{line: &line, out: out, number: i + 1})
		})
	}
	wg.Wait()
	if len(onGuest) > 0 && ctx.Err() == nil { // alone, because it is slow
		rows, err := runOnGuest(ctx, onGuest, out)
		shares, results, failures = append(shares, onGuest), append(results, rows), append(failures, err)
	}
	return errors.Join(ctx.Err(), report(ctx, o, collect(shares, results, failures, todo), time.Since(began), out))
}

// distribute assigns the faults in turn. Each machine keeps the order of the list.
func distribute(todo []scenario.Fault, machines int) [][]scenario.Fault {
	shares := make([][]scenario.Fault, min(machines, len(todo)))
	for i, f := range todo {
		shares[i%len(shares)] = append(shares[i%len(shares)], f)
	}
	return shares
}

// notRun is the prefix of the error in the row of a fault that was not run.
const notRun = "not run: "

// collect puts the rows of all machines into the order of the list. A fault without a row failed.
func collect(shares [][]scenario.Fault, results [][]row, failures []error, todo []scenario.Fault) []row {
	byName := map[string]row{}
	for i, share := range shares {
		for _, f := range share {
			byName[f.Name] = row{Fault: f.Name, Failed: fmt.Sprintf(notRun+"machine %d ended (%v)", i+1, failures[i])}
		}
		for _, r := range results[i] {
			byName[r.Fault] = r
		}
	}
	var all []row
	for _, f := range todo {
		all = append(all, byName[f.Name])
	}
	return all
}

// shareArgs prepares a folder and returns the arguments of a program that runs a share, and the
// file in which it leaves its rows.
func shareArgs(dir string, number int, share []scenario.Fault) (args []string, file string, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, "", err
	}
	file = filepath.Join(dir, "rows.json")
	if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, "", err
	}
	args = []string{"--machine=" + strconv.Itoa(number), "--rows=" + file}
	for _, f := range share {
		args = append(args, "--only="+f.Name)
	}
	return args, file, nil
}

// runOnMachine runs a share. It returns the finished rows even if the machine fails.
func runOnMachine(ctx context.Context, number int, share []scenario.Fault, out io.Writer) ([]row, error) {
	args, file, err := shareArgs(options{machine: number}.dir(), number, share)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "/proc/self/exe", args...)
	cmd.Args[0] = os.Args[0]
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 2 * time.Minute
	// Pdeathsig is sent when the thread that started the process ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err = cmd.Run(); err != nil {
		fmt.Fprintf(out, "machine %d ended: %v\n", number, err)
	}
	rows, readErr := readRows(file)
	return rows, errors.Join(err, readErr)
}

// numbered writes whole lines, each with the number of a machine.
type numbered struct {
	line   *sync.Mutex // shared by all machines
	out    io.Writer
	number int
	rest   []byte // an incomplete line
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
