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

// Files of the runner that hold or lead to credentials (ConfigurationStore.cs); the listener makes them anew at each start.
var credentialFiles = []string{
	".runner", ".credentials", ".credentials_rsaparams", ".runner_migrated", ".credentials_migrated",
}

// cleanBound is how long cleaning may take before the slot counts as hanging: work directories can be huge.
const cleanBound = 10 * time.Minute

// homeDir is HOME of the listener and its jobs: the home of the supervisor's user is none that they could write, and what a job
// leaves at home (a login, a hook of git, a shell's start file) must not reach the next one.
const homeDir = "_home"

// Directories that a job fills. They are emptied, and exist afterwards.
var jobDirs = []string{"_work", "_diag", homeDir}

// clean is the phase between two jobs. The processes of the job were killed already, see launch.
func (s *Supervisor) clean(ctx context.Context) (Phase, string) {
	cause := s.state.Cause
	if err := s.scrub(); err != nil {
		s.fail(ctx, "cleaning: "+err.Error(), err) // tried again before the next registration
		return Waiting, s.state.Cause
	}
	return Waiting, cause
}

// scrub removes every trace of a job. No job may begin before it has succeeded. It works inside the runner's directory by os.Root,
// because a job owns that tree and may have replaced a directory by a link that leads elsewhere.
func (s *Supervisor) scrub() error {
	s.busyFor(cleanBound)
	s.dirty = true
	root, err := os.OpenRoot(s.cfg.Root)
	if err != nil {
		return fmt.Errorf("open the runner's directory: %w", err)
	}
	defer func() { _ = root.Close() }()
	kept, err := readMounts("/proc")
	if err != nil {
		return err
	}
	var errs []error
	if n := s.family.killAll(s.t.kill); n > 0 { // nothing was left when the listener ended, except what cannot be killed
		errs = append(errs, fmt.Errorf("%d processes of the last job cannot be killed", n))
	}
	for _, name := range credentialFiles {
		errs = append(errs, root.RemoveAll(name))
	}
	for _, name := range jobDirs {
		errs = append(errs, s.renew(root, kept, name))
	}
	if os.Geteuid() == 0 {
		for _, dir := range s.cfg.TempDirs {
			errs = append(errs, removeOwned(dir, s.cfg.UID, kept, nil))
		}
		// An .env here would be the next listener's environment (Program.cs:172-199). Where the directory itself is the job's, what
		// is the runner's own cannot be told from what a job left; see CheckProgram.
		if info, err := root.Stat("."); err == nil && !owns(s.cfg.UID, info) {
			errs = append(errs, removeOwned(s.cfg.Root, s.cfg.UID, kept, jobDirs))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	s.dirty = false
	return nil
}

// renew leaves an empty directory of the job's user where there was anything; only volumes below it keep their place. A link is
// removed and not followed. A directory that is a volume itself is emptied.
func (s *Supervisor) renew(root *os.Root, kept mounts, name string) error {
	whole := filepath.Join(s.cfg.Root, name)
	remove := root.RemoveAll
	if kept.at(whole) || kept.below(whole) {
		remove = func(name string) error { return kept.empty(root, s.cfg.Root, name) }
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

// removeOwned removes the entries of a directory that belong to a user, except those named and except volumes.
func removeOwned(dir string, uid int, kept mounts, except []string) error {
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
		if err != nil {
			continue // gone
		}
		if owns(uid, info) && !slices.Contains(except, e.Name()) {
			if err := kept.remove(root, dir, e.Name()); err != nil {
				errs = append(errs, fmt.Errorf("clean %s: %w", filepath.Join(dir, e.Name()), err))
			}
		}
	}
	return errors.Join(errs...)
}

func owns(uid int, info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == uid
}
