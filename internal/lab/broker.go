package lab

import (
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"
)

// headerFaults carries, in each answer to a listener, the faults that change the listener's own
// behavior, as a URL query. The real protocol has no such header.
const headerFaults = "X-Lab-Faults"

// The errorKind values of the broker and the run service (BrokerErrorKind.cs), and the lab's own
// for errors that have another source in the real world.
const (
	kindRunnerNotFound = "RunnerNotFound"
	kindVersionTooOld  = "RunnerVersionTooOld"
	kindSessionInvalid = "RunnerSessionInvalid"
	kindConflict       = "Conflict"
	kindInvalidClient  = "invalid_client" // of the token endpoint
	kindClockSkew      = "clock_skew"     // of the token endpoint
	kindUnavailable    = "unavailable"
)

// brokerError is the body of a broker's error.
type brokerError struct {
	Source  string `json:"source"`
	Status  int    `json:"statusCode"`
	Kind    string `json:"errorKind"`
	Message string `json:"errorMessage"`
}

// The bodies of the protocol between listener and broker.
type (
	sessionJSON struct {
		SessionID string `json:"sessionId"`
		OwnerName string `json:"ownerName"`
	}
	messageJSON struct {
		ID   int64  `json:"messageId"`
		Type string `json:"messageType"`
		Body string `json:"body"`
	}
	requestJSON struct {
		RequestID string `json:"runner_request_id"`
	}
	jobJSON struct {
		RequestID string        `json:"runner_request_id"`
		JobID     string        `json:"jobId"`
		Name      string        `json:"jobDisplayName"`
		Duration  time.Duration `json:"lab_duration"`
		Wanted    string        `json:"lab_result"`
		Script    string        `json:"lab_script"`
	}
	cancelJSON struct {
		JobID   string `json:"jobId"`
		Timeout string `json:"timeout"`
	}
	renewJSON struct {
		LockedUntil time.Time `json:"lockedUntil"`
	}
	completeJSON struct {
		RequestID  string `json:"runner_request_id"`
		Conclusion string `json:"conclusion"`
	}
)

// listenerFaults returns the faults that a listener applies to itself, for a registration whose
// name may be empty. The faults of a job were fixed when it was handed out, so they hold even if
// they have been switched off since.
func (w *world) listenerFaults(name string) url.Values {
	values := url.Values{}
	if name == "" {
		return values
	}
	for _, f := range []string{faultRetryLoop, faultPollOutageV1, faultRenewLost, faultIgnoreSigint, faultVersionDeprecated} {
		if st, on := w.faults.find(f, name); on {
			values.Set(f, st.Value)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range w.regs {
		if r.name == name && r.job != nil {
			for f, value := range r.job.faults {
				values.Set(f, value)
			}
		}
	}
	return values
}

// brokerRoutes serves what a listener calls: the broker's sessions and messages
// (BrokerHttpClient.cs:59-255) and the run service's jobs (RunServiceHttpClient.cs:85,152,197),
// under one address.
func (g *GitHub) brokerRoutes(mux *http.ServeMux) {
	for pattern, h := range map[string]func(*http.Request) (string, reply){
		"POST /broker/session":     g.createSession,
		"DELETE /broker/session":   g.deleteSession,
		"GET /broker/message":      g.nextMessage,
		"POST /broker/acknowledge": g.acknowledge,
		"POST /broker/acquirejob":  g.acquireJob,
		"POST /broker/renewjob":    g.renewJob,
		"POST /broker/completejob": g.completeJob,
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			// The long poll outlasts the server's write timeout. A recorder in a test has no
			// deadline to set.
			_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(g.world.scaled(longPoll) + 10*time.Second))
			name, out := h(r)
			w.Header().Set(headerFaults, g.world.listenerFaults(name).Encode())
			writeJSON(w, out.status, out.body)
		})
	}
}

func brokerFailure(status int, kind, text string) reply {
	return reply{status, brokerError{"actions-broker-listener", status, kind, text}}
}

func unavailable() reply {
	return brokerFailure(503, kindUnavailable, "Response status code does not indicate success: 503 (Service Unavailable).")
}

func runnerNotFound() reply { return brokerFailure(404, kindRunnerNotFound, "Runner not found") }

// createSession allows one session per registration. It includes the token request that precedes it
// in the real world.
func (g *GitHub) createSession(r *http.Request) (string, reply) {
	var in sessionJSON
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil || len(in.OwnerName) > 300 {
		return "", brokerFailure(400, "", "bad session")
	}
	w, now := g.world, worldNow()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sweepLocked(now)
	reg := w.byClientLocked(bearer(r))
	if reg == nil {
		return "", brokerFailure(401, kindInvalidClient, "Registration was not found.")
	}
	faults := w.faults
	switch {
	case faults.is(faultRegistrationDeleted, reg.name):
		return reg.name, brokerFailure(401, kindInvalidClient, "Registration "+reg.clientID[:8]+" was not found.")
	case faults.is(faultClockSkew, reg.name):
		return reg.name, brokerFailure(401, kindClockSkew, "The JWT is not valid yet. Current server time is "+now.UTC().Format(time.RFC3339)+".")
	case faults.is(faultCreateOutage, reg.name):
		return reg.name, unavailable()
	case faults.value(faultVersionDeprecated, reg.name) == "session":
		return reg.name, brokerFailure(403, kindVersionTooOld, "Runner version v"+RunnerVersion+" is deprecated and cannot receive messages.")
	case faults.is(faultSessionConflict, reg.name):
		return reg.name, brokerFailure(409, kindConflict, "Error: Conflict")
	case reg.session != nil:
		w.conflicts++
		return reg.name, brokerFailure(409, kindConflict, "Error: Conflict")
	}
	reg.session = &session{id: rand.Text(), owner: in.OwnerName, created: now, seen: now}
	reg.seen, reg.ready = now, true
	return reg.name, reply{200, sessionJSON{reg.session.id, in.OwnerName}}
}

func (g *GitHub) deleteSession(r *http.Request) (string, reply) {
	w := g.world
	w.mu.Lock()
	defer w.mu.Unlock()
	reg := w.byClientLocked(bearer(r))
	if reg == nil {
		return "", runnerNotFound()
	}
	if s := reg.session; s == nil || s.id != r.URL.Query().Get("sessionId") {
		return reg.name, brokerFailure(400, kindSessionInvalid, "session invalid")
	}
	reg.session, reg.seen = nil, worldNow()
	w.wakeLocked()
	return reg.name, reply{204, nil}
}

// nextMessage is the long poll: it returns a job, an error, or nothing after 50 s.
func (g *GitHub) nextMessage(r *http.Request) (string, reply) {
	w, start := g.world, worldNow()
	query := r.URL.Query()
	end := start.Add(w.scaled(longPoll))
	w.mu.Lock()
	defer w.mu.Unlock()
	var name string
	var mine *session
	defer func() {
		if mine != nil {
			mine.polling--
			mine.seen = worldNow()
		}
	}()
	for {
		now := worldNow()
		w.sweepLocked(now)
		reg := w.byClientLocked(bearer(r))
		if reg == nil {
			return name, runnerNotFound()
		}
		name = reg.name
		s := reg.session
		if s == nil || s.id != query.Get("sessionId") || mine != nil && mine != s {
			return name, brokerFailure(400, kindSessionInvalid, "session invalid")
		}
		again, failure := w.pollFaultLocked(reg, s, query, now)
		if failure.status != 0 {
			return name, failure
		}
		if mine == nil {
			mine = s
			s.polling++
		}
		reg.seen = now
		if v := query.Get("runnerVersion"); len(v) <= 20 {
			reg.version = v
		}
		if !now.Before(end) || r.Context().Err() != nil {
			return name, reply{202, nil}
		}
		if m := w.messageLocked(reg, query.Get("status") == "Busy", now); m.Type != "" {
			return name, reply{200, m}
		}
		until := end
		if !again.IsZero() && again.Before(until) {
			until = again
		}
		changed := w.changed
		w.mu.Unlock()
		timer := time.NewTimer(until.Sub(now))
		select {
		case <-changed:
		case <-timer.C:
		case <-r.Context().Done():
		}
		timer.Stop()
		w.mu.Lock()
	}
}

// pollFaultLocked applies the faults of a poll. Without a failure, again is when to look again (zero:
// at the next change).
func (w *world) pollFaultLocked(reg *registration, s *session, query url.Values, now time.Time) (again time.Time, failure reply) {
	broken, again := w.breakPollLocked(reg, s, now)
	switch {
	case broken, w.faults.is(faultPollOutageV1, reg.name), w.faults.is(faultPollOutageV2, reg.name):
		return again, unavailable()
	case w.faults.is(faultVersionDeprecated, reg.name):
		v := query.Get("runnerVersion")
		return again, brokerFailure(403, kindVersionTooOld, "Runner version v"+v[:min(len(v), 20)]+" is deprecated and cannot receive messages.")
	case w.faults.is(faultUpdate, reg.name) && query.Get("status") != "Busy" && reg.job == nil:
		return again, reply{200, messageJSON{0, "RunnerRefresh", `{"target_version":"2.999.0"}`}}
	}
	return again, reply{}
}

// messageLocked returns a cancellation for a busy runner, or a job for an idle one. No type: none.
func (w *world) messageLocked(reg *registration, busy bool, now time.Time) messageJSON {
	if j := reg.job; busy && j != nil && j.cancel {
		j.cancel = false
		body, _ := json.Marshal(cancelJSON{jobGUID(j.ID), "00:05:00"}) // the default of cancel-timeout-minutes
		return messageJSON{j.ID, "JobCancellation", string(body)}
	}
	if busy {
		return messageJSON{}
	}
	j := w.takeLocked(reg, now)
	if j == nil {
		return messageJSON{}
	}
	body, _ := json.Marshal(requestJSON{strconv.FormatInt(j.ID, 10)})
	return messageJSON{j.ID, "RunnerJobRequest", string(body)}
}

// heldLocked decodes the request and returns the registration that sent it and the job that it
// holds; the job is nil if the request names another one.
func (w *world) heldLocked(r *http.Request, in any, id func() string) (*registration, *Job, reply) {
	if err := json.NewDecoder(r.Body).Decode(in); err != nil {
		return nil, nil, brokerFailure(400, "", "bad request")
	}
	reg := w.byClientLocked(bearer(r))
	if reg == nil {
		return nil, nil, runnerNotFound()
	}
	if reg.job == nil || strconv.FormatInt(reg.job.ID, 10) != id() {
		return reg, nil, brokerFailure(404, "AcknowledgeJobNotFound", "Job not found")
	}
	return reg, reg.job, reply{}
}

func (g *GitHub) acknowledge(r *http.Request) (string, reply) {
	return g.job(r, func(*registration, *Job, time.Time) reply { return reply{204, nil} })
}

func (g *GitHub) acquireJob(r *http.Request) (string, reply) {
	return g.job(r, func(_ *registration, j *Job, now time.Time) reply {
		if j.ghost || !j.Acquired.IsZero() {
			return brokerFailure(409, "", "Job message conflict")
		}
		j.Acquired, j.locked = now, now.Add(g.world.scaled(lockFor))
		g.world.wakeLocked()
		return reply{200, jobJSON{strconv.FormatInt(j.ID, 10), jobGUID(j.ID), j.Name, j.duration, j.Wanted, j.Script}}
	})
}

func (g *GitHub) renewJob(r *http.Request) (string, reply) {
	return g.job(r, func(reg *registration, j *Job, now time.Time) reply {
		if j.Acquired.IsZero() || j.renewed && g.world.faults.is(faultRenewLost, reg.name) {
			return unavailable()
		}
		j.renewed = true
		j.locked = now.Add(g.world.scaled(lockFor))
		return reply{200, renewJSON{j.locked}}
	})
}

// job serves a request about the job that the registration holds.
func (g *GitHub) job(r *http.Request, do func(*registration, *Job, time.Time) reply) (string, reply) {
	w, now := g.world, worldNow()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sweepLocked(now)
	var in requestJSON
	reg, j, out := w.heldLocked(r, &in, func() string { return in.RequestID })
	if reg == nil {
		return "", out
	}
	reg.seen = now
	if j == nil {
		return reg.name, out
	}
	return reg.name, do(reg, j, now)
}

func (g *GitHub) completeJob(r *http.Request) (string, reply) {
	w, now := g.world, worldNow()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sweepLocked(now)
	var in completeJSON
	reg, j, out := w.heldLocked(r, &in, func() string { return in.RequestID })
	if j == nil {
		return "", out
	}
	if j.Acquired.IsZero() || !slices.Contains(Results(), in.Conclusion) {
		return reg.name, brokerFailure(422, "", "bad conclusion")
	}
	w.finishLocked(reg, in.Conclusion, now)
	return reg.name, reply{204, nil}
}

// jobGUID formats a job's id as a GUID.
func jobGUID(id int64) string {
	s := "000000000000" + strconv.FormatInt(id, 16)
	return "1ab00000-0000-4000-8000-" + s[len(s)-12:]
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	if body == nil {
		w.WriteHeader(status)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client is gone; body is ours and encodes
}
