package supervisor

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// listenerProcess is one run of bin/Runner.Listener.
type listenerProcess struct {
	pid    int
	ledger *ledger
	done   chan struct{} // closed when it has ended, nothing of it is alive, and all its output was passed on
	exit   exit          // valid once done is closed
}

// exit is how a process ended.
type exit struct {
	code   int            // -1 if a signal ended it
	signal syscall.Signal // 0 if none
}

func (e exit) String() string {
	if e.signal != 0 {
		return fmt.Sprintf("killed by signal %d (%s)", int(e.signal), e.signal)
	}
	return "exit code " + strconv.Itoa(e.code)
}

// listenerPath is the program in the runner's directory.
func listenerPath(root string) string { return filepath.Join(root, "bin", "Runner.Listener") }

// launch starts the listener in a session, and so in a process group, of its own, without a terminal (also where the container has
// one), as the job's user.
//
// Its streams are pipes of ours and not of os/exec: a process that a job left behind holds them open, and Wait would wait for
// it. Signals: SIGINT must have its default action in the listener. An ignored signal stays ignored across exec, a handled one
// does not, so the program must handle SIGINT, as it does (signal.NotifyContext in cmd).
func (s *Supervisor) launch(jit string) (*listenerProcess, error) {
	cmd := exec.Command(listenerPath(s.cfg.Root), "run") //nolint:noctx // Its end is decided by the state machine: SIGINT first, and never while a job runs.
	cmd.Dir = s.cfg.Root
	cmd.Env = listenerEnviron(s.cfg.Environ, s.cfg.PassEnv, filepath.Join(s.cfg.Root, homeDir), jit)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: s.credential()}

	outR, outW, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("pipe: %w", err)
	}
	errR, errW, err := os.Pipe()
	if err != nil {
		_, _ = outR.Close(), outW.Close()
		return nil, fmt.Errorf("pipe: %w", err)
	}
	cmd.Stdout, cmd.Stderr = outW, errW
	err = s.family.start(func() (int, error) {
		if err := cmd.Start(); err != nil {
			return 0, err
		}
		return cmd.Process.Pid, nil
	})
	_, _ = outW.Close(), errW.Close()
	if err != nil {
		_, _ = outR.Close(), errR.Close()
		return nil, err
	}

	p := &listenerProcess{pid: cmd.Process.Pid, ledger: newLedger(), done: make(chan struct{})}
	var pumps sync.WaitGroup
	pumps.Go(func() { pump(outR, s.cfg.Stdout, p.ledger.line) })
	pumps.Go(func() { pump(errR, s.cfg.Stderr, p.ledger.line) })
	go func() {
		defer close(p.done)
		_ = cmd.Wait() // what it says is in ProcessState
		s.family.waited()
		_ = syscall.Kill(-p.pid, syscall.SIGKILL)
		_ = s.family.killAll(s.t.kill) // scrub asks again before the next registration
		// Nobody can write any more, unless something could not be killed.
		finished := time.AfterFunc(s.t.kill, func() { _, _ = outR.Close(), errR.Close() })
		pumps.Wait()
		finished.Stop()
		_, _ = outR.Close(), errR.Close()
		p.exit.code = -1
		if ps := cmd.ProcessState; ps != nil {
			p.exit.code = ps.ExitCode()
			if ws, ok := ps.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
				p.exit.signal = ws.Signal()
			}
		}
		_, _ = io.WriteString(s.cfg.Stdout, "Runner listener exited with code "+strconv.Itoa(shellCode(p.exit))+".\n")
	}()
	return p, nil
}

// shellCode is the code as a shell would show it.
func shellCode(e exit) int {
	if e.signal != 0 {
		return 128 + int(e.signal)
	}
	return e.code
}

// credential is the job's user, if the supervisor can choose one.
func (s *Supervisor) credential() *syscall.Credential {
	if os.Geteuid() != 0 {
		return nil
	}
	groups := make([]uint32, 0, len(s.cfg.Groups))
	for _, g := range s.cfg.Groups {
		if g != 0 { // the group root is the supervisor's own
			groups = append(groups, uint32(g))
		}
	}
	return &syscall.Credential{Uid: uint32(s.cfg.UID), Gid: uint32(s.cfg.GID), Groups: groups}
}
