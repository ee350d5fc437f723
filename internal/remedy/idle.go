package remedy

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/blueguy23/ghostrunner/internal/runner"
)

// Whether a job runs is asked of two sources that share no failure: the process list of the
// container, and GitHub. Either of them is enough to refuse. GitHub is known to call a runner busy
// that has no job, sometimes for ever (actions/runner #3775, #700), so its claim alone counts for ten
// minutes.

const (
	// conflictLimit is how long GitHub's claim counts against an empty container.
	conflictLimit = 10 * time.Minute
	// conflictInterval is the time between two looks into the containers that GitHub calls busy.
	conflictInterval = 30 * time.Second
)

// Idle is what is known of the jobs in some containers.
type Idle struct {
	// Reason and Detail say why a job may be running; Reason is "" if none is.
	Reason, Detail string
	// Ignored is a busy claim of GitHub that no longer counts.
	Ignored string
}

// conflict is a registration that GitHub calls busy while no worker process is in the container of
// its slot.
type conflict struct {
	id    int64
	since time.Time
}

// idleCheck finds out whether a job runs.
type idleCheck struct {
	opts       *Options
	containers *containerList

	mu        sync.Mutex
	conflicts map[string]conflict // by container id
}

// registrations returns GitHub's last answer about the registrations of a container's slot.
func (i *idleCheck) registrations(ctx context.Context, c runner.Container) ([]runner.Registration, bool) {
	if i.opts.GitHub == nil {
		return nil, false
	}
	list, ok := i.opts.GitHub.Known(c.Scope)
	all, _ := i.containers.recent(ctx) // without it a slot may be taken for another with a longer name
	return registrationsOf(list, c, all), ok
}

// busyClaim returns the registration that GitHub calls busy, zero if there is none.
func (i *idleCheck) busyClaim(ctx context.Context, c runner.Container) runner.Registration {
	list, ok := i.registrations(ctx, c)
	n := slices.IndexFunc(list, func(reg runner.Registration) bool { return reg.Busy })
	if !ok || n < 0 {
		return runner.Registration{}
	}
	return list[n]
}

// watch keeps the conflicts up to date until ctx ends, whether or not an alert asks: a job that runs
// between two alerts ends a conflict.
func (i *idleCheck) watch(ctx context.Context) {
	for i.opts.GitHub != nil {
		if list, err := i.containers.recent(ctx); err == nil {
			i.look(ctx, list)
		}
		if !sleep(ctx, i.opts.scale(conflictInterval)) {
			return
		}
	}
}

// look looks once. What is unknown ends a conflict: it must be seen all the time.
func (i *idleCheck) look(ctx context.Context, list []runner.Container) {
	now := map[string]conflict{}
	for _, c := range list {
		if c.Role != runner.RoleRunner || !c.Running() {
			continue
		}
		claim := i.busyClaim(ctx, c)
		if claim.ID == 0 {
			continue
		}
		if job, err := working(ctx, i.opts.Docker, c); err == nil && !job {
			now[c.ID] = conflict{claim.ID, time.Now()}
		}
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	for id, c := range now {
		if old, ok := i.conflicts[id]; ok && old.id == c.id {
			now[id] = old
		}
	}
	i.conflicts = now
}

// check returns why a job may be running in one of the containers. A process list that cannot be
// read is a reason. A service runs no jobs and is always idle.
func (i *idleCheck) check(ctx context.Context, list []runner.Container) Idle {
	var result Idle
	for _, c := range list {
		if c.Role != runner.RoleRunner {
			continue
		}
		job, err := working(ctx, i.opts.Docker, c)
		switch {
		case err != nil:
			return Idle{Reason: UnknownState, Detail: "the processes of " + c.Name + " are unknown: " + err.Error()}
		case job:
			return Idle{Reason: Busy, Detail: "a " + runner.Worker + " process runs in " + c.Name}
		case !c.Running():
			continue
		}
		claim := i.busyClaim(ctx, c)
		if claim.ID == 0 {
			continue
		}
		since, ignored := i.conflict(c, claim)
		if !ignored {
			return Idle{Reason: Busy, Detail: fmt.Sprintf("GitHub says that %s is busy, and no %s process runs in %s: ignored in %s",
				claim.Name, runner.Worker, c.Name, (i.opts.scale(conflictLimit) - since).Round(time.Second))}
		}
		result.Ignored = fmt.Sprintf("GitHub still says that %s is busy, but no %s process has been in %s for %s: ignored",
			claim.Name, runner.Worker, c.Name, since.Round(time.Second))
	}
	return result
}

// conflict returns for how long a claim has been in conflict with the container, and whether that is
// long enough to ignore it.
func (i *idleCheck) conflict(c runner.Container, claim runner.Registration) (since time.Duration, ignored bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	found, ok := i.conflicts[c.ID]
	if !ok || found.id != claim.ID {
		return 0, false
	}
	since = time.Since(found.since)
	return since, since >= i.opts.scale(conflictLimit)
}

// sleep waits for d; false if ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
