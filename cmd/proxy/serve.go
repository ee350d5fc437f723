package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"

	"github.com/blueguy23/ghostrunner/internal/dockerproxy"
)

const (
	readHeaderTimeout = 10 * time.Second
	idleTimeout       = 5 * time.Minute
	maxHeaderBytes    = 16 << 10
	shutdownTimeout   = 5 * time.Second // streams never end by themselves
	healthTimeout     = 5 * time.Second

	lookEvery = 15 * time.Second
	lostAfter = 4 // looks in a row
)

// serve is the program: it listens until ctx ends.
func serve(ctx context.Context, cfg config, o dockerproxy.Options) error {
	proxy, err := dockerproxy.New(o)
	if err != nil {
		return fmt.Errorf("--client, --docker.label, --prune.label: %w", err)
	}
	l, err := listen(ctx, cfg.listenSocket)
	if err != nil {
		return fmt.Errorf("--listen.socket=%s: %w", cfg.listenSocket, err)
	}
	// No time-out of a whole request: an event stream lasts for days. There is no body to wait for.
	server := &http.Server{Handler: proxy, ReadHeaderTimeout: readHeaderTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes}
	o.Logger.Info("Listening", "socket", cfg.listenSocket, "client", cfg.client)
	served, lost := make(chan error, 1), make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	go func() { lost <- watchSocket(ctx, cfg.dockerSocket, lookEvery) }()
	select {
	case err := <-served:
		return err
	case err := <-lost:
		if err != nil {
			return errors.Join(err, server.Close())
		}
	case <-ctx.Done():
	}
	// A restart that is under way gets the time to be answered; the engine goes on with it in any case.
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	if err := server.Shutdown(end); err != nil {
		return server.Close()
	}
	return nil
}

// listen takes the place of a socket that an earlier process left behind.
func listen(ctx context.Context, path string) (net.Listener, error) {
	switch info, err := os.Lstat(path); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	case info.Mode().Type() != fs.ModeSocket:
		return nil, errors.New("is in the way: it is no socket")
	default:
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	// Between the two lines anybody who may enter the folder could connect; only the client can.
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// watchSocket returns an error when nobody has listened on the engine's socket for a minute, and nil when ctx ends.
//
// An engine that starts again may put a new socket in the place of the old one. A container that outlived the engine
// (live-restore) keeps the old one for ever: only a new start mounts the new one, so the proxy ends and leaves that to its
// restart policy. An engine that is slow, or hangs, does listen.
func watchSocket(ctx context.Context, path string, every time.Duration) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for missed := 0; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		dial, cancel := context.WithTimeout(ctx, healthTimeout)
		conn, err := (&net.Dialer{}).DialContext(dial, "unix", path)
		cancel()
		switch {
		case err == nil:
			_ = conn.Close()
			missed = 0
		case errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist):
			if missed++; missed == lostAfter {
				return fmt.Errorf("--docker.socket=%s: nobody has listened there for %s; ending, to be started with the socket that is there then", path, lostAfter*every)
			}
		}
	}
}

// healthcheck asks the engine for a sign of life, through the proxy.
func healthcheck(ctx context.Context, socket string) error {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, "http://docker/_ping", http.NoBody)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the engine answers %s through %s", resp.Status, socket)
	}
	return nil
}
