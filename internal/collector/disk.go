package collector

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/shirou/gopsutil/v3/disk"
)

// Free space comes from statfs during the scrape: it costs microseconds and is never old. On a dead network or 9p mount
// (a Windows drive under WSL2) statfs can hang for ever and cannot be interrupted, so each path is asked in a goroutine
// of its own, at most one at a time, and a path that does not answer is an error of that path alone.

// diskTimeout is how long a path may take. A sound file system needs microseconds, a Windows drive milliseconds.
const diskTimeout = 2 * time.Second

var (
	diskFree = newDesc("ghostrunner_disk_free_bytes",
		"Space that an unprivileged user can still use.", "path")
	diskSize = newDesc("ghostrunner_disk_size_bytes",
		"Size of the file system.", "path")
)

// Space is what statfs tells about a path.
type Space struct{ Free, Size uint64 }

// Statfs asks the kernel through gopsutil. It can hang.
func Statfs(ctx context.Context, path string) (Space, error) {
	u, err := disk.UsageWithContext(ctx, path)
	if err != nil {
		return Space{}, err
	}
	return Space{Free: u.Free, Size: u.Total}, nil
}

type diskSource struct {
	paths  func() []string
	statfs func(ctx context.Context, path string) (Space, error)
	docker *Reclaimable

	mu    sync.Mutex
	asked map[string]*statfsCall
}

// statfsCall is one question; every scrape that comes while it runs shares its answer.
type statfsCall struct {
	begun time.Time
	done  chan struct{} // closed when space and err are set
	space Space
	err   error
}

// NewDisk returns the source "disk". The paths are asked for at each scrape, as the default (Docker's root) may become
// known late; statfs is usually [Statfs]. A nil Reclaimable exports nothing.
func NewDisk(paths func() []string, statfs func(context.Context, string) (Space, error), docker *Reclaimable) Source {
	return &diskSource{paths: paths, statfs: statfs, docker: docker, asked: make(map[string]*statfsCall)}
}

func (*diskSource) Name() string { return NameDisk }

func (s *diskSource) Collect(ctx context.Context, out *Samples) error {
	s.docker.send(out)
	ctx, cancel := context.WithTimeout(ctx, diskTimeout)
	defer cancel()
	paths := s.paths()
	if len(paths) == 0 {
		return errNoPath
	}
	spaces, errs := make([]Space, len(paths)), make([]error, len(paths))
	var wg sync.WaitGroup
	for i, path := range paths {
		wg.Go(func() {
			var err error
			if spaces[i], err = s.ask(ctx, path); err != nil {
				errs[i] = fmt.Errorf("free space of %s: %w", path, err)
			}
		})
	}
	wg.Wait()
	for i, path := range paths {
		if errs[i] == nil {
			gauge(out, diskFree, float64(spaces[i].Free), path)
			gauge(out, diskSize, float64(spaces[i].Size), path)
		}
	}
	return errors.Join(errs...)
}

var errNoPath = errors.New("no path is given, and Docker, whose root it would be, has not told it yet")

var errNoAnswer = errors.New("the file system does not answer")

// ask waits for the answer until ctx ends, but not at all for a question that has been open for too long.
func (s *diskSource) ask(ctx context.Context, path string) (Space, error) {
	call := s.call(ctx, path)
	if time.Since(call.begun) >= diskTimeout {
		return Space{}, errNoAnswer
	}
	select {
	case <-call.done:
		return call.space, call.err
	case <-ctx.Done():
		return Space{}, errNoAnswer
	}
}

// call returns the open question about path, or puts one.
func (s *diskSource) call(ctx context.Context, path string) *statfsCall {
	s.mu.Lock()
	defer s.mu.Unlock()
	if call := s.asked[path]; call != nil {
		return call
	}
	call := &statfsCall{begun: time.Now(), done: make(chan struct{})}
	s.asked[path] = call
	go func() {
		call.space, call.err = s.statfs(context.WithoutCancel(ctx), path)
		s.mu.Lock()
		delete(s.asked, path)
		s.mu.Unlock()
		close(call.done)
	}()
	return call
}
