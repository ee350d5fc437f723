// Package docker is the only importer of docker/docker, which is frozen upstream: a move to another
// client changes this package alone.
//
// It watches the engine (a snapshot in memory, kept by the event stream and corrected by a list
// each minute), follows the logs of runner containers line by line, and acts: stop, start, restart,
// and the removal of images and leftovers.
//
// Three rules hold everywhere:
//
//   - A container that does not carry every one of Options.Labels does not exist. Lists and events are
//     filtered by the engine and once more here, and an action asks again right before it acts.
//   - Containers are never inspected: a list does not show environment variables, so a socket proxy
//     needs to allow nothing that could leak a secret. Health and exit code are read from the list's
//     Status text.
//   - No volume and no network is ever touched; the calls for them are not in this package.
package docker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/docker/docker/client"

	"github.com/blueguy23/ghostrunner/internal/runner"
)

const (
	// callTimeout bounds a call that the engine answers from memory.
	callTimeout = 10 * time.Second
	// workTimeout bounds a call that makes the engine read or delete files.
	workTimeout = 5 * time.Minute
)

// Options configures an Engine.
type Options struct {
	// Host is the address of the engine, e.g. unix:///var/run/docker.sock. Empty: DOCKER_HOST, or
	// the default socket. TLS and the API version follow Docker's own environment variables.
	Host string
	// Labels are KEY=VALUE selectors that must all match: a container without them does not exist
	// for this Engine. Empty: every container of the engine exists.
	Labels []string
	// Logger is for the watcher and the log followers. Nil: nothing is logged.
	Logger *slog.Logger
}

// Engine is a connection to one Docker engine. It is safe for concurrent use.
type Engine struct {
	opts     []client.Opt
	selector selector
	log      *slog.Logger
	conn     atomic.Pointer[conn]
	table    *table
}

// New returns an Engine for the options. It never dials: an engine that is down now may come up
// later.
func New(o Options) (*Engine, error) {
	sel, err := parseSelector(o.Labels)
	if err != nil {
		return nil, err
	}
	host := client.WithHostFromEnv()
	if o.Host != "" {
		host = client.WithHost(o.Host)
	}
	e := &Engine{
		opts: []client.Opt{
			client.WithTLSClientConfigFromEnv(),
			host,
			client.WithVersionFromEnv(),
			client.WithAPIVersionNegotiation(),
			client.WithUserAgent("ghostrunner"),
			smallBuffers,
		},
		selector: sel,
		log:      o.Logger,
		table:    newTable(),
	}
	if e.log == nil {
		e.log = slog.New(slog.DiscardHandler)
	}
	if err := e.redial(); err != nil {
		return nil, err
	}
	return e, nil
}

// smallBuffers is an option of the client: the log of each runner keeps a connection open that is
// nearly always idle.
func smallBuffers(c *client.Client) error {
	if t, ok := c.HTTPClient().Transport.(*http.Transport); ok {
		t.ReadBufferSize, t.WriteBufferSize = 2<<10, 1<<10
	}
	return nil
}

// conn is a client. It agrees with the engine on an API version once.
type conn struct {
	*client.Client

	mu     sync.Mutex
	agreed bool
}

// agree reports whether the version is agreed on, and asks the engine if it is not.
func (c *conn) agree(ctx context.Context) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.agreed {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	if answer, err := c.Ping(ctx); err == nil {
		c.NegotiateAPIVersionPing(answer)
		c.agreed = true
	}
	return c.agreed
}

// api returns the client for one call. A client that agrees on the version in its first call writes
// what other calls read without a lock (docker/docker v28.5.2, client.checkVersion against
// ContainerList and Events). So it is shared only after that: while the engine does not answer,
// each call has its own client.
func (e *Engine) api(ctx context.Context) *client.Client {
	c := e.conn.Load()
	if c.agree(ctx) {
		return c.Client
	}
	if own, err := client.NewClientWithOpts(e.opts...); err == nil {
		return own
	}
	return c.Client // New accepted the options
}

// redial replaces the client by a new one. A version that is agreed on is only ever lowered, so an
// engine that was upgraded meanwhile needs a new client. Calls in flight end on the old one.
func (e *Engine) redial() error {
	cli, err := client.NewClientWithOpts(e.opts...)
	if err != nil {
		return fmt.Errorf("docker host: %w (want for example unix:///var/run/docker.sock or tcp://127.0.0.1:2375)", err)
	}
	if old := e.conn.Swap(&conn{Client: cli}); old != nil {
		_ = old.Close() // closes idle connections only, and always returns nil
	}
	return nil
}

// Observed returns the containers with a role, sorted by name, as Watch sees them, and whether the
// engine answers; while it does not, there are none. It does no I/O. The slice is shared and must
// not be modified.
func (e *Engine) Observed() (containers []runner.Container, up bool) {
	s := e.table.snap.Load()
	return s.containers, s.up
}

// Root returns the directory in which the engine keeps its data (DockerRootDir), as the engine sees
// it: in a VM or another mount namespace the path can mean something else here, or nothing.
func (e *Engine) Root(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	info, err := e.api(ctx).Info(ctx)
	if err != nil {
		return "", fmt.Errorf("docker info: %w", err)
	}
	if info.DockerRootDir == "" {
		return "", errors.New("docker info: the answer has no root directory")
	}
	return info.DockerRootDir, nil
}
