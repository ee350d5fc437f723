package httpapi

import (
	"errors"
	"fmt"
	"mime"
	"net/http"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Webhook returns the handler of POST /webhook, behind auth. It answers as soon as the alerts are
// on disk; Alertmanager repeats what was answered with 503, and gives up on any other error
// (prometheus/alertmanager notify/util.go, type Retrier).
func (s *Server) Webhook(auth func(http.Handler) http.Handler) http.Handler {
	return promhttp.InstrumentHandlerCounter(s.codes, limited(s.deliveries, auth(http.HandlerFunc(s.webhook))))
}

func (s *Server) webhook(w http.ResponseWriter, req *http.Request) {
	if req.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "use POST", http.StatusMethodNotAllowed)
		return
	}
	m, ok := s.readPayload(w, req)
	if !ok {
		return
	}
	n, err := s.remediator.Accept(m.notices(), m.TruncatedAlerts)
	if err != nil {
		unavailable(w, err)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(http.StatusAccepted)
	fmt.Fprintf(w, "accepted %d of %d alerts\n", n, len(m.Alerts))
}

// readPayload reads and checks a payload, and answers if it is none. Large ones wait for each
// other.
func (s *Server) readPayload(w http.ResponseWriter, req *http.Request) (*message, bool) {
	if typ, _, err := mime.ParseMediaType(req.Header.Get("Content-Type")); err != nil || typ != "application/json" {
		http.Error(w, "Content-Type: want application/json", http.StatusUnsupportedMediaType)
		return nil, false
	}
	size := req.ContentLength
	if size < 0 || size > maxBody { // unknown, or cut off there
		size = maxBody
	}
	if err := s.bodies.Acquire(req.Context(), size); err != nil { // the client went away
		unavailable(w, err)
		return nil, false
	}
	defer s.bodies.Release(size)
	m, err := decode(http.MaxBytesReader(w, req.Body, maxBody))
	if err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			http.Error(w, fmt.Sprintf("body: larger than %d bytes", maxBody), http.StatusRequestEntityTooLarge)
		} else {
			http.Error(w, err.Error(), http.StatusBadRequest)
		}
		return nil, false
	}
	return m, true
}
