package remedy

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/blueguy23/ghostrunner/internal/runner"
)

// Whether a job runs is asked of two sources that share no failure: the process list of the
// container, and GitHub. Either of them is enough to refuse. GitHub is known to call a runner busy
// that has no job, sometimes for ever (actions/runner #3775, #700), so its claim alone counts for
// ten minutes.

const (
	// conflictLimit is how long GitHub's claim counts against an empty container.
	conflictLimit = 10 * time.Minute
	// conflictGap is how long a conflict may go unseen: Alertmanager repeats an alert each minute.
	// A job in between has another registration, or is seen at the next look.
	conflictGap = 3 * time.Minute
)

// conflict is a registration that GitHub calls busy while no worker process is in the container of
// its slot.
type conflict struct {
	id          int64
	since, seen time.Time
}

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
	return i.ofSlot(ctx, list, c), ok
}

func (i *idleCheck) ofSlot(ctx context.Context, list []runner.Registration, c runner.Container) []runner.Registration {
	all, _ := i.containers.recent(ctx) // without it a slot may be taken for another with a longer name
	return runner.NewSlots(append([]runner.Container{c}, all...), "").Registrations(list, c.Runner, c.Scope)
}

// check refuses if a job may be running in one of the containers. A process list that cannot be
// read is a reason. A service runs no jobs and is always idle.
func (i *idleCheck) check(ctx context.Context, list []runner.Container) Verdict {
	result := pass("idle")
	for _, c := range list {
		if c.Role != runner.RoleRunner {
			continue
		}
		job, err := working(ctx, i.opts.Docker, c)
		var claim runner.Registration
		if known, ok := i.registrations(ctx, c); ok && c.Running() {
			if n := slices.IndexFunc(known, func(reg runner.Registration) bool { return reg.Busy }); n >= 0 {
				claim = known[n]
			}
		}
		since := i.conflict(c, claim.ID, err == nil && !job)
		switch left := i.opts.scale(conflictLimit) - since; {
		case err != nil:
			return refuse(UnknownState, "the processes of %s are unknown: %v", c.Name, err)
		case job:
			return refuse(Busy, "a %s process runs in %s", runner.Worker, c.Name)
		case claim.ID == 0:
		case left > 0:
			return refuse(Busy, "GitHub says that %s is busy, and no %s process runs in %s: ignored in %s",
				claim.Name, runner.Worker, c.Name, left.Round(time.Second))
		default:
			result = pass("GitHub still says that %s is busy, but no %s process has been in %s for %s: ignored",
				claim.Name, runner.Worker, c.Name, since.Round(time.Second))
		}
	}
	return result
}

// conflict notes whether a claim is in conflict with an empty container, and returns for how long
// it has been.
func (i *idleCheck) conflict(c runner.Container, claim int64, empty bool) time.Duration {
	i.mu.Lock()
	defer i.mu.Unlock()
	if claim == 0 || !empty {
		delete(i.conflicts, c.ID)
		return 0
	}
	now, found := time.Now(), i.conflicts[c.ID]
	if found.id != claim || now.Sub(found.seen) > conflictGap {
		found = conflict{id: claim, since: now}
	}
	found.seen = now
	i.conflicts[c.ID] = found
	return now.Sub(found.since)
}

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
