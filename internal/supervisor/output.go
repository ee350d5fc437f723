package supervisor

import (
	"bufio"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/blueguy23/ghostrunner/internal/listener"
)

type progress struct {
	listening     bool
	jobsStarted   int
	jobsCompleted int
	jobOffered    bool            // a job was handed out
	jobSkipped    bool            // a job was handed out and could not be acquired
	jobNews       time.Time       // when a job was last handed out or announced
	result        listener.Result // of the last completed job
	conflict      bool
	failure       listener.Reason // the first one: later ones tend to be consequences
	text          string          // line of that failure
}

// notAcquired reports whether the one job of the registration could not be acquired. The listener
// stays online and idle, but GitHub hands it no other (actions/runner#4617).
func (p progress) notAcquired() bool { return p.jobSkipped && p.jobsStarted == 0 }

type jobProgress struct {
	changed chan struct{} // capacity 1; has a value if there is something new

	mu  sync.Mutex
	now progress
}

func newJobProgress() *jobProgress { return &jobProgress{changed: make(chan struct{}, 1)} }

func (j *jobProgress) snapshot() progress {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.now
}

func (j *jobProgress) record(line []byte) {
	e, ok := listener.Parse(line)
	if !ok {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	switch e.Kind {
	case listener.Listening:
		j.now.listening = true
	case listener.JobOffered:
		j.now.jobOffered, j.now.jobNews = true, time.Now()
	case listener.JobStarted:
		j.now.jobsStarted++
		j.now.jobNews = time.Now()
	case listener.JobCompleted:
		j.now.jobsCompleted++
		j.now.result = e.Result
	case listener.JobSkipped:
		j.now.jobSkipped = true
	case listener.SessionConflict:
		j.now.conflict = true
	case listener.Failure:
		if j.now.failure == "" {
			j.now.failure, j.now.text = e.Reason, e.Text
		}
	default:
		return
	}
	select {
	case j.changed <- struct{}{}:
	default:
	}
}

// forwardLines writes every line of from to out, each in one Write, and calls observe with it. A
// line longer than MaxLine is written in pieces and not observed: no line with a meaning is that
// long. It continues if out fails, because that must not block or kill the listener.
func forwardLines(from io.Reader, out io.Writer, observe func(line []byte)) {
	r := bufio.NewReaderSize(from, listener.MaxLine)
	long := false
	for {
		line, err := r.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			_, _ = out.Write(line)
			long = true
			continue
		case err != nil && len(line) == 0 && !long:
			return
		case err != nil: // end the last line, so that the next process's first one is not appended to it
			line = append(line, '\n')
		}
		_, _ = out.Write(line)
		if !long {
			observe(line)
		}
		long = false
		if err != nil {
			return
		}
	}
}
