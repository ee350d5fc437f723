package web

import (
	"bytes"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// broken is a connection whose other end has gone.
type broken struct {
	http.ResponseWriter

	writes int
}

func (b *broken) Write([]byte) (int, error) {
	b.writes++
	return 0, errors.New("broken pipe")
}

// A scrape that was given up is no error of ours, and above all not one for each metric.
func TestHangup(t *testing.T) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector())
	var log bytes.Buffer
	h := metricsHandler(Options{Registry: registry}, slog.New(slog.NewTextHandler(&log, nil)))
	w := &broken{ResponseWriter: httptest.NewRecorder()}
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", http.NoBody))
	if log.Len() > 0 {
		t.Errorf("logged: %s", &log)
	}
	if w.writes != 1 {
		t.Errorf("%d writes to a connection that is gone, want 1", w.writes)
	}
	whole := httptest.NewRecorder()
	h.ServeHTTP(whole, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", http.NoBody))
	if !bytes.Contains(whole.Body.Bytes(), []byte("go_goroutines")) {
		t.Errorf("a scrape that is read: %s", whole.Body)
	}
}
