package remedy

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// Bounds of the API.
const (
	defaultAttempts = 50
	maxExplain      = 1000
	explainTimeout  = 30 * time.Second
)

// Routes adds the webhook and the API to mux, each behind auth.
func (r *Remediator) Routes(mux *http.ServeMux, auth func(http.Handler) http.Handler) {
	mux.Handle("/webhook", r.Webhook(auth))
	for pattern, fn := range map[string]http.HandlerFunc{
		"GET /api/v1/attempts":                 r.getAttempts,
		"GET /api/v1/breakers":                 r.getBreakers,
		"GET /api/v1/status":                   r.getStatus,
		"POST /api/v1/breakers/{runner}/reset": r.postReset,
		"POST /api/v1/pause":                   r.postPause(true),
		"POST /api/v1/resume":                  r.postPause(false),
		"POST /api/v1/explain":                 r.postExplain,
	} {
		mux.Handle(pattern, auth(fn))
	}
}

// BreakerStatus is one runner in the answer of GET /api/v1/breakers.
type BreakerStatus struct {
	Runner string       `json:"runner"`
	State  BreakerState `json:"state"`
	// Until is when the runner is or was started again, Closes when probation ends.
	Until    time.Time `json:"until,omitzero"`
	Closes   time.Time `json:"closes,omitzero"`
	Openings int       `json:"openings"`
	Fires    uint64    `json:"fires"`
}

// Status is the answer of GET /api/v1/status.
type Status struct {
	Ready      bool            `json:"ready"`
	Reason     string          `json:"reason,omitempty"` // why not
	Paused     bool            `json:"paused"`
	DryRun     bool            `json:"dryRun"`
	DockerUp   bool            `json:"dockerUp"`
	Queue      int             `json:"queue"`
	Heartbeat  time.Time       `json:"heartbeat,omitzero"`
	Unfinished []Unfinished    `json:"unfinished"`
	Breakers   []BreakerStatus `json:"breakers"`
}

// Unfinished is a container that was taken down and not yet seen running again.
type Unfinished struct {
	Target    string    `json:"target"`
	Container string    `json:"container"`
	Action    string    `json:"action"`
	Phase     Phase     `json:"phase"`
	StartAt   time.Time `json:"startAt"`
}

// Explanation is the decision for one alert of a payload.
type Explanation struct {
	Alert    string    `json:"alert"`
	Status   string    `json:"status"`
	Action   string    `json:"action"`
	Target   string    `json:"target,omitempty"`
	Decision string    `json:"decision"` // act, refuse or ignore
	Reason   string    `json:"reason,omitempty"`
	Detail   string    `json:"detail,omitempty"`
	Verdicts []Verdict `json:"verdicts,omitempty"`
}

// Attempts returns the history, the newest first.
func (r *Remediator) Attempts(limit int) []Record {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state.history(limit)
}

// Breakers returns every known runner with its breaker, by name.
func (r *Remediator) Breakers() []BreakerStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]BreakerStatus, 0, len(r.state.fires))
	for _, runner := range slices.Sorted(maps.Keys(r.state.fires)) {
		b := r.state.breakers[runner]
		out = append(out, BreakerStatus{
			Runner: runner, State: cmp.Or(b.State, Closed), Until: b.Until, Closes: b.Closes,
			Openings: b.Openings, Fires: r.state.fires[runner],
		})
	}
	return out
}

// Status returns how the remediator is.
func (r *Remediator) Status() Status {
	s := Status{Ready: true, DryRun: r.opts.DryRun, Unfinished: []Unfinished{}, Breakers: r.Breakers()}
	if err := r.Ready(); err != nil {
		s.Ready, s.Reason = false, err.Error()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s.Paused, s.DockerUp, s.Queue, s.Heartbeat = r.state.paused, r.dockerUp, r.state.queue, r.state.heartbeat
	for _, target := range slices.Sorted(maps.Keys(r.state.debts)) {
		d := r.state.debts[target]
		s.Unfinished = append(s.Unfinished, Unfinished{target, d.Container, d.Action, d.Phase, d.StartAt})
	}
	return s
}

// Explain decides about every alert of a payload and does nothing.
func (r *Remediator) Explain(ctx context.Context, m *Message) []Explanation {
	guards, now := r.Guards(), time.Now()
	out := make([]Explanation, 0, len(m.Alerts))
	for _, in := range m.Alerts {
		a := newAlert(in, now)
		e := Explanation{Alert: a.Name(), Status: in.Status, Action: a.Remediation(), Decision: "ignore"}
		switch {
		case !actionable(in):
			e.Detail = "has no label remediation"
		case in.Status != statusFiring:
			e.Detail = "a resolved alert starts nothing"
		default:
			d := decide(ctx, guards, a)
			e.Action, e.Target, e.Verdicts = cmp.Or(d.Plan.Action.Name, e.Action), d.Plan.Target, d.Verdicts
			e.Decision, e.Reason, e.Detail = "act", string(d.Refused), d.Detail
			if d.Refused != "" {
				e.Decision = "refuse"
			}
		}
		out = append(out, e)
	}
	return out
}

func (r *Remediator) getAttempts(w http.ResponseWriter, req *http.Request) {
	limit := defaultAttempts
	if s := req.URL.Query().Get("limit"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > maxRecords+maxRefusals {
			http.Error(w, "limit: want a number from 1 to "+strconv.Itoa(maxRecords+maxRefusals), http.StatusBadRequest)
			return
		}
		limit = n
	}
	reply(w, r.Attempts(limit))
}

func (r *Remediator) getBreakers(w http.ResponseWriter, _ *http.Request) { reply(w, r.Breakers()) }

func (r *Remediator) getStatus(w http.ResponseWriter, _ *http.Request) { reply(w, r.Status()) }

func (r *Remediator) postReset(w http.ResponseWriter, req *http.Request) {
	err := r.Reset(req.Context(), req.PathValue("runner"))
	switch {
	case errors.Is(err, ErrUnknownRunner):
		http.Error(w, err.Error(), http.StatusNotFound)
	case err != nil:
		unavailable(w, err)
	default:
		reply(w, r.Breakers())
	}
}

func (r *Remediator) postPause(paused bool) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		if err := r.SetPaused(req.Context(), paused); err != nil {
			unavailable(w, err)
			return
		}
		reply(w, r.Status())
	}
}

func (r *Remediator) postExplain(w http.ResponseWriter, req *http.Request) {
	m, ok := readPayload(w, req)
	if !ok {
		return
	}
	if len(m.Alerts) > maxExplain {
		http.Error(w, "alerts: more than "+strconv.Itoa(maxExplain), http.StatusRequestEntityTooLarge)
		return
	}
	ctx, cancel := context.WithTimeout(req.Context(), explainTimeout)
	defer cancel()
	reply(w, r.Explain(ctx, m))
}

// reply answers with JSON that no browser mistakes for a page.
func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(v) // the client went away: nobody to tell
}
