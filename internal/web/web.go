// Package web is the HTTP server that the exporter and the remediator share: one private mux with
// /metrics, /-/healthy and /-/ready, a landing page, limits and timeouts for clients,
// authentication, and graceful shutdown.
//
// TLS, mutual TLS, basic authentication and rate limits are the exporter-toolkit's, through
// --web.config.file. They cover every route, also the health endpoints, so a health check needs the
// same credentials. Basic authentication and [Bearer] both use the Authorization header: for a
// route behind Bearer use mutual TLS, not basic authentication.
package web

import (
	"cmp"
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

// Limits for clients. A scrape or a webhook takes milliseconds.
const (
	readHeaderTimeout = 10 * time.Second
	readTimeout       = 60 * time.Second // 16 MiB of webhook over a slow line
	writeTimeout      = 60 * time.Second
	idleTimeout       = 5 * time.Minute // above usual scrape intervals, so that connections are reused
	maxHeaderBytes    = 64 << 10
	maxScrapes        = 40 // at the same time, as --web.max-requests of the Prometheus exporters
	shutdownTimeout   = 10 * time.Second
)

// Options configure a Server. Only Flags is required.
type Options struct {
	// Logger gets the server's messages. Nil: nothing is logged.
	Logger *slog.Logger
	// Flags are the toolkit's, as filled in by its package kingpinflag.
	Flags *web.FlagConfig
	// Registry is served at /metrics and gets the metrics of that handler. Nil: no /metrics.
	Registry *prometheus.Registry
	// Name and Description are the head of the landing page.
	Name, Description string
	// Ready returns why the program cannot do its work yet. Nil, or a nil error: it can.
	Ready func() error
	// Routes adds the program's own routes.
	Routes func(mux *http.ServeMux)
	// Root answers GET / instead of the landing page.
	Root http.Handler
	// MetricsHandler answers GET /metrics instead of a plain handler over Registry.
	MetricsHandler http.Handler
}

// Server is a server whose ports are bound. It serves nothing before [Server.Run].
type Server struct {
	logger    *slog.Logger
	flags     *web.FlagConfig
	handler   http.Handler
	listeners []net.Listener
	serving   atomic.Bool
	stopping  atomic.Bool
}

// New checks the web configuration file and binds every listen address. The error is one line that
// names the flag.
func New(o Options) (*Server, error) {
	s := &Server{logger: cmp.Or(o.Logger, slog.New(slog.DiscardHandler)), flags: o.Flags}
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
	return s, nil
}

// Run serves until ctx ends. Then /-/ready answers 503, requests in flight get ten seconds, and Run
// returns nil.
//
// Each listener has its own http.Server, because the toolkit puts its authentication handler into
// the server it is given: two listeners with one server would wrap it twice, and race.
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
			err := web.Serve(l, srv, s.flags, s.logger)
			_ = l.Close() // still open if the toolkit refused the web configuration
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

// shutdown lets requests in flight finish for shutdownTimeout, then cuts them off.
func shutdown(ctx context.Context, srv *http.Server, logger *slog.Logger) error {
	ctx, cancel := context.WithTimeout(ctx, shutdownTimeout)
	defer cancel()
	err := srv.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		logger.Warn("Requests in flight were cut off", "after", shutdownTimeout)
		return srv.Close()
	}
	return err
}
