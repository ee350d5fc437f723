// Package machine gives a program a machine of its own for disruptive faults: a network, a process
// table, a disk of a chosen size, and a Docker engine that can be restarted, frozen or filled up.
//
// It consists of three Linux namespaces (mount, network, process) and a file system in a file. It
// is not a virtual machine: the kernel and its clock are shared (for another clock see package
// guest). Everything ends with the program: the kernel kills the processes of the namespace and
// removes the mounts and the network. It needs root on Linux, and the commands dockerd, mkfs.ext4,
// mount and ip.
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

// Options configures a machine.
type Options struct {
	// Dir is the machine's own folder, for its disk and its engine's log.
	Dir string
	// DiskBytes is the size of Docker's disk, a sparse file.
	DiskBytes int64
}

// The program runs three times: outside, as the first process of the machine, and inside.
const (
	stage       = "GHOSTRUNNER_MACHINE_STAGE"
	stageFirst  = "first"
	stageInside = "inside"
)

// Address is the address at which containers reach programs on the machine.
const Address = "192.0.2.1" // of TEST-NET-1 (RFC 5737)

// dockerRoot is the engine's data folder, on the machine's own disk.
const dockerRoot = "/var/lib/docker"

// Run runs work inside a new machine and returns its error or, outside, an error if the program
// inside failed. The program is executed again with the same arguments, so this call must come
// before any side effect.
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

// Inside reports whether this process runs on such a machine.
func Inside() bool { return os.Getenv(stage) != "" }

// outside creates the disk and starts the machine's first process.
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
	defer lock.Close() // releases it
	disk := o.disk()
	defer func() { _ = os.Remove(disk) }()
	if err := MakeDisk(ctx, disk, o.DiskBytes); err != nil {
		return err
	}
	// Pdeathsig is sent when the thread that started the process ends.
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

// Ended is the error that the program on the machine failed; the program itself has printed the
// reason.
type Ended struct{ Code int }

func (e Ended) Error() string {
	return fmt.Sprintf("the program on the machine ended with exit code %d", e.Code)
}

func (o Options) disk() string { return filepath.Join(o.Dir, "disk.img") }

// Lock locks a folder until the result is closed. what describes the holder in the error of others.
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

// MakeDisk creates an empty file system in a sparse file, with further options of mkfs.ext4.
func MakeDisk(ctx context.Context, path string, size int64, more ...string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Truncate(size), f.Close()); err != nil {
		return err
	}
	// -m 0: no blocks are reserved for root.
	return command(ctx, "mkfs.ext4", append(append([]string{"-q", "-m", "0"}, more...), path)...)
}

// again is a command that runs this program at another stage. When ctx ends it gets SIGTERM, later
// SIGKILL.
func again(ctx context.Context, at string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "/proc/self/exe", os.Args[1:]...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = patience
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), stage+"="+at)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	return cmd
}

// first is process 1 of the machine: it mounts, runs the program again and reaps children. Its
// result is the exit code; the kernel then kills all others.
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
	context.AfterFunc(ctx, func() { _ = cmd.Process.Signal(syscall.SIGTERM) }) // fails only if it has ended
	code, err := Reap(cmd.Process.Pid)
	if err != nil {
		fmt.Fprintln(os.Stderr, "machine:", err)
		return 1
	}
	return code
}

// Reap reaps children, as a first process must, until this one ends, and returns its exit code as a
// shell does.
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

// mounts creates the machine's mounts, which are not visible outside.
func mounts(o Options) error {
	ctx := context.Background()
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	// This hides the sockets of the engine and containerd outside.
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

// command runs a command; its error has the output.
func command(ctx context.Context, name string, args ...string) error {
	if out, err := exec.CommandContext(ctx, name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, out)
	}
	return nil
}
