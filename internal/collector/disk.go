package collector

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/shirou/gopsutil/v3/disk"
	"golang.org/x/sync/singleflight"
)

// Free space comes from statfs during the scrape: it costs microseconds and is never old. On a dead
// network or 9p mount (a Windows drive under WSL2) statfs can hang for ever and cannot be
// interrupted, so each path is asked in a goroutine of its own, at most one at a time, and a path
// that does not answer is an error of that path alone.

// diskTimeout is how long a path may take. A file system needs microseconds, a Windows drive
// milliseconds.
const diskTimeout = 2 * time.Second

var (
	diskFree = prometheus.NewDesc("ghostrunner_disk_free_bytes",
		"Space that an unprivileged user can still use.", []string{"path"}, nil)
	diskSize = prometheus.NewDesc("ghostrunner_disk_size_bytes",
		"Size of the file system.", []string{"path"}, nil)
)

// Statfs asks the kernel for the space of a path. It can hang.
type Statfs func(ctx context.Context, path string) (*disk.UsageStat, error)

type diskSource struct {
	paths  func() []string
	statfs Statfs
	docker *Reclaimable

	calls singleflight.Group // scrapes share the call that is open for a path
	begun sync.Map           // path to the time at which its open call began
}

// NewDisk returns the source "disk". The paths are asked for at each scrape, because the default
// (Docker's root) can become known late; statfs is usually disk.UsageWithContext. A nil Reclaimable
// exports nothing.
func NewDisk(paths func() []string, statfs Statfs, docker *Reclaimable) Source {
	return &diskSource{paths: paths, statfs: statfs, docker: docker}
}

func (*diskSource) Name() string { return NameDisk }

func (s *diskSource) Collect(ctx context.Context, ch chan<- prometheus.Metric) error {
	s.docker.send(ch)
	ctx, cancel := context.WithTimeout(ctx, diskTimeout)
	defer cancel()
	paths := s.paths()
	if len(paths) == 0 {
		return errNoPath
	}
	spaces, errs := make([]*disk.UsageStat, len(paths)), make([]error, len(paths))
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
			gauge(ch, diskFree, float64(spaces[i].Free), path)
			gauge(ch, diskSize, float64(spaces[i].Total), path)
		}
	}
	return errors.Join(errs...)
}

var errNoPath = errors.New("no path is given, and the root of Docker, which is the default, is not known yet")

var errNoAnswer = errors.New("the file system does not answer")

// ask waits for the answer until ctx ends, but not for a call that has been open for too long.
func (s *diskSource) ask(ctx context.Context, path string) (*disk.UsageStat, error) {
	if t, open := s.begun.Load(path); open && time.Since(t.(time.Time)) >= diskTimeout {
		return nil, errNoAnswer
	}
	answer := s.calls.DoChan(path, func() (any, error) {
		s.begun.Store(path, time.Now())
		defer s.begun.Delete(path)
		return s.statfs(context.WithoutCancel(ctx), path)
	})
	select {
	case a := <-answer:
		space, _ := a.Val.(*disk.UsageStat)
		return space, a.Err
	case <-ctx.Done():
		return nil, errNoAnswer
	}
}
