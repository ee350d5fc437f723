package remedy

import (
	"context"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/alertmanager/template"
)

const (
	// maxBody bounds a payload in bytes.
	maxBody = 16 << 20
	// maxBodies bounds the payloads in bytes that are read and decoded at the same time, in which they grow several times.
	maxBodies = 2 * maxBody
	// maxRequests bounds the requests that are answered at the same time, those of the webhook apart from all others: whoever reads
	// the page slowly, for which no token is needed, must not keep alerts out.
	maxRequests = 64
)

var (
	errQueueFull = errors.New("queue is full")
	errTooMany   = errors.New("alerts: more than the queue can ever hold")
)

// Webhook returns the handler of POST /webhook, behind auth. Every request is
// counted by its code. It answers as soon as the alerts are on disk; Alertmanager
// repeats what was answered with 503, and gives up on any other error
// (prometheus/alertmanager notify/util.go, type Retrier).
func (r *Remediator) Webhook(auth func(http.Handler) http.Handler) http.Handler {
	next := limited(r.deliveries, auth(http.HandlerFunc(r.webhook)))
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		rec := &codeRecorder{ResponseWriter: w, code: http.StatusOK}
		next.ServeHTTP(rec, req)
		r.metrics.requests.WithLabelValues(strconv.Itoa(rec.code)).Inc()
	})
}

// limited answers 503 to the request that would be one too many, whatever it wants.
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

// codeRecorder remembers the status code of an answer.
type codeRecorder struct {
	http.ResponseWriter

	code int
}

// WriteHeader implements http.ResponseWriter.
func (c *codeRecorder) WriteHeader(code int) {
	c.code = code
	c.ResponseWriter.WriteHeader(code)
}

// Unwrap makes http.ResponseController and http.MaxBytesReader work.
func (c *codeRecorder) Unwrap() http.ResponseWriter { return c.ResponseWriter }

func (r *Remediator) webhook(w http.ResponseWriter, req *http.Request) {
	if req.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "use POST", http.StatusMethodNotAllowed)
		return
	}
	m, ok := r.readPayload(w, req)
	if !ok {
		return
	}
	n, err := r.Accept(req.Context(), m)
	switch {
	case errors.Is(err, errTooMany):
		http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
	case err != nil:
		unavailable(w, err)
	default:
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(http.StatusAccepted)
		fmt.Fprintf(w, "accepted %d of %d alerts\n", n, len(m.Alerts))
	}
}

// readPayload reads and checks a payload, and answers if it is none. Large ones wait for each other.
func (r *Remediator) readPayload(w http.ResponseWriter, req *http.Request) (*Message, bool) {
	if typ, _, err := mime.ParseMediaType(req.Header.Get("Content-Type")); err != nil || typ != "application/json" {
		http.Error(w, "Content-Type: want application/json", http.StatusUnsupportedMediaType)
		return nil, false
	}
	if req.ContentLength > maxBody {
		http.Error(w, fmt.Sprintf("body: larger than %d bytes", maxBody), http.StatusRequestEntityTooLarge)
		return nil, false
	}
	size := req.ContentLength
	if size < 0 {
		size = maxBody // nobody knows
	}
	if err := r.bodies.Acquire(req.Context(), size); err != nil { // the client went away
		unavailable(w, err)
		return nil, false
	}
	defer r.bodies.Release(size)
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

// unavailable asks Alertmanager to try again.
func unavailable(w http.ResponseWriter, err error) {
	w.Header().Set("Retry-After", "1")
	http.Error(w, err.Error(), http.StatusServiceUnavailable)
}

// Accept puts the alerts that ask for an action on disk and returns how many these
// were. All others are only counted; resolved alerts never start anything. An
// alert that waits already is not queued a second time.
func (r *Remediator) Accept(ctx context.Context, m *Message) (int, error) {
	now := time.Now()
	alerts := make([]Alert, 0, len(m.Alerts))
	var heartbeat bool
	var firing int
	for _, in := range m.Alerts {
		if in.Status != statusFiring {
			continue
		}
		firing++
		heartbeat = heartbeat || in.Labels[labelAlertName] == AlertWatchdog
		if actionable(in) {
			alerts = append(alerts, newAlert(in, now))
		}
	}
	if err := r.enqueue(ctx, alerts); err != nil {
		return 0, err
	}
	r.hear(m.Alerts, now)
	if heartbeat {
		r.mu.Lock()
		r.state.heartbeat = now
		r.mu.Unlock()
	}
	r.metrics.alerts.WithLabelValues(statusFiring).Add(float64(firing))
	r.metrics.alerts.WithLabelValues(statusResolved).Add(float64(len(m.Alerts) - firing))
	if m.TruncatedAlerts > 0 {
		r.log.Warn("Alertmanager cut the payload: set max_alerts to 0 for this receiver", "missing", m.TruncatedAlerts)
	}
	return len(alerts), nil
}

// actionable reports whether a firing alert asks for an action.
func actionable(in template.Alert) bool { return in.Labels[labelRemediation] != "" }

// pendingAlert is an alert that waits in the inbox.
type pendingAlert struct {
	seq     uint64
	durable bool // on disk: an equal one that comes now needs no place of its own
}

// arrival is an alert on its way to the inbox, with its key, which is made but once.
type arrival struct {
	Alert

	key string
}

// enqueue makes alerts durable and wakes the worker.
func (r *Remediator) enqueue(ctx context.Context, alerts []Alert) error {
	if len(alerts) > r.opts.QueueLimit {
		return errTooMany
	}
	arrivals := make([]arrival, len(alerts))
	for i, a := range alerts {
		arrivals[i] = arrival{a, a.key()}
	}
	fresh, seq, err := r.reserve(arrivals)
	if err != nil {
		return err
	}
	writes := make([]write, len(fresh)) // encoded outside of the lock
	for i, a := range fresh {
		writes[i] = put(bucketInbox, seqKey(seq+uint64(i)), a.Alert)
	}
	err = r.write(ctx, writes...)
	r.mu.Lock()
	for i, a := range fresh {
		// The worker may have decided it already and taken it out.
		if p, ok := r.state.pending[a.key]; ok && p.seq == seq+uint64(i) {
			if err == nil {
				r.state.pending[a.key] = pendingAlert{p.seq, true}
			} else {
				delete(r.state.pending, a.key)
			}
		}
	}
	if err != nil {
		r.state.queue -= len(fresh)
	}
	r.mu.Unlock()
	if err != nil {
		return err
	}
	r.opts.Failpoint("accepted")
	signal(r.wake)
	return nil
}

// reserve drops the alerts that wait already and returns the others with the
// sequence number of the first, if there is room for all of them.
func (r *Remediator) reserve(alerts []arrival) (fresh []arrival, seq uint64, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.stopping:
		return nil, 0, errStopping
	case r.journal == nil:
		return nil, 0, r.broken
	}
	waiting := 0
	for _, a := range alerts {
		if r.state.pending[a.key].durable {
			waiting++
		}
	}
	if r.state.queue+len(alerts)-waiting > r.opts.QueueLimit {
		return nil, 0, errQueueFull
	}
	seq = r.state.nextSeq
	fresh = make([]arrival, 0, len(alerts))
	for _, a := range alerts {
		p, waits := r.state.pending[a.key]
		if waits && (p.durable || p.seq >= seq) { // on disk, or earlier in this payload
			r.metrics.refused.WithLabelValues(r.known(a.Remediation()), string(Duplicate)).Inc()
			continue
		}
		if !waits {
			r.state.pending[a.key] = pendingAlert{seq: r.state.nextSeq}
		}
		r.state.nextSeq++
		fresh = append(fresh, a)
	}
	r.state.queue += len(fresh)
	return fresh, seq, nil
}

// known is the name of an action, or actionUnknown for anything else.
func (r *Remediator) known(name string) string {
	for _, a := range r.actions {
		if a.Name == name {
			return name
		}
	}
	return actionUnknown
}
