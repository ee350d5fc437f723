package machine

import (
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
)

// peer matches the interface of a container in `ip -o link`, whose index on the machine is the
// number: "5: eth0@if6: <…".
var peer = regexp.MustCompile(`(?m)^\d+: eth\d+@if(\d+):`)

// Disconnect takes a container's network down at the machine's end: its packets are lost without an
// error, as after a change of VPN. A restart of the container connects it again. It returns the
// container's first process, and the machine's interfaces, which exist as long as that process.
func (e *Engine) Disconnect(ctx context.Context, container string) (pid int, ends []string, err error) {
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
