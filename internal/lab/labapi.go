package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// State is the state of the simulated GitHub: GET /lab/v1/state.
type State struct {
	Time          time.Time           `json:"time"`
	Registrations []RegistrationState `json:"registrations"`
	Queued        []Job               `json:"queued"`
	Running       []Job               `json:"running"` // handed out; Acquired is set once the runner has taken the job
	// Completed has the newest 1000, oldest first.
	Completed []Job `json:"completed"`
	// Lost has the newest 1000 that were handed out and that no runner could acquire: see the fault
	// ghost-job.
	Lost []Job `json:"lost"`
	// SessionConflicts counts sessions that were refused because the registration had one, without
	// those of faults.
	SessionConflicts uint64 `json:"session_conflicts"`
	// CompletedTotal counts by result since the start; all six keys always exist.
	CompletedTotal map[string]uint64 `json:"completed_total"`
	// Requests counts the REST API's answers by status code.
	Requests map[string]uint64 `json:"requests"`
	// Calls has the newest 1000 calls to the REST API, oldest first.
	Calls  []Call       `json:"calls"`
	Faults []FaultState `json:"faults"`
}

// Call is one answered call to the REST API.
type Call struct {
	Time   time.Time `json:"time"` // of the answer
	Method string    `json:"method"`
	Path   string    `json:"path"`
	Status int       `json:"status"`
	Took   float64   `json:"took_seconds"`
}

// RegistrationState is a registered runner and its session.
type RegistrationState struct {
	ID      int64         `json:"id"`
	Name    string        `json:"name"`
	Slot    string        `json:"slot"`
	Scope   string        `json:"scope"`
	Status  string        `json:"status"`
	Busy    bool          `json:"busy"` // the real state, even while busy-lie is on
	Job     int64         `json:"job,omitempty"`
	Labels  []string      `json:"labels"`
	Created time.Time     `json:"created"`
	Session *SessionState `json:"session,omitempty"`
}

// SessionState is a listener's session.
type SessionState struct {
	Owner    string    `json:"owner"`
	Created  time.Time `json:"created"`
	LastPoll time.Time `json:"last_poll"`
	Polling  bool      `json:"polling"` // a poll is waiting right now
	Broken   bool      `json:"broken"`  // retry-loop has broken its poll
}

// handedOut returns the newest just-in-time configurations, oldest first, so that a test can look
// for leaks.
func (g *GitHub) handedOut() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.jits)
}

// labRoutes serves the lab's own API. It has no authentication and must not be exposed.
func (g *GitHub) labRoutes(mux *http.ServeMux) {
	mux.HandleFunc("GET /-/healthy", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "Healthy.\n") })
	mux.HandleFunc("GET /-/ready", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "Ready.\n") })
	mux.HandleFunc("GET /lab/v1/state", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, 200, g.State()) })
	mux.HandleFunc("GET /lab/v1/jitconfigs", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, 200, g.handedOut()) })
	mux.HandleFunc("POST /lab/v1/jobs", g.postJob)
	mux.HandleFunc("POST /lab/v1/jobs/{id}/cancel", g.cancelJob)
	mux.HandleFunc("DELETE /lab/v1/jobs", g.clearJobs)
	mux.HandleFunc("GET /lab/v1/faults", g.listFaults)
	mux.HandleFunc("GET /lab/v1/faults/{name}", g.getFault)
	mux.HandleFunc("PUT /lab/v1/faults/{name}", g.putFault)
	mux.HandleFunc("/lab/", func(w http.ResponseWriter, r *http.Request) {
		labError(w, 404, fmt.Errorf("no %s %s here: see the manual of ghostrunner-lab", r.Method, r.URL.Path))
	})
}

func labError(w http.ResponseWriter, status int, err error) {
	writeJSON(w, status, map[string]string{"error": err.Error()})
}

// State returns the state of the simulated GitHub.
func (g *GitHub) State() State {
	g.mu.Lock()
	requests := make(map[string]uint64, len(g.requests))
	for code, n := range g.requests {
		requests[strconv.Itoa(code)] = n
	}
	calls := append([]Call{}, g.calls...)
	g.mu.Unlock()

	w, now := g.world, worldNow()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sweepLocked(now)
	st := State{
		Time: now, Registrations: []RegistrationState{}, Queued: []Job{}, Running: []Job{}, Completed: slices.Clone(w.completed),
		Lost: slices.Clone(w.lost), SessionConflicts: w.conflicts,
		CompletedTotal: maps.Clone(w.totals), Requests: requests, Calls: calls, Faults: w.faults.active(),
	}
	if st.Completed == nil {
		st.Completed = []Job{}
	}
	if st.Lost == nil {
		st.Lost = []Job{}
	}
	for _, j := range w.queued {
		st.Queued = append(st.Queued, *j)
	}
	for _, id := range slices.Sorted(maps.Keys(w.regs)) {
		r := w.regs[id]
		out := RegistrationState{
			ID: r.id, Name: r.name, Slot: slotOf(r.name), Scope: r.scope, Status: "offline", Labels: r.labels, Created: r.created,
		}
		if w.onlineLocked(r, now) {
			out.Status = "online"
		}
		if s := r.session; s != nil {
			out.Session = &SessionState{s.owner, s.created, s.seen, s.polling > 0, s.broken}
		}
		if r.job != nil {
			out.Busy, out.Job = true, r.job.ID
			st.Running = append(st.Running, *r.job)
		}
		st.Registrations = append(st.Registrations, out)
	}
	return st
}

// JobRequest is the body of POST /lab/v1/jobs; everything is optional.
type JobRequest struct {
	Name     string `json:"name,omitempty"`
	Duration string `json:"duration,omitempty"` // Go's form, such as "90s"
	Result   string `json:"result,omitempty"`
	Runner   string `json:"runner,omitempty"` // the slot that it is pinned to
	Script   string `json:"script,omitempty"` // run by bash before the duration starts; if it fails, so does the job
}

func (g *GitHub) postJob(w http.ResponseWriter, r *http.Request) {
	in := JobRequest{Name: "build (linux)", Duration: g.opts.JobsDuration.String(), Result: "Succeeded"}
	if err := strictJSON(r.Body, &in); err != nil {
		labError(w, 400, fmt.Errorf("job: %w", err))
		return
	}
	d, err := time.ParseDuration(in.Duration)
	switch {
	case err != nil || d < 0 || d > 24*time.Hour:
		labError(w, 400, fmt.Errorf("job: duration %q is none from 0s to 24h", in.Duration))
		return
	case !slices.Contains(Results(), in.Result):
		labError(w, 400, fmt.Errorf("job: result %q is none of %s", in.Result, strings.Join(Results(), ", ")))
		return
	case len(in.Name) > 1<<16 || len(in.Runner) > 100:
		labError(w, 400, errors.New("job: name or runner is too long"))
		return
	case len(in.Script) > maxScript:
		labError(w, 400, fmt.Errorf("job: the script has more than %d bytes", maxScript))
		return
	}
	job, err := g.world.enqueue(Job{Name: in.Name, Wanted: in.Result, Pinned: in.Runner, Script: in.Script, duration: d}, worldNow())
	if err != nil {
		labError(w, 409, err)
		return
	}
	writeJSON(w, 201, job)
}

func (g *GitHub) cancelJob(w http.ResponseWriter, r *http.Request) {
	id, _ := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err := g.world.cancel(id); err != nil {
		labError(w, 404, fmt.Errorf("job %d: %w", id, err))
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// clearJobs removes the queued jobs.
func (g *GitHub) clearJobs(w http.ResponseWriter, _ *http.Request) {
	g.world.mu.Lock()
	g.world.queued = nil
	g.world.mu.Unlock()
	w.WriteHeader(http.StatusNoContent)
}

// FaultList is the answer of GET /lab/v1/faults.
type FaultList struct {
	Faults []Fault      `json:"faults"`
	On     []FaultState `json:"on"`
}

func (g *GitHub) listFaults(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, 200, FaultList{Faults(), g.world.faults.active()})
}

func (g *GitHub) getFault(w http.ResponseWriter, r *http.Request) {
	st, err := g.world.faults.get(r.PathValue("name"), r.URL.Query().Get("runner"))
	if err != nil {
		labError(w, 404, err)
		return
	}
	writeJSON(w, 200, st)
}

// putFault takes {"on": bool, "value": string}.
func (g *GitHub) putFault(w http.ResponseWriter, r *http.Request) {
	in := faultChange{On: true}
	if err := strictJSON(r.Body, &in); err != nil {
		labError(w, 400, fmt.Errorf("fault: %w", err))
		return
	}
	st, err := g.world.faults.set(r.PathValue("name"), r.URL.Query().Get("runner"), in.On, in.Value, worldNow())
	switch {
	case errors.Is(err, errUnknownFault):
		labError(w, 404, err)
		return
	case err != nil:
		labError(w, 400, err)
		return
	}
	g.opts.Logger.Info("fault", "name", st.Name, "runner", st.Runner, "on", st.On, "value", st.Value)
	g.world.wake()
	writeJSON(w, 200, st)
}

// faultChange is the body of a PUT. An empty body turns the fault on.
type faultChange struct {
	On    bool   `json:"on"`
	Value string `json:"value,omitempty"`
}

// strictJSON decodes a body; an empty one leaves v unchanged. The server bounds the size.
func strictJSON(r io.Reader, v any) error {
	dec := json.NewDecoder(r)
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}
