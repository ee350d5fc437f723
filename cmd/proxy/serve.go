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
	shutdownTimeout   = 5 * time.Second // streams do not end by themselves

	socketCheck = 15 * time.Second
	dialTimeout = 5 * time.Second
	maxMissed   = 4 // checks in a row
)

func serve(ctx context.Context, cfg config) error {
	proxy, err := dockerproxy.New(cfg.proxy)
	if err != nil {
		return fmt.Errorf("--client, --docker.label, --prune.label: %w", err)
	}
	l, err := listen(ctx, cfg.listenSocket)
	if err != nil {
		return fmt.Errorf("--listen.socket=%s: %w", cfg.listenSocket, err)
	}
	// No timeout of a whole request: an event stream lasts for days, and no request has a body.
	server := &http.Server{Handler: proxy, ReadHeaderTimeout: readHeaderTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes}
	cfg.proxy.Logger.Info("Listening", "socket", cfg.listenSocket, "client", cfg.proxy.Client)
	served, lost := make(chan error, 1), make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	go func() { lost <- watchSocket(ctx, cfg.proxy.Socket, socketCheck) }()
	select {
	case err := <-served:
		return err
	case err := <-lost:
		if err != nil {
			return errors.Join(err, server.Close())
		}
	case <-ctx.Done():
	}
	// A restart in progress gets its answer. The engine completes it in any case.
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	if err := server.Shutdown(end); err != nil {
		return server.Close()
	}
	return nil
}

// listen replaces a socket that an earlier process left behind.
func listen(ctx context.Context, path string) (net.Listener, error) {
	switch info, err := os.Lstat(path); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	case info.Mode().Type() != fs.ModeSocket:
		return nil, errors.New("the path exists and is not a socket: remove it, or choose another one")
	default:
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	// Until here any user who may enter the directory could connect. Only the client may.
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// watchSocket returns an error when the engine's socket has had no listener for maxMissed checks,
// and nil when ctx ends.
//
// An engine that restarts may replace its socket. A container that survived the engine
// (live-restore) keeps the old one, and only its own restart mounts the new one, so the proxy ends
// and its restart policy starts it again. An engine that is slow, or hangs, still listens.
func watchSocket(ctx context.Context, path string, every time.Duration) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for missed := 0; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		dial, cancel := context.WithTimeout(ctx, dialTimeout)
		conn, err := (&net.Dialer{}).DialContext(dial, "unix", path)
		cancel()
		switch {
		case err == nil:
			_ = conn.Close()
			missed = 0
		case errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist):
			if missed++; missed == maxMissed {
				return fmt.Errorf("--docker.socket=%s: no listener for %s: exiting, so that a restart mounts the engine's new socket", path, maxMissed*every)
			}
		}
	}
}
