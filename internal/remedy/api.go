package remedy

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Bounds of the API.
const (
	defaultAttempts = 50
	maxExplain      = 1000
	explainTimeout  = 30 * time.Second
)

// Routes adds the webhook and the API to mux, each behind auth. The buttons of the page are the same requests: what comes
// from a form is answered with the page.
func (r *Remediator) Routes(mux *http.ServeMux, auth func(http.Handler) http.Handler) {
	mux.Handle("/webhook", r.Webhook(auth))
	for pattern, fn := range map[string]http.HandlerFunc{
		"GET /api/v1/attempts":                 r.getAttempts,
		"GET /api/v1/breakers":                 r.getBreakers,
		"GET /api/v1/status":                   r.getStatus,
		"POST /api/v1/breakers/{runner}/reset": r.postReset,
		"POST /api/v1/pause":                   r.postPause,
		"POST /api/v1/resume":                  r.postResume,
		"POST /api/v1/explain":                 r.postExplain,
	} {
		mux.Handle(pattern, limited(r.requests, auth(fn)))
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
	Ready  bool   `json:"ready"`
	Reason string `json:"reason,omitempty"` // why not
	// Journal says that it can be written; without it nothing is accepted and nothing done.
	Journal bool `json:"journal"`
	// Silent says that the heartbeat has not come for too long.
	Silent bool `json:"silent"`
	Paused bool `json:"paused"`
	// PausedUntil is when the pause ends by itself.
	PausedUntil time.Time `json:"pausedUntil,omitzero"`
	// WindowOpens is when the maintenance window opens; absent while it is open.
	WindowOpens time.Time       `json:"windowOpens,omitzero"`
	DryRun      bool            `json:"dryRun"`
	DockerUp    bool            `json:"dockerUp"`
	Queue       int             `json:"queue"`
	Heartbeat   time.Time       `json:"heartbeat,omitzero"`
	Unfinished  []Unfinished    `json:"unfinished"`
	Breakers    []BreakerStatus `json:"breakers"`
	Targets     []Target        `json:"targets"`
	Firing      []Firing        `json:"firing"`
}

// Target is a container that may be acted on, as it was last seen.
type Target struct {
	Name      string   `json:"name"`
	Container string   `json:"container"`
	Role      string   `json:"role"`
	State     string   `json:"state"`
	Health    string   `json:"health,omitempty"`
	Heal      []string `json:"heal"`
	// Working says that an action on it is in progress.
	Working bool `json:"working,omitempty"`
	// Breaker is nil for what has none.
	Breaker *BreakerStatus `json:"breaker,omitempty"`
	Seen    time.Time      `json:"seen"`
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
func (r *Remediator) Attempts(limit int) []Record { return r.AttemptsSince(time.Time{}, limit) }

// AttemptsSince returns what happened at a time or later, the newest first.
func (r *Remediator) AttemptsSince(since time.Time, limit int) []Record {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.state.history(maxRecords + maxRefusals)
	n := slices.IndexFunc(all, func(rec Record) bool { return rec.at().Before(since) })
	if n < 0 {
		n = len(all)
	}
	return all[:min(n, limit)]
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

// Targets returns what may be acted on, runners first. Docker is asked, but not waited for.
func (r *Remediator) Targets(ctx context.Context) []Target {
	seen := r.containers.glance(ctx)
	breakers := map[string]BreakerStatus{}
	for _, b := range r.Breakers() {
		breakers[b.Runner] = b
	}
	out := []Target{}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range seen.list {
		if len(c.Heal) == 0 || (c.Role != RoleRunner && c.Role != RoleService) {
			continue
		}
		t := Target{
			Name: c.Target(), Container: c.Name, Role: c.Role, State: c.State, Health: c.Health, Heal: c.Heal,
			Working: r.inflight[c.Target()], Seen: seen.at,
		}
		if b, ok := breakers[t.Name]; ok && c.Role == RoleRunner {
			t.Breaker = &b
		}
		out = append(out, t)
	}
	slices.SortFunc(out, func(a, b Target) int {
		return cmp.Or(cmp.Compare(a.Role, b.Role), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Container, b.Container))
	})
	return out
}

// Status returns how the remediator is. Its targets are left to [Remediator.Targets], which asks Docker.
func (r *Remediator) Status() Status {
	s := Status{
		Ready: true, DryRun: r.opts.DryRun, Unfinished: []Unfinished{}, Breakers: r.Breakers(), Targets: []Target{},
		Firing: r.Firing(),
	}
	if err := r.Ready(); err != nil {
		s.Ready, s.Reason = false, err.Error()
	}
	s.Journal = r.writable() == nil
	if now := time.Now(); !r.opts.Window.Open(now) {
		s.WindowOpens = r.opts.Window.Next(now)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s.Silent = r.silentAt(time.Now()) != nil
	s.DockerUp, s.Queue, s.Heartbeat = r.dockerUp, r.state.queue, r.state.heartbeat
	if s.Paused = r.state.pausedAt(time.Now()); s.Paused {
		s.PausedUntil = r.state.pausedUntil
	}
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
	limit, since := defaultAttempts, time.Time{}
	if !parameters(w, req, map[string]func(string) error{
		"limit": func(s string) error {
			n, err := strconv.Atoi(s)
			if err != nil || n < 1 || n > maxRecords+maxRefusals {
				return fmt.Errorf("want a number from 1 to %d", maxRecords+maxRefusals)
			}
			limit = n
			return nil
		},
		"since": func(s string) (err error) {
			since, err = ParseSince(s, time.Now())
			return err
		},
	}) {
		return
	}
	reply(w, r.AttemptsSince(since, limit))
}

// ParseSince reads a moment of the past: a time (RFC 3339), a day (2006-01-02, in UTC), or how long ago (90m, 24h).
func ParseSince(s string, now time.Time) (time.Time, error) {
	if d, err := time.ParseDuration(s); err == nil {
		if d < 0 || d > recordMaxAge {
			return time.Time{}, fmt.Errorf("want at most %d hours, which is how long anything is remembered", recordMaxAge/time.Hour)
		}
		return now.Add(-d), nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	return time.Time{}, errors.New("want a time such as 2006-01-02T15:04:05Z, a day such as 2006-01-02, or how long ago, such as 24h")
}

// maxForm bounds the body of a request that has only parameters.
const maxForm = 4 << 10

// parameters reads the parameters of a request, from its query or its form, each at most once. What is not asked for, or
// cannot be read, is answered with its name. An empty one counts as left out.
func parameters(w http.ResponseWriter, req *http.Request, known map[string]func(string) error) bool {
	req.Body = http.MaxBytesReader(w, req.Body, maxForm)
	if err := req.ParseForm(); err != nil {
		http.Error(w, "parameters: "+clean(err.Error(), 160), http.StatusBadRequest)
		return false
	}
	for _, name := range slices.Sorted(maps.Keys(req.Form)) {
		values, parse := req.Form[name], known[name]
		var err error
		switch {
		case parse == nil:
			err = errors.New("no such parameter")
			if names := slices.Sorted(maps.Keys(known)); len(names) > 0 {
				err = fmt.Errorf("no such parameter; there are %s", strings.Join(names, ", "))
			}
		case len(values) > 1:
			err = errors.New("is given more than once")
		case values[0] != "":
			err = parse(values[0])
		}
		if err != nil {
			http.Error(w, clean(name, 32)+": "+err.Error(), http.StatusBadRequest)
			return false
		}
	}
	return true
}

func (r *Remediator) getBreakers(w http.ResponseWriter, req *http.Request) {
	if parameters(w, req, nil) {
		reply(w, r.Breakers())
	}
}

func (r *Remediator) getStatus(w http.ResponseWriter, req *http.Request) {
	if !parameters(w, req, nil) {
		return
	}
	s := r.Status()
	s.Targets = r.Targets(req.Context())
	reply(w, s)
}

func (r *Remediator) postReset(w http.ResponseWriter, req *http.Request) {
	if !parameters(w, req, nil) {
		return
	}
	r.pressed(w, req, r.Reset(req.Context(), req.PathValue("runner")), func() any { return r.Breakers() })
}

func (r *Remediator) postPause(w http.ResponseWriter, req *http.Request) {
	var length time.Duration
	if !parameters(w, req, map[string]func(string) error{"for": func(s string) (err error) {
		length, err = ParsePause(s)
		return err
	}}) {
		return
	}
	r.pressed(w, req, r.Pause(req.Context(), length), func() any { return r.Status() })
}

// ParsePause reads how long a pause is to last.
func ParsePause(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil || d < time.Second || d > maxPause {
		return 0, fmt.Errorf("want a time such as 90m or 2h, at most %dh", maxPause/time.Hour)
	}
	return d, nil
}

func (r *Remediator) postResume(w http.ResponseWriter, req *http.Request) {
	if parameters(w, req, nil) {
		r.pressed(w, req, r.Resume(req.Context()), func() any { return r.Status() })
	}
}

// pressed answers a request that changed something: a form with the page, everything else with JSON.
func (r *Remediator) pressed(w http.ResponseWriter, req *http.Request, err error, then func() any) {
	switch {
	case errors.Is(err, ErrUnknownRunner):
		http.Error(w, err.Error(), http.StatusNotFound)
	case err != nil:
		unavailable(w, err)
	case fromForm(req):
		http.Redirect(w, req, "/", http.StatusSeeOther)
	default:
		reply(w, then())
	}
}

// fromForm reports whether a browser's form made the request.
func fromForm(req *http.Request) bool {
	typ, _, err := mime.ParseMediaType(req.Header.Get("Content-Type"))
	return err == nil && typ == "application/x-www-form-urlencoded"
}

func (r *Remediator) postExplain(w http.ResponseWriter, req *http.Request) {
	if req.URL.RawQuery != "" {
		http.Error(w, "parameters: there are none; the payload is the body", http.StatusBadRequest)
		return
	}
	m, ok := r.readPayload(w, req)
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
