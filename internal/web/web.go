// Package web is the HTTP shell that the exporter and the remediator share: one private mux with /metrics, /-/healthy
// and /-/ready, a landing page, limits and time-outs on everything a client can send, and a graceful end.
//
// It exists so that both programs answer the same way and so that a test can boot either of them on port 0. It knows
// neither Docker nor GitHub, and it never touches signals: the context given to [Server.Run] is the only way to stop it.
//
// TLS, mutual TLS, basic authentication and rate limits come from the exporter-toolkit through --web.config.file. They
// then cover every route, the two health endpoints included (this is how the toolkit works), so a health check needs
// the same credentials. Basic authentication and [Bearer] both read the Authorization header: for a route behind
// Bearer use mutual TLS in the web configuration, not basic authentication.
package web

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/exporter-toolkit/web"
	"golang.org/x/sync/errgroup"
)

// Limits on clients. A scrape or a webhook takes milliseconds; the limits only have to be out of their way.
const (
	readHeaderTimeout = 10 * time.Second
	readTimeout       = 60 * time.Second // 16 MiB of webhook over a slow line
	writeTimeout      = 60 * time.Second
	idleTimeout       = 5 * time.Minute // longer than any usual scrape interval, so that connections are reused
	maxHeaderBytes    = 64 << 10
	maxScrapes        = 40 // --web.max-requests of the Prometheus exporters
	shutdownTimeout   = 10 * time.Second
)

// Options says what to serve. Only Flags is needed.
type Options struct {
	// Logger receives what the server itself has to say. Nil: nothing is logged.
	Logger *slog.Logger
	// Flags are the listen addresses and the web configuration file, as filled in by the toolkit's kingpinflag.
	Flags *web.FlagConfig
	// Registry is served at /metrics and instruments that handler. Nil without MetricsHandler: no /metrics.
	Registry *prometheus.Registry
	// Name and Description head the landing page.
	Name, Description string
	// Ready tells why the program cannot do its work yet. Nil, or a nil error: it can.
	Ready func() error
	// Routes adds the program's own routes. A pattern that is already taken panics, as http.ServeMux does.
	Routes func(mux *http.ServeMux)
	// Root answers GET / instead of the landing page.
	Root http.Handler
	// MetricsHandler answers GET /metrics instead of a plain handler over Registry.
	MetricsHandler http.Handler
	// Listening is called once for each bound address before the first request is served. Tests use it to find port 0.
	Listening func(addr net.Addr)
}

// Run binds, serves until ctx ends, and stops gracefully. It is [New] followed by [Server.Run].
func Run(ctx context.Context, o Options) error {
	s, err := New(o)
	if err != nil {
		return err
	}
	return s.Run(ctx)
}

// Server is a bound server: its ports are taken, but nothing is served before [Server.Run].
type Server struct {
	logger    *slog.Logger
	flags     web.FlagConfig
	handler   http.Handler
	listeners []net.Listener
	serving   atomic.Bool
	stopping  atomic.Bool
}

// New checks the web configuration file and binds every listen address. The error is one line that names the flag at
// fault. A server that is not going to be run must be closed.
func New(o Options) (*Server, error) {
	s := &Server{logger: o.Logger, flags: complete(o.Flags)}
	if s.logger == nil {
		s.logger = slog.New(slog.DiscardHandler)
	}
	if err := web.Validate(*s.flags.WebConfigFile); err != nil {
		return nil, fmt.Errorf("--web.config.file=%s: %w", *s.flags.WebConfigFile, err)
	}
	handler, err := newMux(o, s.readiness(o.Ready), s.logger)
	if err != nil {
		return nil, err
	}
	s.handler = handler
	if s.listeners, err = listen(s.flags); err != nil {
		return nil, err
	}
	if o.Listening != nil {
		for _, l := range s.listeners {
			o.Listening(l.Addr())
		}
	}
	return s, nil
}

// Addr is the first bound address.
func (s *Server) Addr() net.Addr { return s.listeners[0].Addr() }

// Close gives the ports of a server that was never run back.
func (s *Server) Close() error { return closeAll(s.listeners) }

// Run serves until ctx ends; then /-/ready turns 503, requests in flight get ten seconds, and Run returns nil.
//
// Every listener has an http.Server of its own, because the toolkit writes its authentication handler into the server
// that it is given: two listeners over one server would wrap it twice, and race.
func (s *Server) Run(ctx context.Context) error {
	g, serveCtx := errgroup.WithContext(ctx)
	for _, l := range s.listeners {
		srv := &http.Server{
			Handler:           s.handler,
			ReadHeaderTimeout: readHeaderTimeout,
			ReadTimeout:       readTimeout,
			WriteTimeout:      writeTimeout,
			IdleTimeout:       idleTimeout,
			MaxHeaderBytes:    maxHeaderBytes,
			ErrorLog:          slog.NewLogLogger(s.logger.Handler(), slog.LevelWarn),
		}
		g.Go(func() error {
			err := web.Serve(l, srv, &s.flags, s.logger)
			_ = l.Close() // it is still open if the web configuration was refused
			if !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("serve on %s: %w", l.Addr(), err)
			}
			return nil
		})
		g.Go(func() error {
			<-serveCtx.Done()
			s.stopping.Store(true)
			return shutdown(context.WithoutCancel(ctx), srv, s.logger)
		})
	}
	s.serving.Store(true)
	return g.Wait()
}

// shutdown lets requests in flight finish; those that outlast the budget are cut off, which is no error of ours.
func shutdown(ctx context.Context, srv *http.Server, logger *slog.Logger) error {
	ctx, cancel := context.WithTimeout(ctx, shutdownTimeout)
	defer cancel()
	err := srv.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		logger.Warn("requests still in flight were cut off", "after", shutdownTimeout)
		return srv.Close()
	}
	return err
}
