package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/blueguy23/ghostrunner/e2e/guest"
	"github.com/blueguy23/ghostrunner/e2e/scenario"
)

// guestMachine is the number of the machine inside the guest.
const guestMachine = 100

// splitGuestFaults separates the faults that need a guest from the others.
func splitGuestFaults(todo []scenario.Fault) (here, onGuest []scenario.Fault) {
	jumps := map[string]bool{}
	for _, f := range listOnly().jumpFaults() {
		jumps[f.Name] = true
	}
	for _, f := range todo {
		if jumps[f.Name] {
			onGuest = append(onGuest, f)
		} else {
			here = append(here, f)
		}
	}
	return here, onGuest
}

// runnable leaves out, and prints, the faults that need a guest unless --guest or their name asks
// for them, because they are slow. missing says why there can be no guest; empty if there can. Then
// faults that were asked for are an error.
func runnable(o options, todo []scenario.Fault, missing string, out io.Writer) ([]scenario.Fault, error) {
	here, onGuest := splitGuestFaults(todo)
	wanted := o.guest || len(o.only) > 0
	if !wanted {
		missing = "only with --guest"
	}
	if missing == "" || len(onGuest) == 0 {
		return todo, nil
	}
	for _, f := range onGuest {
		fmt.Fprintf(out, "not run: %s: %s\n", f.Name, missing)
	}
	if !wanted {
		return here, nil
	}
	return here, fmt.Errorf("%d faults were not run: a guest %s", len(onGuest), missing)
}

// runOnGuest runs a share in a guest.
func runOnGuest(ctx context.Context, share []scenario.Fault, out io.Writer) ([]row, error) {
	dir, err := filepath.Abs(filepath.Join(".cache", "guest"))
	if err != nil {
		return nil, err
	}
	args, file, err := shareArgs(dir, guestMachine, share)
	if err != nil {
		return nil, err
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

// patience bounds the time until a started stack is ready.
func patience() time.Duration {
	if guest.Inside() {
		return 10 * time.Minute
	}
	return 4 * time.Minute
}
