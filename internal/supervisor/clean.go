package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

// credentialFiles hold or lead to credentials (ConfigurationStore.cs). The listener makes them at
// each start.
var credentialFiles = []string{
	".runner", ".credentials", ".credentials_rsaparams", ".runner_migrated", ".credentials_migrated",
}

// cleanTimeout is how long cleaning may take before the slot is unhealthy: work directories can be
// huge.
const cleanTimeout = 10 * time.Minute

// homeDir is HOME of the listener and its jobs. What a job leaves there (a login, a git hook, a
// shell's start file) must not reach the next job.
const homeDir = "_home"

var jobDirs = []string{"_work", "_diag", homeDir}

func (s *Supervisor) clean(ctx context.Context) (Phase, string) {
	s.cleanUpOrLog(ctx)
	return Waiting, s.state.Cause
}

// cleanUpOrLog cleans where an error has no consequence: register cleans again and checks.
func (s *Supervisor) cleanUpOrLog(ctx context.Context) {
	if err := s.cleanUp(); err != nil {
		s.cfg.Logger.WarnContext(ctx, "Not everything was cleaned, will try again before the next registration", "err", err)
	}
}

// cleanUp removes every trace of a job. No job may start before it has succeeded. It uses os.Root,
// because a job may have replaced a directory by a link that leads elsewhere.
func (s *Supervisor) cleanUp() error {
	s.setDeadline(cleanTimeout)
	root, err := os.OpenRoot(s.cfg.Root)
	if err != nil {
		return fmt.Errorf("open the runner's directory: %w", err)
	}
	defer func() { _ = root.Close() }()
	mounted, err := readMounts()
	if err != nil {
		return err
	}
	var errs []error
	if n := s.tree.killAll(s.t.killTimeout); n > 0 {
		errs = append(errs, fmt.Errorf("%d processes of the last job cannot be killed", n))
	}
	for _, name := range credentialFiles {
		errs = append(errs, root.RemoveAll(name))
	}
	for _, name := range jobDirs {
		errs = append(errs, s.emptyJobDir(root, mounted, name))
	}
	if os.Geteuid() == 0 {
		for _, dir := range s.cfg.TempDirs {
			errs = append(errs, removeOwned(dir, s.cfg.UID, mounted, nil))
		}
		// A file .env here would be the next listener's environment (Program.cs:172-199). If the
		// directory belongs to the job's user, its files cannot be told from the runner's; see
		// CheckProgram.
		if info, err := root.Stat("."); err == nil && !owns(s.cfg.UID, info) {
			errs = append(errs, removeOwned(s.cfg.Root, s.cfg.UID, mounted, jobDirs))
		}
	}
	return errors.Join(errs...)
}

// emptyJobDir leaves an empty directory of the job's user, with only the volumes that are mounted
// below it. A link is removed and not followed. A directory that is a volume itself is emptied.
func (s *Supervisor) emptyJobDir(root *os.Root, mounted mounts, name string) error {
	remove := root.RemoveAll
	if path := filepath.Join(s.cfg.Root, name); mounted.at(path) || mounted.below(path) {
		remove = func(name string) error { return mounted.empty(root, s.cfg.Root, name) }
	}
	if err := remove(name); err != nil {
		return err
	}
	if err := root.Mkdir(name, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if info, err := root.Lstat(name); err != nil || !info.IsDir() {
		return fmt.Errorf("%s is not a directory (%w)", name, err)
	}
	if os.Geteuid() != 0 {
		return nil
	}
	return root.Lchown(name, s.cfg.UID, s.cfg.GID)
}

// removeOwned removes the entries of a directory that belong to a user, except volumes and those
// named in except.
func removeOwned(dir string, uid int, mounted mounts, except []string) error {
	root, err := os.OpenRoot(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("clean %s: %w", dir, err)
	}
	defer func() { _ = root.Close() }()
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("clean %s: %w", dir, err)
	}
	var errs []error
	for _, e := range entries {
		info, err := root.Lstat(e.Name())
		if err != nil || !owns(uid, info) || slices.Contains(except, e.Name()) {
			continue
		}
		if err := mounted.remove(root, dir, e.Name()); err != nil {
			errs = append(errs, fmt.Errorf("clean %s: %w", filepath.Join(dir, e.Name()), err))
		}
	}
	return errors.Join(errs...)
}

func owns(uid int, info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == uid
}
