// Package guest boots a Linux kernel for one program, for faults that need their own kernel: above
// all a step of the wall clock.
//
// The kernel is User Mode Linux, an ordinary process: it needs no /dev/kvm and no other emulator,
// so it runs on a laptop, in WSL2, in a virtual machine and in CI. It cannot set the clock of its
// host. It sees the host's files read-only, below a disk of its own, and has no network but what
// the program creates.
//
// It has one processor, and a system call costs about 20 microseconds: allow generous times.
package guest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/blueguy23/ghostrunner/e2e/machine"
)

// Options configures a guest.
type Options struct {
	// Dir holds the disk, the kernel's package and the program's results. It is the only folder of
	// the host that the guest can write.
	Dir string
	// DiskBytes is the size of the disk for everything else that the guest writes: a sparse file,
	// created at each start.
	DiskBytes int64
	// MemoryBytes is the guest's memory. The host allocates only what is used.
	MemoryBytes int64
	// Args and Env are the arguments and environment of this program inside the guest.
	Args, Env []string
	// Out receives the guest's console.
	Out io.Writer
}

// parameter is the kernel parameter with Options.Dir. The first process gets it as an environment
// variable; all others find it in /proc/cmdline.
const parameter = "GHOSTRUNNER_GUEST"

// Inside reports whether this process runs in a guest.
func Inside() bool {
	line, err := os.ReadFile("/proc/cmdline")
	return err == nil && isGuest(string(line))
}

func isGuest(cmdline string) bool {
	for word := range strings.FieldsSeq(cmdline) {
		if strings.HasPrefix(word, parameter+"=") {
			return true
		}
	}
	return false
}

// StepClock moves the guest's clock ahead, or back if by is negative. Outside of a guest it returns
// an error, so that it never sets the clock of a real machine.
func StepClock(by time.Duration) error {
	if !Inside() {
		return errors.New("refused: this kernel is not a guest's, and its clock is not to be set")
	}
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_REALTIME, &now); err != nil {
		return fmt.Errorf("read the clock: %w", err)
	}
	to := unix.NsecToTimespec(now.Nano() + by.Nanoseconds())
	if err := unix.ClockSettime(unix.CLOCK_REALTIME, &to); err != nil {
		return fmt.Errorf("set the clock: %w", err)
	}
	return nil
}

// order is what the guest's first process runs.
type order struct {
	Program, Folder string
	Args, Env       []string
	Modules         string // folder of the kernel's modules
}

// Run boots the guest, runs this program in it with other arguments, and returns its exit code. The
// program must call Boot before anything else.
func Run(ctx context.Context, o Options) (code int, err error) {
	if os.Geteuid() != 0 {
		return 0, errors.New("a guest needs root, to see all of the host's files: run this with sudo -E")
	}
	k, err := findKernel(ctx, o.Dir)
	if err != nil {
		return 0, err
	}
	lock, err := machine.Lock(o.Dir, "guest")
	if err != nil {
		return 0, err
	}
	defer lock.Close() // releases it
	disk := filepath.Join(o.Dir, "disk.img")
	if err := machine.MakeDisk(ctx, disk, o.DiskBytes, "-O", "^has_journal"); err != nil {
		return 0, err
	}
	defer func() { _ = os.Remove(disk) }()
	program, err := os.Executable()
	if err != nil {
		return 0, err
	}
	folder, err := os.Getwd()
	if err != nil {
		return 0, err
	}
	if err := os.Remove(exitFile(o.Dir)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return 0, err
	}
	text, err := json.Marshal(order{Program: program, Folder: folder, Args: o.Args, Env: o.Env, Modules: k.modules})
	if err != nil {
		return 0, err
	}
	if err := os.WriteFile(orderFile(o.Dir), text, 0o600); err != nil {
		return 0, err
	}
	if err := boot(ctx, k, o, program, disk); err != nil {
		return 0, err
	}
	return exitCode(o.Dir)
}

// boot runs the kernel until it powers off.
func boot(ctx context.Context, k kernel, o Options, program, disk string) error {
	cmd := exec.CommandContext(ctx, k.program,
		fmt.Sprintf("mem=%dM", o.MemoryBytes>>20), "umid=guest", "uml_dir="+o.Dir,
		"root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro", "ubd0="+disk, "init="+program,
		"con=null", "con0=null,fd:1", "quiet", "panic=-1", parameter+"="+o.Dir)
	cmd.Stdout = &console{to: o.Out}
	var trouble bytes.Buffer
	cmd.Stderr = &trouble
	// The kernel consists of many processes: they form a group, which ends together.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	// Pdeathsig is sent when the thread that started the process ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("the guest's kernel: %w\n%s", errors.Join(err, ctx.Err()), tail(trouble.String()))
	}
	return nil
}

func orderFile(dir string) string { return filepath.Join(dir, "order.json") }
func exitFile(dir string) string  { return filepath.Join(dir, "exit") }

// exitCode reads the code that the first process wrote.
func exitCode(dir string) (int, error) {
	text, err := os.ReadFile(exitFile(dir))
	if err != nil {
		return 0, fmt.Errorf("the guest has ended before its program: %w", err)
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

func tail(text string) string { return text[max(0, len(text)-2000):] }

// console removes carriage returns.
type console struct{ to io.Writer }

func (c *console) Write(p []byte) (int, error) {
	_, err := c.to.Write(bytes.ReplaceAll(p, []byte("\r"), nil))
	return len(p), err
}
