package machine

import (
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// Signal sends a signal to processes of a container without Docker, as the kernel does when memory
// is short: to the first process, or to those whose command line contains the text.
func (e *Engine) Signal(ctx context.Context, container, text string, sig syscall.Signal) error {
	if text == "" {
		pid, err := e.pid(ctx, container)
		if err != nil {
			return err
		}
		return syscall.Kill(pid, sig)
	}
	out, err := exec.CommandContext(ctx, "docker", "top", container, "-eo", "pid,args").Output()
	if err != nil {
		return fmt.Errorf("processes of %s: %w", container, err)
	}
	hit := false
	for line := range strings.Lines(string(out)) {
		if !strings.Contains(line, text) {
			continue
		}
		pid, err := strconv.Atoi(strings.Fields(line)[0])
		if err != nil {
			continue
		}
		if err := syscall.Kill(pid, sig); err != nil {
			return err
		}
		hit = true
	}
	if !hit {
		return fmt.Errorf("no process of %s is a %s", container, text)
	}
	return nil
}
