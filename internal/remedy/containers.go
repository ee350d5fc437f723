package remedy

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// listAge is how old a container list may be when a target is resolved, unless the
// alert is younger. Actions look again for themselves.
const listAge = time.Second

// containerList shares one listing among the alerts that are decided at the same
// time; the failure of one too, so that a queue of alerts does not wait for a
// hanging Docker once each.
type containerList struct {
	docker Lister
	seen   atomic.Pointer[sighting] // the last listing that worked

	mu    sync.Mutex // held while Docker is asked
	asked time.Time  // before the last question
	at    time.Time  // after it
	list  []Container
	err   error
}

// sighting is what was seen, and when.
type sighting struct {
	list []Container
	at   time.Time
}

// glanceTimeout is how long a page waits for Docker.
const glanceTimeout = 500 * time.Millisecond

func (l *containerList) recent(ctx context.Context) ([]Container, error) {
	return l.since(ctx, time.Time{})
}

// since is a list that is recent, and not older than something that was heard at a
// time: a list from before an alert can show the container as it was before it fell
// ill.
func (l *containerList) since(ctx context.Context, heard time.Time) ([]Container, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil && l.asked.Before(heard) {
		l.at = time.Time{}
	}
	return l.look(ctx)
}

// glance is for people: what Docker says now if it answers soon, else what was last seen. It never waits for another's
// question.
func (l *containerList) glance(ctx context.Context) sighting {
	if l.mu.TryLock() {
		ctx, cancel := context.WithTimeout(ctx, glanceTimeout)
		_, _ = l.look(ctx) // what it saw is remembered
		cancel()
		l.mu.Unlock()
	}
	if s := l.seen.Load(); s != nil {
		return *s
	}
	return sighting{}
}

// look asks Docker, if the last answer is not of this moment. Under mu.
func (l *containerList) look(ctx context.Context) ([]Container, error) {
	if !l.at.IsZero() && time.Since(l.at) < listAge {
		return l.list, l.err
	}
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	asked := time.Now()
	list, err := l.docker.Containers(call)
	if ctx.Err() != nil { // the caller gave up, which says nothing about Docker
		return nil, ctx.Err()
	}
	l.list, l.err, l.asked, l.at = list, err, asked, time.Now()
	if err == nil {
		l.seen.Store(&sighting{list, l.at})
	}
	return l.list, l.err
}

// forget makes the next call look afresh.
func (l *containerList) forget() {
	l.mu.Lock()
	l.at = time.Time{}
	l.mu.Unlock()
}
