// Package httpapi is the remediator's door for other programs and for people: Alertmanager's
// webhook, the API, and the status page. It is the only package that knows Alertmanager's payload.
package httpapi

import (
	"errors"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"golang.org/x/sync/semaphore"

	"github.com/blueguy23/ghostrunner/internal/remedy"
)

const (
	// maxBody bounds a payload in bytes.
	maxBody = 16 << 20
	// maxBodies bounds the payloads in bytes that are read and decoded at the same time, in which
	// they grow several times.
	maxBodies = 2 * maxBody
	// maxRequests bounds the requests that are answered at the same time, those of the webhook
	// apart from all others: a client that reads the page slowly, for which no token is needed,
	// must not keep alerts out.
	maxRequests = 64
)

// Server answers requests about one remediator.
type Server struct {
	remediator *remedy.Remediator
	codes      *prometheus.CounterVec
	deliveries chan struct{}       // one token for each request to the webhook that is being answered
	requests   chan struct{}       // one for each other request
	bodies     *semaphore.Weighted // bytes of the payloads that are being decoded
}

// New makes a server. A nil registry registers nothing.
func New(r *remedy.Remediator, registry prometheus.Registerer) *Server {
	s := &Server{
		remediator: r,
		codes: promauto.With(registry).NewCounterVec(prometheus.CounterOpts{
			Name: "ghostrunner_remediator_webhook_requests_total", Help: "Webhook requests by HTTP status code.",
		}, []string{"code"}),
		deliveries: make(chan struct{}, maxRequests),
		requests:   make(chan struct{}, maxRequests),
		bodies:     semaphore.NewWeighted(maxBodies),
	}
	for _, code := range []string{"202", "400", "401", "405", "413", "415", "503"} {
		s.codes.WithLabelValues(code)
	}
	return s
}

// Routes adds the webhook and the API to mux, each behind auth. The buttons of the page are the
// same requests: what comes from a form is answered with the page.
func (s *Server) Routes(mux *http.ServeMux, auth func(http.Handler) http.Handler) {
	mux.Handle("/webhook", s.Webhook(auth))
	mux.Handle("GET /api/v1/attempts", s.api(auth, s.getAttempts, "limit", "since"))
	mux.Handle("GET /api/v1/breakers", s.api(auth, s.getBreakers))
	mux.Handle("GET /api/v1/status", s.api(auth, s.getStatus))
	mux.Handle("POST /api/v1/breakers/{runner}/reset", s.api(auth, s.postReset))
	mux.Handle("POST /api/v1/pause", s.api(auth, s.postPause, "for"))
	mux.Handle("POST /api/v1/resume", s.api(auth, s.postResume))
	mux.Handle("POST /api/v1/explain", s.api(auth, s.postExplain))
}

// limited answers 503 to the request that would be one too many.
func limited(places chan struct{}, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		select {
		case places <- struct{}{}:
			defer func() { <-places }()
			next.ServeHTTP(w, req)
		default:
			unavailable(w, errors.New("too many requests at once"))
		}
	})
}

func unavailable(w http.ResponseWriter, err error) {
	w.Header().Set("Retry-After", "1")
	http.Error(w, err.Error(), http.StatusServiceUnavailable)
}
