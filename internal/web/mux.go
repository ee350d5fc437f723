package web

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/common/version"
	"github.com/prometheus/exporter-toolkit/web"
)

// newMux returns the routes. A "GET" pattern of http.ServeMux also answers HEAD, and other methods
// with 405.
func newMux(o Options, ready func() error, logger *slog.Logger) (*http.ServeMux, error) {
	mux := http.NewServeMux()
	if metrics := metricsHandler(o, logger); metrics != nil {
		mux.Handle("GET /metrics", metrics)
	}
	mux.HandleFunc("GET /-/healthy", func(w http.ResponseWriter, _ *http.Request) {
		text(w, http.StatusOK, o.Name+" is healthy.")
	})
	mux.HandleFunc("GET /-/ready", func(w http.ResponseWriter, _ *http.Request) {
		if err := ready(); err != nil {
			text(w, http.StatusServiceUnavailable, o.Name+" is not ready: "+err.Error())
			return
		}
		text(w, http.StatusOK, o.Name+" is ready.")
	})
	root := o.Root
	if root == nil {
		landing, err := landingPage(o)
		if err != nil {
			return nil, err
		}
		root = landing
	}
	mux.Handle("GET /{$}", root)
	if o.Routes != nil {
		o.Routes(mux)
	}
	return mux, nil
}

func (s *Server) readiness(ready func() error) func() error {
	return func() error {
		switch {
		case s.stopping.Load():
			return errors.New("shutting down")
		case !s.serving.Load():
			return errors.New("starting")
		case ready != nil:
			return ready()
		}
		return nil
	}
}

// metricsHandler returns nil if there are no metrics. One source that fails must not cost the
// others, hence ContinueOnError.
func metricsHandler(o Options, logger *slog.Logger) http.Handler {
	if o.Registry == nil {
		return nil
	}
	h := o.MetricsHandler
	if h == nil {
		h = promhttp.HandlerFor(o.Registry, promhttp.HandlerOpts{
			Registry:      o.Registry,
			ErrorLog:      slog.NewLogLogger(logger.Handler(), slog.LevelError),
			ErrorHandling: promhttp.ContinueOnError,
		})
	}
	return promhttp.InstrumentMetricHandler(o.Registry, limit(h, maxScrapes))
}

func limit(next http.Handler, most int) http.Handler {
	slots := make(chan struct{}, most)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
			next.ServeHTTP(w, r)
		default:
			text(w, http.StatusServiceUnavailable, fmt.Sprintf("%d scrapes are being answered already; try again later.", most))
		}
	})
}

func landingPage(o Options) (http.Handler, error) {
	page, err := web.NewLandingPage(web.LandingConfig{
		Name:        o.Name,
		Description: o.Description,
		Version:     version.Version,
		Profiling:   "false", // there is no pprof
		Links: []web.LandingLinks{
			{Address: "/metrics", Text: "Metrics"},
			{Address: "/-/ready", Text: "Ready", Description: "200 if this program can do its work, else 503 with the reason"},
			{Address: "/-/healthy", Text: "Healthy", Description: "200 while this program runs"},
		},
	})
	if err != nil {
		return nil, fmt.Errorf("landing page: %w", err)
	}
	return page, nil
}

func text(w http.ResponseWriter, status int, body string) { http.Error(w, body, status) }
