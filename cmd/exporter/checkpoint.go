package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/blueguy23/ghostrunner/internal/docker"
	"github.com/blueguy23/ghostrunner/internal/listener"
)

const (
	// checkpointEvery is the time between two writes of what has changed. After a crash that much is read again.
	checkpointEvery = 5 * time.Second
	// checkpointVersion is that of the format, with everything in docker.Mark and what Fleet.Save writes.
	checkpointVersion = 1
	// maxCheckpoint is what a thousand slots need ten times over.
	maxCheckpoint = 16 << 20
)

// checkpoint hands what the logs tell to the Fleet, and keeps what is counted together with the place in each log up to which
// it is counted. Both are in one file, of one moment. So whatever was counted after the file was written is read again
// after a crash and counted again, from the older counters: once each. What cannot be read or written costs a warning, and
// then a restart forgets what it would forget without a file.
type checkpoint struct {
	path   string // empty: nothing is written
	logger *slog.Logger

	mu      sync.Mutex // held from an event to its mark
	fleet   *listener.Fleet
	marks   map[string]*docker.Mark // by container id
	changed bool
	failed  bool // it was said that the file cannot be used
}

// saved is the content of the file.
type saved struct {
	Version int
	At      time.Time
	Marks   []docker.Mark
	Fleet   json.RawMessage
}

func newCheckpoint(path string, fleet *listener.Fleet, logger *slog.Logger) *checkpoint {
	return &checkpoint{path: path, fleet: fleet, logger: logger, marks: make(map[string]*docker.Mark)}
}

// Replaying implements docker.LineSink, as the next eight do.
func (c *checkpoint) Replaying(runner string, on bool) { c.fleet.Replaying(runner, on) }

// Started is an event with a place in the log.
func (c *checkpoint) Started(m *docker.Mark, at time.Time) {
	c.apply(m, func() { c.fleet.Started(m.Runner, at) })
}

// Line is an event with a place in the log.
func (c *checkpoint) Line(m *docker.Mark, at time.Time, line []byte) {
	c.apply(m, func() { c.fleet.Line(m.Runner, at, line) })
}

// Noise is asked about every line.
func (*checkpoint) Noise(line []byte) bool { return listener.Noise(line) }

// Skipped is an event with a place in the log.
func (c *checkpoint) Skipped(m *docker.Mark, at time.Time, lines uint64) {
	c.apply(m, func() { c.fleet.Skipped(m.Runner, at, lines) })
}

// Ended is an event with a place in the log.
func (c *checkpoint) Ended(m *docker.Mark, at time.Time) {
	c.apply(m, func() { c.fleet.Ended(m.Runner, at) })
}

// Lost makes the slot count anew. Before it was killed this program may have told numbers that were not written yet and now can
// never be reached again, and a counter that goes back is one that increase() counts twice. One that begins at 0 is not.
func (c *checkpoint) Lost(runner string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fleet.CountAnew(runner)
	c.changed = true
}

// Removed drops the place in a log that is gone.
func (c *checkpoint) Removed(container string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.marks, container)
	c.changed = true
}

// Forget keeps the counters, in case the slot comes back.
func (c *checkpoint) Forget(runner string) { c.fleet.Forget(runner) }

func (c *checkpoint) apply(m *docker.Mark, event func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	event()
	mark := c.marks[m.Container]
	if mark == nil {
		mark = new(docker.Mark)
		c.marks[m.Container] = mark
	}
	*mark = *m
	c.changed = true
}

// restore reads the file, and tells the engine from where to go on. It is called before anything runs. Where there is no file
// one is written at once: since when is counted is the first thing that must not be forgotten.
func (c *checkpoint) restore(docker *docker.Engine) {
	if c.path == "" {
		return
	}
	at, err := c.read()
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		// What it holds may be wanted by somebody, if only to find out what went wrong.
		_ = os.Rename(c.path, c.path+".unusable")
		c.logger.Warn("the state file cannot be used: what the runners did while the exporter was away is not counted",
			"file", c.path, "err", err, "remedy", "none is needed: it is begun anew, and the old one is kept as .unusable where that is possible")
	default:
		for _, m := range c.marks {
			c.fleet.Replaying(m.Runner, true)
		}
		docker.Resume(at, c.places())
		c.logger.Info("going on where the exporter was before", "file", c.path, "written", at, "containers", len(c.marks))
		return
	}
	c.changed = true
	c.write()
}

// places copies the marks.
func (c *checkpoint) places() []docker.Mark {
	marks := make([]docker.Mark, 0, len(c.marks))
	for _, m := range c.marks {
		marks = append(marks, *m)
	}
	return marks
}

func (c *checkpoint) read() (at time.Time, err error) {
	file, err := os.Open(c.path)
	if err != nil {
		return time.Time{}, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxCheckpoint))
	if err != nil {
		return time.Time{}, err
	}
	var in saved
	if err := json.Unmarshal(data, &in); err != nil {
		return time.Time{}, err
	}
	if in.Version != checkpointVersion {
		return time.Time{}, fmt.Errorf("version %d, want %d", in.Version, checkpointVersion)
	}
	if err := c.fleet.Restore(in.Fleet); err != nil {
		return time.Time{}, err
	}
	for i := range in.Marks {
		c.marks[in.Marks[i].Container] = &in.Marks[i]
	}
	return in.At, nil
}

// run writes what has changed until ctx ends, and then once more.
func (c *checkpoint) run(ctx context.Context) error {
	if c.path == "" {
		return nil
	}
	tick := time.NewTicker(checkpointEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
		c.write()
	}
	return nil
}

// write saves, and says if that begins to fail or works again.
func (c *checkpoint) write() {
	switch err := c.save(); {
	case err != nil && !c.failed:
		c.failed = true
		c.logger.Warn("the state file cannot be written: what the runners do while the exporter is away will not be counted",
			"file", c.path, "err", err)
	case err == nil && c.failed:
		c.failed = false
		c.logger.Info("the state file is written", "file", c.path)
	}
}

// save writes the file if anything has changed since.
func (c *checkpoint) save() error {
	c.mu.Lock()
	if !c.changed {
		c.mu.Unlock()
		return nil
	}
	out := saved{Version: checkpointVersion, At: time.Now(), Marks: c.places()}
	var err error
	out.Fleet, err = c.fleet.Save()
	c.changed = err != nil
	c.mu.Unlock()
	if err != nil {
		return err
	}
	data, err := json.Marshal(out)
	if err == nil && len(data) >= maxCheckpoint {
		err = fmt.Errorf("%d bytes are too many", len(data))
	}
	if err == nil {
		err = replace(c.path, data)
	}
	if err != nil {
		c.mu.Lock()
		c.changed = true
		c.mu.Unlock()
	}
	return err
}

// replace puts a file in the place of another so that there is always one of the two, whole, even when the power fails.
func replace(path string, data []byte) error {
	next := path + ".new"
	file, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return err
	}
	if err := os.Rename(next, path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
