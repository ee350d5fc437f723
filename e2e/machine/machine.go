// Package machine gives a program a machine of its own for faults that nobody would want on theirs: a network, a process
// table, a disk of a chosen size, and a Docker engine that may be restarted, frozen or filled up.
//
// It is three Linux namespaces (mount, network, process) and a file system in a file, not a virtual machine: the kernel
// and its clock are shared, so what needs another time of day needs package guest. Everything ends with the program: the
// kernel kills what runs in the process namespace, and takes the mounts and the network away with the last of it. Needs
// root on Linux, and the commands dockerd, mkfs.ext4, mount and ip.
package machine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// Options say how large the machine is and where it keeps what it needs while it runs.
type Options struct {
	// Dir is the machine's own folder, for its disk and its engine's log; both are made anew.
	Dir string
	// DiskBytes is the size of Docker's disk. It is a sparse file: only what is written costs anything.
	DiskBytes int64
}

// The program runs three times over: outside, as the first process of the new machine, and as itself inside.
const (
	stage       = "GHOSTRUNNER_MACHINE_STAGE"
	stageFirst  = "first"
	stageInside = "inside"
)

// Address is where programs on the machine are reached by its containers.
const Address = "192.0.2.1" // of TEST-NET-1 (RFC 5737): nobody's

// dockerRoot is where the engine keeps its data, on a disk of the machine's own.
const dockerRoot = "/var/lib/docker"

// Run runs work inside a new machine and returns what it returned, or, outside, that the program inside failed. The
// program is started anew with the same arguments, so nothing with an effect may happen before this call.
func Run(ctx context.Context, o Options, work func(context.Context, *Engine) error) error {
	switch os.Getenv(stage) {
	case stageFirst:
		os.Exit(first(ctx, o))
	case stageInside:
		e := &Engine{log: filepath.Join(o.Dir, "dockerd.log"), dir: o.Dir, cgroupParent: o.cgroupParent()}
		if err := e.Start(ctx); err != nil {
			return err
		}
		return errors.Join(work(ctx, e), e.end())
	}
	return outside(ctx, o)
}

// Inside reports whether this program runs on a machine of its own already.
func Inside() bool { return os.Getenv(stage) != "" }

// outside makes the disk and starts the first process of the machine.
func outside(ctx context.Context, o Options) error {
	if os.Geteuid() != 0 {
		return errors.New("a machine of its own needs root: run this with sudo -E")
	}
	for _, tool := range []string{"dockerd", "mkfs.ext4", "mount", "ip"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("%s is missing: install docker, e2fsprogs, mount and iproute2", tool)
		}
	}
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return err
	}
	lock, err := Lock(o.Dir, "machine")
	if err != nil {
		return err
	}
	defer lock.Close() // and lets go of it
	disk := o.disk()
	defer func() { _ = os.Remove(disk) }()
	if err := MakeDisk(ctx, disk, o.DiskBytes); err != nil {
		return err
	}
	// The first process dies with the thread that started it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := again(ctx, stageFirst)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWPID,
		Pdeathsig:  syscall.SIGKILL,
	}
	err = cmd.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		err = Ended{exit.ExitCode()}
	}
	return errors.Join(err, removeCgroups(o.cgroupParent()))
}

// Ended is that the program on the machine failed. It has told why itself.
type Ended struct{ Code int }

func (e Ended) Error() string {
	return fmt.Sprintf("the program on the machine ended with exit code %d", e.Code)
}

func (o Options) disk() string { return filepath.Join(o.Dir, "disk.img") }

// Lock keeps a folder for whoever holds it open; what is said to others is what of theirs must wait.
func Lock(dir, what string) (io.Closer, error) {
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = lock.Close()
		return nil, fmt.Errorf("another %s runs in %s: wait for it or end it", what, dir)
	}
	return lock, nil
}

// MakeDisk makes an empty file system in a sparse file, with further options of mkfs.ext4.
func MakeDisk(ctx context.Context, path string, size int64, more ...string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Truncate(size), f.Close()); err != nil {
		return err
	}
	// Without blocks reserved for root, what is free is free for everybody.
	return command(ctx, "mkfs.ext4", append(append([]string{"-q", "-m", "0"}, more...), path)...)
}

// again is this program with the same arguments, at another stage. When ctx ends it is asked to end, and then made to.
func again(ctx context.Context, at string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "/proc/self/exe", os.Args[1:]...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = patience
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), stage+"="+at)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	return cmd
}

// first is process 1 of the machine: it mounts, starts the program once more and waits for whoever ends. Its return value
// is the program's exit code; the kernel then kills all others.
func first(ctx context.Context, o Options) int {
	if err := mounts(o); err != nil {
		fmt.Fprintln(os.Stderr, "machine:", err)
		return 1
	}
	cmd := again(context.WithoutCancel(ctx), stageInside)
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(os.Stderr, "machine:", err)
		return 1
	}
	context.AfterFunc(ctx, func() { _ = cmd.Process.Signal(syscall.SIGTERM) }) // it has ended, or is told to
	code, err := Reap(cmd.Process.Pid)
	if err != nil {
		fmt.Fprintln(os.Stderr, "machine:", err)
		return 1
	}
	return code
}

// Reap waits for whoever ends, as a first process must, until one of them is this child, and returns its exit code as a shell tells it.
func Reap(child int) (code int, err error) {
	for {
		var status syscall.WaitStatus
		switch pid, err := syscall.Wait4(-1, &status, 0, nil); {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return 0, err
		case pid == child && status.Signaled():
			return 128 + int(status.Signal()), nil
		case pid == child:
			return status.ExitStatus(), nil
		}
	}
}

// mounts gives the machine its own view: nothing that is mounted here is seen outside.
func mounts(o Options) error {
	ctx := context.Background()
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	// Hides the sockets of the engine and of containerd outside.
	if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, "mode=755"); err != nil {
		return fmt.Errorf("mount /run: %w", err)
	}
	for _, dir := range []string{"/run/lock", dockerRoot} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if err := command(ctx, "mount", "-o", "loop", o.disk(), dockerRoot); err != nil {
		return err
	}
	if err := command(ctx, "ip", "link", "set", "lo", "up"); err != nil {
		return err
	}
	return command(ctx, "ip", "address", "add", Address+"/32", "dev", "lo")
}

// command runs one command and returns its output with its error.
func command(ctx context.Context, name string, args ...string) error {
	if out, err := exec.CommandContext(ctx, name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, out)
	}
	return nil
}
