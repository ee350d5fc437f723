package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/blueguy23/ghostrunner/e2e/guest"
	"github.com/blueguy23/ghostrunner/e2e/scenario"
)

// guestMachine is the number of the machine inside the guest, after those outside of it.
const guestMachine = 100

// kernels parts the faults that any machine can play from those that need a kernel of their own.
func kernels(todo []scenario.Fault) (here, there []scenario.Fault) {
	jumps := map[string]bool{}
	for _, f := range unplugged().jumpFaults() {
		jumps[f.Name] = true
	}
	for _, f := range todo {
		if jumps[f.Name] {
			there = append(there, f)
		} else {
			here = append(here, f)
		}
	}
	return here, there
}

// playable leaves out the faults that need a kernel of their own and cannot or shall not be played, and names them: why is the
// reason that there is no guest, empty if there is one. They are slow, so they are wanted only where somebody asked for them,
// by --guest or by name; a run that cannot play what was asked for is not whole, and fails.
func playable(o options, todo []scenario.Fault, why string, out io.Writer) ([]scenario.Fault, error) {
	here, there := kernels(todo)
	wanted := o.guest || len(o.only) > 0
	if !wanted {
		why = "only with --guest"
	}
	if why == "" || len(there) == 0 {
		return todo, nil
	}
	for _, f := range there {
		fmt.Fprintf(out, "not run: %s: %s\n", f.Name, why)
	}
	if !wanted {
		return here, nil
	}
	return here, fmt.Errorf("%d faults were not run: a kernel of its own %s", len(there), why)
}

// onGuest plays a hand on a kernel of its own.
func onGuest(ctx context.Context, hand []scenario.Fault, out io.Writer) ([]row, error) {
	dir, err := filepath.Abs(filepath.Join(".cache", "guest"))
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "rows.json")
	if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	args := []string{"--machine=" + strconv.Itoa(guestMachine), "--rows=" + file}
	for _, f := range hand {
		args = append(args, "--only="+f.Name)
	}
	code, err := guest.Run(ctx, guest.Options{Dir: dir, DiskBytes: 30e9, MemoryBytes: 4 << 30, Args: args, Env: os.Environ(), Out: out})
	if err == nil && code != 0 {
		err = fmt.Errorf("exit code %d", code)
	}
	if err != nil {
		fmt.Fprintf(out, "the guest ended: %v\n", err)
	}
	rows, readErr := readRows(file)
	return rows, errors.Join(err, readErr)
}

// patience is how long a world may take to be whole once its containers run.
func patience() time.Duration {
	if guest.Inside() {
		return 10 * time.Minute
	}
	return 4 * time.Minute
}
