package lab

import (
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// Bounds of the simulated service.
const (
	maxRegistrations = 1000
	maxQueued        = 1000
	maxCompleted     = 1000
	maxCalls         = 1000
	maxHandedOut     = 100
	maxScript        = 64 << 10 // bytes; it is passed in one environment variable
)

// Delays of the service, before the time scale is applied.
const (
	longPoll    = 50 * time.Second // docs.github.com, communicating with self-hosted runners
	pickUp      = 60 * time.Second // a job that was handed out but not acquired returns to the queue (docs)
	lockFor     = 10 * time.Minute // a job fails if its lock is not renewed (issues 3539, 4703)
	stickyDelay = 300 * time.Millisecond
	forgetAfter = 24 * time.Hour // after this an ephemeral registration that has not connected is removed (docs)
)

// Results are the six results of a job (TaskResult.cs:6-25), in the order of the worker's exit
// codes, which start at 100.
func Results() []string {
	return []string{"Succeeded", "SucceededWithIssues", "Failed", "Canceled", "Skipped", "Abandoned"}
}

// Job is a job of the queue, as in /lab/v1/state.
type Job struct {
	ID       int64     `json:"id"`
	Name     string    `json:"name"`
	Duration string    `json:"duration"`         // how long the worker runs; not scaled
	Wanted   string    `json:"wanted"`           // the result that the worker must return
	Pinned   string    `json:"pinned,omitempty"` // the only slot that may run it
	Script   string    `json:"script,omitempty"` // run by bash as its one step; empty: the job only takes time
	Result   string    `json:"result,omitempty"` // what the runner reported
	Runner   string    `json:"runner,omitempty"` // registration name
	Slot     string    `json:"slot,omitempty"`
	Enqueued time.Time `json:"enqueued"`
	Assigned time.Time `json:"assigned,omitzero"`
	Acquired time.Time `json:"acquired,omitzero"`
	Finished time.Time `json:"finished,omitzero"`

	duration time.Duration
	locked   time.Time         // when the lock on the running job expires
	renewed  bool              // at least once
	ghost    bool              // it can no longer be acquired
	faults   map[string]string // its faults and their values, fixed when it was handed out
	cancel   bool              // the runner must be sent a cancellation
}

// registration is GitHub's record of one runner.
type registration struct {
	id       int64
	name     string
	scope    string
	clientID string // in the JIT configuration
	labels   []string
	group    int64
	created  time.Time
	seen     time.Time // last contact
	version  string
	ready    bool     // it has connected at least once
	used     bool     // it was handed its one job
	session  *session // nil: none
	job      *Job     // the job that it holds
}

// session is a listener's connection to the broker.
type session struct {
	id      string
	owner   string
	created time.Time
	seen    time.Time // end of the last poll
	polling int       // number of open polls
	broken  bool      // retry-loop has broken its poll: it gets only errors
}

// world is the state of the simulated service. Its methods are safe for concurrent use; those whose
// names end in Locked require mu.
type world struct {
	faults       *switches
	scale        float64
	offlineAfter time.Duration

	mu        sync.Mutex
	changed   chan struct{} // closed and replaced when waiting polls must look again
	regs      map[int64]*registration
	lastID    int64
	queued    []*Job
	completed []Job // the newest maxCompleted
	lost      []Job // the newest maxCompleted that were handed out and never run
	conflicts uint64
	totals    map[string]uint64
	lastJob   int64
	// applied has the Seq of the fault that was already applied, by its slot and the session's.
	applied map[[2]string]uint64
}

func newWorld(scale float64, offlineAfter time.Duration) *world {
	w := &world{
		faults: newSwitches(), scale: scale, offlineAfter: offlineAfter, changed: make(chan struct{}),
		regs: map[int64]*registration{}, totals: map[string]uint64{}, applied: map[[2]string]uint64{},
	}
	for _, r := range Results() {
		w.totals[r] = 0
	}
	return w
}

func (w *world) scaled(d time.Duration) time.Duration { return time.Duration(float64(d) * w.scale) }

// wake makes all waiting polls look again.
func (w *world) wake() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wakeLocked()
}

func (w *world) wakeLocked() {
	close(w.changed)
	w.changed = make(chan struct{})
}

// slotOf returns the slot of a registration, whose name is SLOT-SUFFIX without a dash in the
// suffix.
func slotOf(name string) string {
	if i := strings.LastIndexByte(name, '-'); i > 0 {
		return name[:i]
	}
	return name
}

var (
	errNameTaken = errors.New("a runner of that name exists")
	errTooMany   = errors.New("too many")
	errRunning   = errors.New("still running a job")
	errNoRunner  = errors.New("no such runner")

	errNotRunning = errors.New("no such job runs")
)

// register adds a registration, which is offline until its listener polls.
func (w *world) register(scope, name string, labels []string, group int64, now time.Time) (*registration, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sweepLocked(now)
	for _, r := range w.regs {
		if r.scope == scope && r.name == name {
			return nil, errNameTaken
		}
	}
	if len(w.regs) >= maxRegistrations {
		return nil, errTooMany
	}
	w.lastID++
	r := &registration{
		id: w.lastID, name: name, scope: scope, clientID: rand.Text(), labels: labels, group: group, created: now, seen: now,
	}
	w.regs[r.id] = r
	return r, nil
}

// unregister deletes a registration unless it holds a job. This is the only atomic idle test.
func (w *world) unregister(scope string, id int64, now time.Time) (name string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sweepLocked(now)
	r := w.regs[id]
	switch {
	case r == nil || r.scope != scope:
		return "", errNoRunner
	case r.job != nil:
		return r.name, errRunning
	}
	delete(w.regs, id)
	w.wakeLocked()
	return r.name, nil
}

func (w *world) byClientLocked(clientID string) *registration {
	for _, r := range w.regs {
		if clientID != "" && r.clientID == clientID {
			return r
		}
	}
	return nil
}

// onlineLocked is true while a listener polls, and shortly after.
func (w *world) onlineLocked(r *registration, now time.Time) bool {
	s := r.session
	return s != nil && (s.polling > 0 || now.Sub(s.seen) < w.offlineAfter)
}

// busyLocked is what the API reports, which the fault busy-lie can falsify.
func (w *world) busyLocked(r *registration) bool {
	return r.job != nil && !w.faults.is(faultBusyLie, r.name)
}

func (w *world) enqueue(j Job, now time.Time) (Job, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.queued) >= maxQueued {
		return Job{}, fmt.Errorf("%w jobs queued: %d", errTooMany, maxQueued)
	}
	w.lastJob++
	j.ID, j.Enqueued = w.lastJob, now
	j.Duration = j.duration.String()
	w.queued = append(w.queued, &j)
	w.wakeLocked()
	return j, nil
}

// takeLocked hands the oldest matching job to the registration.
func (w *world) takeLocked(r *registration, now time.Time) *Job {
	if r.job != nil || r.used {
		return nil
	}
	i := slices.IndexFunc(w.queued, func(j *Job) bool { return belongs(r.name, j.Pinned) })
	if i < 0 {
		return nil
	}
	j := w.queued[i]
	w.queued = slices.Delete(w.queued, i, i+1)
	j.Runner, j.Slot, j.Assigned = r.name, slotOf(r.name), now
	j.ghost = w.faults.is(faultGhostJob, r.name)
	j.faults = map[string]string{}
	for _, f := range []string{faultDeaf, faultListenerCrash, faultWorkerHang} {
		if st, on := w.faults.find(f, r.name); on {
			j.faults[f] = st.Value
		}
	}
	r.job, r.used = j, true
	return j
}

// cancel makes the broker send a cancellation to the job's runner.
func (w *world) cancel(id int64) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range w.regs {
		if r.job != nil && r.job.ID == id && !r.job.Acquired.IsZero() {
			r.job.cancel = true
			w.wakeLocked()
			return nil
		}
	}
	return errNotRunning
}

// finishLocked moves a registration's job to the completed ones and removes the ephemeral
// registration.
func (w *world) finishLocked(r *registration, result string, now time.Time) {
	j := r.job
	j.Result, j.Finished = result, now
	if len(w.completed) >= maxCompleted {
		w.completed = slices.Delete(w.completed, 0, 1)
	}
	w.completed = append(w.completed, *j)
	w.totals[result]++
	r.job = nil
	delete(w.regs, r.id)
	w.wakeLocked()
}

// sweepLocked applies all timeouts.
func (w *world) sweepLocked(now time.Time) {
	for _, r := range w.regs {
		if s := r.session; s != nil && s.polling == 0 && now.Sub(s.seen) > 2*w.offlineAfter {
			r.session = nil
		}
		switch j := r.job; {
		case j != nil && j.Acquired.IsZero() && j.ghost && now.Sub(j.Assigned) > w.scaled(pickUp):
			r.job = nil // used up without having run
			w.lost = append(w.lost[max(0, len(w.lost)-maxCompleted+1):], *j)
		case j != nil && j.Acquired.IsZero() && now.Sub(j.Assigned) > w.scaled(pickUp):
			r.job = nil
			j.Runner, j.Slot, j.Assigned = "", "", time.Time{}
			w.queued = slices.Insert(w.queued, 0, j)
			w.wakeLocked()
		case j != nil && !j.Acquired.IsZero() && now.After(j.locked):
			w.finishLocked(r, "Abandoned", now)
		case j == nil && !w.onlineLocked(r, now) && now.Sub(r.seen) > forgetAfter:
			delete(w.regs, r.id)
		}
	}
}

// breakPollLocked applies the fault retry-loop to a polling session. It returns whether the poll is
// broken, and when to look again (zero: at the next change).
func (w *world) breakPollLocked(r *registration, s *session, now time.Time) (dead bool, again time.Time) {
	if s.broken {
		return true, time.Time{}
	}
	st, on := w.faults.find(faultRetryLoop, r.name)
	if !on {
		return false, time.Time{}
	}
	key := [2]string{st.Runner, slotOf(r.name)}
	switch st.Value {
	case "sticky":
		if at := s.created.Add(stickyDelay); now.Before(at) {
			return false, at
		}
	case "busy":
		if r.job == nil || r.job.Acquired.IsZero() || w.applied[key] == st.Seq {
			return false, time.Time{}
		}
	default:
		if r.job != nil || w.applied[key] == st.Seq {
			return false, time.Time{}
		}
	}
	if len(w.applied) > maxSwitches {
		clear(w.applied)
	}
	w.applied[key] = st.Seq
	s.broken = true
	return true, time.Time{}
}
