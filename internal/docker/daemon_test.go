package docker

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/client"
)

// daemon is a Docker engine of a test's own, which may be killed without harm to anybody else's
// containers.
type daemon struct {
	testing.TB
	dir  string
	host string
	cmd  *exec.Cmd
	done chan error
}

// newDaemon starts an engine that needs no network, and stops it at the end of the test.
func newDaemon(t testing.TB, flags ...string) *daemon {
	t.Helper()
	dir, err := os.MkdirTemp("", "gr") // t.TempDir can be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	d := &daemon{TB: t, dir: dir, host: "unix://" + filepath.Join(dir, "d.sock")}
	if err := os.WriteFile(filepath.Join(dir, "daemon.json"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if d.cmd != nil {
			d.end(syscall.SIGTERM)
		}
		d.unmount()
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	d.start(flags...)
	return d
}

func (d *daemon) start(flags ...string) {
	d.Helper()
	path, err := exec.LookPath("dockerd")
	if err != nil {
		d.Fatalf("this test starts a Docker engine of its own, as root: %v", err)
	}
	log, err := os.OpenFile(filepath.Join(d.dir, "log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		d.Fatal(err)
	}
	defer log.Close()
	d.cmd = exec.CommandContext(context.Background(), path, append([]string{
		"--config-file=" + filepath.Join(d.dir, "daemon.json"), "--data-root=" + filepath.Join(d.dir, "root"),
		"--exec-root=" + filepath.Join(d.dir, "exec"), "--pidfile=" + filepath.Join(d.dir, "pid"), "--host=" + d.host,
		"--storage-driver=vfs", "--bridge=none", "--iptables=false",
	}, flags...)...)
	d.cmd.Stdout, d.cmd.Stderr = log, log
	// An engine without a bridge removes docker0 when it starts: in this machine's network, that
	// would be another engine's.
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if err := d.cmd.Start(); err != nil {
		d.Fatal(err)
	}
	d.done = make(chan error, 1)
	go func() { d.done <- d.cmd.Wait() }()
	cli, err := client.NewClientWithOpts(client.WithHost(d.host), client.WithAPIVersionNegotiation())
	if err != nil {
		d.Fatal(err)
	}
	defer func() { _ = cli.Close() }()
	timeout := time.After(patience)
	for {
		if _, err := cli.Ping(context.Background()); err == nil {
			return
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case err := <-d.done:
			text, _ := os.ReadFile(filepath.Join(d.dir, "log"))
			d.cmd = nil
			d.Fatalf("the Docker engine of this test (it needs root) ended: %v\n%s", err, text)
		case <-timeout:
			text, _ := os.ReadFile(filepath.Join(d.dir, "log"))
			d.Fatalf("the Docker engine of this test does not answer:\n%s", text)
		}
	}
}

func (d *daemon) end(sig os.Signal) {
	d.Helper()
	if err := d.cmd.Process.Signal(sig); err != nil {
		d.Fatal(err)
	}
	select {
	case <-d.done:
	case <-time.After(patience):
		d.Error("the Docker engine of this test does not end")
		_ = d.cmd.Process.Kill()
	}
	d.cmd = nil
	// Its containerd dies with it. The next engine would take a process that nobody has waited for
	// yet for a living one.
	file := filepath.Join(d.dir, "exec", "containerd", "containerd.pid")
	pid, err := os.ReadFile(file)
	if err != nil {
		return // it was sent SIGTERM, and removed the file itself
	}
	for begun := time.Now(); !dead(string(pid)); time.Sleep(10 * time.Millisecond) {
		if time.Since(begun) > patience {
			d.Fatalf("containerd %s does not end with its engine", pid)
		}
	}
	if err := os.Remove(file); err != nil {
		d.Fatal(err)
	}
}

// dead reports whether the process has ended, even if it still has an entry.
func dead(pid string) bool {
	stat, err := os.ReadFile("/proc/" + strings.TrimSpace(pid) + "/stat")
	return err != nil || strings.Contains(string(stat), ") Z ")
}

// unmount undoes what an engine leaves behind that was killed.
func (d *daemon) unmount() {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		d.Error(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); strings.HasPrefix(f[1], d.dir+"/") {
			if err := syscall.Unmount(f[1], syscall.MNT_DETACH); err != nil {
				d.Errorf("unmount %s: %v", f[1], err)
			}
		}
	}
}

// An engine that stops, or is killed, and comes back costs no line and repeats none, whether it
// takes its containers along or leaves them running.
func TestTailDaemonRestart(t *testing.T) {
	const lines = 3000
	for name, flags := range map[string][]string{"containers restart": nil, "containers live on": {"--live-restore"}} {
		t.Run(name, func(t *testing.T) {
			d := newDaemon(t, flags...)
			w := newWorldOn(t, d.host)
			r, _ := w.tailed(w.watched(d.host))
			id := w.run(spec{args: []string{"count", strconv.Itoa(lines), "1ms"}, slot: "ci-1", host: container.HostConfig{
				RestartPolicy: container.RestartPolicy{Name: container.RestartPolicyAlways},
			}})
			run := 1
			for i, sig := range []os.Signal{syscall.SIGTERM, syscall.SIGKILL} {
				r.await(t, "progress", has(fmt.Sprintf("ci-1: run %d line %d", run, 200+500*i)))
				d.end(sig)
				d.start(flags...)
				if flags == nil {
					run++
				}
			}
			got := r.await(t, "the end", has(lastLines("ci-1", run, lines)...))
			likeLog(t, got, w.log(id), "ci-1")
		})
	}
}
