package machine

import (
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
)

// peer finds, in `ip -o link`, the index of a container's interface at the machine's end: "5: eth0@if6: <…".
var peer = regexp.MustCompile(`(?m)^\d+: eth\d+@if(\d+):`)

// Unplug pulls the cables of a container: from now on its packets vanish without a word, as when a VPN changes. A container
// that is restarted gets new ones. It returns the container's first process, whose life they last, and the machine's ends.
func (e *Engine) Unplug(ctx context.Context, container string) (pid int, ends []string, err error) {
	if pid, err = e.pid(ctx, container); err != nil {
		return 0, nil, err
	}
	inside, err := exec.CommandContext(ctx, "nsenter", "--target", strconv.Itoa(pid), "--net", "ip", "-o", "link").Output()
	if err != nil {
		return 0, nil, fmt.Errorf("interfaces of %s: %w", container, err)
	}
	for _, m := range peer.FindAllStringSubmatch(string(inside), -1) {
		end, err := interfaceName(ctx, m[1])
		if err != nil {
			return 0, nil, err
		}
		if err := command(ctx, "ip", "link", "set", end, "down"); err != nil {
			return 0, nil, err
		}
		ends = append(ends, end)
	}
	if len(ends) == 0 {
		return 0, nil, fmt.Errorf("%s has no network interface", container)
	}
	return pid, ends, nil
}

// interfaceName is the machine's interface with the index.
func interfaceName(ctx context.Context, index string) (string, error) {
	out, err := exec.CommandContext(ctx, "ip", "-o", "link").Output()
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(out)) {
		if rest, ok := strings.CutPrefix(line, index+": "); ok {
			name, _, _ := strings.Cut(rest, ":")
			name, _, _ = strings.Cut(name, "@")
			return name, nil
		}
	}
	return "", fmt.Errorf("no interface has the index %s", index)
}

// pid is the first process of a container.
func (e *Engine) pid(ctx context.Context, container string) (int, error) {
	out, err := exec.CommandContext(ctx, "docker", "inspect", "--format={{.State.Pid}}", container).Output()
	if err != nil {
		return 0, fmt.Errorf("inspect %s: %w", container, err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(out)))
	if err == nil && pid == 0 {
		err = fmt.Errorf("%s does not run", container)
	}
	return pid, err
}
