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

type listenerProcess struct {
	pid  int
	job  *jobProgress
	done chan struct{} // closed when it and its descendants have ended and its output was passed on
	exit exit          // valid once done is closed
}

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

func (e exit) shellCode() int {
	if e.signal != 0 {
		return 128 + int(e.signal)
	}
	return e.code
}

func listenerPath(root string) string { return filepath.Join(root, "bin", "Runner.Listener") }

// launch starts the listener as the job's user, in its own session and process group.
//
// It is waited for without exec.Cmd.Wait, which would close the pipes before they are read to their
// end. The listener needs SIGINT's default action: an ignored signal stays ignored across exec, a
// handled one does not, so the program must handle SIGINT (cmd does).
func (s *Supervisor) launch(jit string) (*listenerProcess, error) {
	cmd := exec.Command(listenerPath(s.cfg.Root), "run") //nolint:noctx // Its end is decided by the state machine: SIGINT first, and never while a job runs.
	cmd.Dir = s.cfg.Root
	cmd.Env = listenerEnviron(s.cfg.Environ, s.cfg.PassEnv, filepath.Join(s.cfg.Root, homeDir), jit)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: s.credential()}

	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := s.tree.start(cmd); err != nil {
		return nil, err
	}
	p := &listenerProcess{pid: cmd.Process.Pid, job: newJobProgress(), done: make(chan struct{})}
	go s.waitFor(p, cmd.Process, stdout, stderr)
	return p, nil
}

// waitFor passes the listener's output on until it has ended, and kills what it left behind.
func (s *Supervisor) waitFor(p *listenerProcess, process *os.Process, stdout, stderr io.ReadCloser) {
	defer close(p.done)
	var output sync.WaitGroup
	output.Go(func() { forwardLines(stdout, s.cfg.Stdout, p.job.record) })
	output.Go(func() { forwardLines(stderr, s.cfg.Stderr, p.job.record) })
	ended, err := process.Wait()
	s.tree.childReaped()
	_ = syscall.Kill(-p.pid, syscall.SIGKILL)
	_ = s.tree.killAll(s.t.killTimeout) // repeated by cleanUp
	// No process holds the pipes now, unless one could not be killed.
	closePipes := func() { _, _ = stdout.Close(), stderr.Close() }
	unkillable := time.AfterFunc(s.t.killTimeout, closePipes)
	output.Wait()
	unkillable.Stop()
	closePipes()
	p.exit.code = -1
	if err == nil {
		p.exit.code = ended.ExitCode()
		if ws, ok := ended.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
			p.exit.signal = ws.Signal()
		}
	}
	_, _ = io.WriteString(s.cfg.Stdout, "Runner listener exited with code "+strconv.Itoa(p.exit.shellCode())+".\n")
}

// credential returns the job's user, nil if the supervisor cannot choose one.
func (s *Supervisor) credential() *syscall.Credential {
	if os.Geteuid() != 0 {
		return nil
	}
	groups := make([]uint32, 0, len(s.cfg.Groups))
	for _, g := range s.cfg.Groups {
		if g != 0 { // the supervisor's own group
			groups = append(groups, uint32(g))
		}
	}
	return &syscall.Credential{Uid: uint32(s.cfg.UID), Gid: uint32(s.cfg.GID), Groups: groups}
}
