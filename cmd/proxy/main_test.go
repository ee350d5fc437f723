package main

import (
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/blueguy23/ghostrunner/cmd/internal/clitest"
)

func TestErrorsAreOneLine(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--docker.label=a=b"}, "--client"},
		{[]string{"--client=root", "--docker.label=a=b"}, "exporter or remediator"},
		{[]string{"--client=exporter"}, "every container of the machine"},
		{[]string{"--client=exporter", "--docker.label=a"}, "KEY=VALUE"},
		{[]string{"--client=exporter", "--docker.label=a=b", "--listen.socket=" + file}, "--listen.socket=" + file},
		{[]string{"--client=exporter", "--docker.label=a=b", "--listen.socket=" + dir + "/none/s"}, "--listen.socket"},
		{[]string{"healthcheck", "--listen.socket=" + dir + "/none"}, "no such file"},
		{[]string{"--nonsense"}, "--nonsense"},
	} {
		var stderr strings.Builder
		if code := run(t.Context(), c.args, io.Discard, &stderr); code != 1 || !strings.Contains(stderr.String(), c.want) || strings.Count(stderr.String(), "\n") != 1 {
			t.Errorf("%q: exit %d, %q; want one line with %q", c.args, code, &stderr, c.want)
		}
	}
}

// The socket is for one user, replaces that of a killed process, and the health check reports an
// engine that is gone.
func TestSocket(t *testing.T) {
	dir, err := os.MkdirTemp("", "gr") // t.TempDir can be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	_ = l.Close()
	logs := &clitest.Output{}
	go run(t.Context(), []string{"--client=exporter", "--docker.label=a=b", "--docker.socket=" + dir + "/none", "--listen.socket=" + socket}, io.Discard, logs)
	clitest.Until(t, "the proxy to listen", func() bool { return strings.Contains(logs.String(), "Listening") })
	info, err := os.Stat(socket)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	var stderr strings.Builder
	if code := run(t.Context(), []string{"healthcheck", "--listen.socket=" + socket}, io.Discard, &stderr); code != 1 || !strings.Contains(stderr.String(), "502") {
		t.Errorf("health check without an engine: exit %d, %s", code, &stderr)
	}
}

// The proxy ends if its engine left the socket behind, and not while there is a listener.
func TestLostSocket(t *testing.T) {
	dir, err := os.MkdirTemp("", "gr") // t.TempDir can be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	accepted := make(chan struct{}, 100)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_ = conn.Close()
			select {
			case accepted <- struct{}{}:
			default:
			}
		}
	}()
	ended := make(chan error, 1)
	go func() { ended <- watchSocket(t.Context(), socket, time.Millisecond) }()
	for range 3 * maxMissed {
		select {
		case <-accepted:
		case err := <-ended:
			t.Fatalf("it ended while there is a listener: %v", err)
		}
	}
	_ = l.Close()
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "--docker.socket="+socket) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := watchSocket(ctx, socket, time.Hour); err != nil {
		t.Errorf("after the context ended: %v", err)
	}
}
