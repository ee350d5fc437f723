package remedy

import (
	"context"
	"sync"
	"time"
)

// listAge is how old a container list may be when a target is resolved. Actions
// look again for themselves.
const listAge = time.Second

// containerList shares one listing among the alerts that are decided at the same
// time; the failure of one too, so that a queue of alerts does not wait for a
// hanging Docker once each.
type containerList struct {
	docker Lister
	mu     sync.Mutex
	at     time.Time
	list   []Container
	err    error
}

func (l *containerList) recent(ctx context.Context) ([]Container, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.at.IsZero() && time.Since(l.at) < listAge {
		return l.list, l.err
	}
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	list, err := l.docker.Containers(call)
	if ctx.Err() != nil { // the caller gave up, which says nothing about Docker
		return nil, ctx.Err()
	}
	l.list, l.err, l.at = list, err, time.Now()
	return l.list, l.err
}

// forget makes the next call look afresh.
func (l *containerList) forget() {
	l.mu.Lock()
	l.at = time.Time{}
	l.mu.Unlock()
}
