package machine

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// patience bounds each step of the engine.
const patience = time.Minute

// cgroupParent is the parent of the containers' control groups. Each machine has its own, by its
// folder.
func (o Options) cgroupParent() string {
	sum := sha256.Sum256([]byte(o.Dir))
	return "/ghostrunner-machine-" + hex.EncodeToString(sum[:6])
}

// Engine is the machine's Docker engine, at the usual socket.
type Engine struct {
	dir, log, cgroupParent string
	cmd                    *exec.Cmd
	done                   chan error
}

// Start starts the engine and waits until it answers. Containers survive its end (`live-restore`).
func (e *Engine) Start(ctx context.Context) error {
	config := filepath.Join(e.dir, "daemon.json")
	if err := os.WriteFile(config, []byte(`{"live-restore": true}`), 0o600); err != nil {
		return err
	}
	log, err := os.OpenFile(e.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	e.cmd = exec.CommandContext(context.Background(), "dockerd", "--config-file="+config, "--cgroup-parent="+e.cgroupParent)
	e.cmd.Stdout, e.cmd.Stderr = log, log
	if err := e.cmd.Start(); err != nil {
		return err
	}
	e.done = make(chan error, 1)
	go func(cmd *exec.Cmd, done chan<- error) { done <- cmd.Wait() }(e.cmd, e.done)
	return e.await(ctx)
}

// await waits until the engine answers.
func (e *Engine) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		if exec.CommandContext(ctx, "docker", "version").Run() == nil {
			return nil
		}
		select {
		case err := <-e.done:
			return fmt.Errorf("the machine's Docker engine ended: %w (see %s)", err, e.log)
		case <-ctx.Done():
			return fmt.Errorf("the machine's Docker engine does not answer (see %s)", e.log)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// Stop ends the engine as an operator would; its containers keep running.
func (e *Engine) Stop(ctx context.Context) error {
	if err := e.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-e.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(patience):
		return errors.New("the machine's Docker engine does not end")
	}
}

// Restart stops and starts the engine.
func (e *Engine) Restart(ctx context.Context) error {
	if err := e.Stop(ctx); err != nil {
		return err
	}
	return e.Start(ctx)
}

// Freeze makes the engine accept connections but not answer, until Thaw.
func (e *Engine) Freeze() error { return e.cmd.Process.Signal(syscall.SIGSTOP) }

// Thaw ends Freeze.
func (e *Engine) Thaw() error { return e.cmd.Process.Signal(syscall.SIGCONT) }

// end kills the engine; its processes end with the machine.
func (e *Engine) end() error {
	if err := e.cmd.Process.Kill(); err != nil {
		return err
	}
	<-e.done
	return nil
}

// removeCgroups removes the empty control groups of the machine's containers.
func removeCgroups(parent string) error {
	const root = "/sys/fs/cgroup"
	var groups []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // another program's, removed meanwhile
		}
		if err == nil && d.IsDir() && strings.Contains(path+"/", parent+"/") {
			groups = append(groups, path)
		}
		return err
	})
	for _, group := range slices.Backward(groups) { // children first
		err = errors.Join(err, os.Remove(group))
	}
	return err
}
