package remedy

import (
	"context"
	"fmt"
	"time"

	"github.com/blueguy23/ghostrunner/internal/runner"
)

// Whether a job runs is asked of two witnesses that share no failure: the process list of the container, and GitHub.
// Either of them is enough to refuse. GitHub is known to call a runner busy that has no job, sometimes for ever
// (actions/runner #3775, #700), so its word alone counts for ten minutes.

// disputeLimit is how long GitHub is believed against an empty container.
const disputeLimit = 10 * time.Minute

// disputeInterval is the time between two looks into the containers that GitHub calls busy.
const disputeInterval = 30 * time.Second

// dispute is a registration that GitHub calls busy while no worker process is in the container of its slot.
type dispute struct {
	id    int64
	since time.Time
}

// watchDisputes keeps r.disputes true, whether or not an alert asks: a job that runs between two alerts ends a dispute.
func (r *Remediator) watchDisputes(ctx context.Context) {
	if r.opts.GitHub == nil {
		return
	}
	for {
		if list, err := r.containers.recent(ctx); err == nil {
			r.dispute(ctx, list)
		}
		if !sleep(ctx, disputeInterval) {
			return
		}
	}
}

// dispute looks once. What is not known ends a dispute: it must be seen all the time.
func (r *Remediator) dispute(ctx context.Context, list []Container) {
	now := map[string]dispute{}
	for _, c := range list {
		if c.Role != RoleRunner || !c.Running() {
			continue
		}
		regs, ok := r.registrations(c, list)
		busy := busyOne(regs)
		if !ok || busy.ID == 0 {
			continue
		}
		if l, err := probe(ctx, r.opts.Docker, c); err == nil && l == loadIdle {
			now[c.ID] = dispute{busy.ID, time.Now()}
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, d := range now {
		if old, ok := r.disputes[id]; ok && old.id == d.id {
			now[id] = old
		}
	}
	r.disputes = now
}

// busyOne returns the registration that GitHub calls busy, zero if there is none.
func busyOne(list []Registration) Registration {
	for _, reg := range list {
		if reg.Busy {
			return reg
		}
	}
	return Registration{}
}

// occupied returns why the runners among targets may have a job, reason "" if none has. A process list that cannot be
// read is a reason. A service has no worker in it and is always idle. disbelieved names what GitHub said for so long
// against an empty container that it no longer counts.
func (r *Remediator) occupied(ctx context.Context, targets, all []Container) (reason Reason, detail, disbelieved string) {
	for _, c := range targets {
		if c.Role != RoleRunner {
			continue
		}
		l, err := probe(ctx, r.opts.Docker, c)
		switch {
		case err != nil:
			return UnknownState, "the processes of " + c.Name + " are not known: " + err.Error(), ""
		case l == loadBusy:
			return Busy, "a " + runner.Worker + " process runs in " + c.Name, ""
		}
		if !c.Running() {
			continue
		}
		list, ok := r.registrations(c, all)
		busy := busyOne(list)
		if !ok || busy.ID == 0 {
			continue
		}
		r.mu.Lock()
		d, disputed := r.disputes[c.ID]
		r.mu.Unlock()
		if left := disputeLimit - time.Since(d.since); !disputed || d.id != busy.ID || left > 0 {
			if !disputed || d.id != busy.ID {
				left = disputeLimit
			}
			return Busy, fmt.Sprintf("GitHub says that %s is busy, and no %s process runs in %s: not believed in %s",
				busy.Name, runner.Worker, c.Name, left.Round(time.Second)), ""
		}
		disbelieved = fmt.Sprintf("GitHub still says that %s is busy, but no %s process has been in %s for %s: not believed",
			busy.Name, runner.Worker, c.Name, time.Since(d.since).Round(time.Second))
	}
	return "", "", disbelieved
}
