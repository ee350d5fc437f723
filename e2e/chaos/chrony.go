package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/blueguy23/ghostrunner/e2e/guest"
	"github.com/blueguy23/ghostrunner/e2e/machine"
	"github.com/blueguy23/ghostrunner/internal/lab"
)

// chronyd is a real one that never sets the clock (-x), on the machine beside the stack. Its time
// server is the machine's own and always right, because it could not correct a wrong offset.
type chronyd struct {
	dir string
	cmd *exec.Cmd
}

// serveTime serves the right time until ctx ends.
func serveTime(ctx context.Context) error {
	var lc net.ListenConfig
	conn, err := lc.ListenPacket(ctx, "udp4", net.JoinHostPort(machine.Address, "123"))
	if err != nil {
		return fmt.Errorf("time server: %w", err)
	}
	go func() { _ = lab.NewNTP(lab.NTPOptions{}).Serve(ctx, conn) }() // ends with ctx
	return nil
}

// startSynchronized runs it with the time server.
func (c *chronyd) startSynchronized(context.Context) error {
	if guest.Inside() {
		return c.startShipped()
	}
	return c.start("server " + machine.Address + " iburst minpoll 0 maxpoll 1\n")
}

// startShipped runs it as the stack's container does: it steers the guest's clock.
func (c *chronyd) startShipped() error {
	c.cmd = exec.CommandContext(context.Background(), "sh", filepath.Join("compose", "chrony", "entrypoint.sh"))
	c.cmd.Env = append(os.Environ(), "CLOCK_MODE=step", "NTP_SERVERS="+machine.Address)
	return c.cmd.Start()
}

// startAlone runs it without a time source.
func (c *chronyd) startAlone(context.Context) error { return c.start("") }

func (c *chronyd) start(sources string) error {
	path, err := exec.LookPath("chronyd")
	if err != nil {
		if path = "/usr/sbin/chronyd"; !exists(path) {
			return errors.New("chronyd is missing: apt-get install chrony")
		}
	}
	config := fmt.Sprintf("bindcmdaddress %s\ncmdallow all\nbindcmdaddress /\npidfile %s\n", machine.Address, filepath.Join(c.dir, "chronyd.pid")) + sources
	file := filepath.Join(c.dir, "chrony.conf")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return err
	}
	c.cmd = exec.CommandContext(context.Background(), path, "-x", "-d", "-u", "root", "-f", file)
	return c.cmd.Start()
}

// stop kills it.
func (c *chronyd) stop(context.Context) error {
	if err := c.cmd.Process.Kill(); err != nil {
		return err
	}
	_ = c.cmd.Wait() // the error is that it was killed
	return nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
